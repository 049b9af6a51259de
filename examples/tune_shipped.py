"""Tunes a four-step sampler for the shipped Fashion-MNIST pipeline and uses it: python THIS_FILE.

No network, less than a minute. For a sampler to keep, leave the small numbers out.
The upper row is the pipeline's DPM-Solver++ 2M, the lower one the same noise and calls, tuned.
"""
# pyright: reportPrivateImportUsage=false

from pathlib import Path
from typing import Any

import torch
from diffusers.utils import make_image_grid

import steindiff as sd
from shipped_pipeline import FashionMNISTPipeline
from steindiff.adapters.diffusers import SteinScheduler

OUT = Path("out/tune_shipped.png")


def main() -> None:
    """Tunes, keeps the file, and samples one image of each class before and after."""
    OUT.parent.mkdir(parents=True, exist_ok=True)
    net = sd.load_model("fashion-mnist")
    few: Any = {"noises": 8, "held_out": 16, "fresh": 16, "fine_steps": 8, "calls": 2900}
    tuned = sd.tune(net, 4, conditioning={"class_labels": torch.arange(10)}, **few)
    print(tuned.choices[4].verdict)
    tuned.save(OUT.with_suffix(".json"))

    pipe = FashionMNISTPipeline.from_shipped()
    noise = torch.randn(10, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    plain = pipe(class_labels=range(10), num_inference_steps=4, latents=noise).images
    pipe.scheduler = SteinScheduler.from_tuned(OUT.with_suffix(".json"), pipe)
    after = pipe(class_labels=range(10), num_inference_steps=4, latents=noise).images
    make_image_grid(plain + after, rows=2, cols=10).save(OUT)


if __name__ == "__main__":
    main()
