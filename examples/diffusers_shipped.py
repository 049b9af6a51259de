"""The shipped Fashion-MNIST model in diffusers, without and with SteinDiff: python THIS_FILE.

Needs no network and about ten seconds. The upper row is the scheduler alone, the lower one the
same noise and the same six model calls with the relaxed scheduler.
"""
# pyright: reportPrivateImportUsage=false

from pathlib import Path

import torch
from diffusers.utils import make_image_grid

from shipped_pipeline import FashionMNISTPipeline
from steindiff.adapters.diffusers import relax

OUT = Path("out/diffusers_shipped.png")


def main() -> None:
    """Samples one image of each class, twice."""
    pipe = FashionMNISTPipeline.from_shipped()
    noise = torch.randn(10, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    plain = pipe(class_labels=range(10), num_inference_steps=6, latents=noise).images

    relax(pipe)
    relaxed = pipe(class_labels=range(10), num_inference_steps=6, latents=noise).images

    OUT.parent.mkdir(parents=True, exist_ok=True)
    grid = make_image_grid(plain + relaxed, rows=2, cols=10)
    grid.resize((grid.width * 3, grid.height * 3)).save(OUT)
    print(f"wrote {OUT}")


if __name__ == "__main__":
    main()
