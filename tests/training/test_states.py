"""Saved states are complete or removed, and tell who wrote them."""

from roc.training.states import launcher_of, newest_checkpoint


def test_states_cut_short_are_removed(tmp_path):
    for step, text in ((5, '{"global_step": 5}'), (10, '{"global_step": 1'), (15, None)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if text is not None:
            (folder / "trainer_state.json").write_text(text)
    (tmp_path / "checkpoint-notes").mkdir()
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-5"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-5", "checkpoint-notes"]
    assert newest_checkpoint(tmp_path / "nowhere") is None


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
