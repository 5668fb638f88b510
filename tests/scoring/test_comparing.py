"""Two pictures in one question: one forward pass reads where generation does, and a checkpoint has to know how."""

import dataclasses
import json

import pytest
import torch
from heads import SPACE, fill_head, picture
from tiny_models import BUILDERS

from roc.checkpoint.folder import save
from roc.commands.rank import main
from roc.model.attachment import attach
from roc.model.comparison import Comparison
from roc.model.declaration import declare
from roc.model.reasoned import reasoned_answer
from roc.scoring.assessment import Assessment
from roc.scoring.comparing import check_compares, compare


@pytest.fixture(scope="module", params=["llava", "qwen2_5_vl"])
def assessment(request, tmp_path_factory):
    model, processor = BUILDERS[request.param]()
    attach(model, processor, SPACE)
    fill_head(model)
    comparison = Comparison(question="What changes?", answer="The change is [SCORE].", reasoning="Think.")
    declare(model, dataclasses.replace(model.declaration, comparison=comparison))
    folder = tmp_path_factory.mktemp("compares")
    save(model, processor, folder)
    return Assessment(folder, device="cpu", dtype="float32", batch_size=2)


def test_the_order_of_the_pictures_counts_and_batches_do_not(assessment):
    pairs = [(picture(0), picture(1)), (picture(1), picture(0)), (picture(2), picture(0))]
    found = [one.change for one in compare(assessment, pairs)]
    assert all(one.range == (-10, 10) and -10 <= one.value <= 10 for one in found)
    assert found[0].value != found[1].value
    alone = compare(assessment, pairs[2:])[0].change
    assert alone.value == pytest.approx(found[2].value, abs=1e-4)


def test_words_come_with_the_change_behind_them(assessment, monkeypatch):
    text = reasoned_answer("It is brighter.")
    model, tokenizer = assessment.model, assessment.processor.tokenizer
    ids = torch.tensor([[*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]])
    logits = torch.zeros(1, SPACE.num_levels)
    logits[0, -1] = 50.0
    generation = type("Generation", (), {"sequences": ids, "score_logits": [logits]})()
    monkeypatch.setattr(type(model), "generate_with_scores", lambda self, **inputs: generation)
    found = compare(assessment, [(picture(0), picture(1))], words=True)[0]
    assert found.words == "It is brighter." and found.change.value == pytest.approx(10)


def test_neighbours_of_a_ranking_are_compared(tmp_path, capsys):
    model, processor = BUILDERS["llava"]()
    attach(model, processor, SPACE)
    fill_head(model)
    save(model, processor, tmp_path / "plain")
    comparison = Comparison(question="What changes?", answer="The change is [SCORE].")
    declare(model, dataclasses.replace(model.declaration, comparison=comparison))
    save(model, processor, tmp_path / "compares")
    photos = [str(tmp_path / f"{i}.png") for i in range(3)]
    for i, photo in enumerate(photos):
        picture(i).save(photo)
    words = [*photos, "--compare", "--device", "cpu", "--out", str(tmp_path / "order.json")]
    assert main([*words, "--checkpoint", str(tmp_path / "plain")]) == 2
    assert "was not taught to compare" in capsys.readouterr().err
    assert main([*words, "--checkpoint", str(tmp_path / "compares")]) == 0
    assert capsys.readouterr().out.count("compared with it: ") == 2
    rows = json.loads((tmp_path / "order.json").read_text())["photos"]
    assert [-10 <= row["change"] <= 10 and row["why"] is None for row in rows[:2]] == [True] * 2
    assert all(row["change_std"] > 0 and sum(row["change_distribution"]) == pytest.approx(1) for row in rows[:2])
    assert json.loads((tmp_path / "order.json").read_text())["change_range"] == [-10, 10]
    assert "change" not in rows[2]


def test_a_checkpoint_has_to_have_learnt_it(assessment):
    declaration = assessment.model.declaration
    check_compares(declaration, "c", words=True)
    plain = dataclasses.replace(declaration.comparison, reasoning=None)
    with pytest.raises(ValueError, match="without giving reasons"):
        check_compares(dataclasses.replace(declaration, comparison=plain), "c", words=True)
    with pytest.raises(ValueError, match="c was not taught to compare"):
        check_compares(dataclasses.replace(declaration, comparison=None), "c")
