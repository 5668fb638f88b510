"""Saved states are whole or told from those that are not, are rotated, and tell who wrote them."""

import pytest

from roc.training.states import begin, best_state, fault_of, launcher_of, newest_whole, rotate, seal


def state(folder, step, text="{}"):
    path = folder / f"checkpoint-{step}"
    begin(path)
    (path / "shard").mkdir()
    (path / "shard" / "0.pt").write_bytes(bytes(1000))
    (path / "trainer_state.json").write_text(text)
    return path


def test_states_cut_short_are_passed_over(tmp_path):
    for step, text in ((5, '{"global_step": 5}'), (10, '{"global_step": 1'), (15, None)):
        folder = tmp_path / f"checkpoint-{step}"  # as versions without checksums left them
        folder.mkdir()
        if text is not None:
            (folder / "trainer_state.json").write_text(text)
    state(tmp_path, 20)  # complete, but for its checksums
    (tmp_path / "checkpoint-notes").mkdir()
    newest, broken = newest_whole(tmp_path)
    assert newest == tmp_path / "checkpoint-5"
    assert [path.name for path in broken] == ["checkpoint-20", "checkpoint-15", "checkpoint-10"]
    assert newest_whole(tmp_path / "nowhere") == (None, {})


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: (path / "shard" / "0.pt").write_bytes(bytes(999)), "shard/0.pt has 999 bytes, 1000 were written"),
        (lambda path: (path / "shard" / "0.pt").write_bytes(bytes(999) + b"1"), "shard/0.pt is not what was written"),
        (lambda path: (path / "shard" / "0.pt").unlink(), "shard/0.pt is missing"),
        (lambda path: (path / "trainer_state.json").unlink(), "it was not written to its end"),
        (lambda path: (path / "trainer_state.json").write_text("{"), "it cannot be read"),
        (lambda path: (path / "trainer_state.json").write_text("{ }"), "trainer_state.json has 3 bytes"),
        (lambda path: (path / "checksums.json").write_text("[]"), "it cannot be read"),
        (lambda path: (path / "checksums.json").write_text('{"finished": true}'), "it cannot be read"),
        (lambda path: (path / "checksums.json").write_bytes(b"\xff"), "it cannot be read"),
    ],
)
def test_a_damaged_state_is_told(tmp_path, damage, says):
    seal(state(tmp_path, 3))
    newest = state(tmp_path, 9)
    seal(newest)
    assert fault_of(newest) is None and newest_whole(tmp_path) == (newest, {})
    damage(newest)
    assert fault_of(newest).startswith(says)
    assert newest_whole(tmp_path)[0].name == "checkpoint-3"


def test_the_newest_and_the_best_state_are_kept(tmp_path):
    for limit, best, kept in ((None, "2", [1, 2, 3, 10]), (2, "2", [2, 10]), (1, "3", [3, 10]), (1, None, [10]),
                              (3, "1", [1, 3, 10])):  # fmt: skip
        folder = tmp_path / f"{limit}{best}"
        for step in (1, 2, 3, 10):
            state(folder, step)
        rotate(folder, limit, best and str(folder / f"checkpoint-{best}"))
        assert sorted(int(path.name.split("-")[1]) for path in folder.iterdir()) == kept
    rotate(tmp_path / "nowhere", 1, None)


def test_the_best_state_is_found_in_a_folder_that_was_moved(tmp_path):
    text = '{"best_global_step": 4, "best_model_checkpoint": "elsewhere/checkpoint-4"}'
    assert best_state(state(tmp_path, 8, text)) == tmp_path / "checkpoint-4"
    assert best_state(state(tmp_path, 9)) is None


def test_a_saved_state_tells_who_wrote_it(tmp_path):
    files = {
        "ddp": ["model.safetensors", "optimizer.pt"],
        "fsdp2": ["pytorch_model_fsdp_0/.metadata", "optimizer_0/.metadata"],
        "zero2": ["global_step4/mp_rank_00_model_states.pt"]
        + [f"global_step4/zero_pp_rank_{i}_mp_rank_00_optim_states.pt" for i in (0, 1)],
        "zero3": [f"global_step4/zero_pp_rank_{i}_mp_rank_00_{kind}_states.pt"
                  for i in (0, 1) for kind in ("model", "optim")],
    }  # fmt: skip
    for launcher, names in files.items():
        for name in names:
            (tmp_path / launcher / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / launcher / name).touch()
        assert launcher_of(tmp_path / launcher) == (launcher, 2 if launcher.startswith("zero") else None)
