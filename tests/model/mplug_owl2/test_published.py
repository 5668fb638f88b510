"""Published folders in use: scores, losses, gradients and answers as recorded, and files converted there and back.

One folder is that of the recording. The other is made here from a random model with another size, range, number of
levels, tokenizer setting, number format and set of files.
"""

import contextlib
import functools
import json
import pickle
import re
import shutil

import pytest
import torch
import transformers
from PIL import Image
from recording import (
    CASES,
    FOLDER,
    TOLERANCE,
    case,
    expected,
    facts,
    generated,
    load,
    published_name,
    truths,
)
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, TrainingArguments

from roc import Assessment
from roc import load as load_with_head
from roc.checkpoint.export import head_only, to_published, to_roc
from roc.checkpoint.folder import read_config, save
from roc.cli import main as cli_main
from roc.commands.finetune import main as finetune_main
from roc.data.reading import read_records
from roc.model.adapters import add_lora
from roc.model.attachment import attach
from roc.model.collator import RocCollator
from roc.model.float8 import Float8Linear, rounded
from roc.model.losses import text_cross_entropy
from roc.model.mplug_owl2 import MplugOwl2Config, convert, published
from roc.model.mplug_owl2.convert import ANSWER, QUESTION, to_published_config
from roc.model.mplug_owl2.modeling import MplugOwl2ForConditionalGeneration
from roc.model.processing import load_processor
from roc.score_space import ScoreSpace
from roc.scoring.one_forward import one_forward
from roc.training.samples import Samples
from roc.training.trainer import RocTrainer

PUBLISHED = FOLDER / "checkpoint"
PICTURES = sorted((FOLDER / "images").glob("*.png"))
WEIGHTS = ("l1_weight", "ce_weight", "emd_weight")
TERMS = ("text", "l1", "ce", "emd")
# Of losses and totals, as suggested with the recording.
LOSSES = {"rel": 1e-4, "abs": 1e-5}


@pytest.fixture(scope="module")
def assessment():
    """The recorded checkpoint, loaded like any other; tests that change `config.roc` restore it."""
    return Assessment(PUBLISHED, device="cpu")


@contextlib.contextmanager
def settings(model, **changes):
    """Changes values of `config.roc` inside the `with` block."""
    before = dict(model.config.roc)
    model.config.roc |= changes
    try:
        yield model
    finally:
        model.config.roc = before


def outputs(model, name):
    with torch.no_grad():
        return model(**case(name), **truths(name))


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# Scores and answers


def test_the_published_folder_is_a_checkpoint_like_any_other(assessment):
    model = assessment.model
    assert type(model).__name__ == "MplugOwl2ForConditionalGeneration" and not model.training
    assert model.name_or_path == str(PUBLISHED) and model.dtype == torch.float32
    assert model.get_input_embeddings().weight.shape == model.lm_head.weight.shape == (561, 64)
    assert len(assessment.processor.tokenizer) == 561
    assert assessment.attributes == ("overall",) and model.score_space == ScoreSpace(1, 10, 10)
    assert read_config(PUBLISHED).roc == model.config.roc
    assert load_with_head(PUBLISHED, dtype="bfloat16")[0].dtype == torch.bfloat16


@pytest.mark.parametrize("batch_size", [1, 6])
def test_generated_ids_and_scores(assessment, batch_size, monkeypatch):
    monkeypatch.setattr(assessment, "batch_size", batch_size)
    golden = generated()["fp32"]
    recorded = golden["one_by_one"] if batch_size == 1 else golden["batch_of_all"]["results"]
    seen = []
    plain = assessment.model.generate_with_scores

    def spy(**inputs):
        seen.append(plain(**inputs))
        return seen[-1]

    monkeypatch.setattr(assessment.model, "generate_with_scores", spy)
    texts, scores = assessment(PICTURES)
    assert scores == pytest.approx([result["score"] for result in recorded], abs=2e-4)
    rows = [row.tolist() for answer in seen for row in answer.sequences]
    assert len(seen) == 6 // batch_size
    assert rows == [result["new_ids"] for result in recorded]
    for text, result in zip(texts, recorded, strict=True):
        # The published texts have spaces around the number.
        assert "".join(text.split()) == "".join(result["text"].split())


def test_one_forward_scores(assessment):
    for result, one in zip(generated()["fp32"]["one_by_one"], assessment.score(PICTURES), strict=True):
        found = one.scores["overall"]
        assert found.value == pytest.approx(result["score"], abs=2e-4) and found.calibrated
        logits = torch.tensor(result["score_logits"])
        torch.testing.assert_close(torch.tensor(found.distribution), logits.softmax(-1), atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", [name for name in CASES if f"case.{name}.score_probs" in expected()])
def test_scores_of_every_case(assessment, name):
    found = outputs(assessment.model, name)
    logits = found.score_logits.flatten(0, 1)
    torch.testing.assert_close(logits, expected()[f"case.{name}.score_logits"], **TOLERANCE)
    torch.testing.assert_close(logits.softmax(-1), expected()[f"case.{name}.score_probs"], atol=2e-5, rtol=0)
    torch.testing.assert_close(found.scores, expected()[f"case.{name}.score_expectation"], atol=2e-4, rtol=0)


# In 8 bits


class RoundedLinear(torch.nn.Module):
    """`Float8Linear` in plain arithmetic: a float64 product of the rounded numbers, scaled back."""

    def __init__(self, linear):
        super().__init__()
        self.weight = self.read_back(linear.weight.detach())

    @staticmethod
    def read_back(rows):
        values, scale = rounded(rows)
        return values.double() * scale.double()

    def forward(self, hidden_states):
        rows = self.read_back(hidden_states.flatten(0, -2)) @ self.weight.t()
        return rows.to(hidden_states.dtype).unflatten(0, hidden_states.shape[:-1])


def test_in_8_bits_it_is_off_by_what_rounding_does(assessment):
    """Checks every linear layer of the language model, for text and for images: its products, and the scores."""
    found, plain = (Assessment(PUBLISHED, device="cpu", dtype=dtype) for dtype in ("float8", "bfloat16"))
    linear = {n: m for n, m in plain.model.get_decoder().named_modules() if type(m) is torch.nn.Linear}
    replaced = {n: m for n, m in found.model.get_decoder().named_modules() if isinstance(m, Float8Linear)}
    assert set(linear) == set(replaced) and len(replaced) == 27
    assert sum(type(m) is torch.nn.Linear for m in found.model.get_decoder().modules()) == 0
    references = {name: RoundedLinear(layer) for name, layer in linear.items()}
    for name, reference in references.items():
        plain.model.get_decoder().set_submodule(name, reference)
    read = set()

    def compare(name, layer, inputs, output):
        exact = references[name](inputs[0].double())
        torch.testing.assert_close(output.double(), exact, rtol=2**-8, atol=1e-5 * float(exact.abs().max()))
        read.add(name)

    for name, layer in replaced.items():
        layer.register_forward_hook(functools.partial(compare, name))
    scores = [
        torch.tensor([one.scores["overall"].value for one in each.score(PICTURES)])
        for each in (assessment, found, plain)
    ]
    assert read == set(linear)
    # Where a sum falls between two numbers of bfloat16, another order of it may round the other way.
    off = (scores[2] - scores[0]).abs().max()
    assert 0 < off and (scores[1] - scores[2]).abs().max() < off
    assert (scores[1] - scores[0]).abs().max() < 2 * off


# Losses


@pytest.mark.parametrize("name", CASES)
def test_the_published_objective(assessment, name):
    recorded = facts()["cases"][name]
    with settings(assessment.model, published_losses=True) as model:
        found = outputs(model, name)
        for term in TERMS:
            assert float(found[f"{term}_loss"]) == pytest.approx(recorded.get(f"loss_{term}", 0), **LOSSES)
        if "totals_own" in recorded:
            assert float(found.loss) == pytest.approx(recorded["totals_own"], **LOSSES)
        assert len(recorded["totals"]) > 5
        for total in recorded["totals"]:
            with settings(model, **{weight: total[weight] for weight in WEIGHTS}):
                assert float(outputs(model, name).loss) == pytest.approx(total["total"], **LOSSES)


@pytest.mark.parametrize("name", CASES)
def test_the_default_objective(assessment, name):
    """Compares with the recorded logits: the text loss without the levels' columns, one root per sample."""
    found, recorded = outputs(assessment.model, name), facts()["cases"][name]
    logits, labels = expected()[f"case.{name}.logits"][:, :-1], truths(name)["labels"][:, 1:]
    text = text_cross_entropy(logits[..., :561].flatten(0, 1), labels.flatten())
    assert float(found.text_loss) == pytest.approx(float(text), **LOSSES)
    for term in ("l1", "ce"):
        assert float(found[f"{term}_loss"]) == pytest.approx(recorded.get(f"loss_{term}", 0), **LOSSES)
    assert float(found.emd_loss) == pytest.approx(recorded.get("emd_per_sample", {"mean": 0})["mean"], **LOSSES)
    weighted = sum(assessment.model.config.roc[f"{term}_weight"] * float(found[f"{term}_loss"]) for term in TERMS)
    assert float(found.loss) == pytest.approx(weighted, rel=1e-6)


@pytest.mark.parametrize("name", facts()["gradients"])
def test_gradients_of_the_published_objective(name):
    recorded = facts()["gradients"][name]
    model, _ = load_with_head(PUBLISHED)
    model.config.roc |= {"published_losses": True, **recorded["weights"]}
    loss = model(**case(name), **truths(name)).loss
    assert float(loss) == pytest.approx(recorded["loss"], **LOSSES)
    loss.backward()
    found = {published_name(key): parameter.grad for key, parameter in model.named_parameters()}
    found["lm_head.weight"] = torch.cat([found["lm_head.weight"], found.pop("score_head.weight")])
    assert set(found) | {"learned_weight"} == set(recorded["norms"])
    for key, norm in recorded["norms"].items():
        if norm is not None and norm > 1e-5:
            assert float(found[key].norm()) == pytest.approx(norm, rel=1e-3), key
    tails = {
        "lm_head_tail": found["lm_head.weight"][560:],
        "embed_tokens_tail": found["model.embed_tokens.weight"][560:],
    }
    for key, golden in expected().items():
        if key.startswith(f"grad.{name}."):
            gradient = {**found, **tails}[key.removeprefix(f"grad.{name}.")]
            # The levels' rows of the input embedding, which are not here, get none.
            assert not golden[len(gradient) :].any()
            torch.testing.assert_close(gradient, golden[: len(gradient)], atol=1e-5, rtol=1e-3)


# Training


@pytest.fixture
def from_base():
    recorded = facts()["train_trace"]
    model, processor = load("base"), load_processor(FOLDER / "base")
    wording = {"question": QUESTION, "answer": ANSWER, "image_aspect_ratio": "pad"}
    objective = {"published_losses": True, "l1_scale": "native", **recorded["weights"]}
    return attach(model, processor, ScoreSpace(1, 10, 10), **wording, **objective), processor


def test_the_new_rows_are_the_recorded_means(from_base):
    model, _ = from_base
    rows = torch.cat([model.lm_head.weight[560:], model.score_head.weight])
    torch.testing.assert_close(rows, expected()["addtokens.lm_head_tail"], atol=1e-6, rtol=0)
    golden = expected()["addtokens.embed_tokens_tail"]
    torch.testing.assert_close(model.get_input_embeddings().weight[560:], golden[:1], atol=1e-6, rtol=0)
    # What an export makes of a model that never had these rows.
    config = to_published_config(model.config)
    assert (config["vocab_size"], config["score_id"], config["output_first_id"]) == (571, 560, 561)


def test_ten_steps_of_training(from_base, tmp_path):
    recorded = facts()["train_trace"]
    model, processor = from_base
    records = read_records(FOLDER / "cases" / "single.json", FOLDER / "images", space=model.score_space, num_levels=10)
    trainer = RocTrainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(tmp_path),
            per_device_train_batch_size=6,
            max_steps=10,
            learning_rate=1e-3,
            lr_scheduler_type="constant",
            weight_decay=0,
            max_grad_norm=1.0,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            remove_unused_columns=False,
            label_names=["labels"],
            disable_tqdm=True,
        ),
        data_collator=RocCollator(processor, model.config.roc),
        processing_class=processor,
        train_dataset=Samples(records),
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses == pytest.approx(recorded["losses"], rel=1e-4)
    assert (trainer.optimizer.defaults["betas"], trainer.optimizer.defaults["eps"]) == ((0.9, 0.999), 1e-8)


@pytest.mark.parametrize(("source", "tuning"), [("base", "full"), ("base", "lora"), ("checkpoint", "qlora")])
def test_the_training_command(source, tuning, tmp_path, capsys):
    """Trains from the base and from a published checkpoint; the result loads and converts to the published layout."""
    out = tmp_path / "run"
    words = ["--data_path", FOLDER / "cases" / "single.json", "--image_folder", FOLDER / "images"]
    words += ["--model_name_or_path", FOLDER / source, "--output_dir", out, "--tuning", tuning, "--max_steps", 2]
    words += ["--per_device_train_batch_size", 3, "--image_aspect_ratio", "pad", "--learning_rate", 1e-3]
    words += ["--min_score", 1, "--max_score", 10, "--num_tokens", 10, "--ce_weight", 1, "--val_fraction", 0]
    words += ["--eval_strategy", "no", "--report_to", "none", "--save_strategy", "no"]
    if tuning != "full":
        words += ["--lora_targets", "k_proj", "--lora_rank", 4]
    assert finetune_main([str(word) for word in words]) == 0, capsys.readouterr().err
    model, _ = load_with_head(out)
    scores = Assessment(out, device="cpu").score(PICTURES[:2])
    if tuning == "qlora":
        layers = model.get_base_model().model.language_model.layers
        assert type(layers[0].mlp.up_proj).__name__ == "Linear4bit"
        return
    to_published(out, tmp_path / "back")
    again = Assessment(tmp_path / "back", device="cpu")
    for one, other in zip(scores, again.score(PICTURES[:2]), strict=True):
        assert one.scores["overall"].value == pytest.approx(other.scores["overall"].value, abs=1e-4)
    assert again.model.config.roc == model.config.roc


# Files there and back


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ours") / "checkpoint"
    to_roc(PUBLISHED, folder)
    return folder


def test_our_layout_is_what_saving_writes(ours, assessment, tmp_path):
    save(assessment.model, assessment.processor, tmp_path)
    saved, written = files(tmp_path), files(ours)
    assert set(written) - set(saved) == {"published_extras.safetensors"} and set(saved) <= set(written)
    assert {name for name, content in saved.items() if written[name] != content} == set()


def test_our_layout_scores_the_same(ours, assessment):
    for one, other in zip(assessment.score(PICTURES), Assessment(ours, device="cpu").score(PICTURES), strict=True):
        assert one.scores == other.scores


def test_a_stock_auto_model_takes_our_layout_for_the_plain_model(ours, assessment):
    stock = AutoModelForImageTextToText.from_pretrained(ours).eval()
    assert type(stock) is MplugOwl2ForConditionalGeneration
    with torch.no_grad():
        assert torch.equal(stock(**case("padded")).logits, assessment.model(**case("padded")).logits)


def test_the_published_folder_comes_back_to_the_byte(ours, tmp_path):
    to_published(ours, tmp_path / "back")
    assert files(tmp_path / "back") == files(PUBLISHED)


def test_commands(ours, tmp_path, capsys):
    assert cli_main(["export", str(PUBLISHED), "--to-roc", str(tmp_path / "ours")]) == 0
    assert files(tmp_path / "ours") == files(ours)
    assert cli_main(["export", str(tmp_path / "ours"), "--to-published", str(tmp_path / "back")]) == 0
    head_only(PUBLISHED, tmp_path / "head")
    head = load_file(tmp_path / "head" / "score_head.safetensors")["score_head.weight"]
    assert torch.equal(head, torch.load(PUBLISHED / "pytorch_model.bin", weights_only=True)["lm_head.weight"][561:])
    capsys.readouterr()
    wrong = [
        (PUBLISHED, "to_published", "in the published layout already"),
        (FOLDER / "base", "to_published", "no mPLUG"),
    ]
    wrong += [(ours, "to_roc", "no published ROC4MLLM"), (FOLDER / "base", "to_roc", "no published ROC4MLLM")]
    wrong += [(PUBLISHED, "merge", "neither an adapter nor a personal head"), (tmp_path / "nowhere", "to_roc", "")]
    for source, form, message in wrong:
        assert cli_main(["export", str(source), f"--{form}", str(tmp_path / "wrong")]) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "wrong").exists()


# Places of the abstractor


@pytest.fixture(scope="module", params=["float16", "bfloat16"])
def halved(request, tmp_path_factory):
    """The recording as training in half precision saves it, position embeddings rounded like everything else."""
    folder = shutil.copytree(PUBLISHED, tmp_path_factory.mktemp("halved") / request.param)
    dtype = getattr(torch, request.param)
    tensors = torch.load(folder / "pytorch_model.bin", weights_only=True)
    torch.save({name: value.to(dtype) for name, value in tensors.items()}, folder / "pytorch_model.bin")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "torch_dtype": request.param}))
    return folder


def places(model):
    return {name: value for name, value in model.state_dict().items() if name.endswith("_pos_embed")}


def distributions(folder):
    """Reads (6, N) probabilities of the levels, in float32."""
    assessment = Assessment(folder, device="cpu", dtype="float32")
    pictures = [Image.open(path).convert("RGB") for path in PICTURES]
    batch = RocCollator(assessment.processor, assessment.model.config.roc).scoring_batch(pictures)
    return one_forward(assessment.model, batch).probabilities


def test_stored_places_are_used(halved, tmp_path):
    """The published code adds the stored, rounded position embeddings, and so does ours."""
    stored = torch.load(halved / "pytorch_model.bin", weights_only=True)
    model, processor = load_with_head(halved, dtype="float32")
    found = places(model)
    assert len(found) == 4
    for name, values in found.items():
        assert torch.equal(values, stored[name].float()), name
    golden = distributions(halved)
    # Places of the formula in the same files give other numbers.
    other = shutil.copytree(halved, tmp_path / "formula")
    computed = convert.buffers(model.config)
    changed = {name: computed[name] if name.endswith("_pos_embed") else value for name, value in stored.items()}
    torch.save(changed, other / "pytorch_model.bin")
    assert not torch.equal(distributions(other), golden)
    assert load_with_head(other)[0].dtype == stored["lm_head.weight"].dtype  # wider places widen nothing else
    save(model, processor, tmp_path / "saved")
    to_roc(halved, tmp_path / "ours")
    save(*load_with_head(tmp_path / "ours"), tmp_path / "again")
    to_published(tmp_path / "ours", tmp_path / "back")
    assert files(tmp_path / "back") == files(halved)
    for folder in ("saved", "ours", "again", "back"):
        assert torch.equal(distributions(tmp_path / folder), golden), folder
    tuned = add_lora(load_with_head(halved)[0], rank=2, targets=("q_proj",))
    save(tuned, processor, tmp_path / "adapter")
    adapted, _ = load_with_head(tmp_path / "adapter", dtype="float32")
    assert all(torch.equal(values, found[name]) for name, values in places(adapted.get_base_model()).items())


def test_places_that_a_folder_does_not_hold_are_computed(ours, assessment, tmp_path, caplog):
    """In our layout before it held them, and in a published folder that newer versions of transformers wrote."""
    older = shutil.copytree(ours, tmp_path / "older")
    tensors = load_file(older / "model.safetensors")
    fewer = {name: value for name, value in tensors.items() if not name.endswith("_pos_embed")}
    assert len(tensors) - len(fewer) == 4
    save_file(fewer, older / "model.safetensors", {"format": "pt"})
    with safe_open(ours / "published_extras.safetensors", "pt") as opened:
        metadata = opened.metadata()
    extras = {**load_file(ours / "published_extras.safetensors"), **{n: tensors[n] for n in set(tensors) - set(fewer)}}
    save_file(extras, older / "published_extras.safetensors", metadata)
    newer = shutil.copytree(PUBLISHED, tmp_path / "newer")
    tensors = torch.load(newer / "pytorch_model.bin", weights_only=True)
    torch.save({n: v for n, v in tensors.items() if not n.endswith("_pos_embed")}, newer / "pytorch_model.bin")
    logging = transformers.utils.logging
    verbosity = logging.get_verbosity()
    logging.set_verbosity_warning()
    logging.enable_propagation()
    try:
        for folder in (older, newer):
            for model in (load_with_head(folder)[0], load_with_head(folder, dtype="bfloat16")[0]):
                for name, computed in convert.buffers(model.config).items():
                    if name.endswith("_pos_embed"):
                        torch.testing.assert_close(places(model)[name], computed.to(model.dtype), atol=0, rtol=0)
        assert not caplog.records
        # Of a stock model it says that there is no place for the head, and no more.
        _, report = AutoModelForImageTextToText.from_pretrained(older, output_loading_info=True)
        assert not report["missing_keys"] and "score_head" in caplog.text and "_pos_embed" not in caplog.text
    finally:
        logging.disable_propagation()
        logging.set_verbosity(verbosity)
    scores = [one.scores["overall"].value for one in assessment.score(PICTURES)]
    for folder in (older, newer):
        found = [one.scores["overall"].value for one in Assessment(folder, device="cpu").score(PICTURES)]
        assert found == pytest.approx(scores, abs=2e-5)
    to_published(older, tmp_path / "back")
    assert files(tmp_path / "back") == files(PUBLISHED)


# A second published folder


SPACE = ScoreSpace(0, 100, 7)
ROWS = 560 + 1 + SPACE.num_levels


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    """A published base with `[SCORE]` and a head as if trained, exported, then put into other files."""
    torch.manual_seed(5)
    folder = tmp_path_factory.mktemp("second")
    config = MplugOwl2Config(
        text_config={
            "vocab_size": 560,
            "hidden_size": 32,
            "intermediate_size": 72,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_type": "default", "rope_theta": 5e5},
        },
        vision_config={
            "hidden_size": 24,
            "intermediate_size": 40,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 30,
            "patch_size": 10,
        },
        abstractor_config={
            "num_learnable_queries": 4,
            "hidden_size": 24,
            "encoder_hidden_size": 24,
            "intermediate_size": 30,
            "num_hidden_layers": 3,
            "num_attention_heads": 3,
            "grid_size": 3,
        },
    )
    model = MplugOwl2ForConditionalGeneration(config)
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, mean=1.0 if "norm" in name and name.endswith("weight") else 0.0, std=0.2)
    model = model.half()
    processor = load_processor(_second_files(folder / "base", config))
    attach(model, processor, SPACE, ce_weight=10.0, l1_scale="native", question=QUESTION, answer=ANSWER)
    model.config.roc |= {"image_aspect_ratio": "pad", "distribution_supervised": True}
    # As trained and saved by the published code: the levels' rows are in half precision like everything else.
    head = torch.randn(model.score_head.weight.shape).half().float()
    model.score_head.weight.data.copy_(head)
    model.half()
    model.score_head.float()
    save(model, processor, folder / "attached")
    to_published(folder / "attached", folder / "whole")
    _in_shards(folder / "whole", folder / "shards")
    return folder


def _second_files(folder, config):
    """Writes tokenizer and image settings as another publisher does: legacy, and the newer form."""
    shutil.copytree(FOLDER / "base", folder)
    config.save_pretrained(folder)
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**tokenizer, "legacy": True}))
    pixels = json.loads((folder / "preprocessor_config.json").read_text())
    for name in ("feature_extractor_type", "size", "crop_size"):
        pixels.pop(name)
    pixels |= {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 30}, "do_rescale": True}
    pixels |= {"crop_size": {"height": 30, "width": 30}, "rescale_factor": 1 / 255}
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels, indent=1))
    return folder


def _in_shards(source, out):
    """Splits the checkpoint into three files with an index; its other files are written as another publisher does."""
    shutil.copytree(source, out)
    (out / "pytorch_model.bin").unlink()
    tensors = torch.load(source / "pytorch_model.bin", weights_only=True)
    names, where = list(tensors), {}
    for number in range(3):
        file = f"pytorch_model-{number + 1:05}-of-00003.bin"
        part = {name: tensors[name] for name in names[number::3]}
        torch.save(part, out / file)
        where |= dict.fromkeys(part, file)
    total = sum(value.nbytes for value in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (out / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=4))
    config = json.loads((out / "config.json").read_text())
    config |= {"min_score": 0, "max_score": 100, "image_aspect_ratio": None, "mm_further": [1, 2]}
    (out / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True))
    shutil.copy(source.parent / "base" / "preprocessor_config.json", out)
    return out


@pytest.mark.parametrize("layout", ["whole", "shards"])
def test_it_scores_as_it_did_before_it_was_published(second, layout):
    first, other = (Assessment(second / name, device="cpu", dtype="float16") for name in ("attached", layout))
    assert other.model.score_space == SPACE and other.processor.tokenizer.legacy
    assert other.model.config.text_config.vocab_size == 561 and len(other.processor.tokenizer) == 561
    scores = [[one.scores["overall"] for one in each.score(PICTURES)] for each in (first, other)]
    assert scores[0] == scores[1]
    assert len({round(score.value, 3) for score in scores[0]}) == 6
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name]), name
    config = json.loads((second / layout / "config.json").read_text())
    assert "roc" not in config and config["num_tokens"] == 7 and config["vocab_size"] == ROWS


def test_there_and_back_in_shards(second, tmp_path):
    to_roc(second / "shards", tmp_path / "ours")
    assert load_file(tmp_path / "ours" / "model.safetensors")["lm_head.weight"].dtype == torch.float16
    to_published(tmp_path / "ours", tmp_path / "back")
    expected_files, found = files(second / "shards"), files(tmp_path / "back")
    assert set(found) == set(expected_files)
    assert {name for name in found if found[name] != expected_files[name]} == set()


def test_there_and_back_as_safetensors(second, tmp_path):
    folder = tmp_path / "published"
    shutil.copytree(second / "whole", folder)
    save_file(
        torch.load(folder / "pytorch_model.bin", weights_only=True), folder / "model.safetensors", {"format": "pt"}
    )
    (folder / "pytorch_model.bin").unlink()
    to_roc(folder, tmp_path / "ours")
    to_published(tmp_path / "ours", tmp_path / "back")
    assert files(tmp_path / "back") == files(folder)


def test_back_and_there(second, tmp_path):
    """Our own checkpoint survives the published layout bit by bit, even a head that half precision cannot hold."""
    model, processor = load_with_head(second / "attached")
    with torch.no_grad():
        model.score_head.weight.mul_(1.0001)
    model.config.roc |= {"attributes": ["overall", "light"], "answer": "[SCORE] [SCORE]", "dataset": "mine"}
    save(model, processor, tmp_path / "first")
    to_published(tmp_path / "first", tmp_path / "published")
    assert (tmp_path / "published" / "score_head.safetensors").exists()
    assert load_with_head(tmp_path / "published")[0].config.roc == model.config.roc
    to_roc(tmp_path / "published", tmp_path / "second")
    first, other = files(tmp_path / "first"), files(tmp_path / "second")
    assert set(other) - set(first) == {"published_extras.safetensors"} and set(first) <= set(other)
    for name in ("model.safetensors", "generation_config.json", "tokenizer_config.json", "processor_config.json"):
        assert first[name] == other[name], name
    # Rows of the vocabulary that were trained on by others no longer go with the head beside them.
    tensors = torch.load(tmp_path / "published" / "pytorch_model.bin", weights_only=True)
    tensors["lm_head.weight"][-1] += 1
    torch.save(tensors, tmp_path / "published" / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"score_head\.safetensors is not the head whose rounded rows end lm_head"):
        load_with_head(tmp_path / "published")


def test_changes_of_the_head_show_after_there_and_back(ours, tmp_path):
    """The files in the extras are used only as far as nothing was changed since."""
    model, processor = load_with_head(ours)
    model.config.roc["ce_weight"] = 3.0
    save(model, processor, tmp_path / "ours")
    shutil.copy(ours / "published_extras.safetensors", tmp_path / "ours")
    to_published(tmp_path / "ours", tmp_path / "back")
    before, after = files(PUBLISHED), files(tmp_path / "back")
    assert {name for name in after if after[name] != before[name]} == {"config.json"}
    changed, original = json.loads(after["config.json"]), json.loads(before["config.json"])
    assert {key for key in changed if changed[key] != original.get(key)} == {"ce_weight"}


def test_an_adapter_is_merged_on_its_way(ours, tmp_path):
    model, processor = load_with_head(PUBLISHED)
    tuned = add_lora(model, rank=2, targets=("q_proj",))
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05)
    save(tuned, processor, tmp_path / "adapter")
    collator = RocCollator(processor, tuned.config.roc)
    pictures = [Image.open(path).convert("RGB") for path in PICTURES[:2]]
    scores = one_forward(tuned.eval(), collator.scoring_batch(pictures)).scores
    to_published(tmp_path / "adapter", tmp_path / "back")
    again, _ = load_with_head(tmp_path / "back")
    torch.testing.assert_close(one_forward(again, collator.scoring_batch(pictures)).scores, scores, atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="no mPLUG-Owl2"):
        to_published(FOLDER / "base", tmp_path / "wrong")


# Files that do not fit


@pytest.fixture
def copied(second, tmp_path):
    return shutil.copytree(second / "shards", tmp_path / "copied")


@pytest.mark.parametrize(("size", "crop"), [({"height": 30, "width": 30}, True), ({"shortest_edge": 30}, False)])
def test_picture_sizes_are_one_number_where_they_are_made_up(second, tmp_path, size, crop):
    attached = shutil.copytree(second / "attached", tmp_path / "attached")
    file = attached / "processor_config.json"
    settings = json.loads(file.read_text())
    settings["image_processor"] |= {"size": size, "do_center_crop": crop}
    file.write_text(json.dumps(settings))
    to_published(attached, tmp_path / "published")
    pixels = json.loads((tmp_path / "published" / "preprocessor_config.json").read_text())
    assert (pixels["size"], pixels.get("crop_size")) == (30, 30 if crop else None)
    first, other = (Assessment(folder, device="cpu") for folder in (attached, tmp_path / "published"))
    for one, two in zip(first.score(PICTURES[:2]), other.score(PICTURES[:2]), strict=True):
        assert one.scores == two.scores
    settings["image_processor"] |= {"size": {"height": 30, "width": 20}}
    file.write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=r"processor's size is {'height': 30, 'width': 20}; .* of a square"):
        to_published(attached, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


def test_a_missing_shard_and_a_wrong_index_are_named(copied):
    shard = copied / "pytorch_model-00002-of-00003.bin"
    tensors = torch.load(shard, weights_only=True)
    name = next(iter(tensors))
    torch.save({**tensors, "other": tensors[name]}, shard)
    with pytest.raises(ValueError, match=r"pytorch_model-00002-of-00003\.bin disagree about other"):
        load_with_head(copied)
    torch.save({key: value for key, value in tensors.items() if key != name}, shard)
    with pytest.raises(ValueError, match=f"disagree about {name}"):
        load_with_head(copied)
    shard.unlink()
    with pytest.raises(FileNotFoundError, match=r"names pytorch_model-00002-of-00003\.bin, which is not there"):
        load_with_head(copied)
    (copied / "pytorch_model.bin.index.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no weights: none of model\.safetensors, pytorch_model\.bin"):
        load_with_head(copied)


@pytest.mark.parametrize("command", ["load", "to_roc", "score", "export", "doctor"])
@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("pytorch_model-00002-of-00003.bin", b"abc", "00002-of-00003.bin cannot be read as tensors: .*; expected what"),
        ("pytorch_model-00002-of-00003.bin", b"", "00002-of-00003.bin cannot be read as tensors: EOFError; expected"),
        ("pytorch_model.bin.index.json", b"{}", "pytorch_model.bin.index.json has no usable weight_map; expected the"),
        ("pytorch_model.bin.index.json", b'{"weight_map": {"a": 1}}', "index.json has no usable weight_map"),
        ("pytorch_model.bin.index.json", b"[]", r"index.json holds list; expected an object, \{...\}"),
        (
            "config.json",
            {"hidden_act": "gelu_foo"},
            "config.json cannot be used: The language hidden_act is 'gelu_foo'",
        ),
        (
            "config.json",
            {"visual_config": None},
            "config.json cannot be used: visual_config is None; expected visual_m",
        ),
        (
            "config.json",
            {"hidden_size": None},
            "config.json cannot be used: .*'hidden_size' expected int, got NoneType",
        ),
        ("config.json", {"torch_dtype": "x"}, "config.json cannot be used: .*'x'"),
        ("config.json", b"{", "config.json (cannot be read|is no JSON): "),
        ("added_tokens.json", b"null", "added_tokens.json holds NoneType; expected an object"),
        ("preprocessor_config.json", b"", "preprocessor_config.json is no JSON: "),
    ],
)
def test_broken_files_are_named(copied, command, file, content, message, tmp_path, capsys):
    if isinstance(content, dict):
        content = json.dumps({**json.loads((copied / file).read_text()), **content}).encode()
    (copied / file).write_bytes(content)
    if command in ("load", "to_roc"):
        with pytest.raises(ValueError, match=message):
            load_with_head(copied) if command == "load" else to_roc(copied, tmp_path / "ours")
        return
    words = {
        "score": ["score", str(PICTURES[0]), "--checkpoint", str(copied), "--device", "cpu"],
        "export": ["export", str(copied), "--to-roc", str(tmp_path / "ours")],
        "doctor": ["doctor", str(copied)],
    }
    assert cli_main(words[command]) in (1, 2)
    told = capsys.readouterr()
    assert re.search(message, told.out + told.err) and "Traceback" not in told.out + told.err


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('code of a checkpoint was run')",)


@pytest.mark.parametrize("content", [{"lm_head.weight": Evil()}, {"step": 3}, [torch.zeros(2)], b"nothing"])
def test_weights_are_tensors_and_nothing_else(copied, content):
    file = copied / "pytorch_model-00001-of-00003.bin"
    torch.save(content, file)
    with pytest.raises(ValueError, match=r"pytorch_model-00001-of-00003\.bin"):
        load_with_head(copied)
    file.write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=r"pytorch_model-00001-of-00003\.bin cannot be read as tensors"):
        load_with_head(copied)


def test_files_from_before_torch_1_6_are_read(second, copied):
    for file in copied.glob("*.bin"):
        torch.save(torch.load(file, weights_only=True), file, _use_new_zipfile_serialization=False)
    old, new = (published.read_weights(folder).tensors for folder in (copied, second / "shards"))
    assert list(old) == list(new) and all(torch.equal(old[name], value) for name, value in new.items())


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("config.json", {"score_id": 3}, r"\[SCORE\] is token 3, but its id in the tokenizer is 560"),
        ("config.json", {"num_tokens": 6}, "last 6 of 568 rows, 562..567, but output_first_id is 561"),
        ("config.json", {"hidden_size": 48}, "and [0-9]+ more faults"),
        ("config.json", {"rope_theta": 1e4}, "inv_freq differs"),
        ("added_tokens.json", {"[MORE]": 568}, r"tokens after the score levels.*\[MORE\]"),
        ("added_tokens.json", {"[SCORE]": 559}, "its id in the tokenizer is"),
    ],
)
def test_files_that_contradict_each_other_are_refused(copied, file, change, message):
    content = json.loads((copied / file).read_text())
    (copied / file).write_text(json.dumps({**content, **change}))
    with pytest.raises(ValueError, match=message):
        load_with_head(copied)


def test_a_plain_model_has_no_head_and_says_so():
    with pytest.raises(ValueError, match="carries no score head"):
        load_with_head(FOLDER / "base")


def test_keys_of_a_plain_model_are_checked_too(tmp_path):
    folder = shutil.copytree(FOLDER / "base", tmp_path / "base")
    tensors = torch.load(folder / "pytorch_model.bin", weights_only=True)
    tensors["model.extra.weight"] = tensors.pop("model.norm.weight")
    torch.save(tensors, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"1 missing \(model.language_model.norm.weight\); 1 not known \(model.extra"):
        AutoModelForImageTextToText.from_pretrained(folder)


def test_mixed_number_formats_stay_in_the_files(copied, tmp_path):
    """The published training keeps the vision encoder in half precision beside float32."""
    for file in copied.glob("*.bin"):
        tensors = torch.load(file, weights_only=True)
        torch.save({n: v if "vision" in n else v.float() for n, v in tensors.items()}, file)
    to_roc(copied, tmp_path / "ours")
    stored = load_file(tmp_path / "ours" / "model.safetensors")
    formats = {"vision" in name: value.dtype for name, value in stored.items()}
    assert formats == {True: torch.float16, False: torch.float32}
    assert load_with_head(tmp_path / "ours")[0].dtype == load_with_head(copied)[0].dtype == torch.float32
    to_published(tmp_path / "ours", tmp_path / "back")
    assert {name for name, content in files(copied).items() if files(tmp_path / "back")[name] != content} == set()
