"""Whether the words of a model that reasons matter: scores behind its own critique, another image's, and none."""

import dataclasses

import pytest
import torch
from heads import picture, record
from reasoning_models import reasoning_model

from roc.evaluation.critique_effect import critique_effect, critique_text, effect_metrics, scores_behind
from roc.model.declaration import declare
from roc.model.reasoned import reasoned_answer
from roc.scoring.results import Reasoned, Score

RECORDS = [dataclasses.replace(record(str(i), scores={"overall": float(i)}), images=(str(i),)) for i in range(1, 5)]


def opened(row):
    return picture(int(row.id))


def reasoned(critique, value=5.0):
    score = None if value is None else Score(value, 0.0, (1.0,), (value,), (1.0, 10.0), False)
    return Reasoned(reasoned_answer(critique), critique, "good" if score else "cut", score)


@pytest.fixture(scope="module")
def model():
    model, processor, collator = reasoning_model()
    return model.train(), processor, collator


def test_errors_behind_other_words_on_paper():
    """Human 5, 6, 7, 8. Own errors 0, 1, 0, 1: 0.5. Other errors 2, 1, 2, 1: 1.5. None: all 1."""
    scores = {"own": [5, 5, 7, 7], "other": [3, 5, 5, 7], "none": [6, 7, 8, 9]}
    found = effect_metrics(scores, [5, 6, 7, 8])
    assert (found["critique_own_mae"], found["critique_other_mae"], found["critique_none_mae"]) == (0.5, 1.5, 1.0)
    assert (found["critique_other_added"], found["critique_none_added"]) == (1.0, 0.5)
    assert (found["critique_other_moved"], found["critique_none_moved"]) == (1.0, 1.5)
    assert found["critique_other_added_low"] < 1.0 < found["critique_other_added_high"]
    text = critique_text({f"x/{name}": value for name, value in found.items()}, "x/")
    assert text.startswith("MAE 0.500 behind the model's own critique, 1.500 behind that of another image (+1.000 [")
    assert "_low" not in "".join(effect_metrics(scores, [5, 6, 7, 8], n_resamples=0))


def test_words_and_picture_are_read_together(model):
    model, processor, collator = model
    words = ["Soft light.", "Hard light.", "", "Soft light."]
    scores = scores_behind(model, collator, RECORDS, words, batch_size=3, opened=opened)
    alone = [
        score
        for row, critique in zip(RECORDS, words, strict=True)
        for score in scores_behind(model, collator, [row], [critique], batch_size=1, opened=opened)
    ]
    assert scores == pytest.approx(alone, abs=1e-4) and model.training
    # What generation reads at [SCORE], when it is made to write these words.
    batch = collator.prompt_batch([opened(RECORDS[0])])
    ids = collator.tokenizer(reasoned_answer(words[0]).split("[SCORE]")[0], add_special_tokens=False)["input_ids"]
    batch["input_ids"] = torch.cat([batch["input_ids"], torch.tensor([ids])], dim=1)
    batch["attention_mask"] = torch.ones_like(batch["input_ids"])
    mask = torch.zeros_like(batch["input_ids"], dtype=torch.bool)
    mask[:, -1] = True
    model.eval()
    with torch.no_grad():
        logits = model.level_logits(mask, **{k: v for k, v in batch.items() if torch.is_tensor(v)}, use_cache=False)
    model.train()
    value = (logits[0, 0].softmax(-1) * torch.tensor(model.score_space.levels)).sum().item()
    assert scores[0] == pytest.approx(value, abs=1e-4)


def test_words_are_read_before_the_picture_alone(model):
    """As while the model writes, also where one forward pass reads the mirror image too."""
    model, _, collator = model
    words = ["Soft light."] * 4
    plain = scores_behind(model, collator, RECORDS, words, batch_size=4, opened=opened)
    before = model.declaration
    declare(model, dataclasses.replace(before, score_flip=True))
    try:
        assert scores_behind(model, collator, RECORDS, words, batch_size=4, opened=opened) == plain
    finally:
        declare(model, before)


def test_only_the_words_are_exchanged(model):
    model, _, collator = model
    answers = [(reasoned("Soft light."),), (reasoned("", None),), (reasoned("x"), reasoned("y")), (reasoned("Hard."),)]
    found = critique_effect(model, collator, RECORDS, answers, batch_size=2, opened=opened, n_resamples=0)
    read, words = [RECORDS[0], RECORDS[2], RECORDS[3]], ["Soft light.", "x", "Hard."]
    assert found["critique_n"] == 3  # the second has no readable answer
    for name, critiques in {"own": words, "other": ["x", "Hard.", "Soft light."], "none": [""] * 3}.items():
        scores = scores_behind(model, collator, read, critiques, batch_size=3, opened=opened)
        errors = [abs(score - row.scores["overall"]) for score, row in zip(scores, read, strict=True)]
        assert found[f"critique_{name}_mae"] == pytest.approx(sum(errors) / 3, abs=1e-4)
    assert critique_effect(model, collator, RECORDS, [answers[1]] * 4, batch_size=2) == {"critique_n": 0}
    assert critique_text({"critique_n": 0}) == ""
