"""Settings of any dataclass: declared once, read from YAML, flags and values, checked alike."""

from dataclasses import dataclass
from typing import Literal

import pytest

from roc.settings import (
    REQUIRED,
    ConfigError,
    Settings,
    help_text,
    load_settings,
    option,
    settings_of,
)


@dataclass(frozen=True)
class Paint(Settings):
    """What the wall gets."""

    TITLE = "paint"

    colour: Literal["white", "ochre"] = option("white", "colour of the wall")
    coats: int = option(2, "layers of paint", low=1)

    def faults(self):
        return (
            [("coats", "one coat of white shows the wall; give 2")] if (self.colour, self.coats) == ("white", 1) else []
        )


@dataclass(frozen=True, kw_only=True)
class Job(Paint):
    """Who does it, and where."""

    TITLE = "job"

    room: str = option(REQUIRED, "room to paint")
    hours: float | None = option(None, "time it may take", above=0, unset="as long as it takes")
    helpers: tuple[str, ...] = option((), "who helps", matters=False)
    note: str = "not a setting"

    def faults(self):
        return [("room", "the cellar is damp")] if self.room == "cellar" else []


def refusal(*given):
    with pytest.raises(ConfigError) as caught:
        load_settings(Job, *given)
    return str(caught.value)


def test_bases_come_first_and_fields_without_option_are_left_alone():
    assert list(settings_of(Job)) == ["colour", "coats", "room", "hours", "helpers"]
    assert [setting.group for setting in settings_of(Job).values()] == [Paint, Paint, Job, Job, Job]


def test_file_flags_and_values(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text("room: hall\ncoats: 3\nhelpers: [Ada, Bo]\n")
    job = load_settings(Job, path, ["--coats", "4", "--hours=none"])
    assert (job.room, job.coats, job.hours, job.helpers) == ("hall", 4, None, ("Ada", "Bo"))
    assert load_settings(Job, None, job.to_dict()) == job


def test_each_class_is_asked_for_its_own_faults():
    lines = refusal(None, {"room": "cellar", "coats": 1}).splitlines()
    assert lines == ["one coat of white shows the wall; give 2", "the cellar is damp"]


def test_missing_unknown_and_wrong_settings_name_where_they_come_from(tmp_path):
    assert refusal() == "room is missing, expected text; give --room"
    path = tmp_path / "job.yaml"
    path.write_text("room: hall\ncoat: 3\n")
    assert refusal(path) == f"{path}:2: unknown setting 'coat'; did you mean 'coats'?"
    wrong = refusal(None, ["--room", "hall", "--hours", "0"])
    assert wrong == "--hours: hours is '0', expected a number above 0, or none"


def test_a_sentence_that_begins_with_its_flag_names_it_once():
    faults = [("out", "--out needs a name"), ("out", "out is x")]
    assert str(ConfigError(faults, {"out": "--out"})) == "--out needs a name\n--out: out is x"


def test_differences_count_only_what_matters():
    one, other = Job(room="hall", helpers=("Ada",)), Job(room="hall", coats=3)
    assert other.differences(one.to_dict()) == ["coats: 2 -> 3"]
    assert one.differences({"room": "hall"}) == []


def test_help_groups_settings_by_class():
    text = help_text(Job)
    assert text.index("paint: What the wall gets.") < text.index("--coats") < text.index("job: Who does it, and where.")
    assert "layers of paint [2]" in text and "room to paint [required]" in text
    assert "time it may take [as long as it takes]" in text and "(white, ochre) [white]" in text
