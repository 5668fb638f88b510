"""Builds a starter: fetches the wheels, makes the model, writes the folder, opens it again and checks it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoModelForImageTextToText, AutoProcessor

from roc.files import write_folder
from roc.model import from_nothing
from roc.starter import language, tower
from roc.starter.assembly import build_processor, join
from roc.starter.card import write_card
from roc.starter.decoder import decoder_config, decoder_tokenizer
from roc.starter.options import StarterOptions
from roc.starter.packages import Package
from roc.starter.sizes import SIZES, Decoder, Size
from roc.starter.wheels import Wheel, obtain, read_member

_APACHE = Path(__file__).parent / "apache-2.0.txt"

_REPORT = "report it with the versions of torch and transformers, nothing was kept"


@dataclass(frozen=True)
class Starter:
    """What was built.

    Attributes:
        path: Its folder.
        parameters: Number of parameters.
        image_tokens: Tokens that a picture becomes.
        differences: Package -> the largest difference from its recorded numbers.
    """

    path: Path
    parameters: int
    image_tokens: int
    differences: dict[str, float]


def build_starter(options: StarterOptions, wheels: Sequence[Wheel], texts: Sequence[str] = ()) -> Starter:
    """Builds a starter; the folder is whole or not there.

    Args:
        options: The settings.
        wheels: The result of `roc.starter.plan.plan(options)`.
        texts: Sentences whose words a decoder that starts from nothing gets as tokens; a pretrained one has its own.

    Raises:
        OSError: A package cannot be fetched, or the folder not be written.
        ValueError: A package is not the one that is meant, or what was written does not hold its weights or
            does not give the recorded numbers.
    """
    size, built = SIZES[options.size], []
    files = {wheel.package: obtain(wheel) for wheel in wheels}

    def fill(folder: Path) -> None:
        published = _write_model(size, files, options, texts, folder)
        built.append(_checked(folder, size, published, Path(options.out)))
        # Some packages hold a notice alone, and their licence asks whoever passes their work on for its text.
        shutil.copyfile(_APACHE, folder / "LICENSE")
        for package, file in files.items():
            (folder / f"LICENSE.{package.name}").write_bytes(read_member(file, package.licence_member))
        write_card(folder, size, options, built[0])

    try:
        write_folder(options.out, fill)
    except SafetensorError as error:
        raise OSError(f"{options.out} cannot be written: {error}") from error
    return built[0]


def _write_model(
    size: Size, files: dict[Package, Path], options: StarterOptions, texts: Sequence[str], folder: Path
) -> dict[str, dict[str, torch.Tensor]]:
    """Makes the model and its processor and writes both; what has to be unpacked is unpacked there and removed again.

    Returns:
        Package -> its weights, by the names of the part that they were put into.
    """
    published = {}
    vision = tower.tower_config(size.tower.stages, options.image_size)
    if isinstance(size.language, Decoder):
        tokenizer, template = decoder_tokenizer(size.language, texts), from_nothing.CHAT_TEMPLATE
        text = decoder_config(size.language, tokenizer)
        model = join(vision, text, tokenizer, seed=options.seed, narrow=True)
    else:
        package, template = size.language.package, language.CHAT_TEMPLATE
        with tempfile.TemporaryDirectory(dir=folder) as unpacked:
            file = Path(unpacked) / Path(package.member).name
            file.write_bytes(_weights(files, package))
            pretrained, tokenizer = language.read_language(file)
        text = language.text_config(pretrained, tokenizer)
        model = join(vision, text, tokenizer, seed=options.seed, narrow=False)
        published[package.name] = language.put_language(model, pretrained)
    package = size.tower.package
    published[package.name] = tower.load_tower(model.model.vision_tower, _weights(files, package))
    model.save_pretrained(folder)
    build_processor(tokenizer, template, options.image_size).save_pretrained(folder)
    return published


def _weights(files: dict[Package, Path], package: Package) -> bytes:
    return read_member(files[package], package.member, package.member_bytes)


def _checked(folder: Path, size: Size, published: dict[str, dict[str, torch.Tensor]], out: Path) -> Starter:
    """Opens what was written as anybody would, and compares the pretrained parts with the packages and the record."""
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoProcessor.from_pretrained(folder).tokenizer
    package, vision = size.tower.package.name, model.model.vision_tower
    _check_weights(package, vision, published[package])
    differences = {package: tower.tower_difference(vision, size.tower.record)}
    _check_numbers(package, differences[package], tower.TOLERANCE)
    if not isinstance(size.language, Decoder):
        package = size.language.package.name
        _check_weights(package, model.model.language_model, published[package])
        differences[package] = language.language_difference(model, tokenizer, size.language.record)
        _check_numbers(package, differences[package], language.TOLERANCE)
    return Starter(
        path=out,
        parameters=sum(weight.numel() for weight in model.parameters()),
        image_tokens=model.config.image_seq_length,
        differences=differences,
    )


def _check_weights(package: str, part: torch.nn.Module, published: dict[str, torch.Tensor]) -> None:
    """Makes sure that a part has the tensors of its package, bit for bit."""
    found = part.state_dict()
    damaged = [
        name
        for name in sorted(found.keys() | published.keys())
        if not (name in found and name in published and torch.equal(found[name], published[name]))
    ]
    if damaged:
        raise ValueError(
            f"what was written differs from {package} in {len(damaged)} of {len(published)} tensors: {damaged[0]}"
            f"{' and others' if damaged[1:] else ''}; {_REPORT}"
        )


def _check_numbers(package: str, difference: float, tolerance: float) -> None:
    if not difference <= tolerance:
        raise ValueError(
            f"the part from {package} does not give the recorded numbers: they differ by {difference:.1e}, expected at "
            f"most {tolerance:.0e}; {_REPORT}"
        )
