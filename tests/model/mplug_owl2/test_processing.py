"""Pixels, prompts and labels of the recording, from a published folder and from one that was saved here."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from recording import CASES, FOLDER, expected

from roc.data.reading import read_records
from roc.data.records import Record
from roc.model.collator import RocCollator
from roc.model.lengths import RowLengths
from roc.model.pictures import shown
from roc.model.processing import load_processor, save_processor
from roc.score_space import ScoreSpace

PUBLISHED = FOLDER / "checkpoint"
CONFIG = json.loads((PUBLISHED / "config.json").read_text(encoding="utf-8"))
PICTURES = sorted((FOLDER / "images").glob("*.png"))
PLACEHOLDER = -200  # stands for a whole image in the recorded ids


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    save_processor(load_processor(PUBLISHED), folder)
    return folder


@pytest.fixture(scope="module", params=["published", "saved"])
def processor(request, saved):
    return load_processor(PUBLISHED if request.param == "published" else saved)


def collator(processor):
    roc = {
        "attributes": ["overall"],
        "question": "Please rate the aesthetics of the image.",
        "answer": "The aesthetic rate of the image is [SCORE]. ",
        "token_id": CONFIG["score_id"],
        "min_score": CONFIG["min_score"],
        "max_score": CONFIG["max_score"],
        "num_levels": CONFIG["num_tokens"],
        "image_aspect_ratio": CONFIG["image_aspect_ratio"],
    }
    return RocCollator(processor, roc)


def opened(paths):
    return [Image.open(path).convert("RGB") for path in paths]


def square(processor, paths=PICTURES):
    return [shown(picture, collator(processor).declaration, processor) for picture in opened(paths)]


def expanded(ids, processor):
    """Writes out the positions of every image in recorded ids."""
    image = [processor.image_token_id] * processor.image_seq_length
    return [token for number in ids for token in (image if number == PLACEHOLDER else [number])]


def published_copy(tmp_path, file=None, change=None):
    """Copies the published folder with one of its JSON files passed through `change`."""
    shutil.copytree(PUBLISHED, tmp_path / "copy")
    if file:
        settings = json.loads((tmp_path / "copy" / file).read_text())
        (tmp_path / "copy" / file).write_text(json.dumps(change(settings)))
    return tmp_path / "copy"


def case_records(name):
    """Lists the samples of a case; a record has an image, so a sample without images is made by hand."""
    file = FOLDER / "cases" / f"{name}.json"
    if name != "mixed":
        space = ScoreSpace(CONFIG["min_score"], CONFIG["max_score"], CONFIG["num_tokens"])
        return read_records(file, FOLDER / "images", space=space)
    records = []
    for line, row in enumerate(json.loads(file.read_text(encoding="utf-8"))):
        images = (str(FOLDER / "images" / row["image"]),) if "image" in row else ()
        turns = zip(("user", "assistant"), (turn["value"] for turn in row["conversations"]), strict=True)
        records.append(Record(str(line), images, {"overall": row["gt_score"]}, conversations=tuple(turns)))
    return records


def test_what_is_loaded(processor):
    abstractor = CONFIG["visual_config"]["visual_abstractor"]
    assert type(processor).__name__ == "MplugOwl2Processor"
    assert processor.image_seq_length == abstractor["num_learnable_queries"] + 1
    assert not 0 <= processor.image_token_id < CONFIG["vocab_size"]
    assert set(processor.model_input_names) == {"input_ids", "attention_mask", "pixel_values"}


def test_saving_again_writes_the_same_files(saved, tmp_path):
    save_processor(load_processor(saved), tmp_path)
    files = sorted(path.name for path in saved.iterdir())
    assert files == sorted(path.name for path in tmp_path.iterdir())
    assert [(saved / name).read_bytes() == (tmp_path / name).read_bytes() for name in files] == [True] * len(files)


def test_the_number_of_queries_is_the_configs(tmp_path):
    def nine(config):
        config["visual_config"]["visual_abstractor"]["num_learnable_queries"] = 9
        return config

    processor = load_processor(published_copy(tmp_path, "config.json", nine))
    batch = processor(images=square(processor, PICTURES[:1]), text="<|image|>a")
    assert batch["input_ids"][0].count(processor.image_token_id) == processor.image_seq_length == 10


@pytest.mark.parametrize(
    "change",
    [
        lambda old: old,
        lambda old: {
            **{name: value for name, value in old.items() if name != "feature_extractor_type"},
            "image_processor_type": "CLIPImageProcessor",
            "size": {"shortest_edge": old["size"]},
            "crop_size": {"height": old["crop_size"], "width": old["crop_size"]},
            "do_rescale": True,
            "rescale_factor": 1 / 255,
        },
    ],
    ids=["old", "new"],
)
def test_recorded_pixels_from_old_and_new_settings(change, tmp_path):
    processor = load_processor(published_copy(tmp_path, "preprocessor_config.json", change))
    squares = square(processor)
    for number, picture in enumerate(squares):
        assert np.array_equal(np.asarray(picture), expected()[f"images.square_uint8.{number}"].numpy())
    for pictures, name in ((squares, "pixel_values"), (opened(PICTURES), "pixel_values_nopad")):
        pixels = processor.image_processor(pictures, return_tensors="pt")["pixel_values"]
        torch.testing.assert_close(pixels, expected()[f"images.{name}"], rtol=0, atol=1e-5)


def test_recorded_prompt(processor):
    batch = collator(processor).prompt_batch(opened(PICTURES[:1]))
    assert batch["input_ids"][0].tolist() == expanded(expected()["prompt.input_ids"][0].tolist(), processor)
    torch.testing.assert_close(batch["pixel_values"], expected()["images.pixel_values"][:1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_recorded_rows(name, processor):
    case = {key.removeprefix(f"case.{name}."): value for key, value in expected().items() if f"case.{name}." in key}
    batch = collator(processor)([(record, opened(record.images)) for record in case_records(name)])
    mask = case["expanded_attention_mask"]
    assert torch.equal(batch["attention_mask"].bool(), mask)
    assert torch.equal(batch["labels"], case["expanded_labels"])
    assert torch.equal(batch["input_ids"] == processor.image_token_id, case["modality_indicators"].bool())
    for row, ids, real in zip(batch["input_ids"], case["input_ids"], case["attention_mask"], strict=True):
        ids = expanded(ids[real].tolist(), processor)
        assert row.tolist() == ids + [processor.tokenizer.pad_token_id] * (len(row) - len(ids))


@pytest.mark.parametrize("name", ["text_only", "two_images"])
def test_recorded_forward_prompts(name, processor):
    wording = "USER: {}Please rate the aesthetics of the image. ASSISTANT:"
    ids = expected()[f"{name}.input_ids"][0].tolist()
    if name == "two_images":
        text, images = wording.format("<|image|><|image|>\n"), square(processor, PICTURES[1:4:2])
    else:
        text, images = processor.tokenizer.decode(ids, skip_special_tokens=True), None
    batch = processor(text=text, images=images)
    assert batch["input_ids"] == [expanded(ids, processor)]
    assert ("pixel_values" in batch) == (images is not None)


@pytest.mark.parametrize("entry", json.loads((FOLDER / "tokenization.json").read_text())["image_prompts"])
@pytest.mark.parametrize("legacy", [False, True])
def test_recorded_texts_with_images(entry, legacy, tmp_path):
    """As recorded, except that the token that opens a text is never after an image or left out."""
    folder = published_copy(tmp_path, "tokenizer_config.json", lambda settings: {**settings, "legacy": legacy})
    processor = load_processor(folder)
    ids = [number for number in entry[f"legacy_{legacy}".lower()] if number != 1]
    count = entry["text"].count("<|image|>")
    batch = processor(text=[entry["text"]], images=[opened(PICTURES[:count])] if count else None)
    assert batch["input_ids"] == [[1, *expanded(ids, processor)]]


def test_a_second_question_follows_the_end_of_an_answer(tmp_path):
    """With `legacy`, the first word after `</s>` has its mark, unlike in the middle of a text."""
    folder = published_copy(tmp_path, "tokenizer_config.json", lambda settings: {**settings, "legacy": True})
    processor = load_processor(folder)
    turns = (("user", "Rate it."), ("assistant", "[SCORE]"), ("user", "Sharp?"), ("assistant", " Yes. "))
    batch = collator(processor)([(Record("a", (), {"overall": 1.0}, conversations=turns), [])])
    prompt = collator(processor).prompt("").split("USER:")[0]
    whole = prompt + "USER: Rate it. ASSISTANT: [SCORE]</s>USER: Sharp? ASSISTANT:  Yes. </s>"
    assert batch["input_ids"][0].tolist() == processor.tokenizer(whole)["input_ids"]
    tokens = processor.tokenizer.convert_ids_to_tokens(batch["input_ids"][0])
    assert tokens[tokens.index("</s>") + 1] == "▁USER"


def layout(processor, *contents):
    roles = ("user", "assistant") * len(contents)
    messages = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=False)]
    text = processor.apply_chat_template(messages, add_generation_prompt=len(contents) % 2 == 1)
    return text[text.index("USER:") :]


def test_conversations(processor):
    image, text = {"type": "image"}, lambda words: {"type": "text", "text": words}
    assert layout(processor, "Hello?") == "USER: Hello? ASSISTANT:"
    assert layout(processor, [text(" a "), image, text("b ")]) == "USER: <|image|>\na b ASSISTANT:"
    assert layout(processor, [image]) == "USER: <|image|> ASSISTANT:"
    assert layout(processor, [text(" a ")], [text("b. ")]) == "USER:  a  ASSISTANT: b. </s>"
    assert layout(processor, "a", "b", [text("c"), image]) == "USER: a ASSISTANT: b</s>USER: <|image|>\nc ASSISTANT:"
    assert layout(processor, [image, image, text(" Which?")]) == "USER: <|image|><|image|>\nWhich? ASSISTANT:"
    several = [text("First"), image, text("second"), image, text("which?")]
    assert layout(processor, several) == "USER: First <|image|>\nsecond <|image|>\nwhich? ASSISTANT:"
    system = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "a"}]
    assert processor.apply_chat_template(system) == "Be brief. USER: a "


def test_conversations_that_have_no_layout(processor):
    for role, content, message in (("tool", "a", "turn 1 is from tool"), ("user", [{"type": "video"}], "type video")):
        with pytest.raises(Exception, match=message):
            processor.apply_chat_template([{"role": role, "content": content}])


def test_a_conversation_with_its_images(processor):
    messages = [
        {
            "role": "user",
            "content": [{"type": "image", "image": opened(PICTURES[:1])[0]}, {"type": "text", "text": "a"}],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "b"}]},
        {"role": "user", "content": [{"type": "image", "image": opened(PICTURES[1:2])[0]}]},
    ]
    settings = {"tokenize": True, "return_dict": True, "return_tensors": "pt", "add_generation_prompt": True}
    batch = processor.apply_chat_template(messages, **settings)
    assert batch["pixel_values"].shape[0] == 2
    assert (batch["input_ids"] == processor.image_token_id).sum() == 2 * processor.image_seq_length


def test_rows_of_different_length(processor):
    texts = ["a", "<|image|>b<|image|>", "<|image|>"]
    pictures = square(processor)
    batch = processor(images=[[], pictures[:2], pictures[2:3]], text=texts, padding=True, return_tensors="pt")
    flat = processor(images=pictures[:3], text=texts, padding=True, return_tensors="pt")
    assert all(torch.equal(batch[name], flat[name]) for name in ("input_ids", "attention_mask", "pixel_values"))
    assert (batch["input_ids"] == processor.image_token_id).sum(1).tolist() == [0, 14, 7]
    left = processor(images=pictures[:3], text=texts, padding=True, padding_side="left", return_tensors="pt")
    assert left["attention_mask"].sum(1).tolist() == batch["attention_mask"].sum(1).tolist() == [2, 16, 8]
    assert left["attention_mask"][:, -1].tolist() == [1, 1, 1]


def test_what_does_not_fit_is_refused(processor):
    pictures = square(processor)
    with pytest.raises(ValueError, match="neither text nor image"):
        processor()
    with pytest.raises(ValueError, match=r"1 images for texts with 2 <\|image\|>"):
        processor(images=pictures[:1], text="<|image|><|image|>")
    with pytest.raises(ValueError, match=r"2, 1 images for texts with 1, 2 <\|image\|>"):
        processor(images=[pictures[:2], pictures[:1]], text=["<|image|>", "<|image|><|image|>"])
    with pytest.raises(ValueError, match=r"0 images for texts with 1 <\|image\|>"):
        processor(text="<|image|>")
    with pytest.raises(ValueError, match="does not fit into 5 without cutting an image"):
        processor(images=pictures[:1], text="<|image|>a", truncation=True, max_length=5)
    assert processor(images=pictures[:1], text="<|image|>a a a", truncation=True, max_length=9)["input_ids"][0][-1] > 0
    with pytest.raises(ValueError, match="does not know return_offsets_mapping"):
        processor(text="a", return_offsets_mapping=True)


def test_a_folder_as_the_published_training_leaves_it_says_what_to_copy(tmp_path):
    folder = shutil.copytree(FOLDER / "checkpoint", tmp_path / "trained")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(ValueError, match=r"trained has no preprocessor_config\.json.* copy that of the base model"):
        load_processor(folder)


def test_a_folder_without_an_opening_token_has_none(tmp_path):
    """The published code opens a row with the token that its tokenizer opens a text with."""
    usual = load_processor(PUBLISHED)
    folder = published_copy(tmp_path, "tokenizer_config.json", lambda old: {**old, "add_bos_token": False})
    bare = load_processor(folder)
    save_processor(bare, tmp_path / "saved")
    for processor in (bare, load_processor(tmp_path / "saved")):
        for make in ("scoring_batch", "prompt_batch"):
            opened_ids = getattr(collator(usual), make)(opened(PICTURES[:2]))["input_ids"]
            ids = getattr(collator(processor), make)(opened(PICTURES[:2]))["input_ids"]
            assert (opened_ids[:, 0] == 1).all() and torch.equal(ids, opened_ids[:, 1:])


def test_a_token_that_would_close_the_prompt_is_refused(tmp_path):
    folder = published_copy(tmp_path, "tokenizer_config.json", lambda old: {**old, "add_eos_token": True})
    with pytest.raises(ValueError, match=r"copy: tokenizer_config\.json has add_eos_token true.*expected false"):
        load_processor(folder)


def test_lengths_are_known_from_sizes(processor):
    made = collator(processor)
    lengths = RowLengths(made)
    for count in (1, 2):
        pictures = opened(PICTURES)[:count]
        row = Record("a", ("a.png",) * count, {"overall": 5.0}, comment="Soft light.")
        found = lengths.of(row, [picture.size for picture in pictures])
        assert found.total == made([(row, pictures)])["input_ids"].shape[1]
        assert found.pictures == count * processor.image_seq_length
