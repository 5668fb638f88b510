"""The card explains the scores, hubs can read its header, and it never replaces what a person wrote."""

import subprocess
import sys
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard

from roc.checkpoint.card import _FEW_ROWS, base_licence, card_kept, is_edited, write_card
from roc.evaluation.keys import FEW_ROWS
from roc.model.declaration import Declaration
from roc.score_space import ScoreSpace

HEAD = Declaration(
    space=ScoreSpace(1, 5, num_levels=5),
    token_id=7,
    attributes=("overall", "light"),
    question="How good is it?",
    dataset="Photos: 2,000 of them",
    base="organisation/model-7b",
    version="0.1.0",
)
METRICS = {
    "attributes": ["overall", "light"],
    "split": "test",
    "n": 500,
    "srcc": 0.887,
    "srcc_low": 0.86,
    "srcc_high": 0.91,
    "mae": 0.521,
    "light/n": 480,
    "light/srcc": 0.911,
    "light/mae": None,
    "command": "roc finetune configs/photos.yaml --seed 1",
}


@pytest.fixture(autouse=True)
def without_a_hub(monkeypatch):
    """The base of these cards does not exist; offline, no test waits for a hub to say so."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def text_of(folder):
    return (folder / "README.md").read_text(encoding="utf-8")


def test_it_says_what_the_scores_mean(tmp_path):
    write_card(tmp_path, HEAD, adapter=False)
    text = text_of(tmp_path)
    for said in (
        "from 1 to 5; **higher is better**",
        "Base model: organisation/model-7b",
        "Data: Photos: 2,000 of them",
        "Scores: overall, light",
        "Levels: 5 (1, 2, 3, 4, 5)",
        "distribution and standard deviation are uncalibrated",
        "Question: How good is it?",
        "None are recorded.",
    ):
        assert said in text
    assert "adapter" not in text and "mirror" not in text
    write_card(tmp_path, replace(HEAD, distribution_supervised=True, score_flip=True), adapter=True)
    assert "means over the photo and its mirror image" in text_of(tmp_path)
    assert "trained on votes" in text_of(tmp_path) and "This folder is an adapter" in text_of(tmp_path)


def test_hubs_can_read_the_header(tmp_path):
    folder = tmp_path / "mine"
    write_card(folder, HEAD, adapter=True, metrics=METRICS)
    data = ModelCard.load(folder / "README.md").data
    assert (data.base_model, data["base_model_relation"], data.library_name) == (HEAD.base, "adapter", "peft")
    assert data.model_name == "mine"
    found = {result.metric_name: (result.metric_type, result.metric_value) for result in data.eval_results}
    assert found == {
        "SRCC, overall": ("spearmanr", 0.887),
        "MAE, overall": ("mae", 0.521),
        "SRCC, light": ("spearmanr", 0.911),
    }
    assert {(result.dataset_name, result.dataset_split) for result in data.eval_results} == {(HEAD.dataset, "test")}


def test_metrics_stand_there_with_the_command_that_made_them(tmp_path):
    write_card(tmp_path, HEAD, adapter=False, metrics=METRICS)
    assert "| score | SRCC | MAE |" in text_of(tmp_path)
    assert "| overall | 0.887 [0.860, 0.910] | 0.521 |\n| light | 0.911 | - |" in text_of(tmp_path)
    assert "On 500 test rows" in text_of(tmp_path)
    assert f"```bash\n{METRICS['command']}\n```" in text_of(tmp_path)
    write_card(tmp_path, HEAD, adapter=False, metrics=METRICS, command="another command")
    assert "another command" in text_of(tmp_path)


def test_critiques_have_their_line(tmp_path):
    found = {"n": 100, "unscored": 1, "srcc": 0.8, "srcc_low": 0.7, "srcc_high": 0.9, "plcc": None, "mae": 0.6}
    counted = {"answers": {"good": 99, "cut": 1}, "retried": 2, "retried_kinds": {"cut": 1, "two_answers": 1}}
    metrics = METRICS | {f"reasoned/{name}": value for name, value in (found | counted).items()}
    write_card(tmp_path, HEAD, adapter=False, metrics=metrics)
    assert (
        "- With a critique first, `overall` on 101 of them: SRCC 0.800 [0.700, 0.900], PLCC -, MAE 0.600; 1 of 100 "
        "answers unreadable: 1 cut at the length; 2 written anew: 1 cut at the length, 1 two answers."
    ) in text_of(tmp_path)


def test_few_rows_are_rounded_and_hubs_get_none_of_their_numbers(tmp_path):
    write_card(tmp_path, HEAD, adapter=False, metrics=METRICS | {"n": 4, "caveats": ["few rows (4)"]})
    text = text_of(tmp_path)
    assert (
        "| overall | ~0.9 [0.9, 0.9] | ~0.5 |" in text
        and "0.887" not in text
        and "- **Caution**: few rows (4)." in text
    )
    assert ModelCard.load(tmp_path / "README.md").data.eval_results is None
    assert _FEW_ROWS == FEW_ROWS


def test_it_says_whether_the_scores_depend_on_the_image(tmp_path):
    effect = {"image_n": 32, "image_spread": 1.0, "image_swapped": 1.0, "image_black": 0.5}
    write_card(tmp_path, HEAD, adapter=False, metrics=METRICS | effect)
    assert "Scores move by 25.0% of the range when another picture is shown, by 12.5% " in text_of(tmp_path)
    write_card(tmp_path, HEAD, adapter=False, metrics=METRICS | effect | {"image_swapped": None})
    assert "Scores move by 12.5% of the range when a black picture is shown (mean over 32" in text_of(tmp_path)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("license: apache-2.0", "apache-2.0"),
        ("license: other\nlicense_name: llama2\nlicense_link: LICENSE", "other (llama2), LICENSE"),
        ("tags: [a]", "not stated; check the base"),
        ("license: [unclosed", "not stated; check the base"),
        (None, "not stated; check the base"),
    ],
)
def test_the_licence_is_the_one_on_the_card_of_the_base(tmp_path, header, said):
    base = tmp_path / "base"
    base.mkdir()
    if header is not None:
        (base / "README.md").write_text(f"---\n{header}\n---\n# A base\n")
    write_card(tmp_path / "out", replace(HEAD, base=str(base)), adapter=False)
    assert f"Licence of the base: {said}\n" in text_of(tmp_path / "out")
    data = ModelCard.load(tmp_path / "out" / "README.md").data
    assert data.license == (said.split(" ")[0] if header and "license: " in header and "[" not in header else None)
    assert data.base_model is None  # a folder is no model of a hub, which would refuse the card


def test_a_base_without_a_name_or_out_of_reach_has_no_stated_licence():
    assert base_licence(None) == {}
    assert base_licence("organisation/never-seen") == {}
    assert base_licence("not/a/name of anything") == {}


def test_roc_replaces_its_own_card_and_leaves_yours(tmp_path, caplog):
    write_card(tmp_path, HEAD, adapter=False)
    assert not is_edited(tmp_path)
    write_card(tmp_path, HEAD, adapter=False, metrics=METRICS)
    assert "0.887" in text_of(tmp_path) and not is_edited(tmp_path)

    (tmp_path / "README.md").write_text(text_of(tmp_path).replace("# Image", "# My image"), encoding="utf-8")
    assert is_edited(tmp_path)
    write_card(tmp_path, HEAD, adapter=False)
    assert "# My image" in text_of(tmp_path) and "0.887" in text_of(tmp_path)
    assert "changed by hand" in caplog.text

    (tmp_path / "README.md").write_text("All mine.")
    write_card(tmp_path, HEAD, adapter=False)
    assert text_of(tmp_path) == "All mine."


@pytest.mark.parametrize("before", [None, "All mine."])
def test_a_card_that_another_library_writes_is_taken_back(tmp_path, before):
    if before is not None:
        (tmp_path / "README.md").write_text(before)
    with card_kept(tmp_path):
        (tmp_path / "README.md").write_text("A template.")
    assert (text_of(tmp_path) if (tmp_path / "README.md").exists() else None) == before


def test_an_adapter_names_the_base_it_sits_on(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "organisation/with-a-head"}')
    write_card(tmp_path, HEAD, adapter=True)
    assert "Base model: organisation/with-a-head" in text_of(tmp_path)


def test_it_needs_no_torch():
    code = "import sys, roc.checkpoint.card; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
