"""What docs/tune.md rests on: `sd.tune` beside every plain choice, on noises that it has not seen.

    python research/tune.py [--network NAME] [--guidance 1] [--steps 5] [--kind fitted]

`--kind gits` and `gits-3` measure a peer in place of a tuning: the levels of GITS for this network
with iPNDM-4 and -3, as published (Chen et al. 2024, arXiv 2405.11326).

For every network, guidance and number of steps: `sd.tune` with and without fitting, on noises from
seed 2,000,000,000 on, judged on the noises of research/results/recipe.json. Results go to
research/results/tune.json after every cell; started again it goes on. What is printed are ratios to
the best plain choice with hindsight in recipe.json, one a feature set.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import recipe
import steindiff as sd
from bed import NETWORKS, Bed, ResultFile, parser
from steindiff import tuning
from steindiff._files import digest, sha256
from steindiff.solvers import IPNDM
from steindiff.tuning.file import write_choice
from steindiff.tuning.motion import gits_levels

RESULTS = Path(__file__).parent / "results" / "tune.json"
RUNS = Path(__file__).parents[1] / "runs" / "tune"
KINDS = {"chosen": False, "fitted": True}
PEERS = {"gits": 4, "gits-3": 3}
TEACHER = 256, 60  # noises and steps of GITS' trajectory


def tuned(bed: Bed, guidance: float, steps: Sequence[int], fit: bool) -> sd.Tuned:
    """With and without fitting share their fine solutions and candidates, in runs/tune."""
    network = bed.network
    code = "".join(sha256(path) for path in sorted(Path(tuning.__file__).parent.glob("*.py")))
    return sd.tune(
        network.denoiser, steps, guidance=guidance, shape=network.shape, fit=fit,
        conditioning=network.conditioning, model=network.name, model_hash=network.hash,
        folder=RUNS / f"{network.name}-{guidance:g}-{digest(code)[:12]}",
    )  # fmt: skip


def measured(bed: Bed, found: sd.Tuned, steps: int) -> dict[str, Any]:
    """The distances on the bed, and what the tuning itself says."""
    one, plan = found.choices[steps], found.recipe(steps)
    about = write_choice(one)
    about = {key: about[key] for key in ("kind", "recipe", "figures", "against_plain", "passed")}
    about |= {"first": one.tried[0].words, "calls": found.calls}
    return {**bed.measure(plan.solver, plan.sigmas, plan.coefficient, plan.end), "about": about}


def gits(bed: Bed, steps: int, order: int, noises: int = TEACHER[0]) -> dict[str, Any]:
    """The distances on the bed of GITS, which is given noises of the tuning's."""
    network, levels = bed.network, sd.schedules.karras(TEACHER[1], bed.sigma_min, bed.sigma_max)
    seeds, told = range(tuning.SEED, tuning.SEED + noises), []
    run = sd.sample(
        network.denoiser, sd.noise(network.shape, bed.sigma_max, seeds), levels, IPNDM(order=4),
        None, conditioning=network.conditioning_of(list(seeds)), return_trajectory=True,
        callback=lambda progress: told.append(progress.denoised),
    )  # fmt: skip
    sigmas, states = levels.tolist(), torch.stack(list(run.trajectory or ()))
    slopes = [(x - d) / sigma for x, d, sigma in zip(states, told, sigmas, strict=False)]
    found = gits_levels(sigmas, states, slopes, steps)
    about = {"kind": "gits", "levels": found, "noises": noises, "order": order}
    return {**bed.measure(IPNDM(order=order), found), "about": about}


def best_plain(network: str, guidance: float, steps: int) -> Mapping[str, float]:
    """The least distance of a plain choice in each feature set, from recipe.json."""
    cells = json.loads(recipe.RESULTS.read_text())["cells"].get(
        f"{network} {guidance:g} {steps}", {}
    )
    plain = [figures for name, figures in cells.items() if " on " in name]
    names = [key for one in plain[:1] for key in one if key != "about"]
    return {name: min(one[name] for one in plain) for name in names}


def main() -> None:
    asked = parser(__doc__, RESULTS)
    asked.add_argument("--steps", type=int, action="append")
    asked.add_argument("--kind", action="append", choices=[*KINDS, *PEERS])
    chosen = asked.parse_args()
    torch.set_num_threads(1)
    seeds = [recipe.FIRST_SEED, recipe.FIRST_SEED + recipe.COUNT - 1]
    results = ResultFile(chosen.out, command="python research/tune.py", seeds=seeds)
    for guidance, network in itertools.product(
        chosen.guidance or [1.0, 4.0], chosen.network or NETWORKS
    ):
        bed = recipe.bed_of(network, guidance)
        for kind, steps in itertools.product(chosen.kind or KINDS, chosen.steps or [5, 8]):
            cell = results.cells.setdefault(f"{network} {guidance:g} {steps}", {})
            if kind not in cell:
                began = time.process_time()
                if kind in PEERS:
                    cell[kind] = gits(bed, steps, PEERS[kind])
                else:
                    found = tuned(bed, guidance, [steps], KINDS[kind])
                    cell[kind] = measured(bed, found, steps)
                cell[kind]["about"]["seconds"] = round(time.process_time() - began)
                results.write()
            ratios = {
                name: round(cell[kind][name] / least, 3)
                for name, least in best_plain(network, guidance, steps).items()
            }
            print(network, f"{guidance:g}", steps, kind, cell[kind]["about"]["kind"],
                  cell[kind]["about"]["seconds"], "s", ratios, flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
