"""Tunes a guided sampler for an SDXL-like pipeline, tiny and random: python THIS_FILE.

With a real one: steindiff.adapters.diffusers.tune(pipe, prompts=[...], guidance=4.0) is all of it.
"""

from pathlib import Path
from typing import Any

import steindiff as sd
from steindiff.adapters.diffusers import SteinScheduler
from tiny_random import prompts, sdxl, sdxl_denoiser

OUT, STEPS, GUIDANCE = Path("out/tune_sdxl_like.json"), 4, 4.0


def main() -> None:
    """Tunes with guidance on prompts' embeddings and samples the pipeline with the file."""
    OUT.parent.mkdir(parents=True, exist_ok=True)
    pipe = sdxl()
    (text, pooled), (none, none_pooled) = prompts(6), prompts(1, seed=1)
    net = sdxl_denoiser(pipe)
    guided = sd.ClassifierFreeGuidance(net, GUIDANCE, {"text": none, "pooled": none_pooled})
    few: Any = {"noises": 4, "held_out": 16, "fresh": 16, "fine_steps": 6, "calls": 2000}
    few |= {"sigma_min": 0.03, "sigma_max": 14.6}  # as the model was trained
    given = {"text": text, "pooled": pooled}  # noise k is asked for prompt k mod 6
    tuned = sd.tune(guided, STEPS, shape=(4, 8, 8), conditioning=given, **few)
    print(tuned.choices[STEPS].verdict)
    tuned.save(OUT)
    pipe.scheduler = SteinScheduler.from_tuned(OUT, pipe)
    kept: Any = {"prompt_embeds": text[:1], "pooled_prompt_embeds": pooled[:1]}
    kept |= {"negative_prompt_embeds": none, "negative_pooled_prompt_embeds": none_pooled}
    image = pipe(num_inference_steps=STEPS, guidance_scale=GUIDANCE, **kept).images[0]
    image.save(OUT.with_suffix(".png"))


if __name__ == "__main__":
    main()
