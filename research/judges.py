"""Which part of a network, told which noise, ranks guided samplings as features it never saw do.

    python research/judges.py [--network NAME]

The plain samplings of research/results/search.json and 108 relaxed ones, at guidance 4 and 5 calls,
from the 48 noises that a tuning ranks on. Their distances to the fine solution, in random
convolutions and in what parts of the network see, go to research/results/judges.json. Printed is,
for judges made of them, the rank correlation with the classifier's and the random features of
search.json, which are of other noises, and what the first choice is in these, over the best plain.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

import search
import steindiff as sd
from bed import ResultFile, load_network
from recipe import levels_of
from steindiff.lab.specs import parse_solver
from steindiff.recipes import Recipe
from steindiff.trajectory import FineSolution
from steindiff.tuning import SEED
from steindiff.tuning.batch import Batch
from steindiff.tuning.features import Inner, RandomFeatures, pooled, without_guidance
from steindiff.tuning.frechet import frechet
from steindiff.tuning.network import hooked, module_in
from steindiff.tuning.ranks import SharedRows
from steindiff.tuning.trials import Noises

RESULTS = Path(__file__).parent / "results" / "judges.json"
NETWORKS = ("digits-mixer", "emoji-transformer", "fashion-mnist")
GUIDANCE, STEPS, FIRST, COUNT = 4.0, 5, SEED + 32, 48
SHARES, DEPTHS = (0.15, 0.04), (0.2, 0.35, 0.5, 0.65, 0.8, 0.95)
BASES, ENDS = ("unipc:2", "ipndm:3"), ("none", "steady", "stein")
JUDGES: dict[str, Sequence[str]] = {
    "convolutions": ["conv"],
    "and the middle, 0.6": ["conv", "middle"],
    **{f"and {depth} through, {share}": ["conv", f"{share} {depth}"]
       for share, depth in itertools.product(SHARES, (0.5, 0.8, 0.95))},
}  # fmt: skip


def recipes() -> Iterator[tuple[str, Recipe]]:
    """Samplings by their names in search.json."""
    for schedule, solver in itertools.product(search.SCHEDULES, search.PLAIN):
        levels = tuple(levels_of(schedule, STEPS))
        yield f"{solver} on {schedule}", Recipe(levels, parse_solver(solver), None, "none", "")
    parts = itertools.product(search.shapes(STEPS, GUIDANCE), BASES, search.GIFTS.items(), ENDS)
    for (shape, levels), base, (gift, rule), end in parts:
        yield f"{shape}|{base}|{gift}|{end}", Recipe(levels, parse_solver(base), rule, end, "")


def seen(noises: Noises, random: RandomFeatures, inner: Inner, x: Tensor) -> dict[str, Tensor]:
    """Features of samples in each set."""
    bare = without_guidance(noises.rows, len(x))
    found = {"conv": random(x), "middle": inner(noises.rows, x)}
    module, size = module_in(bare.denoiser), float(noises.fine.double().square().mean().sqrt())
    assert module is not None
    parts = [part for part in module.modules() if part is not module]
    for share in SHARES:
        told: list[Tensor] = []

        def note(part: object, given: object, output: object, told: list[Tensor] = told) -> None:
            if isinstance(output, Tensor) and output.ndim > 2 and len(output) == len(x):
                told.append(pooled(output))

        with torch.no_grad(), hooked(parts, note):
            bare(x, torch.full((len(x),), share * size))
        found |= {f"{share} {depth}": told[int(depth * len(told))] for depth in DEPTHS}
    return {name: one.double() for name, one in found.items()}


def measured(network: str) -> dict[str, dict[str, float]]:
    """The distances of every sampling that does not diverge."""
    net, seeds = load_network(network, GUIDANCE), list(range(FIRST, FIRST + COUNT))
    rows = SharedRows(net.denoiser, net.conditioning_of(seeds), Batch(64), lambda done: None)
    x = sd.noise(net.shape, search.HIGHEST, seeds)
    with torch.no_grad():
        fine = FineSolution(rows, x, {}, 30, 0.002, search.HIGHEST).x
    noises, random = Noises(rows, x, fine), RandomFeatures(fine)
    inner = Inner(noises)
    wanted, found = seen(noises, random, inner, fine), {}
    for name, plan in recipes():
        sampled = noises.sampled(plan)
        if sampled is not None:
            own = seen(noises, random, inner, sampled)
            found[name] = {key: float(f"{frechet(own[key], wanted[key]):.5g}") for key in wanted}
    return found


def ranks(values: Sequence[float]) -> Tensor:
    return torch.tensor(values).argsort().argsort().double()


def judged(cell: Mapping[str, Mapping[str, float]], network: str) -> None:
    """Prints what each judge makes of the samplings."""
    truth = json.loads(search.RESULTS.read_text())["cells"][f"{network} {GUIDANCE:g} {STEPS}"]
    names = [name for name in cell if math.isfinite(truth.get(name, {}).get("rmse", math.inf))]
    for judge, sets in JUDGES.items():
        scores = [math.prod(max(cell[name][key], 1e-9) for key in sets) for name in names]
        first, said = names[scores.index(min(scores))], []
        for key in ("classifier", "random"):
            least = min(one[key] for name, one in truth.items() if " on " in name)
            pair = torch.stack([ranks(scores), ranks([truth[name][key] for name in names])])
            said.append(f"{key} {pair.corrcoef()[0, 1]:.2f}, first {truth[first][key] / least:.2f}")
        print(f"{network:18} {judge:24}", "  ".join(said), first)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", action="append", choices=NETWORKS)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    seeds = [FIRST, FIRST + COUNT - 1]
    results = ResultFile(RESULTS, command="python research/judges.py", seeds=seeds)
    for network in chosen.network or NETWORKS:
        if network not in results.cells:
            results.cells[network] = measured(network)
            results.write()
        judged(results.cells[network], network)


if __name__ == "__main__":
    main()
