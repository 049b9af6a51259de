"""The model card of a saved pipeline, so that its folder can be uploaded as it is."""

from __future__ import annotations

import shutil
from pathlib import Path

from steindiff import models

_SOURCE = Path(models.__file__).parent / "fashion-mnist"


def write_card(folder: Path) -> None:
    """README.md with the hub's header, made from the shipped model's card, and its pictures."""
    card = (_SOURCE / "card.md").read_text(encoding="utf-8")
    (folder / "README.md").write_text(_HEADER + card + _USE, encoding="utf-8")
    for picture in _SOURCE.glob("*.png"):
        shutil.copyfile(picture, folder / picture.name)


_HEADER = """\
---
license: apache-2.0
library_name: diffusers
pipeline_tag: unconditional-image-generation
tags:
- diffusers
- diffusion
- class-conditional
- fashion-mnist
- steindiff
---

"""

_USE = """
## Use

With `pip install 'steindiff[diffusers]'` and SteinDiff's `examples/` on the Python path; `FOLDER`
is this repository's name, or where it lies:

```python
from steindiff.adapters.diffusers import relax
from shipped_pipeline import FashionMNISTPipeline

pipe = FashionMNISTPipeline.from_pretrained("FOLDER")
relax(pipe)
images = pipe(class_labels=range(10), num_inference_steps=6).images
```

Any ODE scheduler of diffusers may take the place of the one that is stored.
"""
