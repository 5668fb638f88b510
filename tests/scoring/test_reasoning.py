"""Critiques come before scores: one answer or several, at most one more try, and never a number without a form."""

import json
import math

import pytest
import torch
from heads import build, picture
from reasoning_models import GOOD_TEXT, QUESTION, Script, reasoning_model

from roc.checkpoint.folder import save
from roc.model.reasoned import reasoned_answer
from roc.scoring.assessment import Assessment
from roc.scoring.reasoning import Sampling, TokenEntropy, seeded, write_answers
from roc.scoring.results import Assessed, Reasoned, Score, combined, variances

PICTURES = [picture(0), picture(1)]


@pytest.fixture(scope="module")
def assessment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reasoning")
    model, processor, _ = reasoning_model()
    save(model, processor, folder)
    return Assessment(folder)


@pytest.fixture
def says(assessment, monkeypatch):
    """Has the model say these texts, row by row and call by call."""

    def say(*texts):
        script = Script(assessment.model, assessment.processor, texts)
        monkeypatch.setattr(type(assessment.model), "generate_with_scores", lambda self, **inputs: script(**inputs))
        return script

    return say


def test_one_answer_is_the_likeliest_one(assessment, says):
    script = says(GOOD_TEXT, reasoned_answer("Hard light."))
    first, second = assessment.describe(PICTURES)
    assert script.asked == [{"rows": 2, "do_sample": False, "temperature": None}]
    assert first.text == f"<think>Soft light.</think><answer>{first.scores['overall'].value:.4f}</answer>"
    assert second.answers == (
        Reasoned(reasoned_answer("Hard light."), "Hard light.", "good", second.scores["overall"]),
    )
    assert first.to_dict()["answers"] == "good 1" and "samples" not in first.to_dict()


def test_an_unreadable_answer_is_written_anew_once(assessment, says):
    script = says("no tags", GOOD_TEXT, GOOD_TEXT)
    first, second = assessment.describe(PICTURES, temperature=0.9)
    assert script.asked[1:] == [{"rows": 1, "do_sample": True, "temperature": 0.9}]
    assert first.answers[0].first_kind == "no_answer" and first.scores["overall"] is not None
    assert second.answers[0].first_kind is None
    assert [one.to_dict()["retried"] for one in (first, second)] == ["no_answer 1", ""]
    assert [one.answers[0].to_dict()["retried"] for one in (first, second)] == [True, False]


def test_after_one_more_try_there_is_no_score(assessment, says):
    script = says("<think>a</think><answer>7", GOOD_TEXT + GOOD_TEXT)
    (one,) = assessment.describe(PICTURES[0])
    assert len(script.asked) == 2
    assert one.scores == {"overall": None} and one.answers[0].kind == "two_answers" and one.variances is None
    assert one.answers[0].first_kind == "no_answer"  # both are told
    assert one.text == GOOD_TEXT + GOOD_TEXT  # as it was written, no number in place of a mark


def test_a_cut_answer_is_told(assessment, says):
    says("<think>on and on...", "<think>on and on...")
    assert assessment.describe(PICTURES[0])[0].answers[0].kind == "cut"


def test_several_answers_are_combined(assessment, says):
    script = says("none", reasoned_answer("a"), "none", reasoned_answer("b"), reasoned_answer("c"))
    (one,) = assessment.describe(PICTURES[0], samples=3)
    assert [call["temperature"] for call in script.asked] == [0.6] * 5  # two were written anew
    good = [answer.score for answer in one.answers]
    assert [answer.critique for answer in one.answers] == ["a", "b", "c"]
    assert one.scores["overall"] == combined(good)
    within, between = one.variances
    assert one.scores["overall"].std == pytest.approx(math.sqrt(within + between))
    row = one.to_dict()
    assert row["answers"] == "good 3" and row["std_between"] == pytest.approx(math.sqrt(between))
    assert [sample["kind"] for sample in json.loads(row["samples"])] == ["good"] * 3


def test_a_combination_is_the_mean_of_distributions():
    def score(value, std, distribution):
        return Score(value, std, distribution, (0.0, 1.0), (0.0, 1.0), True)

    scores = [score(0.2, 0.4, (0.8, 0.2)), score(0.6, math.sqrt(0.24), (0.4, 0.6))]
    both = combined(scores)
    assert both.value == pytest.approx(0.4) and both.distribution == pytest.approx((0.6, 0.4))
    assert both.std == pytest.approx(math.sqrt(0.6 * 0.4))  # of that distribution itself
    assert variances(scores) == pytest.approx((0.2, 0.04))
    assert combined([]) is None
    assert Assessed({"overall": None}).answer_columns() == {}


def test_only_a_model_that_reasons_gives_several(tmp_path):
    model, processor, _ = build("llava")
    save(model, processor, tmp_path)
    with pytest.raises(ValueError, match="samples is 3, but this checkpoint does not reason"):
        Assessment(tmp_path).describe(PICTURES, samples=3)


def test_sampling_refuses_what_cannot_be():
    for wrong in ({"samples": 0}, {"temperature": 0.0}, {"max_new_tokens": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Sampling(**wrong)


def test_the_critique_is_asked_for_in_its_own_words(assessment):
    tokenizer, collator = assessment.processor.tokenizer, assessment.collator
    asked = tokenizer.decode(collator.prompt_batch(PICTURES[:1])["input_ids"][0])
    scored = tokenizer.decode(collator.scoring_batch(PICTURES[:1])["input_ids"][0])
    assert QUESTION in asked and QUESTION not in scored
    assert "<think>" not in scored  # one forward pass puts no words into an image's mouth


def test_marks_of_pictures_are_never_sampled(assessment):
    model = assessment.model
    mark = model.config.image_token_index
    bias = torch.zeros(model.get_output_embeddings().weight.shape[0])
    bias[mark] = 1e4
    handle = model.get_output_embeddings().register_forward_hook(lambda module, args, output: output + bias)
    try:
        batch = assessment.collator.prompt_batch(PICTURES)
        found = model.generate_with_scores(**batch, max_new_tokens=3, do_sample=True)
    finally:
        handle.remove()
    assert mark not in found.sequences


def test_entropy_is_that_of_the_choices(assessment):
    entropy = TokenEntropy()
    for logits in (torch.zeros(2, 4), torch.tensor([[0.0, 0.0, -math.inf, -math.inf]] * 2)):
        entropy(None, logits)
    total, tokens = entropy.summed([1, 2])
    assert (total, tokens) == (pytest.approx(2 * math.log(4) + math.log(2)), 3)
    batch = assessment.collator.prompt_batch(PICTURES)
    model, tokenizer = assessment.model, assessment.processor.tokenizer

    def sampled():
        with seeded(model, 3):
            return write_answers(model, tokenizer, batch, max_new_tokens=4, temperature=1.0, entropy=TokenEntropy())

    state = torch.get_rng_state()
    assert [one.text for one in sampled()] == [one.text for one in sampled()]
    assert torch.equal(torch.get_rng_state(), state)
