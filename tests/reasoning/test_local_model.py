"""A model of transformers on this machine answers as any author does."""

import pytest
import torch
from PIL import Image
from tiny_models import tiny_llava

from roc.data.records import Record
from roc.model.processing import save_processor
from roc.reasoning.authors import Request
from roc.reasoning.config import AuthorOptions
from roc.reasoning.local_model import LocalModel
from roc.reasoning.tiers import Photo
from roc.score_space import ScoreSpace

SPACE = ScoreSpace(1, 10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    model, processor = tiny_llava()
    model.save_pretrained(folder)
    save_processor(processor, folder)
    return folder


def photo(folder, colour):
    Image.new("RGB", (40, 30), colour).save(folder / f"{colour}.png")
    return Photo.of(Record(colour, (str(folder / f"{colour}.png"),), {"overall": 2.5}), SPACE)


def test_it_writes_about_a_picture_and_judges_words(folder, tmp_path):
    author = LocalModel.load(str(folder), AuthorOptions(max_tokens=16, device="cpu"))
    assert author.name == f"transformers:{folder}" and author.at_once == 1
    state = torch.random.get_rng_state()
    write = Request.write(photo(tmp_path, "red"), SPACE.range, 0)
    reply = author.ask(write)
    assert reply.text and reply.tokens_out == 16 and reply.cut
    assert reply.tokens_in > author.ask(Request.tone("text", 0)).tokens_in > 10
    assert author.ask(write) == reply
    again = Request.write(write.photo, SPACE.range, 1)
    assert author.ask(again).text != reply.text
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_picture_is_seen(folder, tmp_path):
    author = LocalModel.load(str(folder), AuthorOptions(max_tokens=16, device="cpu"))
    one, other = photo(tmp_path, "red"), photo(tmp_path, "green")
    facts = [author.ask(Request.facts(which, "text", 0)) for which in (one, other)]
    assert facts[0].tokens_in == facts[1].tokens_in
    tone = author.ask(Request.tone("text", 0))
    assert facts[0].tokens_in - tone.tokens_in >= 16  # the image tokens


def test_a_model_without_a_chat_template_is_refused(folder, tmp_path):
    model, processor = tiny_llava()
    processor.chat_template = None
    model.save_pretrained(tmp_path)
    save_processor(processor, tmp_path)
    with pytest.raises(ValueError, match="no chat template.*instruction-tuned"):
        LocalModel.load(str(tmp_path), AuthorOptions(device="cpu"))
    with pytest.raises(FileNotFoundError, match="There is no folder nowhere"):
        LocalModel.load("nowhere", AuthorOptions(device="cpu"))
