"""The model card of a starter: what it is made of, what it cannot do yet, and whose work its parts are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from roc.starter.options import StarterOptions
from roc.starter.sizes import Size

if TYPE_CHECKING:
    from roc.starter.build import Starter

_HEADER = """---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
---
"""


def write_card(folder: Path, size: Size, options: StarterOptions, starter: Starter) -> None:
    """Writes README.md.

    Args:
        folder: The folder of the model.
        size: Its parts.
        options: How it was built.
        starter: What was built.
    """
    text = f"""{_HEADER}
# A starter: parts that have not met yet

Built by `roc starter --size {options.size} --image_size {options.image_size} --seed {options.seed}`:
{starter.parameters:,} parameters, a picture becomes {starter.image_tokens} tokens.

{size.story}

**It is blind until it is trained.** The projector between the two parts is random, and nobody has shown this model a
picture together with a text. What it says of a picture means nothing, and it has no score head yet; training attaches
one.

## What it is made of

"""
    for package in size.packages:
        text += (
            f"- **{package.holds}** ({package.licence}, {package.copyright}): from `{package.file}` of the package "
            f"[{package.name}]({package.source}) {package.version}, {package.num_bytes:,} bytes, sha256 "
            f"`{package.sha256}`. Its licence is in `LICENSE.{package.name}`, the whole text in "
            f"`LICENSE`. Changed: renamed to the layers of transformers, {size.changes[package.name]}. Compared tensor "
            f"by tensor after it was written; it gives its recorded numbers, the largest difference is "
            f"{starter.differences[package.name]:.0e}.\n"
        )
    text += """
## Use

```python
from transformers import AutoModelForImageTextToText, AutoProcessor

model = AutoModelForImageTextToText.from_pretrained("FOLDER")
processor = AutoProcessor.from_pretrained("FOLDER")
```

To teach it scores: `roc finetune --model_name_or_path FOLDER --data_path ratings.csv --image_folder photos
--output_dir mine`.
"""
    (folder / "README.md").write_text(text, encoding="utf-8")
