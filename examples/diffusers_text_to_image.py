"""Stable Diffusion 1.x or 2.x with few steps: python THIS_FILE MODEL, a folder or a hub id.

Begin with 10 steps: the more there are, the less is left for SteinDiff to correct.
"""
# pyright: reportPrivateImportUsage=false, reportAttributeAccessIssue=false, reportCallIssue=false

import argparse

import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

from steindiff.adapters.diffusers import relax


def main() -> None:
    """Samples one image and saves it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="folder or hub id of a Stable Diffusion pipeline")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--prompt", default="a lighthouse on a cliff at dawn, oil painting")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="text_to_image.png")
    args = parser.parse_args()

    device = "mps" if torch.backends.mps.is_available() else "cpu"
    device = "cuda" if torch.cuda.is_available() else device
    dtype = torch.float32 if device == "cpu" else torch.float16
    pipe = StableDiffusionPipeline.from_pretrained(args.model, dtype=dtype).to(device)
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    relax(pipe)
    generator = torch.Generator("cpu").manual_seed(args.seed)  # the same noise on any device
    images = pipe(args.prompt, num_inference_steps=args.steps, generator=generator).images
    images[0].save(args.out)
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
