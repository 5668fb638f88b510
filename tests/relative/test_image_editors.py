"""Editors that follow words: an image-edit endpoint, a tiny pipeline of diffusers; instructions and the edit check."""

import importlib.util
import os
import signal
import sys
import types
from collections import Counter

import pytest

pytest.importorskip("openai")

from chat_stand_in import ChatStandIn, prompt_of  # noqa: E402
from edited_photos import rows, shown, write_photos  # noqa: E402
from image_stand_in import ImageStandIn  # noqa: E402
from PIL import Image  # noqa: E402

from roc.endpoints import patience  # noqa: E402
from roc.relative import pipeline_actors  # noqa: E402
from roc.relative.build import build  # noqa: E402
from roc.relative.config import BuildOptions  # noqa: E402
from roc.relative.edit_check import read_marks  # noqa: E402
from roc.relative.editors import Edited, EditError, Order  # noqa: E402
from roc.relative.instructions import LIST, listed  # noqa: E402
from roc.relative.judges import Judgement, KnownDirection  # noqa: E402
from roc.relative.pipeline_actors import PipelineActor, PipelineActors  # noqa: E402
from roc.scoring.cluster import Cluster  # noqa: E402


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


class Free(Cluster):
    """A cluster that settles its actors; none is started."""

    def start(self):
        self._settle({"CPU": 4.0})


def test_actors_hand_over_what_editors_say(monkeypatch):
    """Errors come through an actor as what they are, and an order whose actor ended fails alone."""
    ray = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", ray)
    cluster = Free(scorers=2)
    cluster.start()
    editor = PipelineActors("tiny", cluster, dtype=None, steps=3)
    assert (editor.name, editor.at_once) == ("diffusers:tiny", 2)
    order, picture = Order("brighter", "light", 1), Image.new("RGB", (8, 8))
    monkeypatch.setattr(pipeline_actors, "Pipeline", lambda path, **settings: ray.pipeline(path, settings))
    assert editor.edit(picture, order).picture.getpixel((0, 0)) == (9, 9, 9)
    assert ray.asked == {"num_cpus": 1, "num_gpus": 0, "max_restarts": -1, "max_task_retries": 2}
    assert ray.loaded == [("tiny", {"device": "cpu", "dtype": None, "steps": 3})] and len(ray.actors) == 2
    for fault, told in (
        (EditError("refused"), "refused"),
        (ValueError("no pipeline"), "no pipeline"),
        (ImportError("install"), "install"),
    ):
        ray.fault = fault
        with pytest.raises(type(fault), match=told):
            editor.edit(picture, order)
    ray.fault = ray.exceptions.RayError("a page of words")
    with pytest.raises(EditError, match="^diffusers:tiny: the process that edited it ended .RayError.$"):
        editor.edit(picture, order)
    ray.fault = None
    for _ in range(4):  # no actor was lost on the way
        editor.edit(picture, order)
    editor.close()
    assert not ray.actors
    editor.edit(picture, order)
    assert len(ray.actors) == 2


class FakeRay(types.ModuleType):
    """As much of Ray as the editor uses, in this process."""

    def __init__(self):
        super().__init__("ray")
        self.exceptions = types.SimpleNamespace(RayError=type("RayError", (Exception,), {}))
        self.actors, self.loaded, self.asked, self.fault = [], [], None, None

    def remote(self, **asked):
        self.asked = asked

        def actor(*given):
            made = PipelineActor(*given)
            self.actors.append(made)
            return types.SimpleNamespace(made=made, edit=types.SimpleNamespace(remote=lambda *a: (made, a)))

        return lambda kind: types.SimpleNamespace(remote=actor)

    def get(self, asked):
        if isinstance(self.fault, self.exceptions.RayError):
            raise self.fault
        made, given = asked
        return made.edit(*given)

    def kill(self, actor):
        self.actors.remove(actor.made)

    def pipeline(self, path, settings):
        self.loaded.append((path, settings))

        def edit(picture, order):
            if self.fault is not None:
                raise self.fault
            return Edited(Image.new("RGB", picture.size, (9, 9, 9)))

        return types.SimpleNamespace(edit=edit)


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


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: pip install 'roc-mllm[ray]'")
def test_actors_on_ray_make_the_same_pictures(options, tmp_path, monkeypatch):
    """Also if one is killed on the way."""
    pytest.importorskip("diffusers")
    name = f"diffusers:{write_pipeline(tmp_path / 'tiny')}"
    given = {"editors": (name,), "steps": 2, "edits": 2, "device": "cpu", "side": 64, "workers": 1}
    built = build(options(**given), shown, judges=[Worse()])
    killed = []

    def kill_one(rows, total, done, unit):
        for number, row in enumerate(rows):
            yield row
            if number == 0 and unit.startswith("edits"):
                killed.extend(pid for pid in os.listdir("/proc") if pid.isdigit() and "PipelineActor" in words(pid))
                os.kill(int(killed[0]), signal.SIGKILL)

    def words(pid):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                return file.read().decode(errors="replace")
        except OSError:
            return ""

    on_ray = options(**given, out=str(tmp_path / "b"), engine="ray", actors=1)
    again = build(on_ray, kill_one, judges=[Worse()])
    assert len(killed) == 1 and len(again.changes) == len(built.changes) == 4
    for one, other in zip(built.changes, again.changes, strict=True):
        assert (tmp_path / "out" / one.after).read_bytes() == (tmp_path / "b" / other.after).read_bytes()
    assert build(on_ray, shown, judges=[Worse()]).done == 0
