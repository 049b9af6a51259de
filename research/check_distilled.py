"""What the guidance-distilled student is worth: its error by noise level, and its fine samples.

    python research/check_distilled.py

Relative rms error of D against the guided teacher on states of samplings that it did not learn
from, at w = 1, 2, 4, 7, and beside it the same of the teacher without guidance, which is what the
student began as; and distances of its fine samples to the teacher's fine guided samples from the
same noises, again beside the unguided ones. Prints JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import torch
from torch import Tensor

import steindiff as sd
from bed import Bed
from families.distilled import DISTILLED, TEACHER, load_distilled
from families.weights import WEIGHTS
from steindiff.models import load_model
from train_distilled import States, guided_target, states_of

GUIDANCES = (1.0, 2.0, 4.0, 7.0)
BANDS = (80.0, 20.0, 5.0, 1.0, 0.2, 0.002)
FRESH_SEED, FRESH = 2_000_000, 64
FIRST_SEED, COUNT = 30_000, 100


def errors(folder: Path = WEIGHTS) -> dict[str, dict[str, tuple[float, float]]]:
    """By w and band of noise levels: the student's relative error, and the unguided teacher's."""
    teacher, found = load_model(TEACHER), {}
    for k, guidance in enumerate(GUIDANCES):
        seeds = range(FRESH_SEED + FRESH * k, FRESH_SEED + FRESH * (k + 1))
        levels = sd.schedules.karras(11, sigma_min=0.01, rho=10.0)
        states = states_of(teacher, 1000 + k, guidance, seeds, "dpmpp_2m", levels)
        with torch.no_grad():
            student = load_distilled(guidance, folder=folder)(states.x, states.sigma, states.labels)
        found[f"{guidance:g}"] = by_band(states, student)
    return found


def by_band(states: States, student: Tensor) -> dict[str, tuple[float, float]]:
    target = guided_target(states, torch.arange(len(states.x)), states.guidance)
    found = {}
    for high, low in itertools.pairwise(BANDS):
        inside = (states.sigma <= high) & (states.sigma > low)
        size = target[inside].norm()
        found[f"{high:g}-{low:g}"] = (
            round(((student - target)[inside].norm() / size).item(), 4),
            round(((states.conditional - target)[inside].norm() / size).item(), 4),
        )
    return found


def distances(guidance: float, seeds: range) -> dict[str, dict[str, float]]:
    """Fine samples of the student and of the unguided teacher, from the guided teacher's."""
    teacher = Bed(TEACHER, guidance, seeds)
    fine = {"student": Bed(DISTILLED, guidance, seeds), "unguided": Bed(TEACHER, 1.0, seeds)}
    return {
        name: {key: round(value, 4) for key, value in teacher.distances(bed.fine(0.002)).items()}
        for name, bed in fine.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=COUNT, help="of the distances; 0: none")
    options = parser.parse_args()
    print(json.dumps({"errors": errors()}, indent=1), flush=True)
    seeds = range(FIRST_SEED, FIRST_SEED + options.samples)
    for guidance in GUIDANCES[1:] if options.samples else ():
        print(json.dumps({f"{guidance:g}": distances(guidance, seeds)}), flush=True)


if __name__ == "__main__":
    main()
