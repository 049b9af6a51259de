"""How D moves with and without guidance: what the default's gift and law are read from.

    python research/turning.py [--network NAME] [--guidance 4] [--show]

Five steps of a plain solver on flow levels. At the last relaxed step, that of the gift: the cosine
of D's last two moves, and by how much q/(d sigma^2), q = <x, x - D>, has risen since the step
before; mean and standard deviation over the noises. To research/results/turning.json.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

import steindiff as sd
from bed import NETWORKS, Bed, ResultFile, parser
from steindiff._reductions import inner
from steindiff.lab.specs import parse_solver
from steindiff.recipes import flow_levels

RESULTS = Path(__file__).parent / "results" / "turning.json"
FIRST_SEED, COUNT, STEPS = 30_000, 48, 5
SHIFTS, SOLVERS, GUIDANCE = (1, 3), ("euler", "unipc:2"), (1.0, 4.0)


def seen(bed: Bed, solver: str, shift: float) -> tuple[Tensor, Tensor]:
    """(n,) each: the cosine, and the rise of q/(d sigma^2)."""
    levels = flow_levels(STEPS, shift, bed.sigma_max)
    states = sd.sample(
        bed.denoiser, bed.x, levels, parse_solver(solver), None,
        conditioning=bed.conditioning, return_trajectory=True,
    ).trajectory  # fmt: skip
    assert states is not None
    last = STEPS - 2
    near = [(states[k], levels[k]) for k in range(last - 2, last + 1)]
    with torch.no_grad():
        denoised = [bed.denoiser(x, torch.full((len(x),), s), **bed.conditioning) for x, s in near]
    first, second = denoised[1] - denoised[0], denoised[2] - denoised[1]
    cosine = inner(first, second) / (inner(first, first) * inner(second, second)).sqrt()
    shares = [
        inner(x, x - d) / (x[0].numel() * s**2) for (x, s), d in zip(near, denoised, strict=True)
    ]
    return cosine, shares[2] - shares[1]


def measure(bed: Bed) -> dict[str, dict[str, list[float]]]:
    """By "solver, flow shift": mean and standard deviation of both."""
    found = {}
    for solver, shift in itertools.product(SOLVERS, SHIFTS):
        cosine, rise = seen(bed, solver, shift)
        found[f"{solver}, flow {shift}"] = {
            "cosine": [cosine.mean().item(), cosine.std().item()],
            "rise": [rise.mean().item(), rise.std().item()],
        }
    return found


def rows(cells: Mapping[str, Mapping[str, Mapping[str, list[float]]]]) -> list[list[str]]:
    """A row a network and guidance: the range of the means over solvers and levels, and scatter."""
    table = []
    for place, cell in cells.items():
        row = place.split(" ")
        for name in ("cosine", "rise"):
            means = [one[name][0] for one in cell.values()]
            scatter = max(one[name][1] for one in cell.values())
            row.append(f"{min(means):.2f} to {max(means):.2f} (± {scatter:.2f})")
        table.append(row)
    return table


def main() -> None:
    asked = parser(__doc__, RESULTS)
    asked.add_argument("--show", action="store_true", help="print what is there, measure nothing")
    chosen = asked.parse_args()
    torch.set_num_threads(1)
    seeds = range(FIRST_SEED, FIRST_SEED + COUNT)
    results = ResultFile(
        chosen.out, command="python research/turning.py", seeds=[seeds[0], seeds[-1]]
    )
    places = itertools.product(chosen.network or NETWORKS, chosen.guidance or GUIDANCE)
    for network, guidance in [] if chosen.show else places:
        place = f"{network} {guidance:g}"
        if place not in results.cells:
            results.cells[place] = measure(Bed(network, guidance, seeds, runs=None))
            results.write()
    for row in rows(results.cells):
        print(" | ".join(row))


if __name__ == "__main__":
    main()
