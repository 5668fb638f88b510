"""Package metadata: the distribution `roc-mllm`, imported as `roc`, with the command `roc`.

Only what the core runs on is required; everything else is an extra. Exact versions of a known-good environment are in
constraints.txt.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (HERE / "roc" / "__init__.py").read_text(encoding="utf-8"), re.M)[1]
README = HERE / "README.md"

EXTRAS = {
    # accelerate: transformers' Trainer does not start without it.
    "train": ["accelerate>=1.1", "tensorboard", "matplotlib"],
    "lora": ["peft>=0.18"],
    "qlora": ["peft>=0.18", "bitsandbytes>=0.48; sys_platform != 'darwin' or platform_machine == 'arm64'"],
    # ZeRO-2 and ZeRO-3; FSDP2 and DDP need nothing. Install with --no-build-isolation: its build imports torch.
    "deepspeed": ["deepspeed>=0.18"],
    # No version: torchvision must match the installed torch and come from the same index.
    "vision": ["torchvision"],
    "heif": ["pillow-heif"],
    "parquet": ["pyarrow"],
    # pyarrow: so that the tests read Parquet too.
    "test": ["pytest", "ruff", "pyarrow"],
}
EXTRAS["dev"] = EXTRAS["train"] + EXTRAS["qlora"] + EXTRAS["test"]

setup(
    name="roc-mllm",
    version=VERSION,
    description="A score head for multimodal language models: regression instead of classification",
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    packages=find_packages(include=["roc", "roc.*"]),
    python_requires=">=3.11,<3.14",
    install_requires=[
        "numpy",
        # 11.3 is the first that reads AVIF by itself.
        "pillow>=11.3",
        "pyyaml",
        "safetensors",
        "scipy",
        "torch>=2.6",
        # 5.16: oldest release the tests of head and trainer were run on. Below 6: the head is a subclass of the model's
        # own class and reads the input of its language-model head, which a major release may rearrange.
        "transformers>=5.16,<6",
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
