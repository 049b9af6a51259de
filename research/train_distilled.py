"""Trains the guidance-distilled student of the shipped network and writes its differences.

    python research/train_distilled.py --out runs/distilled

No images: it learns from the states that the guided teacher itself passes through, in samplings of
6 to 16 steps by four solvers on levels of several shapes, at a w of its own for each of the groups.
The states are computed once and kept under --out. Started again with the same command it goes on
from what is there; every batch is a function of (seed, step) alone.
"""

from __future__ import annotations

import argparse
import json
import math
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call

import steindiff as sd
from families.distilled import (
    STRONGEST,
    TEACHER,
    Differences,
    distilled_path,
    save_differences,
)
from families.weights import WEIGHTS
from steindiff._files import write_text, write_whole
from steindiff.models import UNetDenoiser, load_model
from training import Plan, averaged, cosine, curve_of, train

GROUPS, NOISES = 32, 32
FIRST_SEED = 1_000_000
"""Seeds of the noises from here on: far from those that anything is judged on."""
SOLVERS = ("euler", "dpmpp_2m", "unipc", "ipndm")
RHOS = (3.0, 7.0, 30.0)
SPREAD = 0.5
"""A state of a sampling at w is also learned from at w up to so much away."""
LEARNING_RATE, AVERAGE_DECAY = 3e-3, 0.997
BATCH, STEPS = 32, 2000
FINISHING, FINISHING_RATE, FINISHING_DECAY = 300, 2e-3, 0.99
"""Steps with the root of each sample's loss: the square is that of high noise."""
LEAST = 0.02
GOLDEN = (math.sqrt(5) - 1) / 2


class States(NamedTuple):
    """States of one group of samplings, in the order of their levels.

    Attributes:
        x, conditional, unconditional: the states and the teacher's two answers, (N, C, H, W).
        sigma: (N,).
        labels: (N,).
        guidance: w of the samplings.
    """

    x: Tensor
    conditional: Tensor
    unconditional: Tensor
    sigma: Tensor
    labels: Tensor
    guidance: float


@torch.no_grad()
def states_of(
    teacher: UNetDenoiser, group: int, guidance: float, seeds: range, solver: str, levels: Tensor
) -> States:
    """The states that the guided teacher is asked about in one sampling."""
    labels = torch.randint(10, (len(seeds),), generator=torch.Generator().manual_seed(group))
    seen: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def guided(x: Tensor, sigma: Tensor | float) -> Tensor:
        level = torch.as_tensor(sigma, dtype=torch.float32).expand(len(x))
        both = torch.cat([labels, torch.full_like(labels, teacher.null_label)])
        found = teacher(torch.cat([x, x]), torch.cat([level, level]), both)
        conditional, unconditional = found.chunk(2)
        seen.append((x, conditional, unconditional, level))
        return unconditional + guidance * (conditional - unconditional)

    x = sd.noise(teacher.sample_shape, float(levels[0]), seeds)
    sd.sample(guided, x, levels, solver, None, end="none")
    x, conditional, unconditional, sigma = (torch.cat(part) for part in zip(*seen, strict=True))
    return States(x, conditional, unconditional, sigma, labels.repeat(len(seen)), guidance)


def group_of(teacher: UNetDenoiser, group: int) -> States:
    """What is learned from: w, steps and levels run through their ranges with the group."""
    generator = torch.Generator().manual_seed(7_000_003 + group)
    steps = int(torch.randint(6, 17, (), generator=generator))
    lowest = 0.002 * 20 ** float(torch.rand((), generator=generator))
    rho = RHOS[int(torch.randint(len(RHOS), (), generator=generator))]
    guidance = 1 + (STRONGEST - 1) * ((0.5 + GOLDEN * group) % 1)
    first = FIRST_SEED + NOISES * group
    levels = sd.schedules.karras(steps, sigma_min=lowest, rho=rho)
    solver = SOLVERS[group % len(SOLVERS)]
    return states_of(teacher, group, guidance, range(first, first + NOISES), solver, levels)


def prepared(teacher: UNetDenoiser, folder: Path, groups: int) -> list[States]:
    """The states of all groups, from `folder` where they are there."""
    found = []
    for group in range(groups):
        path = folder / f"states-{group}.pt"
        if not path.is_file():
            states = group_of(teacher, group)
            write_whole(path, partial(torch.save, tuple(states)))
            print(f"group {group}: w {states.guidance:.2f}, {len(states.x)} states", flush=True)
        found.append(States(*torch.load(path, weights_only=True)))
    return found


def guided_target(states: States, picked: Tensor, guidance: float) -> Tensor:
    unconditional = states.unconditional[picked]
    return unconditional + guidance * (states.conditional[picked] - unconditional)


def train_student(
    teacher: UNetDenoiser,
    data: list[States],
    steps: int,
    finishing: int,
    seed: int,
    checkpoint: Path,
) -> None:
    """Trains from `checkpoint`, or from the start where there is none, to the last step."""
    torch.manual_seed(seed)
    differences = Differences(teacher)

    def loss(step: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        states = data[int(torch.randint(len(data), (), generator=generator))]
        picked = torch.randint(len(states.x), (BATCH,), generator=generator)
        away = SPREAD * (2 * float(torch.rand((), generator=generator)) - 1)
        guidance = min(max(states.guidance + away, 1.0), STRONGEST)
        sigma = states.sigma[picked]
        inputs = states.x[picked], sigma, states.labels[picked]
        found = functional_call(teacher, differences(teacher, guidance), inputs)
        error = (found - guided_target(states, picked, guidance)).square().mean(dim=(1, 2, 3))
        scale = (sigma * teacher.config.sigma_data) ** 2 / (sigma**2 + teacher.config.sigma_data**2)
        if step < steps:
            return (error / scale).mean() / guidance  # errors grow with w
        return (error / scale + LEAST**2).sqrt().mean()

    def rate(step: int) -> float:
        if step < steps:
            return cosine(LEARNING_RATE, step, steps)
        return FINISHING_RATE * (steps + finishing - step) / finishing

    plan = Plan(
        steps + finishing,
        rate=rate,
        decay=lambda step: AVERAGE_DECAY if step < steps else FINISHING_DECAY,
        weight_decay=0.0,
    )
    train(differences, loss, plan, checkpoint)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of states and checkpoint")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of the differences")
    parser.add_argument("--groups", type=int, default=GROUPS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--finishing", type=int, default=FINISHING)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--export-only", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    checkpoint = options.out / "checkpoint.pt"
    teacher = load_model(TEACHER)
    if not options.export_only:
        data = prepared(teacher, options.out, options.groups)
        train_student(teacher, data, options.steps, options.finishing, options.seed, checkpoint)
    differences = averaged(Differences(teacher), checkpoint)
    save_differences(distilled_path(options.weights), differences)
    saved = curve_of(checkpoint)
    write_text(options.out / "curve.json", json.dumps(saved["curve"]))
    figures = {
        "parameters": sum(p.numel() for p in differences.parameters()),
        "steps": saved["step"],
        "seconds": round(saved["seconds"]),
        "loss": saved["curve"][-1][1],
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
