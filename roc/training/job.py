"""The main job: read rated photos, teach a model the score head, evaluate on photos it never saw, save.

    roc finetune configs/demo.yaml
    roc finetune configs/finetune.yaml --model_name_or_path MODEL --data_path ratings.csv --image_folder photos

What a run leaves in `output_dir`:

    config.json, model.safetensors, ...   the checkpoint, for `Assessment`, `roc.load` and a stock `AutoModel`
    metrics.json predictions.csv plots/   the evaluation on the test rows
    report.html                           all of that on one page, the curves of the training included
    run.json                              the settings, and whether the run is finished
    training/                             states to resume from, TensorBoard logs

The same command again resumes an unfinished run and prints the table of a finished one. Nothing of the test rows is
ever used to choose anything.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from roc.data.reading import read_records
from roc.data.records import Record, resolve_splits
from roc.data.rows import DataError
from roc.prompts import IMAGE_PLACEHOLDER, QUESTIONS, SCORE_TOKEN, answer, question
from roc.training.config import RunConfig

RUN_FILE = "run.json"
TABLE_FILE = "metrics.txt"
# What a step takes is computed from the shapes of the rows with the longest texts; the rest of a GPU is left to what a
# formula cannot know.
_MEASURED_ROWS = 8
_USABLE = 0.9


class RunError(ValueError):
    """A run that cannot start or go on; the message says what to do."""


@dataclass(frozen=True)
class Data:
    """The records of a run, by what they are for, and what the raters themselves agree on where that is known."""

    train: list[Record]
    val: list[Record]
    test: list[Record]
    rater_ceiling: dict[str, dict[str, float]] | None = None


def finetune(config: RunConfig) -> Path:
    """Trains, evaluates and saves one run, or carries on with it.

    Args:
        config: the settings.

    Returns:
        `output_dir`, holding the finished checkpoint.

    Raises:
        DataError: with every fault of the data, before any work starts.
        RunError: where `output_dir` holds another run, or a state could not be saved.
    """
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()  # of loading and saving; training has its own
    out = Path(config.output_dir)
    process = _join_processes()
    if config.threads:
        torch.set_num_threads(config.threads)
    try:
        with process.main_process_first():
            if _is_finished(out, config):
                if process.is_main_process:
                    print((out / TABLE_FILE).read_text(encoding="utf-8"))
                    print(f"{out} is finished; --overwrite trains it anew.")
                return out
            if process.is_main_process and not config.overwrite:
                _claim(out, config)
            data = _read_data(config, check_images=process.is_main_process)
        arguments = _training_arguments(config, data)  # first: with ZeRO-3 a model is spread while it is read
        model, processor = _build_model(config, data)
        trainer = _build_trainer(config, data, arguments, model, processor)
        with process.main_process_first():
            # Only now: an earlier run is given up when nothing can be wrong with the settings any more.
            if process.is_main_process and config.overwrite:
                _claim(out, config)
            newest = _state_to_resume(config, out, trainer, clean=process.is_main_process)
    except Exception:
        if process.is_main_process:
            _release(out)
        raise
    _train(trainer, newest)
    history = trainer.state.log_history
    _publish(trainer, processor, out)
    trainer.accelerator.free_memory()
    del trainer, model, arguments
    _part(process)
    if process.is_main_process:
        table = _evaluate(config, data, history, out)
        _write_json(out / RUN_FILE, {"finished": True, **_described(config)})
        print(table)
    return out


# --- one process or many ---------------------------------------------------------------------------------------------


def _join_processes() -> Any:
    """This process among those the launcher started, if one did (`accelerate launch`, `torchrun`)."""
    from accelerate import PartialState

    # While process 0 checks the pictures of a large file, the others wait for it; the usual 10 minutes may not do.
    patience = {"timeout": timedelta(hours=6)}
    if _engine() == "deepspeed" and _trains_on_cpu():
        return PartialState(backend="gloo", **patience)  # told of a CPU, accelerate would leave DeepSpeed out
    return PartialState(cpu=_trains_on_cpu(), **patience)


def _engine() -> str | None:
    """What the launcher asked accelerate for beside processes: "deepspeed", "fsdp" or None."""
    named = {"deepspeed": "ACCELERATE_USE_DEEPSPEED", "fsdp": "ACCELERATE_USE_FSDP"}
    return next((name for name, variable in named.items() if os.environ.get(variable, "").lower() == "true"), None)


def _part(process: Any) -> None:
    """Ends the work of many: what follows is for process 0 alone, however long it takes, and spreads no model."""
    import gc

    import torch
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    if torch.distributed.is_initialized():
        process.wait_for_everyone()
        process.destroy_process_group()
    unset_hf_deepspeed_config()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


# --- one folder, one run ---------------------------------------------------------------------------------------------


def _is_finished(out: Path, config: RunConfig) -> bool:
    """Whether `out` holds this very run, finished.

    Raises:
        RunError: where it holds another one, finished or not, or something that is no run.
    """
    if config.overwrite or not out.exists() or not any(out.iterdir()):
        return False
    try:
        run = json.loads((out / RUN_FILE).read_text(encoding="utf-8"))
        finished, settings = run["finished"], run["settings"]
    except (OSError, ValueError, KeyError) as error:
        raise RunError(
            f"output_dir {out} is not empty and holds no {RUN_FILE} that can be read ({error}); choose another folder, "
            "or --overwrite to train anew there."
        ) from None
    differences = config.differences(settings)
    if run.get("data") != _data_hashes(config):
        differences.append("the content of the data file has changed")
    if differences:
        raise RunError(
            f"output_dir {out} holds a run with other settings:\n  " + "\n  ".join(differences) + "\n"
            "Choose another --output_dir, give the same settings, or --overwrite to train anew there."
        )
    return finished


def _claim(out: Path, config: RunConfig) -> None:
    """Writes the settings into `out` before any work, so that whatever stops the run, the same command goes on."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        _write_json(out / RUN_FILE, {"finished": False, **_described(config)})
    except OSError as error:
        raise RunError(f"output_dir {out} cannot be written: {error}. Choose another --output_dir.") from error


def _release(out: Path) -> None:
    """Takes the claim back where nothing was trained yet: corrected settings may then use the folder."""
    run = out / RUN_FILE
    if run.exists() and not (out / "training").exists() and not json.loads(run.read_text(encoding="utf-8"))["finished"]:
        run.unlink()
        if not any(out.iterdir()):
            out.rmdir()


def _state_to_resume(config: RunConfig, out: Path, trainer: Any, clean: bool) -> Path | None:
    """The newest whole saved state; with `overwrite` none, and the old ones are removed.

    Raises:
        RunError: where these processes cannot read it.
    """
    from roc.training.trainer import launcher_of, newest_checkpoint

    if config.overwrite and clean:
        shutil.rmtree(out / "training", ignore_errors=True)
    newest = newest_checkpoint(out / "training", clean=clean)
    if newest is None:
        return None
    launcher, processes = launcher_of(newest)
    if launcher != trainer.launcher or processes not in (None, trainer.args.world_size):
        wanted = "--launcher ddp, or none" if launcher == "ddp" else f"--launcher {launcher}"
        wanted += "" if processes is None else f" and {processes} processes"
        raise RunError(
            f"The saved state {newest} was written with {wanted}; these are {trainer.args.world_size} processes of "
            f"{trainer.launcher}. Give the same again, or --overwrite to train anew."
        )
    if clean:
        print(f"Resuming from {newest}.")
    return newest


def _data_hashes(config: RunConfig) -> list[str]:
    """SHA-256 of the data files: a run on edited data is another run."""
    paths = [path for path in (config.data_path, config.eval_data_path) if path is not None and Path(path).is_file()]
    return [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths]


def _described(config: RunConfig) -> dict[str, Any]:
    from roc import __version__

    return {"version": __version__, "settings": config.to_dict(), "data": _data_hashes(config)}


def _command(config: RunConfig) -> str:
    """The command line of a run with these settings, whatever files and flags they came from."""
    defaults, words = RunConfig().to_dict(), ["roc", "finetune"]
    for name, value in config.to_dict().items():
        if value != defaults[name]:
            words += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return shlex.join(words)


def _write_json(path: Path, content: dict) -> None:
    _write(path, json.dumps(content, indent=2) + "\n")


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


# --- data ------------------------------------------------------------------------------------------------------------


def _read_data(config: RunConfig, check_images: bool = True) -> Data:
    """The records, checked; demo scenes where no file is given."""
    path, folder, ceiling = config.data_path, config.image_folder, None
    if path is None:
        from roc.demo.scenes import read_ceiling, write_dataset

        demo = Path(config.output_dir) / "scenes"
        print(f"Drawing {config.demo_train + config.demo_val + config.demo_test} demo scenes into {demo} ...")
        path = write_dataset(
            demo,
            config.demo_train,
            config.demo_val,
            config.demo_test,
            size=config.demo_size,
            seed=config.seed,
            workers=os.cpu_count() or 1,
        )
        ceiling = read_ceiling(demo)
    # Scenes were drawn a moment ago; opening all of them once more would find nothing.
    reading = {
        "space": config.score_space,
        "num_levels": config.num_tokens,
        "attributes": config.attributes,
        "check_images": check_images and config.data_path is not None,
        "max_pixels": config.max_pixels,
    }
    wants_votes = config.ce_weight > 0 or config.emd_weight > 0
    records = read_records(path, folder, **reading, require_histogram=wants_votes)
    if config.eval_data_path is None:
        splits = resolve_splits(records, val_fraction=config.val_fraction)
    else:
        splits = resolve_splits(records, val_fraction=0)
        splits["val"] = read_records(config.eval_data_path, folder, **reading)
    faults = [*_attribute_faults(config, path, splits), *_overlap_faults(config, splits)]
    if not splits["train"]:
        faults.append(f"{path}: no row to train on; every row is marked as validation or test")
    if faults:
        raise DataError(faults)
    return Data(**splits, rater_ceiling=ceiling)


def _attribute_faults(config: RunConfig, path: Any, splits: dict[str, list[Record]]) -> list[str]:
    """Attributes that nobody rated, and answers whose scores stand in another order than the checkpoint declares."""
    faults = [
        f"{path}:{record.line}: the scores of the conversation are {', '.join(record.scores)} in this order, but "
        f"attributes says {', '.join(config.attributes)}; the k-th [SCORE] has to be the k-th attribute"
        for record in (record for rows in splits.values() for record in rows)
        if record.conversations and tuple(record.scores) != config.attributes[: len(record.scores)]
    ]
    rated = {name for record in splits["train"] for name in record.scores}
    missing = [name for name in config.attributes if name not in rated]
    if missing and splits["train"]:
        faults.append(
            f"{path}: no training row has a score for {', '.join(missing)}; the file has "
            f"{', '.join(sorted(rated)) or 'none'}. Name the attributes to learn with --attributes."
        )
    return faults


def _overlap_faults(config: RunConfig, splits: dict[str, list[Record]]) -> list[str]:
    """Pictures of an extra validation file that are trained on, or tested on."""
    if config.eval_data_path is None:
        return []
    used = {image: name for name in ("train", "test") for record in splits[name] for image in record.images}
    return [
        f"{config.eval_data_path}:{record.line}: {image} is a {used[image]} picture of data_path as well; remove one"
        for record in splits["val"]
        for image in record.images
        if image in used
    ]


# --- model -----------------------------------------------------------------------------------------------------------


def _build_model(config: RunConfig, data: Data) -> tuple[Any, Any]:
    """The model to train, carrying the head; built from nothing, loaded with a head, or loaded and attached."""
    from transformers import set_seed

    from roc.checkpoint.folder import load, read_config
    from roc.model.adapters import add_lora, is_adapter
    from roc.model.attachment import attach, model_class
    from roc.model.parts import freeze
    from roc.model.processing import load_processor

    set_seed(config.seed)
    losses = {
        name: getattr(config, name)
        for name in ("text_weight", "l1_weight", "ce_weight", "emd_weight", "l1_scale", "published_losses")
    }
    losses["image_aspect_ratio"] = config.image_aspect_ratio
    source = config.model_name_or_path
    if source is None:
        from roc.demo.tiny_model import PRESETS, build_tiny_llava

        if config.tiny_model not in PRESETS:
            raise RunError(f"tiny_model is {config.tiny_model!r}; expected one of {', '.join(PRESETS)}")
        with _on_every_process():
            model, processor = build_tiny_llava(_texts(config, data), PRESETS[config.tiny_model], seed=config.seed)
    else:
        settings: dict[str, Any] = {"dtype": config.dtype}
        if config.attn_implementation is not None:
            settings["attn_implementation"] = config.attn_implementation
        try:
            if is_adapter(source):
                raise RunError(
                    f"model_name_or_path {source!r} is an adapter; `roc export {source} --merge OUT` makes a model of "
                    "it and its base that can be trained on."
                )
            base = read_config(source)
            if config.tuning == "qlora":
                settings |= _in_four_bits(config, base)
            if getattr(base, "roc", None) is not None:
                model, processor = load(source, **settings)
            else:
                model, processor = model_class(base).from_pretrained(source, **settings), load_processor(source)
        except RunError:
            raise
        except (OSError, ValueError, ImportError) as error:
            raise RunError(f"model_name_or_path {source!r} cannot be loaded: {error}") from error
        if getattr(base, "roc", None) is not None:
            _check_same_head(config, model.config.roc, source)
            model.config.roc |= losses
    if getattr(model.config, "roc", None) is None:
        attach(
            model,
            processor,
            config.score_space,
            attributes=config.attributes,
            **_wording(config, data),
            **losses,
        )
    model.config.roc["dataset"] = config.dataset
    model.config.roc["distribution_supervised"] = (config.ce_weight > 0 or config.emd_weight > 0) and any(
        record.histograms for record in data.train
    )
    if config.tuning == "full":
        freeze(model, list(config.freeze))
        return model, processor
    try:
        model = add_lora(
            model,
            rank=config.lora_rank,
            alpha=config.lora_alpha,
            dropout=config.lora_dropout,
            targets=config.lora_targets,
            parts=config.lora_parts,
        )
    except (ValueError, ImportError) as error:
        raise RunError(f"tuning {config.tuning}: {error}") from error
    return model, processor


@contextlib.contextmanager
def _on_every_process() -> Iterator[None]:
    """Within it models are built whole under ZeRO-3 as well; it spreads them later."""
    from transformers.integrations import deepspeed

    spreading = deepspeed._hf_deepspeed_config_weak_ref
    deepspeed.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        deepspeed._hf_deepspeed_config_weak_ref = spreading


def _in_four_bits(config: RunConfig, base: Any) -> dict[str, Any]:
    """Arguments of `from_pretrained` that load the base in 4 bits, on the device it will be trained on."""
    import torch
    from accelerate import PartialState

    from roc.model.adapters import four_bit

    device = PartialState().device
    # Moving it later would quantise nothing: the weights are rounded while they arrive on their device.
    placed = {} if device.type == "cpu" else {"device_map": {"": device}}
    return {"quantization_config": four_bit(base, getattr(torch, config.dtype)), **placed}


def _wording(config: RunConfig, data: Data) -> dict[str, str | None]:
    """Question and answer the checkpoint declares: the settings', else the ones most of the training rows use."""
    asked, said = Counter(), Counter()
    for record in data.train:
        if record.conversations is not None:
            (_, first), (_, reply) = record.conversations[:2]
            if reply.count(SCORE_TOKEN) == len(config.attributes):
                asked[first.replace(IMAGE_PLACEHOLDER, "").strip()] += 1
                said[reply[: reply.rindex(SCORE_TOKEN) + len(SCORE_TOKEN)].strip()] += 1
    usual = {"question": asked.most_common(1), "answer": said.most_common(1)}
    return {
        name: getattr(config, name) if getattr(config, name) is not None or not found else found[0][0]
        for name, found in usual.items()
    }


def _texts(config: RunConfig, data: Data) -> list[str]:
    """Sentences the stand-in's tokenizer is learnt from: the wordings, and what the training rows say."""
    said = [turn for record in data.train for _, turn in record.conversations or ()]
    comments = [record.comment for record in data.train if record.comment]
    return [*QUESTIONS, question(config.attributes), answer(config.attributes), *said[:2000], *comments[:2000]]


def _check_same_head(config: RunConfig, head: dict, source: str) -> None:
    asked = {
        "num_tokens": (head["num_levels"], config.num_tokens),
        "min_score": (head["min_score"], config.min_score),
        "max_score": (head["max_score"], config.max_score),
        "attributes": (tuple(head["attributes"]), tuple(config.attributes)),
    }
    wrong = [
        f"{name}: the checkpoint has {has}, the settings say {says}"
        for name, (has, says) in asked.items()
        if has != says
    ]
    if wrong:
        raise RunError(
            f"{source} carries another score head than asked for. " + "; ".join(wrong) + ". "
            "Give the checkpoint's values, or start from a model without a head."
        )


# --- training --------------------------------------------------------------------------------------------------------


def _training_arguments(config: RunConfig, data: Data) -> Any:
    """The settings as the Trainer takes them; from now on `transformers` and accelerate know what spreads the model."""
    import torch
    from accelerate import DistributedType
    from transformers import TrainingArguments

    rated = sum("overall" in record.scores for record in data.val)
    validates = config.eval_strategy != "no" and rated >= 3
    keeps_best = validates and config.save_strategy == config.eval_strategy
    if config.eval_strategy != "no" and not validates:
        _note(f"{rated} validation rows are too few for a correlation; there is no validation, the last state is kept")
    elif validates and not keeps_best:
        _note("save_strategy differs from eval_strategy, so the last state is kept, not the best")
    joined_by_deepspeed = _engine() == "deepspeed" and _trains_on_cpu()
    training = Path(config.output_dir) / "training"
    arguments = TrainingArguments(
        output_dir=str(training),
        num_train_epochs=config.num_train_epochs,
        max_steps=config.max_steps,
        per_device_train_batch_size=config.per_device_train_batch_size,
        per_device_eval_batch_size=config.per_device_eval_batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        warmup_steps=config.warmup_ratio,  # below 1: a share of the steps
        lr_scheduler_type=config.lr_scheduler_type,
        max_grad_norm=config.max_grad_norm,
        bf16=_in_bfloat16(config),
        use_cpu=_trains_on_cpu() and not joined_by_deepspeed,
        ddp_backend="gloo" if joined_by_deepspeed else None,
        # Some towers end in a layer that nothing reads (LLaVA's); with gradient checkpointing the Trainer would not
        # look for such, and DDP would wait for their gradients.
        ddp_find_unused_parameters=True,
        tf32=config.tf32 if torch.cuda.is_available() else None,
        seed=config.seed,
        eval_strategy=config.eval_strategy if validates else "no",
        eval_steps=config.eval_steps or config.save_steps,
        save_strategy=config.save_strategy,
        save_steps=config.save_steps,
        save_total_limit=config.save_total_limit,
        load_best_model_at_end=keeps_best,
        metric_for_best_model="srcc" if validates else None,
        greater_is_better=True if validates else None,
        logging_steps=config.logging_steps,
        report_to=config.report_to,
        dataloader_num_workers=config.dataloader_num_workers,
        dataloader_pin_memory=torch.cuda.is_available(),
        deepspeed=config.deepspeed,
        remove_unused_columns=False,
        label_names=["labels"],
        disable_tqdm=False,  # or the library's quietness would take the progress bar with it
    )
    if arguments.n_gpu > 1:
        _note(f"one of {arguments.n_gpu} GPUs is used; `bash scripts/finetune.sh --launcher ddp` uses all")
        arguments._n_gpu = 1  # or the Trainer would split batches among threads, counts included
    plugin = arguments.deepspeed_plugin
    if config.tuning != "full" and (_engine() == "fsdp" or (plugin is not None and plugin.zero_stage == 3)):
        raise RunError(
            f"tuning {config.tuning} where the model is spread over the processes is not supported; use --launcher ddp "
            "or zero2. The frozen base, a copy of which is then on every GPU, has no gradients and no optimiser state."
        )
    if _engine() == "fsdp" and _trains_on_cpu():
        # accelerate spreads a model over GPUs only; told that these processes have some, it does so here as well.
        arguments.distributed_state.distributed_type = DistributedType.MULTI_GPU
    return arguments


def _build_trainer(config: RunConfig, data: Data, arguments: Any, model: Any, processor: Any) -> Any:
    from roc.data.augment import Augmentation
    from roc.model.collator import RocCollator
    from roc.training.samples import Samples
    from roc.training.trainer import RocTrainer, validation_metrics

    rates = {
        "head": config.head_learning_rate,
        "vision": config.vision_learning_rate,
        "projector": config.projector_learning_rate,
    }
    collator = RocCollator(
        processor, model.config.roc, max_length=config.model_max_length, with_comments=config.train_comments
    )
    shared = {"cache": config.image_cache, "max_pixels": config.max_pixels}
    changes = Augmentation(
        flip=config.augment_flip, shift=config.augment_shift, crop=config.augment_crop, rotate=config.augment_rotate
    )
    rows = [*data.train, *data.val]
    try:
        # transformers' older name before 5.23.
        newer = hasattr(arguments, "activation_checkpointing")
        name = "activation_checkpointing" if newer else "gradient_checkpointing"
        setattr(arguments, name, _checkpoints(config, data, arguments, model, collator))
        return RocTrainer(
            model=model,
            args=arguments,
            data_collator=collator,
            processing_class=processor,
            train_dataset=Samples(data.train, augmentation=changes, seed=config.seed, **shared),
            eval_dataset=Samples(data.val, **shared) if arguments.eval_strategy != "no" else None,
            compute_metrics=validation_metrics(list(config.attributes)),
            learning_rates={part: rate for part, rate in rates.items() if config.trains(part)},
            ema_decay=config.ema_decay,
            scores_per_row=max(len(config.attributes), *(len(record.scores) for record in rows)),
        )
    except ValueError as error:
        raise RunError(f"These settings cannot be trained with: {error}") from error


def _checkpoints(config: RunConfig, data: Data, arguments: Any, model: Any, collator: Any) -> bool:
    """Whether layers are computed anew in the backward pass: as asked, else where a step would not fit otherwise."""
    from accelerate.utils import gather_object

    from roc.model.losses import IGNORE_INDEX
    from roc.model.memory import GIB, estimate, meta_model
    from roc.training.samples import Samples

    if config.gradient_checkpointing is not None:
        return config.gradient_checkpointing
    available = _gpu_memory()
    if available is None:
        return False
    longest = sorted(data.train, key=lambda record: -sum(map(len, _said(record))))[:_MEASURED_ROWS]
    samples = Samples(longest, max_pixels=config.max_pixels)
    batches = [collator([samples[i]]) for i in range(len(longest))]
    plugin = arguments.deepspeed_plugin
    sharding = "fsdp2" if _engine() == "fsdp" else "ddp"
    if plugin is not None and config.tuning != "qlora":  # DeepSpeed spreads no 4-bit weights
        sharding = "zero3" if plugin.zero_stage == 3 else "zero2"
    without, with_ = (
        estimate(
            meta_model(model.config),
            tuning=config.tuning,
            dtype=config.dtype,
            bf16=arguments.bf16,
            batch_size=config.per_device_train_batch_size,
            tokens=max(batch["input_ids"].shape[1] for batch in batches),
            supervised_tokens=max(int((batch["labels"] != IGNORE_INDEX).sum()) for batch in batches),
            gradient_checkpointing=checkpointing,
            sharding=sharding,
            num_gpus=arguments.world_size,
            freeze=config.freeze,
            lora_rank=config.lora_rank,
            lora_targets=config.lora_targets,
            lora_parts=config.lora_parts,
        ).total
        for checkpointing in (False, True)
    )
    # Every process does the same: the one with the least memory decides.
    needed = any(gather_object([without > _USABLE * available]))
    if needed:
        _note(
            f"a step would take about {without / GIB:.1f} of the {available / GIB:.1f} GiB of the GPU, so layers are "
            f"computed anew in the backward pass (about {with_ / GIB:.1f} GiB); gradient_checkpointing says otherwise"
        )
    return needed


def _said(record: Any) -> list[str]:
    return [turn for _, turn in record.conversations or ()] or [record.comment or ""]


def _gpu_memory() -> int | None:
    """Bytes of the GPU in use that this process can have; None without one."""
    import torch

    if not torch.cuda.is_available():
        return None
    return torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved()


def _trains_on_cpu() -> bool:
    import torch

    return not (torch.cuda.is_available() or torch.backends.mps.is_available())


def _in_bfloat16(config: RunConfig) -> bool:
    if _engine() == "deepspeed" and _trains_on_cpu():  # transformers does not let it
        if config.bf16:
            raise RunError("bf16 is on, but on a CPU DeepSpeed trains in float32; leave bf16 out, or --launcher fsdp2.")
        return False
    if _engine() == "fsdp" and config.dtype == "bfloat16":
        return False  # the weights are so already; with mixed precision accelerate would make them float32 first
    return _has_fast_bfloat16() if config.bf16 is None else config.bf16


def _has_fast_bfloat16() -> bool:
    """Whether the hardware itself computes bfloat16: the GPU, or the CPU where there is none."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    abilities = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16"))


def _note(text: str) -> None:
    print(f"note: {text}.", file=sys.stderr)


def _train(trainer: Any, newest: Path | None) -> None:
    from roc.data.images import ImageError
    from roc.model.collator import RowTooLong
    from roc.training.trainer import SavingError

    try:
        trainer.train(resume_from_checkpoint=None if newest is None else str(newest))
    except (SavingError, ImageError, RowTooLong) as error:
        raise RunError(str(error)) from error


def _publish(trainer: Any, processor: Any, out: Path) -> None:
    """The finished checkpoint into `out`, file by file, so that no half-written file ever has its final name.

    Every process has to call it: where the model is spread over them, it is gathered first. Process 0 writes.
    """
    from safetensors import SafetensorError

    from roc.checkpoint.card import CARD_FILE, is_edited
    from roc.checkpoint.folder import save

    weights = trainer.whole_weights()
    if not trainer.is_world_process_zero():
        return
    partial = out / ".checkpoint.partial"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        # Gathered weights keep the names of the modules: the renaming that ZeRO-3 notes while it reads is not all done.
        save(trainer.model, processor, partial, state_dict=weights, save_original_format=weights is None)
        kept = {CARD_FILE} if is_edited(out) else set()
        for file in sorted(partial.iterdir()):
            if file.name not in kept:
                os.replace(file, out / file.name)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise RunError(
            f"The finished model could not be written to {out}: {error}. What was saved before is whole; free some "
            "space and give the same command again."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


# --- evaluation ------------------------------------------------------------------------------------------------------


def _evaluate(config: RunConfig, data: Data, history: list[dict], out: Path) -> str:
    """Scores the test rows with the checkpoint just written, through `Assessment`, as a user would; writes the report.

    Returns:
        What is printed: the table, where the plots are, and three lines of Python that use the checkpoint.
    """
    from roc.checkpoint.card import write_card
    from roc.evaluation.evaluate import evaluable, evaluate_predictions, evaluated_rows, format_table, write_evaluation
    from roc.evaluation.plots import draw, write_plots
    from roc.evaluation.report import REPORT_FILE, write_report
    from roc.scoring.assessment import Assessment

    held_out = data.test or data.val
    records = evaluable(held_out)
    lines = []
    if len(records) < len(held_out):
        _note(f"{len(held_out) - len(records)} rows without a score or with several pictures are not evaluated")
    if records:
        assessment = Assessment(out, batch_size=config.per_device_eval_batch_size)
        assessed = assessment.score([record.images[0] for record in records])
        rows = evaluated_rows(records, assessed)
        votes = [record.histograms["overall"] for record in data.train if "overall" in record.histograms]
        metrics = evaluate_predictions(
            rows,
            space=config.score_space,
            attributes=config.attributes,
            baseline_histogram=[sum(level) / len(votes) for level in zip(*votes, strict=True)] if votes else None,
            calibrated=assessment.model.config.roc["distribution_supervised"],
        )
        metrics["split"] = "test" if data.test else "val"
        metrics["command"] = _command(config)
        if config.dataset is not None:
            metrics["dataset"] = config.dataset
        metrics |= {
            f"answers/{key}": value for key, value in _check_answers(config, assessment, records, assessed).items()
        }
        if data.rater_ceiling is not None:
            metrics |= {f"ceiling/{name}": found["srcc_quality"] for name, found in data.rater_ceiling.items()}
        write_evaluation(out, rows, metrics)
        model = assessment.model
        write_card(out, model.config.roc, adapter=hasattr(model, "peft_config"), metrics=metrics)
        write_report(out, rows, metrics, history)
        lines += [_heading(metrics, config), format_table(metrics), *_extra_lines(metrics)]
    else:
        lines.append("There is no held-out row to evaluate on; give a test split or --val_fraction.")
        write_plots(out / "plots", draw((), {}, history))
    example = (records or data.train)[0].images[0]
    example = min(example, os.path.relpath(example), key=len)
    lines += [
        "",
        *([f"Report: {out / REPORT_FILE}"] if records else []),
        f"Plots: {out / 'plots'}    curves: tensorboard --logdir {out / 'training'}",
        "Use it:",
        "    from roc import Assessment",
        f'    texts, scores = Assessment(pretrained="{out}")(["{example}"], precision=4)',
        "    print(texts[0], scores[0])",
    ]
    table = "\n".join(lines)
    _write(out / TABLE_FILE, table + "\n")
    return table


def _check_answers(config: RunConfig, assessment: Any, records: list[Record], assessed: list[Any]) -> dict[str, float]:
    """Lets the model write its answers for the first `check_answers` rows and holds them against one forward pass.

    Returns:
        `n`; `complete`: share of answers that hold every `[SCORE]` at its place in the taught sentence;
        `largest_difference`: between a score read while generating and the one-forward score, native scale.
    """
    checked = records[: config.check_answers]
    complete, difference = 0, 0.0
    written = assessment.describe([record.images[0] for record in checked], max_new_tokens=256)
    taught = assessment.model.config.roc["answer"]
    for given, fast in zip(written, assessed, strict=False):
        scores = list(given.scores.values())
        if None in scores:
            continue
        expected = taught
        for score in scores:
            expected = expected.replace(SCORE_TOKEN, f"{score.value:.4f}", 1)
        complete += given.text.startswith(expected)
        pairs = zip(scores, fast.scores.values(), strict=True)
        difference = max(difference, *(abs(one.value - other.value) for one, other in pairs))
    return {
        "n": len(checked),
        "complete": complete / len(checked) if checked else 1.0,
        "largest_difference": difference,
    }


def _heading(metrics: dict, config: RunConfig) -> str:
    split = "test rows, never used in training or selection" if metrics["split"] == "test" else "validation rows"
    return f"\n{config.dataset or 'Evaluation'}\n{metrics['n']} {split}"


def _extra_lines(metrics: dict) -> list[str]:
    lines = [""]
    if metrics["answers/n"]:
        share, gap = metrics["answers/complete"], metrics["answers/largest_difference"]
        lines += [
            f"  generated answers: {share:.1%} of {metrics['answers/n']} hold every [SCORE] at its place;",
            f"  scores read there differ from one forward pass by {gap:.1g} at most",
        ]
    ceilings = {key.removeprefix("ceiling/"): value for key, value in metrics.items() if key.startswith("ceiling/")}
    if ceilings:
        named = ", ".join(f"{name} {value:.3f}" for name, value in ceilings.items())
        lines.append(f"  ceiling, SRCC of the raters' own mean votes against the noise-free scores:\n  {named}")
    return lines
