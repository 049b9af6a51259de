"""What the analytic first step would give: python research/first_step.py [--count 128]

From pure noise D is the mean of the class, whatever the noise: one call a class would do for all
noises, and the first call of a sampling is free. Here the shipped network at sigma = 80, where D of
16 other noises is averaged for each class; 5 calls are then 5 steps, or 6 whose first is free.
Prints Fréchet distances to the fine solution in the classifier's features.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import steindiff as sd
from bed import Bed
from steindiff.denoisers import Denoiser

OTHERS, START = 16, 80.0


@dataclass(frozen=True)
class KnownStart:
    """A denoiser whose D at `START` is the mean of the class, from a table (classes, *shape)."""

    denoiser: Denoiser
    means: Tensor

    def __call__(self, x: Tensor, sigma: Tensor, /, class_labels: Tensor) -> Any:
        if float(sigma[0]) == START:
            return self.means[class_labels]
        return self.denoiser(x, sigma, class_labels=class_labels)


def means(denoiser: Denoiser, shape: tuple[int, ...], classes: int) -> Tensor:
    """(classes, *shape): D of other noises at `START`, averaged."""
    x = sd.noise(shape, START, range(10**6, 10**6 + OTHERS))
    level = torch.full((OTHERS,), START)
    labels = (torch.full((OTHERS,), k) for k in range(classes))
    with torch.no_grad():
        found = [denoiser(x, level, class_labels=label).mean(dim=0) for label in labels]
    return torch.stack(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=128)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    bed = Bed("fashion-mnist", 1.0, range(chosen.count))
    kept = bed.denoiser
    known: Any = KnownStart(kept, means(kept, bed.network.shape, 10))
    for solver in ("gradient_estimation", "ipndm"):
        for name, levels in {
            "log-SNR": sd.schedules.log_snr, "flow, shift 3": sd.schedules.flow_shift,
        }.items():  # fmt: skip
            bed.denoiser = kept
            plain = bed.measure(solver, levels(5))
            bed.denoiser = known
            free = bed.measure(solver, levels(6))
            print(f"{solver}, {name}, 5 calls: {plain['classifier']:.3f}; "
                  f"first step known: {free['classifier']:.3f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
