"""Editors that follow words: an image-edit endpoint, a tiny pipeline of diffusers; instructions and the edit check."""

from collections import Counter

import pytest

pytest.importorskip("openai")

from chat_stand_in import ChatStandIn, prompt_of  # noqa: E402
from edited_photos import rows, shown, write_photos  # noqa: E402
from image_stand_in import ImageStandIn  # noqa: E402

from roc.endpoints import patience  # noqa: E402
from roc.relative.build import build  # noqa: E402
from roc.relative.config import BuildOptions  # noqa: E402
from roc.relative.edit_check import read_marks  # noqa: E402
from roc.relative.instructions import LIST, listed  # noqa: E402
from roc.relative.judges import Judgement, KnownDirection  # noqa: E402


class Worse(KnownDirection):
    """A judge to whom every edit is worse."""

    def judge(self, pair, *, swapped):
        return Judgement(1.0 if swapped else -1.0, f"Conclusion: {pair.instruction}")


@pytest.fixture
def options(tmp_path, monkeypatch):
    monkeypatch.setattr(patience, "SHORTEST", 0.01)
    monkeypatch.setattr(patience, "LONGEST", 0.05)
    monkeypatch.chdir(tmp_path)  # names of photos, and so their edits, are then the same in every folder
    write_photos(tmp_path / "photos", 2)
    common = {"sources": ("photos",), "out": str(tmp_path / "out"), "workers": 1, "edits": 4, "samples": 2}
    common |= {"judges": ("chat:j",), "requests_at_once": 1, "retries": 0, "timeout": 20}
    return lambda **given: BuildOptions(**{**common, **given})


def test_instructions_from_the_list_differ_by_photo_and_in_kind():
    told = [listed("a", number, 0) for number in range(1, 12)]
    assert len({one["category"] for one in told[:10]}) == 10 and told[10]["category"] in LIST
    assert all(one["instruction"] in LIST[one["category"]] for one in told)
    assert told == [listed("a", number, 0) for number in range(1, 12)] != [listed("b", n, 0) for n in range(1, 12)]


def test_an_image_edit_endpoint_edits(options, tmp_path):
    with ImageStandIn() as server:
        given = {"editors": (f"images:m@{server.url}",), "send_seed": True}
        built = build(options(**given), shown, judges=[Worse()])
        assert build(options(**given), shown, judges=[Worse()]).done == 0
    assert len(server.asked) == 8 and len(built.changes) == 8
    edits = {change.edit["instruction"]: change.edit for change in built.changes}
    for asked in server.asked:
        assert asked["model"] == "m" and asked["image"].size == (64, 48)
        edit = edits[asked["prompt"]]
        assert edit["editor"] == f"images:m@{server.url}" and edit["category"] in LIST and "seed" in asked
    assert {str(edit["seed"]) for edit in edits.values()} >= {asked["seed"] for asked in server.asked[:1]}
    read = rows(tmp_path / "out" / "edits.jsonl")
    assert all(row["edit"]["instruction"] in row["conversations"][0]["value"] for row in read)


def test_an_endpoint_that_misbehaves(options, tmp_path):
    with ImageStandIn("url", "empty", "broken", "unchanged", "larger", "square", 429, 400) as server:
        built = build(options(editors=(f"images:m@{server.url}",)), shown, judges=[Worse()])
    found = [(row["reason"], row["detail"]) for row in built.rejected]
    assert Counter(reason for reason, _ in found) == {"failed": 4, "unchanged": 1, "other size": 1}
    details = " ".join(detail for _, detail in found)
    assert "gave the address http://127.0.0.1/a.png; expected the picture itself as b64_json" in details
    assert "holds no picture" in details and "is no picture" in details and "fault 400" in details
    assert built.resized == 1 and [change.edit.get("returned") for change in built.changes].count([128, 96]) == 1
    assert len(server.asked) == 9  # the busy one was asked again
    again = build(options(editors=(f"images:m@{server.url}",)), shown, judges=[Worse()])
    assert again.done == 0 and again.rejected == built.rejected


def chat_answer(prompt):
    """Writes instructions, and marks edits by what they were to do."""
    if "as a critic" in prompt:
        return "It is empty.\n<score>4.20</score>\n1. Add a tree.\n<edit>Add a tree\non the left.</edit>"
    if "of the kind" in prompt:
        return f"<edit>Do something with {prompt.partition('kind ')[2][:12]}.</edit>"
    if "was to be edited" in prompt:
        return '{"score": [9, 8], "reasoning": "ok"}' if "Add a tree" in prompt else '```json\n{"score": [2, 9]}\n```'
    return '{"score": [7, 6], "reasoning": "natural"}'


def test_a_chat_model_instructs_and_checks(options, tmp_path):
    with ImageStandIn() as images, ChatStandIn(answer=chat_answer) as chat:
        given = {"editors": (f"images:m@{images.url}",), "edits": 2, "base_url": chat.url}
        given |= {"instructions": "chat:i", "checker": "chat:c"}
        built = build(options(**given), shown, judges=[Worse()])
        assert build(options(**given), shown, judges=[Worse()]).done == 0
    assert {change.edit["instruction"] for change in built.changes} == {"Add a tree on the left."}
    assert all(change.edit["category"] == "mending" for change in built.changes)
    assert built.changes[0].edit["quality"] == pytest.approx((8 * 6) ** 0.5, abs=1e-4)
    assert [row["reason"] for row in built.rejected] == ["poor edit"] * 2
    assert built.rejected[0]["detail"] == (
        "its quality is 3.46 (success, restraint, naturalness, cleanness: 2, 9, 7, 6), below 5"
    )
    checked = [body for body in chat.bodies if "was to be edited" in prompt_of(body)]
    assert [part["type"] for part in checked[0]["messages"][0]["content"]] == ["image_url", "image_url", "text"]


def test_a_chat_model_that_writes_no_instruction_and_no_marks(options, tmp_path):
    with ImageStandIn() as images, ChatStandIn(answer=lambda prompt: "I cannot.") as chat:
        given = {"editors": (f"images:m@{images.url}",), "edits": 1, "base_url": chat.url}
        with pytest.raises(ValueError, match="no edit is of use .failed 2"):
            build(options(**given, instructions="chat:i"), shown, judges=[Worse()])
        told = rows(tmp_path / "out" / "rejected.jsonl")[0]["detail"]
        assert told == "no instruction: 3 answers hold no single instruction, the last one: 'I cannot.'"
        with pytest.raises(ValueError, match="no edit is of use .unchecked 2"):
            build(options(**given, checker="chat:c", out=str(tmp_path / "b")), shown, judges=[Worse()])
    assert not any("edited" in row and row["edited"] for row in rows(tmp_path / "out" / "rejected.jsonl"))


@pytest.mark.parametrize("text", ["none", '{"score": 5}', '{"score": [1, 2, 3]}', '{"score": [1, 11]}', "{score"])
def test_marks_that_cannot_be_read(text):
    assert read_marks(text) is None


def test_embedded_and_other_editors_take_turns(options):
    with ImageStandIn() as server:
        given = {"editors": ("embedded", f"images:m@{server.url}"), "edits": 6}
        built = build(options(**given), shown, judges=[Worse()])
    names = Counter(change.edit["editor"].partition(":")[0] for change in built.changes)
    assert names["embedded"] > 1 and names["images"] > 1


def write_pipeline(folder):
    """Writes a tiny random InstructPix2Pix pipeline."""
    import json

    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionInstructPix2PixPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    letters = [chr(code) for code in range(33, 127)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    (folder / "words").mkdir(parents=True)
    (folder / "words" / "vocab.json").write_text(json.dumps({word: place for place, word in enumerate(words)}))
    (folder / "words" / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(
        str(folder / "words" / "vocab.json"), str(folder / "words" / "merges.txt"), model_max_length=77
    )
    text = CLIPTextConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=77, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=8, out_channels=4, block_out_channels=(8, 8), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16, attention_head_dim=4, norm_num_groups=4,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, norm_num_groups=4, layers_per_block=1,
    )  # fmt: skip
    pipeline = StableDiffusionInstructPix2PixPipeline(
        vae=vae, text_encoder=CLIPTextModel(text), tokenizer=tokenizer, unet=unet, scheduler=DDIMScheduler(),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder / "pipeline")
    return folder / "pipeline"


@pytest.mark.slow  # importing diffusers takes most of it
def test_a_pipeline_of_diffusers_edits(options, tmp_path):
    pytest.importorskip("diffusers")
    name = f"diffusers:{write_pipeline(tmp_path / 'tiny')}"
    given = {"editors": (name,), "steps": 2, "edits": 2, "device": "cpu", "side": 64}
    built = build(options(**given), shown, judges=[Worse()])
    assert len(built.changes) == 4 and {change.edit["editor"] for change in built.changes} == {name}
    again = build(options(**given, out=str(tmp_path / "b")), shown, judges=[Worse()])
    for one, other in zip(built.changes, again.changes, strict=True):  # the seed decides
        assert (tmp_path / "out" / one.after).read_bytes() == (tmp_path / "b" / other.after).read_bytes()
    with pytest.raises(ValueError, match="diffusers:nowhere: no pipeline can be loaded"):
        build(
            options(**{**given, "editors": ("diffusers:nowhere",), "out": str(tmp_path / "c")}), shown, judges=[Worse()]
        )


def test_without_diffusers_it_says_how_to_install_it(options, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "diffusers", None)
    with pytest.raises(ImportError, match=r"pip install 'roc-mllm\[diffusers\]'"):
        build(options(editors=("diffusers:flux_kontext",)), shown)
