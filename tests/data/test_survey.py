"""Each file is examined once, in order, and the result is remembered until the file changes."""

import os

import pytest

from roc.data.images import ImageError
from roc.data.survey import survey


@pytest.fixture
def paths(tmp_path):
    paths = [str(tmp_path / f"{number:03}.jpg") for number in range(100)]
    for path in paths:
        with open(path, "w") as file:
            file.write(os.path.basename(path))
    return paths


class Look:
    """Reads a file's text; refuses 007.jpg; remembers which files it was called on."""

    def __init__(self):
        self.seen = []

    def __call__(self, path):
        self.seen.append(path)
        if path.endswith("007.jpg"):
            raise ImageError(f"{path}: no picture")
        with open(path) as file:
            return {"text": file.read()}


def run(paths, **options):
    look = Look()
    found = dict(survey(paths, look, options.pop("name", "texts"), **options))
    return found, sorted(os.path.basename(path) for path in look.seen)


def test_results_come_in_order_and_faulty_files_as_errors(paths):
    found = list(survey(paths, Look(), "texts", workers=3))
    assert [path for path, _ in found] == paths
    assert found[8][1] == {"text": "008.jpg"}
    assert isinstance(found[7][1], ImageError) and str(found[7][1]).endswith("007.jpg: no picture")


def test_a_stopped_run_goes_on_and_changed_or_faulty_files_are_looked_at_again(paths, tmp_path):
    memory = tmp_path / "new" / "memory.jsonl"
    stopped = survey(paths, Look(), "texts", memory=memory, workers=1)
    for _ in range(20):
        next(stopped)
    stopped.close()
    with open(memory, "a") as file:
        file.write('["texts", "/tor')
    found, seen = run(paths, memory=memory)
    # 32 were done, in two handfuls of 16; 007 is faulty
    assert seen == ["007.jpg"] + [f"{number:03}.jpg" for number in range(32, 100)]
    assert found[paths[3]] == {"text": "003.jpg"} and len(found) == 100
    with open(paths[5], "w") as file:
        file.write("longer than it was")
    found, seen = run(paths, memory=memory)
    assert seen == ["005.jpg", "007.jpg"] and found[paths[5]] == {"text": "longer than it was"}
    os.utime(paths[6], ns=(1, 1))
    assert run(paths, memory=memory)[1] == ["006.jpg", "007.jpg"]


def test_another_look_has_results_of_its_own(paths, tmp_path):
    memory = tmp_path / "memory.jsonl"
    run(paths, memory=memory)
    assert len(run(paths, memory=memory, name="others")[1]) == 100
    assert run(paths, memory=memory)[1] == ["007.jpg"]


def test_a_file_that_something_else_wrote_is_refused_and_left_alone(paths):
    with pytest.raises(ValueError, match="holds no results of `roc data`"):
        run(paths, memory=paths[0])
    with open(paths[0]) as file:
        assert file.read() == "000.jpg"


def test_a_file_that_went_away_is_an_error_of_that_file(paths):
    os.remove(paths[2])
    found, _ = run(paths)
    assert "002.jpg: cannot be read" in str(found[paths[2]]) and found[paths[1]] == {"text": "001.jpg"}


def test_workers_have_to_be_there(paths):
    with pytest.raises(ValueError, match="workers is 0; expected at least 1"):
        run(paths, workers=0)
