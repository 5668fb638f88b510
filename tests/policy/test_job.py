"""What a run of reinforcement is made of: rows to learn from, each photo once, and validation rows."""

import json
from pathlib import Path

import pytest
from policy_runs import corpus, settings

from roc.data.records import Record
from roc.data.rows import DataError
from roc.policy.job import PolicyJob
from roc.training.data import RunData


def rated(name, score, **fields):
    return Record(name, (f"{name}.png",), scores={"overall": score}, **fields)


def test_a_sorted_file_is_validated_on_rows_of_all_kinds():
    """As the cold start is: a hundred rows from bad to good, of which the first ten are all bad."""
    rows = [rated(f"{i:03d}", 1 + i / 100) for i in range(100)]
    job = PolicyJob(settings("m", "d", "out", reasoning_rows=10, entropy_rows=4), "reasoning train")
    found = job.validation(RunData([], rows, []), None)
    scores = [record.scores["overall"] for record in found.records]
    assert len(scores) == 10 and min(scores) < 1.3 and max(scores) > 1.7
    assert found.max_new_tokens == 24 and found.entropy_rows == 4


def test_a_photo_with_several_critiques_is_asked_about_once(llava, data, tmp_path):
    """Under another id, another name of the file, and in the group that a converted file names after it."""
    folder = Path(data).parent
    (tmp_path / "linked").symlink_to(folder)
    file = Path(corpus(tmp_path / "corpus.jsonl", data))
    lines = [json.loads(line) | {"group": f"{i}.png"} for i, line in enumerate(file.read_text().splitlines())]
    again = lines[0] | {"id": "0 (line 13)", "image": str(tmp_path / "linked" / "0.png"), "group": "linked/0.png"}
    file.write_text("".join(json.dumps(line) + "\n" for line in [*lines, again]))
    job = PolicyJob(settings(llava, str(file), tmp_path / "out"), "reasoning train")
    job.read_base()
    assert [record.id for record in job.read().train] == list(map(str, range(8)))
    file.write_text("".join(json.dumps(line) + "\n" for line in [*lines, again | {"gt_score": 9}]))
    with pytest.raises(DataError, match=r"jsonl:13: .*0.png is rated 9 here and 1.* in line 1; keep one rating"):
        job.read()
