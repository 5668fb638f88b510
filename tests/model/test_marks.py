"""Marks of a model inside users' text are text, in comments, answers, questions and attribute names; every family."""

import json

import pytest
import torch
from heads import ATTRIBUTES, SPACE, fill_head, picture, record, talk
from tiny_models import FAMILY_BUILDERS

import roc
from roc.data.reading import read_records
from roc.model.collator import RocCollator
from roc.model.families import family
from roc.model.marks import CUT, Marks
from roc.scoring.one_forward import one_forward

TEXT = "a </s> b <image> c <|image_pad|> d <IMG_CONTEXT> e <|im_end|> <pad> <start_of_image> [IMG] <|user|> </s></s>"


def collator_of(name, **settings):
    model, processor = FAMILY_BUILDERS[name]()
    if processor.chat_template is None:
        processor.chat_template = family(name).chat_template
    roc.attach(model, processor, SPACE, **{"attributes": ATTRIBUTES, **settings})
    fill_head(model)
    return model, RocCollator(processor, model.declaration)


def marks_of(collator):
    return {str(token) for token in collator.tokenizer.added_tokens_decoder.values()} - {"[SCORE]"}


def special(collator, ids):
    """Token ids that are marks, in order."""
    known = {i for i, t in collator.tokenizer.added_tokens_decoder.items() if str(t) in marks_of(collator)}
    return [i for i in ids.tolist() if i in known]


def ids_of(collator, **fields):
    row = record(**fields)
    batch = collator([(row, [picture(0)])])
    return batch["input_ids"][0], batch["labels"][0]


# PaliGemma's vocabulary has more than a thousand marks.
SOME_SLOW = [pytest.param(name, marks=pytest.mark.slow) if name == "paligemma" else name for name in FAMILY_BUILDERS]


@pytest.mark.parametrize("name", SOME_SLOW)
def test_marks_in_any_text_are_no_tokens(name):
    _, collator = collator_of(name)
    text = TEXT + " " + " ".join(sorted(marks_of(collator))[:40])
    plain, with_mark = ids_of(collator, comment="Fine."), ids_of(collator, comment=text)
    for before, after in zip(plain, with_mark, strict=True):
        assert special(collator, before) == special(collator, after)
    found = with_mark[1][with_mark[1] >= 0]
    if collator.tokenizer.unk_token_id not in found.tolist():
        said = collator.tokenizer.decode(found)
        assert text.replace(" ", "") in said.replace(" ", "")
    asked = ids_of(collator, conversations=talk(f"Is {text} good?", "[SCORE] and [SCORE]."))
    usual = ids_of(collator, conversations=talk("Is it good?", "[SCORE] and [SCORE]."))
    for before, after in zip(usual, asked, strict=True):
        assert special(collator, before) == special(collator, after)


@pytest.mark.parametrize("name", FAMILY_BUILDERS)
def test_a_question_and_an_attribute_with_marks_score_as_they_were_trained(name):
    model, collator = collator_of(name, attributes=("overall", "light</s> <image>"))
    batch = collator.scoring_batch([picture(0), picture(1)])
    _, plain = collator_of(name)
    assert special(collator, batch["input_ids"][0]) == special(plain, plain.scoring_batch([picture(0)])["input_ids"][0])
    row = record(scores={"overall": 6.0, "light</s> <image>": 3.0})
    trained = collator([(row, [picture(0)])])
    length = int(batch["attention_mask"][0].sum())
    for key in ("input_ids", "token_type_ids"):
        if key in batch:
            assert torch.equal(trained[key][0, :length], batch[key][0, :length]), key
    with torch.no_grad():
        expected = model(**trained).scores
    assert torch.allclose(one_forward(model, batch).scores[:1], expected, atol=1e-4)
    assert collator.prompt_batch([picture(0)])["input_ids"].shape[1] < length


@pytest.mark.parametrize("name", ["llava", "qwen2_vl", "internvl"])
def test_a_conversation_of_several_questions(name):
    _, collator = collator_of(name)
    turns = (*talk("Rate it.", "[SCORE]."), ("user", "And </s> <image>?"), ("assistant", "It is </s> [SCORE]."))
    plain = (*talk("Rate it.", "[SCORE]."), ("user", "And this?"), ("assistant", "It is [SCORE]."))
    before, after = (ids_of(collator, conversations=each)[0] for each in (plain, turns))
    assert special(collator, before) == special(collator, after)


def test_text_without_marks_is_not_touched():
    _, collator = collator_of("qwen2_vl")
    marks = Marks(collator.processor, "[SCORE]")
    for text in ("Nice [SCORE] <3, a < b > c.", "", "\n\n", "<html>"):
        assert marks.cut(text) == text
    assert marks.cut("</s>") == f"<{CUT}/s>"


def test_what_cannot_be_text_names_the_record():
    _, collator = collator_of("llava")
    turns = (("user", "see </s> <|image|> this"), ("assistant", "[SCORE] [SCORE]"))
    for fields in ({"conversations": turns}, {"comment": f"a {CUT}"}):
        with pytest.raises(ValueError, match=r"Record odd \(line 7\): the text"):
            collator([(record("odd", line=7, **fields), [picture(0)])])
        (fault,) = collator.unreadable([record(comment="a </s> b"), record("odd", line=7, **fields), record()])
        assert fault.startswith("Record odd (line 7)")


@pytest.mark.parametrize("mark", ["<image>", "<|image|>"])
def test_llavas_mark_of_an_image_is_an_image(mark, tmp_path):
    picture(0).save(tmp_path / "a.png")
    talked = [{"from": "human", "value": f"{mark}\nHow is it?"}, {"from": "gpt", "value": "<image> [SCORE]."}]
    row = {"image": "a.png", "gt_score": 5.0, "conversations": talked}
    (tmp_path / "rows.json").write_text(json.dumps([row]))
    (found,) = read_records(tmp_path / "rows.json", space=SPACE)
    assert found.conversations == (("user", "<|image|>\nHow is it?"), ("assistant", "<image> [SCORE]."))
