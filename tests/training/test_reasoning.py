"""Rows with critiques: two wordings are taught, and only what the model itself writes is validated."""

import contextlib
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from heads import picture, record, talk
from reasoning_models import GOOD_TEXT, QUESTION, Script, reasoning_model
from training_runs import QUICK, finetune
from transformers import TrainingArguments

from roc.data.limits import DEFAULT_PIXEL_LIMIT
from roc.evaluation.table import reasoned_lines
from roc.model.declaration import declaration_of
from roc.model.reasoned import reasoned_answer
from roc.prompts import QUESTIONS
from roc.score_space import ScoreSpace
from roc.scoring.assessment import Assessment
from roc.training.config import RunConfig, load_config
from roc.training.data import RunData
from roc.training.finish import start_part
from roc.training.progress import validation_text
from roc.training.reasoning import (
    CHOSEN_BY,
    Generated,
    is_reasoned,
    leak_faults,
    most_open,
    reasoning_faults,
    reasoning_question,
    some_rated,
    with_short_answers,
)
from roc.training.run import RunError
from roc.training.states import rotate, states_in
from roc.training.trainer import RocTrainer
from roc.training.wording import usual_wording


def thought(name="a", critique="Soft light.", question=QUESTION, **fields):
    fields = {"scores": {"overall": 6.0}, **fields}
    return record(name, conversations=talk(question, reasoned_answer(critique)), **fields)


PLAIN = record("p", scores={"overall": 5.0}, conversations=talk("Rate it.", "It gets [SCORE]."))


def test_rows_with_critiques_are_known_by_their_answer():
    assert is_reasoned(thought()) and not is_reasoned(PLAIN) and not is_reasoned(record())
    assert reasoning_question([PLAIN, thought(), thought("b", question="Other?"), thought("c")]) == QUESTION
    assert reasoning_question([PLAIN]) is None


def test_no_critique_is_declared_for_other_images():
    """With real critiques every answer is unique; the first row's used to become the wording of all."""
    rows = [thought(str(i), critique=f"Text {i}.") for i in range(3)]
    config = RunConfig()
    wording = usual_wording(config, RunData(rows, [], [], reasoning=QUESTION))
    assert wording == {"question": QUESTIONS[0], "answer": None, "reasoning": QUESTION}
    beside = usual_wording(config, RunData([*rows, PLAIN], [], [], reasoning=QUESTION))
    assert beside == {"question": "Rate it.", "answer": "It gets [SCORE]", "reasoning": QUESTION}


def test_the_plain_question_differs_from_the_one_that_asks_for_a_critique():
    rows = RunData([thought(question=QUESTIONS[0])], [], [], reasoning=QUESTIONS[0])
    assert usual_wording(RunConfig(), rows)["question"] == QUESTIONS[1]
    with pytest.raises(RunError, match="they have to differ"):
        usual_wording(RunConfig(question=QUESTIONS[0]), rows)


def test_the_short_answer_is_taught_beside():
    rows = [*(thought(str(i), comment=None) for i in range(40)), PLAIN]
    every = with_short_answers(rows, 1.0)
    assert every[:41] == rows and len(every) == 81
    assert all(row.conversations is None and row.scores == {"overall": 6.0} for row in every[41:])
    some = with_short_answers(rows, 0.5)
    assert 10 < len(some) - len(rows) < 30 and some == with_short_answers(rows, 0.5)
    assert with_short_answers(rows, 0.0) == rows


@pytest.mark.parametrize(
    ("row", "attributes", "message"),
    [
        (record("a", conversations=talk("Q", "<think>a</think>[SCORE]")), ["overall"], "this one: no </answer>"),
        (record("a", conversations=talk("Q", GOOD_TEXT + " so")), ["overall"], "this one: other text around the tags"),
        (thought(), ["overall", "light"], "holds one score, and attributes names overall, light; give one"),
    ],
)
def test_answers_meant_as_critiques_are_refused_by_what_is_wrong(row, attributes, message):
    (fault,) = reasoning_faults("r.jsonl", [row, PLAIN], attributes)
    assert fault.startswith("r.jsonl: a: ") and message in fault


def write_corpus(folder, critique):
    """Twelve rows, `critique(i)` each, the last four for validation; returns their file."""
    rows = []
    for i in range(12):
        picture(i).save(folder / f"{i}.png")
        answer = {"from": "gpt", "value": reasoned_answer(critique(i))}
        asked = {"from": "human", "value": f"<|image|>{QUESTION}"}
        rows.append({"image": f"{i}.png", "score": 2 + i / 2, "conversations": [asked, answer],
                     "split": "train" if i < 8 else "val"})  # fmt: skip
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder / "corpus.jsonl"


def test_critiques_that_give_the_score_away_are_refused(tmp_path, capsys):
    leaks = {2: "Soft light, and I rate it three.", 5: "Soft light. I would give it 4.50."}
    path = write_corpus(tmp_path, lambda i: leaks.get(i, "Soft light on 30% of the frame, and a red 7."))
    assert finetune("--data_path", str(path), "--output_dir", str(tmp_path / "out"), *QUICK) == 2
    told = capsys.readouterr().err
    assert "corpus.jsonl:3: " in told and "'I rate it three'" in told
    assert "corpus.jsonl:6: " in told and "'4.50'" in told
    assert told.count("gives its score away") == told.count("; remove or reword these words") == 2
    assert not (tmp_path / "out").exists()


def test_a_fault_of_a_validation_row_names_the_file_of_that_row(tmp_path, capsys):
    path = write_corpus(tmp_path, lambda i: "Soft light." if i < 8 else "Soft light. I would give it a 7.")
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:8]))
    held_out = tmp_path / "held_out.jsonl"
    held_out.write_text("\n".join([lines[8], lines[9].replace("<answer>", "")]))
    given = ["--data_path", str(path), "--eval_data_path", str(held_out), "--output_dir", str(tmp_path / "out")]
    assert finetune(*given, *QUICK) == 2
    told = capsys.readouterr().err
    assert "held_out.jsonl:1: the critique gives its score away" in told
    assert "held_out.jsonl:2: an answer with a critique has to read" in told
    assert "corpus.jsonl:" not in told


def test_what_another_scale_would_be_is_no_leak():
    row = thought(critique="I would give it a 62.", scores={"overall": 60.0})
    assert leak_faults("r.jsonl", [row], ScoreSpace(1, 10)) == []
    assert len(leak_faults("r.jsonl", [row], ScoreSpace(0, 100))) == 1
    assert leak_faults("r.jsonl", [replace(row, scores={}), PLAIN], ScoreSpace(0, 100)) == []


def generated(collator, records, **settings):
    settings = {"max_new_tokens": 8, "batch_size": 2, "entropy_rows": 2, **settings}
    return Generated(records, collator, pixel_limit=DEFAULT_PIXEL_LIMIT, **settings)


def test_rows_are_chosen_from_all_of_a_sorted_file():
    rows = [thought(str(i), scores={"overall": 1 + i / 20}) for i in range(100)]
    some = some_rated([*rows, record("none", scores={})], 20)
    assert len(some) == 20 and min(r.scores["overall"] for r in some) < 2.5 < 4 < max(r.scores["overall"] for r in some)
    assert some_rated(reversed(rows), 20) == some


@pytest.fixture
def rated(tmp_path):
    rows = []
    for i in range(4):
        picture(i).save(tmp_path / f"{i}.png")
        rows.append(thought(str(tmp_path / f"{i}.png"), scores={"overall": 2.0 + i}))
    return rows


def test_what_the_model_writes_is_measured(rated, monkeypatch):
    model, processor, collator = reasoning_model()
    texts = ["none", *[reasoned_answer(word) for word in "abc"], "no more", "cut..."]
    script = Script(model, processor, texts)
    monkeypatch.setattr(type(model), "generate_with_scores", lambda self, **inputs: script(**inputs))
    monkeypatch.setattr("roc.scoring.reasoning.TokenEntropy.summed", lambda self, lengths: (3.0, 6))
    model.train()
    found = generated(collator, rated).measure(model)
    # Two batches of likeliest answers, none written anew, then one of sampled answers.
    assert [(call["do_sample"], call["temperature"]) for call in script.asked] == [(False, None)] * 2 + [(True, 1.0)]
    assert (found["n"], found["readable"], found["wrong/no_answer"]) == (3, 0.75, 1)
    assert found[CHOSEN_BY] == min(found["srcc"], 0.75 * found["srcc"])
    assert (found["entropy"], found["sampled_readable"]) == (0.5, 0.0)
    assert found["short_mae"] > 0 and model.training


def test_each_process_does_a_part_of_the_rows(rated, monkeypatch):
    """Two processes, one after the other: the second gathers what the first gave."""
    model, processor, collator = reasoning_model()
    given, found = [], []

    def gather(part):
        given.extend(part)
        return list(given) if len(given) == 2 else part

    monkeypatch.setattr("accelerate.utils.gather_object", gather)
    monkeypatch.setattr("roc.scoring.reasoning.TokenEntropy.summed", lambda self, lengths: (2.0 * len(lengths), 4))
    for process in (0, 1):
        texts = [reasoned_answer(f"{process} {i}") for i in range(3)]
        script = Script(model, processor, [*texts[:2], texts[2]])
        monkeypatch.setattr(type(model), "generate_with_scores", lambda self, script=script, **inputs: script(**inputs))
        state = SimpleNamespace(process_index=process, num_processes=2)
        monkeypatch.setattr("accelerate.PartialState", lambda state=state: state)
        with contextlib.suppress(KeyError):  # the first alone lacks the other's rows
            found.append(generated(collator, rated).measure(model))
    assert [part[0] for part in given] == [[0, 2], [1, 3]]
    assert len(found) == 1 and found[0]["n"] == 4 and found[0]["entropy"] == 0.5


def test_a_trainer_validates_by_what_was_generated(rated, tmp_path):
    model, processor, collator = reasoning_model()
    rows = [(row, [picture(i)]) for i, row in enumerate(rated)]
    settings = {"eval_strategy": "epoch", "save_strategy": "epoch", "metric_for_best_model": CHOSEN_BY}
    stub = SimpleNamespace(entropies=iter([0.3, 0.9, 0.5, 0.4]), values=iter([0.2, 0.1, 0.3, 0.4]))
    stub.measure = lambda model: {
        "n": 4, "srcc": 0.5, CHOSEN_BY: next(stub.values), "readable": 1.0, "entropy": next(stub.entropies),
        "sampled_readable": 0.95,
    }  # fmt: skip
    trainer = RocTrainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(tmp_path / "out"), num_train_epochs=4, per_device_train_batch_size=4, use_cpu=True,
            report_to="none", remove_unused_columns=False, label_names=["labels"], disable_tqdm=True,
            load_best_model_at_end=True, greater_is_better=True, save_total_limit=2, **settings,
        ),
        data_collator=collator,
        processing_class=processor,
        train_dataset=rows,
        eval_dataset=rows,
        generated=stub,
        stable_format=0.9,
    )  # fmt: skip
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "eval_entropy" in entry]
    assert [entry["eval_entropy"] for entry in logged] == [0.3, 0.9, 0.5, 0.4]
    assert all(entry["eval_loss"] > 0 and entry["eval_srcc"] == 0.5 for entry in logged)
    assert trainer.state.best_metric == 0.4
    # The most open state stays beside the best one, whatever the limit.
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["checkpoint-2", "checkpoint-4"]
    found = most_open(trainer.state.log_history, tmp_path / "out", 0.9)
    assert (found.state.name, found.entropy, found.readable) == ("checkpoint-2", 0.9, 0.95)
    assert most_open(trainer.state.log_history, tmp_path / "out", 0.96) is None


def test_chosen_states_stay(tmp_path):
    for step in (1, 2, 3, 4):
        (tmp_path / f"checkpoint-{step}").mkdir()
    rotate(tmp_path, 1, None, tmp_path / "checkpoint-2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-2", "checkpoint-4"]


def test_a_validation_line_tells_what_was_wrong():
    line = validation_text(
        {
            "eval_n": 2,
            "eval_readable": 0.5,
            "eval_wrong/cut": 1,
            "eval_wrong/no_score": 1,
            "eval_short_mae": 0.7,
            "eval_entropy": 1.25,
            "eval_sampled_readable": 0.75,
        }
    )
    assert "no SRCC: too few answers can be read" in line
    assert "readable 50% (1 cut at the length, 1 no [SCORE] in the answer)" in line
    assert "entropy 1.250 (sampled: 75% readable)" in line


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two epochs on eight rows with critiques."""
    folder = tmp_path_factory.mktemp("reasoning")
    path = write_corpus(folder, lambda i: f"The light is {'soft' if i % 2 else 'hard'}.")
    settings = ["--reasoning_tokens", "24", "--max_steps", "-1", "--num_train_epochs", "2", "--learning_rate", "1e-3"]
    words = ["--data_path", str(path), "--output_dir", str(folder / "out"), *QUICK, *settings]
    assert finetune(*words) == 0
    return folder / "out"


def test_a_run_on_critiques_declares_that_it_reasons(run):
    config = json.loads((run / "config.json").read_text())["roc"]
    assert config["reasoning"] == QUESTION and "<think>" not in config["answer"]
    assessment = Assessment(run)
    assert declaration_of(assessment.model.config).reasons
    ids = assessment.collator.scoring_batch([picture(0)])["input_ids"][0]
    assert "light" not in assessment.processor.tokenizer.decode(ids)


def test_its_table_tells_both_ways_of_scoring(run):
    table = (run / "metrics.txt").read_text()
    metrics = json.loads((run / "metrics.json").read_text())
    assert sum(metrics["reasoned/answers"].values()) == 4 and metrics["answers/n"] == 0
    assert metrics["reasoned/n"] + metrics["reasoned/unscored"] == 4
    assert "with a critique first (.describe), 4 rows:" in table and "one pass" in table
    assert "readable" in table and "start of reinforcement" in table
    newest = states_in(run / "training")[0]
    history = json.loads((newest / "trainer_state.json").read_text())["log_history"]
    validated = [entry for entry in history if "eval_loss" in entry]
    assert len(validated) == 2
    assert all({"eval_readable", "eval_short_mae", "eval_entropy"} <= set(entry) for entry in validated)


def test_where_reinforcement_best_begins_is_named_without_a_check_of_answers_too(run, tmp_path):
    words = ["--data_path", str(run.parent / "corpus.jsonl"), "--output_dir", str(tmp_path), *QUICK]
    assert finetune(*words, "--reasoning_tokens", "8", "--check_answers", "0") == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert "reasoned/n" not in metrics and metrics["reasoned/start"] is None and metrics["reasoned/stable_format"]
    said = "no saved state is a start of reinforcement"
    assert said in (tmp_path / "metrics.txt").read_text() and said in (tmp_path / "report.html").read_text()


def test_the_start_is_the_state_with_the_highest_entropy(tmp_path):
    config = load_config(None, ["--data_path", "x.csv", "--output_dir", str(tmp_path), "--stable_format", "0.5"])
    history = [
        {"step": step, "eval_entropy": entropy, "eval_sampled_readable": readable}
        for step, entropy, readable in ((1, 1.0, 0.25), (2, 0.75, 0.5), (3, 0.5, 1.0))
    ]
    for entry in history:
        (tmp_path / "training" / f"checkpoint-{entry['step']}").mkdir(parents=True)
    found = start_part(config, history)
    assert found["reasoned/start"].endswith("checkpoint-2") and found["reasoned/start_entropy"] == 0.75
    line = " ".join(map(str.strip, reasoned_lines(found)))
    assert "checkpoint-2, the highest entropy with a stable format (0.750 nats, 50% readable)" in line
    assert start_part(config, []) == {} and reasoned_lines({}) == []


def test_generation_in_training_leaves_no_inference_tensors():
    model, _, collator = reasoning_model()
    rows = [thought(str(i)) for i in range(2)]
    batch = collator([(row, [picture(i)]) for i, row in enumerate(rows)])
    from roc.evaluation.reasoned import measure_openness

    measure_openness(model, collator, rows, batch_size=2, max_new_tokens=2, opened=lambda row: picture(int(row.id)))
    model(**batch).loss.backward()
    assert torch.isfinite(model.score_head.weight.grad).all()
