"""Metrics of answers that a model wrote: unreadable ones leave them and are counted."""

import dataclasses

import pytest
import torch
from heads import picture, record
from reasoning_models import Script, reasoning_model

from roc.evaluation.reasoned import Openness, measure_openness, reasoned_metrics, write_answers_to
from roc.model.reasoned import reasoned_answer
from roc.scoring.reasoning import Sampling
from roc.scoring.results import Reasoned, Score

RECORDS = [dataclasses.replace(record(str(i), scores={"overall": float(i)}), images=(str(i),)) for i in range(1, 6)]


def reasoned(value, kind="good"):
    score = None if value is None else Score(value, 0.0, (1.0,), (value,), (1.0, 10.0), False)
    return Reasoned("text", "two words" if kind == "good" else "", kind, score)


def test_unreadable_answers_leave_the_metrics_and_are_counted():
    answers = [
        (reasoned(2.0), reasoned(1.0)),
        (reasoned(3.0), reasoned(None, "cut")),
        (reasoned(2.5), reasoned(2.5)),
        (reasoned(None, "cut"), reasoned(None, "no_score")),
        (reasoned(5.0), dataclasses.replace(reasoned(5.0), first_kind="cut")),
    ]
    metrics = reasoned_metrics(RECORDS, answers)
    assert (metrics["n"], metrics["unscored"], metrics["readable"]) == (4, 1, 0.7)
    assert metrics["mae"] == pytest.approx((0.5 + 1.0 + 0.5 + 0.0) / 4)
    assert metrics["srcc"] == pytest.approx(0.8)
    assert metrics["wrong/cut"] == 2 and metrics["wrong/no_score"] == 1 and "wrong/two_answers" not in metrics
    assert metrics["words"] == 2.0 and metrics["retried"] == 1


def test_without_a_readable_answer_there_is_no_metric():
    metrics = reasoned_metrics(RECORDS, [(reasoned(None, "no_answer"),)] * 5)
    assert metrics["n"] == 0 and metrics["readable"] == 0 and "srcc" not in metrics


def test_the_model_writes_its_own_answers(monkeypatch):
    model, processor, collator = reasoning_model()
    model.train()
    texts = [reasoned_answer("a"), "none", reasoned_answer("b"), "none"]
    script = Script(model, processor, texts)
    monkeypatch.setattr(type(model), "generate_with_scores", lambda self, **inputs: script(**inputs))
    answers = write_answers_to(
        model, collator, RECORDS[:4], Sampling(retries=0), batch_size=2, opened=lambda row: picture(int(row.id))
    )
    found = reasoned_metrics(RECORDS[:4], answers)
    assert (found["n"], found["wrong/no_answer"]) == (2, 2)
    assert [call["rows"] for call in script.asked] == [2, 2]
    assert model.training


def test_openness_is_measured_at_temperature_1_and_adds_up():
    model, _, collator = reasoning_model()
    state = torch.get_rng_state()

    def measured(records):
        return measure_openness(
            model, collator, records, batch_size=2, max_new_tokens=3, opened=lambda row: picture(int(row.id))
        )

    whole = measured(RECORDS[:2])
    assert 0 < whole.entropy < 7 and whole.readable == 0 and whole.tokens == 6
    assert sum(whole.kinds.values()) == 2 and torch.equal(torch.get_rng_state(), state)
    assert whole + Openness(2.0, 4, {"good": 2}) == Openness(
        whole.total + 2.0, whole.tokens + 4, {**whole.kinds, "good": 2}
    )
    assert Openness().entropy == 0 == Openness().readable
