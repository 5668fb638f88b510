"""Who is asked in a build, made of their names: judges and voters, checkpoints and models behind endpoints."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from roc.endpoints.options import host_of
from roc.relative.agreement import HIGHEST
from roc.relative.config import BuildOptions, chat_name
from roc.relative.editors import Editor, Embedded
from roc.relative.judges import Judge, KnownDirection
from roc.relative.judging import score_pictures
from roc.relative.photos import Photo
from roc.relative.scorers import ChatVoter, Checkpoint, Differences
from roc.relative.steps import Step, Steps
from roc.relative.votes import Votes

if TYPE_CHECKING:
    from roc.endpoints.patience import Patience
    from roc.scoring.cluster import Cluster

logger = logging.getLogger(__name__)


def make_editors(
    options: BuildOptions, at_once: int, stopping: threading.Event, cluster: Cluster | None = None
) -> dict[str, Editor]:
    """Makes the editors that the options name.

    Args:
        options: Of the build.
        at_once: Pictures that are worked on at the same time on this machine.
        stopping: Set once the run is to end.
        cluster: Where pipelines run; None runs them in this process.

    Raises:
        ValueError: A missing key, a pipeline that cannot be used.
        ImportError: With the command that installs what is missing.
    """
    editors: dict[str, Editor] = {}
    for name in options.editors:
        kind, _, rest = name.partition(":")
        settings = {"dtype": options.dtype, "steps": options.steps}
        if kind == "diffusers" and cluster is not None:
            from roc.relative.pipeline_actors import PipelineActors

            editors[name] = PipelineActors(rest, cluster, **settings)
        elif kind == "diffusers":
            from roc.relative.image_editors import Pipeline

            editors[name] = Pipeline(rest, device=options.device, **settings)
        elif kind == "images":
            from roc.endpoints.images import ImageEdits
            from roc.relative.image_editors import EndpointEditor

            endpoint = _endpoint(name, options, stopping, ImageEdits)
            editors[name] = EndpointEditor(*endpoint, options.requests_at_once, seeded=options.send_seed)
        else:
            editors[name] = Embedded(at_once)
    return editors


def make_helpers(options: BuildOptions, stopping: threading.Event) -> tuple[tuple | None, tuple | None]:
    """Makes the chat model that writes instructions and the one that checks edits, each with its patience; None for
    those that are not asked for."""
    from_list = options.instructions == "list"
    instructor = None if from_list else _endpoint(options.instructions, options, stopping)
    return instructor, None if options.checker is None else _endpoint(options.checker, options, stopping)


def make_judges(
    options: BuildOptions, at_once: int, stopping: threading.Event, cluster: Cluster | None = None
) -> list[Judge]:
    """Makes the judges that the options name; the arguments are those of `make_editors`.

    Raises:
        ValueError: A missing key, a checkpoint that cannot be used.
        ImportError: With the command that installs the client library of chat endpoints.
    """
    judges: list[Judge] = []
    for name in options.judges:
        kind, _, rest = name.partition(":")
        if kind == "chat":
            from roc.relative.chat_judge import ChatJudge

            judges.append(ChatJudge(*_endpoint(name, options, stopping), options.requests_at_once))
        elif kind == "roc":
            judges.append(Differences(Checkpoint(rest, options, cluster)))
        else:
            judges.append(KnownDirection(float(rest or 0), at_once))
    return judges


def vote_of_models(
    options: BuildOptions, votes: Votes, photos: Sequence[Photo], steps: Steps, cluster: Cluster | None = None
) -> None:
    """Has the voters that the options name score all photos, and adds what they say to the votes.

    Votes that fail are missing: whether enough are left decides each photo's consensus.
    """
    for name in options.voters:
        kind, _, rest = name.partition(":")
        if kind == "roc":
            checkpoint = Checkpoint(rest, options, cluster)
            keys = {photo.id: f"vote:{checkpoint.identity}:{photo.id}:{photo.stamp}" for photo in photos}
            score_pictures(checkpoint, steps, {keys[photo.id]: photo.source for photo in photos})
        else:
            voter = ChatVoter(*_endpoint(name, options, steps.stopping), options.requests_at_once)
            keys = {photo.id: f"vote:{voter.name}:{voter.identity}:{photo.id}:{photo.stamp}" for photo in photos}
            work = [Step(keys[photo.id], partial(voter.vote, photo.source)) for photo in photos]
            steps.carry_out(work, at_once=voter.at_once, unit=f"votes of {voter.name}")
        for photo in photos:
            row = steps.row(keys[photo.id]) or {}
            if "score" in row:
                votes.add(photo.id, name, row["score"], 0.0, HIGHEST)
            else:
                votes.failed[photo.id] = f"{name}: {row.get('error', 'it was not asked')}"


def _endpoint(
    name: str, options: BuildOptions, stopping: threading.Event, kind: Callable[..., Any] | None = None
) -> tuple[Any, Patience]:
    """Makes the client of an endpoint, of chat where no other kind is given, and what waits for it."""
    from roc.endpoints.chat import Chat
    from roc.endpoints.patience import Patience

    model, url = _address(name, options)
    variable = _key_variable(url, options)
    if variable != options.key_variable and os.environ.get(options.key_variable) and not os.environ.get(variable):
        logger.warning(
            "%s: the key in %s is not sent to %s, as another host is named too; where that asks for one, put it in %s",
            *(name, options.key_variable, host_of(url), variable),
        )
    chat = (kind or Chat)(
        model, url, key=os.environ.get(variable), options=dataclasses.replace(options, key_variable=variable)
    )
    return chat, Patience(f"{chat.name} at {url or 'its endpoint'}", options.patience, stopping)


def _address(name: str, options: BuildOptions) -> tuple[str, str | None]:
    model, url = chat_name(name)
    return model, url or options.base_url


def _key_variable(url: str | None, options: BuildOptions) -> str:
    """Names the variable with the key of an endpoint: `key_variable` is for one host, others have their own.

    That host is the one of `base_url`, or the only one that the options name.
    """
    names = [*options.editors, *options.judges, *options.voters, options.instructions, options.checker or ""]
    asked = [_address(name, options)[1] for name in names if name.startswith(("chat:", "images:"))]
    hosts = {host_of(one) for one in asked} if options.base_url is None else {host_of(options.base_url)}
    host = host_of(url)
    if host is None or hosts == {host}:
        return options.key_variable
    return f"{options.key_variable}_{re.sub('[^A-Z0-9]', '_', host.upper())}"
