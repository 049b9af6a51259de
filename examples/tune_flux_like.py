"""Tunes a sampler for a Flux-like pipeline, tiny and random, and uses it: python THIS_FILE.

With a real one take its prompts' embeddings (pipe.encode_prompt) and leave the small numbers out;
its denoiser is made as in tiny_random.
"""

from pathlib import Path
from typing import Any

import steindiff as sd
from steindiff.adapters.diffusers import SteinScheduler
from tiny_random import flux, flux_denoiser, prompts

OUT, STEPS, GUIDANCE = Path("out/tune_flux_like.json"), 4, 3.5


def main() -> None:
    """Tunes from pure noise, t = 1, on the pipeline's own latents, and samples."""
    OUT.parent.mkdir(parents=True, exist_ok=True)
    pipe = flux()
    text, pooled = prompts(6)
    net = flux_denoiser(pipe, GUIDANCE, 8, 8)
    few: Any = {"noises": 4, "held_out": 16, "fresh": 16, "fine_steps": 6, "calls": 2000}
    given = {"text": text, "pooled": pooled}  # noise k is asked for prompt k mod 6
    tuned = sd.tune(net, STEPS, shape=(16, 16), conditioning=given, **few)
    print(tuned.choices[STEPS].verdict)
    tuned.save(OUT)
    pipe.scheduler = SteinScheduler.from_tuned(OUT, pipe)
    kept: Any = {"prompt_embeds": text[:2], "pooled_prompt_embeds": pooled[:2]}
    pipe(height=16, width=16, num_inference_steps=STEPS, **kept).images[0].save(
        OUT.with_suffix(".png")
    )


if __name__ == "__main__":
    main()
