"""The Dockerfile, by the rules of hadolint that apply to it; nobody builds it here."""

import json
import re
from pathlib import Path

from roc.server.options import ServeOptions

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "Dockerfile").read_text()
LINES = [line.strip() for line in re.sub(r"\\\n\s*", "", TEXT).splitlines() if line.strip() and line[0] != "#"]


def all_of(word):
    return [line.partition(" ")[2] for line in LINES if line.split()[0] == word]


def test_the_base_image_is_pinned():
    (base,) = all_of("FROM")
    name, _, tag = base.partition(":")
    assert name and re.match(r"3\.1[1-3]\.\d+-slim-\w+$", tag)
    assert all_of("ADD") == [] and len(all_of("CMD")) == len(all_of("ENTRYPOINT")) == 1
    assert all(Path(folder).is_absolute() for folder in all_of("WORKDIR"))


def test_nothing_is_cached_and_every_version_is_fixed():
    known = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
    commands = [part.strip() for run in all_of("RUN") for part in run.split("&&")]
    installs = [command for command in commands if command.startswith("pip install")]
    assert len(installs) == 2 and all("--no-cache-dir" in command for command in installs)
    assert f"torch=={known['torch']}" in installs[0] and "--constraint constraints.txt" in installs[1]
    assert not any(re.search(r"\bsudo\b|\bcd\b|apt-get|\|", command) for command in commands)


def test_it_does_not_run_as_root():
    assert LINES.index("USER 10001") > max(i for i, line in enumerate(LINES) if line.startswith("RUN"))
    assert "--uid 10001" in TEXT and all_of("USER") == ["10001"]


def test_what_it_copies_is_there_and_not_ignored():
    rules = (ROOT / ".dockerignore").read_text().split()
    for line in all_of("COPY"):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists() and f"!{source}" in rules
    assert rules[0] == "*"


def test_its_words_are_options_of_the_server():
    words = json.loads(all_of("ENTRYPOINT")[0]) + json.loads(all_of("CMD")[0])
    assert words[:2] == ["roc", "serve"]
    options = dict(zip(words[2::2], words[3::2], strict=True))
    values = ServeOptions(
        checkpoint=options.pop("--checkpoint"), host=options.pop("--host"), port=int(options.pop("--port"))
    )
    assert not options and str(values.port) in all_of("EXPOSE") and f":{values.port}/healthz" in TEXT
