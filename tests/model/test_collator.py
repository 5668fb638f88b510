"""The collator's batches: supervised tokens, positions of scores, conversations, lengths."""

import pytest
import torch
from heads import ATTRIBUTES, SPACE, picture, record, sample, talk
from tiny_models import BUILDERS, FAMILY_BUILDERS, chat_template

from roc.model.attachment import attach
from roc.model.collator import RocCollator


def build(name):
    model, processor = FAMILY_BUILDERS[name]()
    attach(model, processor, SPACE, attributes=ATTRIBUTES)
    return model, processor, RocCollator(processor, model.config.roc)


@pytest.fixture(params=BUILDERS)
def collator(request):
    return build(request.param)[2]


def learnt(collator, batch, row=0):
    return collator.tokenizer.decode(batch["labels"][row][batch["labels"][row] != -100])


def test_only_the_answer_and_its_end_are_learnt(collator):
    batch = collator([sample(0)])
    assert learnt(collator, batch) == (
        "The aesthetic rate of the image is [SCORE], the light rate of the image is [SCORE].</s>"
    )
    kept = batch["labels"] != -100
    assert torch.equal(batch["labels"][kept], batch["input_ids"][kept])


def test_comments_follow_the_scores(collator):
    row = sample(0, comment=" Soft light. ")
    assert learnt(collator, collator([row])).endswith("[SCORE]. Soft light.</s>")


def test_targets_are_nan_where_nobody_rated(collator):
    votes = tuple([0.1] * 10)
    batch = collator([sample(0, scores={"light": 3.0}), sample(1, votes={"light": votes})])
    assert batch["score_labels"].isnan().tolist() == [[True, False], [False, False]]
    assert batch["score_distributions"].isnan().all(-1).tolist() == [[True, True], [True, False]]
    assert "score_distributions" not in collator([sample(0)])


def test_scoring_batch_is_a_prefix_of_the_training_batch(collator):
    """The head must be read at the position it was trained on: same ids, same position."""
    pictures = [picture(0)]
    trained, scoring = collator([(record(), pictures)]), collator.scoring_batch(pictures)
    length = scoring["input_ids"].shape[1]
    assert torch.equal(trained["input_ids"][:, :length], scoring["input_ids"])
    token = collator.declaration.token_id
    places = (trained["labels"][0, 1:] == token).nonzero().flatten().tolist()
    assert scoring["score_mask"][0].nonzero().flatten().tolist() == places
    assert length == places[-1] + 1
    one = collator.scoring_batch(pictures, num_scores=1)
    assert one["score_mask"][0].nonzero().flatten().tolist() == places[:1]


def test_scoring_places_do_not_depend_on_the_neighbours():
    collator = build("qwen2_5_vl")[2]  # pictures of different size take different numbers of tokens
    batch = collator.scoring_batch([picture(0, (56, 56)), picture(1, (28, 28))])
    ends = batch["attention_mask"].sum(1) - 1
    assert ends[0] > ends[1]
    assert batch["score_mask"][torch.arange(2), ends].all()
    assert batch["score_mask"].sum(1).tolist() == [2, 2]


def test_a_conversation_of_several_turns(collator):
    turns = talk("Rate it.", "It is [SCORE]. ") + (("user", "And the light?"), ("assistant", "The light is [SCORE]."))
    batch = collator([sample(0, conversations=turns)])
    assert learnt(collator, batch) == "It is [SCORE].</s>The light is [SCORE].</s>"
    assert (batch["labels"] == collator.declaration.token_id).sum() == 2
    whole = collator.tokenizer.decode(batch["input_ids"][0])
    assert whole.endswith("It is [SCORE].</s>\n<|user|>And the light?\n<|assistant|>The light is [SCORE].</s>")


def whole(collator, turns):
    """Tokenises the whole text of a conversation at once."""
    text = collator._render([collator._message(turn) for turn in turns], False)
    bos = collator.tokenizer.bos_token
    return collator.tokenizer(text, add_special_tokens=not (bos and text.startswith(bos)))["input_ids"]


@pytest.mark.parametrize("name", ["llava_next", "gemma3"])
def test_pieces_are_the_tokens_of_the_whole_text(name):
    """Also with a space between mark and answer, and with a tokenizer that puts a space before its text."""
    collator = build(name)[2]
    turns = talk("Rate it.", "It is [SCORE].") + (("user", "And the light?"), ("assistant", "The light is [SCORE]."))
    prompt, pieces = collator.layout(record(conversations=turns))
    bos = collator.tokenizer.bos_token
    ids = collator.tokenizer(prompt, add_special_tokens=not (bos and prompt.startswith(bos)))["input_ids"]
    ids += [token for piece, _ in pieces for token in piece]
    assert ids == whole(collator, turns)[: len(ids)]


def with_template(template):
    _, processor, collator = build("llava")
    processor.chat_template = template
    return RocCollator(processor, collator.declaration)


def test_an_answer_ends_with_a_token_that_ends_it():
    closed_by_words = with_template(chat_template("<image>", end="//"))
    assert learnt(closed_by_words, closed_by_words([sample(0)])).endswith("is [SCORE].//</s>")
    closed_by_nothing = with_template(chat_template("<image>", gap=" ", end=" "))
    assert learnt(closed_by_nothing, closed_by_nothing([sample(0)])).endswith("is [SCORE].</s>")


def test_a_thinking_model_answers_at_once():
    collator = build("qwen3_5")[2]
    assert collator.prompt("Well?").endswith("<|assistant|><think>\n\n</think>\n\n")
    assert learnt(collator, collator([sample(0)])).startswith("The aesthetic rate")
    turns = talk("Rate it.", "It is [SCORE].") + (("user", "And the light?"), ("assistant", "The light is [SCORE]."))
    with pytest.raises(ValueError, match=r"changes the text of an earlier turn, at '<think>.*record for each question"):
        collator([sample(0, conversations=turns)])


def test_a_template_that_opens_answers_in_two_ways_is_refused():
    template = chat_template("<image>", gap="Sure: ")
    with pytest.raises(ValueError, match="opens an answer with .*Sure: .*but asks for one with"):
        with_template(template)([sample(0)])


def test_a_prompt_does_not_change_from_day_to_day():
    dated = "Today is {{ strftime_now('%d %B %Y, %Y-%m-%d') }}." + chat_template("<image>")
    assert with_template(dated).prompt("Well?").startswith("Today is 01 January 2025, 2025-01-01.<|user|>")


def test_prompts_are_padded_on_the_left(collator):
    batch = collator.prompt_batch([picture(0, (56, 56)), picture(1, (28, 28))])
    assert "labels" not in batch
    assert batch["attention_mask"][:, -1].tolist() == [1, 1]
    assert collator.tokenizer.decode(batch["input_ids"][0]).endswith("<|assistant|>")


def test_long_answers_lose_words_but_never_a_score(collator, caplog):
    row = sample(0, comment="Word after word after word. " * 10)
    free = collator([row])["input_ids"].shape[1]
    limited = RocCollator(collator.processor, collator.declaration, max_length=free - 20)
    batch = limited([row])
    assert batch["input_ids"].shape[1] == free - 20
    assert (batch["labels"] == collator.declaration.token_id).sum() == 2
    assert caplog.text == ""  # RowLengths tells it before, for all rows at once
    tight = RocCollator(
        collator.processor, collator.declaration, max_length=limited([sample(0)])["input_ids"].shape[1] - 5
    )
    with pytest.raises(ValueError, match=r"0: .* would lose a \[SCORE\]; raise model_max_length"):
        tight([row])


def test_text_only_and_several_pictures():
    collator = build("llava")[2]
    turns = (("user", "<|image|><|image|>Which one?"), ("assistant", "The first: [SCORE]."))
    row = record("pair", scores={"overall": 4.0}, conversations=turns)
    batch = collator([(row, [picture(0), picture(1)])])
    image_token = collator.tokenizer.image_token_id
    assert (batch["input_ids"] == image_token).sum() == 2 * 16
    assert batch["pixel_values"].shape[0] == 2


def test_padding_to_a_square_is_part_of_the_model():
    model, processor = BUILDERS["qwen2_5_vl"]()
    attach(model, processor, SPACE, attributes=ATTRIBUTES, image_aspect_ratio="pad")
    batch = RocCollator(processor, model.config.roc).scoring_batch([picture(0, (56, 28))])
    _, height, width = batch["image_grid_thw"][0].tolist()
    assert height == width


def test_a_processor_without_chat_template_is_refused():
    _, processor, collator = build("llava")
    processor.chat_template = None
    with pytest.raises(ValueError, match="has no chat template"):
        RocCollator(processor, collator.declaration)


@pytest.mark.parametrize("name", FAMILY_BUILDERS)
def test_very_thin_images_are_taken_or_named(name):
    """A processor fails opaquely where the shorter side vanishes when it is resized, as mistral3's does."""
    collator = build(name)[2]
    for size in ((2000, 10), (10, 2000), (3, 500)):
        try:
            assert collator.scoring_batch([picture(0, size)])["input_ids"].shape[0] == 1
        except ValueError as error:
            assert f"cannot take an image of {size[0]} x {size[1]}" in str(error)
            with pytest.raises(ValueError, match=r"^thin: this model's processor .* image_aspect_ratio to pad$"):
                collator([sample(0), (record("thin"), [picture(0, size)])])
            assert name == "mistral3"
