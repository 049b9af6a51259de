"""Fits the shared prior: scalars that serve unlike networks together, on any levels.

    python research/fit_prior.py collect
    python research/fit_prior.py fit --out src/steindiff/calibrated/prior.json
    python research/fit_prior.py compare

`collect` calibrates every network to every schedule and number of steps, and keeps the normal
equations of each step in runs/prior, a file a network; what is there is not collected again. Each
network's path is its own: no other network has a say in where its equations are set up.

`fit` solves for the polynomials of `Prior` from all equations at once. The loss of a sample's step
is what its error is worth at the end, |y - sum_j c_j b_j|^2/(|x'| |x*|), y what Euler lacks to the
state x' of the fine solution and x* the final sample: the flow takes out of an error what of it is
noise and keeps the rest, hence both norms. Networks have equal weights. A mean of scalars that were
fitted one by one would mix solutions along directions that the data hardly show (the differences of
D are nearly parallel), and would belong to nobody.

`compare` leaves each network out in turn and tells what is left of Euler's error by what the others
agree on, beside what the network's own scalars leave.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bed import Network, load_network
from bed.rotation import rotation
from recipe import HIGHEST, LOWEST
from recipe import levels_of as plain_levels
from steindiff._files import sha256, write_text
from steindiff._provenance import command_line, versions
from steindiff._reductions import inner
from steindiff.calibrated.fit import Equations, normal_equations, solve
from steindiff.calibrated.path import FewStepPath, Rows, fine_solution
from steindiff.calibrated.prior import SHIPPED, SIZES, Prior, powers, save_prior
from steindiff.calibrated.run import SEED
from steindiff.calibrated.solver import KEEP, Scalars, differences, multistep_scalars
from steindiff.recipes import LEAD, leading_levels, lowest_level
from steindiff.sampling import noise
from steindiff.solvers.euler import euler_candidate

SCHEDULES = ("recipe", "karras", "log_snr", "vp_time", "flow 1", "flow 3")
STEPS = (4, 5, 6, 8, 10, 12, 16, 20)
SEEDS = range(2 * SEED, 2 * SEED + 32)
FINE_STEPS, BATCH = 30, 64
OWN_RIDGE, RIDGE = 0.01, 1e-5
FITTED = ("fashion-mnist", "digits-mixer", "emoji-transformer", "photos-resnet", "latent-emoji")
"""The networks behind the shipped prior."""
RUNS = Path(__file__).parents[1] / "runs" / "prior"


@dataclass(frozen=True)
class FittedStep:
    """A step of a calibrated path.

    Attributes:
        h: in -ln sigma.
        before: that of the step before; None for the first.
        euler: the loss of Euler's step.
        equations: its normal equations.
    """

    h: float
    before: float | None
    euler: float
    equations: Equations

    def loss(self, scalars: Sequence[float]) -> float:
        """The loss with these scalars."""
        return self.euler - 1 + self.equations.loss(scalars)


Paths = Mapping[tuple[str, int], Sequence[FittedStep]]
"""The paths of a network, by schedule and number of steps."""


def levels_of(schedule: str, steps: int) -> list[float]:
    """The levels of a schedule; those of the recipe end in 0."""
    if schedule == "recipe":
        return list(leading_levels(steps, lowest_level(steps), HIGHEST, LEAD))
    return plain_levels(schedule, steps)


def collect(
    network: Network, schedules: Iterable[str] = SCHEDULES, counts: Iterable[int] = STEPS,
    seeds: range = SEEDS, fine_steps: int = FINE_STEPS,
) -> Paths:  # fmt: skip
    """Calibrates the network to every schedule and number of steps; rows of labels in turn."""
    x = noise(network.shape, HIGHEST, seeds)
    rows = Rows(network.denoiser, network.conditioning_of(seeds), BATCH, lambda done: None)
    found = {}
    with torch.no_grad():
        fine = fine_solution(rows, x, (HIGHEST, LOWEST), fine_steps)
        for schedule in schedules:
            for count in counts:
                levels = [level for level in levels_of(schedule, count) if level > 0]
                found[schedule, count] = calibrated(FewStepPath(rows, x, levels, fine), fine.x)
    return found


def calibrated(path: FewStepPath, final: Tensor) -> list[FittedStep]:
    """Takes a path to its end under the scalars that fit it best, and keeps its equations."""
    found: list[FittedStep] = []
    for i, wanted in enumerate(multistep_scalars(path.levels)):
        target, (high, low) = path.targets[i], path.levels[i : i + 2]
        equations = path.equations()
        missing = target - euler_candidate(path.x, path.history.values[0], high, low)
        unit = (inner(target, target) * inner(final, final)).sqrt()
        worth = normal_equations(missing, differences(path.history, path.x, low), unit)
        euler = float((inner(missing, missing) / unit).mean())
        h = math.log(high / low)
        found.append(FittedStep(h, found[-1].h if found else None, euler, worth))
        path.advance(solve(equations, wanted, OWN_RIDGE))
    return found


def fit(tables: Mapping[str, Paths], ridge: float = RIDGE) -> Prior:
    """The prior of these networks, without its provenance.

    Raises:
        ValueError: no path of three steps or more.
    """
    steps = [step for paths in tables.values() for path in paths.values() for step in path]
    if not any(len(step.equations.right) == KEEP for step in steps):
        raise ValueError("tables has no path of three steps or more; one at least is needed")
    spans = [step.h for step in steps]
    second, later = (polynomials(tables, *SIZES[name], ridge) for name in ("second", "later"))
    return Prior(second, later, _short(min(spans)), _short(max(spans)), {})


def polynomials(tables: Mapping[str, Paths], terms: int, count: int, ridge: float) -> Scalars:
    """The scalars of steps that take `count` of them: a row for each of so many `powers`."""
    parts = []
    for paths in tables.values():
        steps = [step for path in paths.values() for step in path]
        steps = [step for step in steps if len(step.equations.right) == count]
        whole = sum(step.euler for step in steps)
        parts += [weighted(step, len(tables) * whole, terms) for step in steps]
    matrix, right = (torch.stack(found).sum(dim=0) for found in zip(*parts, strict=True))
    found = solve(Equations(matrix, right), [0.0] * len(right), ridge)
    rows = [found[k : k + count] for k in range(0, len(found), count)]
    return tuple(tuple(map(_short, row)) for row in rows)


def weighted(step: FittedStep, whole: float, terms: int) -> Equations:
    """A step's equations for the polynomials in place of its scalars, over a whole of losses."""
    assert step.before is not None
    q, before = (1 - math.exp(-h) for h in (step.h, step.before))
    values = torch.tensor(powers(q, before)[:terms], dtype=torch.float64)
    return Equations(
        torch.kron(torch.outer(values, values), step.equations.matrix) / whole,
        torch.kron(values, step.equations.right) / whole,
    )


def _short(value: float) -> float:
    """As the file has it: the noises that were drawn leave fewer digits certain than these."""
    return float(f"{value:.6g}")


def compare(tables: Mapping[str, Paths]) -> dict[str, dict[str, float]]:
    """By network left out: what the others' prior and its own scalars leave of Euler's error.

    Each is the root of a ratio of losses, summed over the steps from the second on.
    """

    def report(prior: Prior, paths: Paths) -> dict[str, float]:
        left = {"euler": 0.0, "prior": 0.0, "own": 0.0}
        for (schedule, count), path in paths.items():
            levels = [level for level in levels_of(schedule, count) if level > 0]
            for step, scalars in list(zip(path, prior.scalars(levels), strict=True))[1:]:
                own = solve(step.equations, [0.0] * len(scalars), OWN_RIDGE)
                left["euler"] += step.euler
                left["prior"] += step.loss(scalars)
                left["own"] += step.loss(own)
        return {name: math.sqrt(left[name] / left["euler"]) for name in ("prior", "own")}

    return {found.network: found.figure for found in rotation(tables, fit, report)}


class Store:
    """The equations of networks, a file each."""

    def __init__(self, folder: Path = RUNS) -> None:
        self.folder = folder

    def paths(self, network: str) -> Paths | None:
        """What was collected from a network; None if nothing was."""
        path = self.folder / f"{network}.json"
        if not path.is_file():
            return None
        content = json.loads(path.read_text())
        return {
            (name.rpartition(" ")[0], int(name.rpartition(" ")[2])): [_step(one) for one in steps]
            for name, steps in content["paths"].items()
        }

    def save(self, network: Network, paths: Paths) -> None:
        """Writes what was collected, whole or not at all."""
        content = {
            "network": network.name,
            "hash": network.hash,
            "paths": {
                f"{schedule} {count}": [_table(step) for step in path]
                for (schedule, count), path in paths.items()
            },
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self.folder / f"{network.name}.json", json.dumps(content))

    def hashes(self) -> dict[str, str]:
        """SHA-256 of every file of `FITTED`."""
        return {name: sha256(self.folder / f"{name}.json") for name in FITTED}

    def tables(self) -> dict[str, Paths]:
        """Those of all networks of `FITTED`.

        Raises:
            FileNotFoundError: a network that nothing was collected from.
        """
        found = {name: self.paths(name) for name in FITTED}
        for name, paths in found.items():
            if paths is None:
                raise FileNotFoundError(f"{self.folder} has no {name}.json; `collect` makes it")
        return {name: paths for name, paths in found.items() if paths is not None}


def _table(step: FittedStep) -> dict[str, Any]:
    matrix, right = step.equations
    return {
        "h": step.h, "before": step.before, "euler": step.euler,
        "matrix": matrix.tolist(), "right": right.tolist(),
    }  # fmt: skip


def _step(content: Mapping[str, Any]) -> FittedStep:
    matrix, right = (
        torch.tensor(content[name], dtype=torch.float64) for name in ("matrix", "right")
    )
    return FittedStep(content["h"], content["before"], content["euler"], Equations(matrix, right))


def script_command(name: str) -> str:
    """The command that is running, of a script of this folder."""
    return command_line().replace("steindiff", f"python research/{name}", 1)


def provenance(tables: Mapping[str, Paths], ridge: float) -> dict[str, Any]:
    """What the prior comes from; its numbers of steps by network."""
    return {
        "networks": {name: load_network(name).hash for name in FITTED},
        "schedules": list(SCHEDULES),
        "steps": {name: sorted({count for _, count in paths}) for name, paths in tables.items()},
        "noises": len(SEEDS),
        "seed": SEEDS[0],
        "fine_steps": FINE_STEPS,
        "ridge": ridge,
        "command": script_command("fit_prior.py"),
        "versions": versions("steindiff", "torch"),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("stage", choices=("collect", "fit", "compare"))
    parser.add_argument("--out", type=Path, default=SHIPPED, help="JSON file for the prior")
    options = parser.parse_args()
    torch.set_num_threads(1)
    store = Store()
    if options.stage == "collect":
        for name in FITTED:
            if store.paths(name) is None:
                network = load_network(name)
                store.save(network, collect(network))
                print(name, flush=True)
    elif options.stage == "fit":
        tables = store.tables()
        save_prior(options.out, replace(fit(tables), provenance=provenance(tables, RIDGE)))
    else:
        for name, figures in compare(store.tables()).items():
            print(name, *(f"{kind} {figure:.3f}" for kind, figure in figures.items()))


if __name__ == "__main__":
    main()
