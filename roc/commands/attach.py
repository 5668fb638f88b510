"""`roc attach MODEL OUT`: gives a model an untrained score head and saves it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from roc.commands.line import Parser, run
from roc.data.limits import FEWEST_PIXELS
from roc.settings import REQUIRED, option, settings_of
from roc.training.config import ScoreConfig

DESCRIPTION = """Gives a vision-language model of transformers the [SCORE] token and an untrained score head, and
saves it with its processor to the folder OUT. Until it is trained, every score is the middle of the scale. Training
attaches by itself; this is for runs that shard the weights while loading them."""


@dataclass(frozen=True, kw_only=True)
class AttachOptions(ScoreConfig):
    """The model that gets the head, and where the result goes."""

    model: str = option(REQUIRED, "model to start from: a hub name or a folder", positional=True)
    out: str = option(REQUIRED, "new folder for the model and its processor", positional=True)
    dtype: Literal["float32", "bfloat16"] = option("float32", "number format of the weights")
    chat_template: str | None = option(
        None, "Jinja file that lays out the turns of a conversation, saved with the processor", unset="the processor's"
    )
    image_aspect_ratio: Literal["keep", "pad"] = option(
        "keep", "pad: pad every image to a square with the mean colour before the processor sees it"
    )
    max_pixels: int | None = option(
        None, "scale images with more pixels down to this many before the processor sees them", low=FEWEST_PIXELS
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `roc attach`.

    Args:
        argv: Words after `roc attach`; None takes those of the process.

    Returns:
        Exit status: 0 done, 2 bad input (the reason is on stderr).
    """
    example = "roc attach org/model checkpoints/start --min_score 1 --max_score 5 --attributes overall light"
    return run(Parser("roc attach", DESCRIPTION, example), AttachOptions, argv, _attach)


def _attach(options: AttachOptions) -> None:
    from roc.checkpoint.export import check_new

    out = Path(options.out)
    check_new(out)

    from roc.checkpoint.names import check_exists

    check_exists(options.model)

    from roc.checkpoint.folder import read_config, save
    from roc.checkpoint.weights import load_weights
    from roc.model.attachment import attach, model_class
    from roc.model.processing import load_processor, read_chat_template
    from roc.score_space import ranges_text

    template = None if options.chat_template is None else read_chat_template(options.chat_template)
    model = load_weights(model_class(read_config(options.model)), options.model, dtype=options.dtype)
    processor = load_processor(options.model)
    if template is not None:
        processor.chat_template = template
    scale = ("min_score", "max_score", "attribute_ranges", "num_tokens")
    carried = [name for name in settings_of(ScoreConfig) if name not in scale]
    carried += ["image_aspect_ratio", "max_pixels"]
    attach(model, processor, options.score_space, **{name: getattr(options, name) for name in carried})
    save(model, processor, out)
    declared = model.declaration
    print(
        f"{out}: [SCORE] is token {declared.token_id}, {options.num_tokens} levels for "
        f"{ranges_text(declared.space.ranges, declared.attributes)}"
    )
