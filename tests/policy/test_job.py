"""What a run of reinforcement is made of: its validation rows."""

from policy_runs import settings

from roc.data.records import Record
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
