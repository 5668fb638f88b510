"""The table of the first stage: how it goes on."""

from roc.relative.pair_table import next_stage
from roc.relative.train_config import PairsStage
from roc.training.config import load_config


def test_an_adapter_is_put_into_its_base_before_the_next_stage():
    given = {"model_name_or_path": "base", "data_path": "p.jsonl", "output_dir": "one"}
    whole, adapter = (load_config(None, {**given, "tuning": one}, group=PairsStage) for one in ("full", "lora"))
    assert next_stage(whole).endswith("relative_anchors.yaml --model_name_or_path one") and "export" not in next_stage(
        whole
    )
    assert "roc export one --merge one_merged" in next_stage(adapter)
    assert next_stage(adapter).endswith("--model_name_or_path one_merged")
