"""Fits the shared prior: scalars that serve unlike networks together, for the usual levels.

    python research/fit_prior.py --out src/steindiff/calibrated/prior.json
    python research/fit_prior.py --leave-out digits-mixer --out out/prior-without-digits.json

Each step's scalars solve one least squares problem over all networks. Every network contributes
the equations of its own few-step path, as the shared scalars of the steps before have left it, and
its loss is relative to what Euler's step lacks there, so that each has the same say. A mean of
scalars that were fitted one by one would mix solutions along directions that the data hardly show
(the differences of D are nearly parallel), and would belong to nobody's path.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bed import Network, load_network
from steindiff._errors import unknown_name
from steindiff._provenance import command_line, versions
from steindiff.calibrated.path import FewStepPath, Rows, fine_solution
from steindiff.calibrated.prior import Entry, Prior, save_prior
from steindiff.calibrated.run import SEED, fit_paths, prior_scalars
from steindiff.calibrated.solver import Scalars
from steindiff.lab.specs import parse_range
from steindiff.sampling import noise
from steindiff.schedules import SCHEDULES
from steindiff.trajectory import FineSolution

SIGMA_MIN, SIGMA_MAX = 0.002, 80.0
USUAL = ("karras", "log_snr", "vp_time")
BATCH = 64
FITTED = ("fashion-mnist", "digits-mixer", "emoji-transformer", "photos-resnet")
"""The networks behind the shipped prior."""


@dataclass(frozen=True)
class Fit:
    """A network with its fine trajectories from the noises that are fitted on."""

    network: Network
    rows: Rows
    x: torch.Tensor
    fine: FineSolution

    def path(self, levels: Sequence[float]) -> FewStepPath:
        """A few-step path from these noises."""
        return FewStepPath(self.rows, self.x, levels, self.fine)


def make_fit(network: Network, seeds: range, fine_steps: int) -> Fit:
    """The network with its fine trajectories; rows of the conditioning are used in turn."""
    x = noise(network.shape, SIGMA_MAX, seeds)
    rows = Rows(network.denoiser, network.conditioning_of(seeds), BATCH, lambda done: None)
    with torch.no_grad():
        fine = fine_solution(rows, x, (SIGMA_MAX, SIGMA_MIN), fine_steps)
    return Fit(network, rows, x, fine)


@dataclass(frozen=True)
class Fitted:
    """The shared scalars for one set of levels, and what came of them.

    Attributes:
        shared, own: by network, the relative root mean square error of the last state under the
            shared scalars, and under those fitted to this network by itself.
    """

    entry: Entry
    shared: dict[str, float]
    own: dict[str, float]


def fit_entry(
    schedule: str, steps: int, networks: Sequence[Fit], others: Sequence[Fit],
    prior: str, ridge: float,
) -> Fitted:  # fmt: skip
    """Fits the scalars of one schedule and number of steps to `networks`; `others` only follow."""
    levels = SCHEDULES[schedule](steps, SIGMA_MIN, SIGMA_MAX).tolist()
    wanted = prior_scalars(prior, levels)[1]
    together = [network.path(levels) for network in (*networks, *others)]
    scalars = fit_paths(together[: len(networks)], wanted, ridge, together[len(networks) :])
    alone = [network.path(levels) for network in (*networks, *others)]
    own = [fit_paths([path], wanted, ridge) for path in alone]
    names = [fit.network.name for fit in (*networks, *others)]
    entry = Entry(schedule, tuple(levels), scalars, spread(own[: len(networks)]))
    return Fitted(
        entry,
        {name: path.error() for name, path in zip(names, together, strict=True)},
        {name: path.error() for name, path in zip(names, alone, strict=True)},
    )


def spread(own: Sequence[Scalars]) -> Scalars:
    """Standard deviation of each scalar over networks; 0 for a single one."""
    return tuple(
        tuple(torch.tensor(rows, dtype=torch.float64).std(dim=0, unbiased=len(own) > 1).tolist())
        for rows in zip(*own, strict=True)
    )


def rounded(entry: Entry) -> Entry:
    """As the file has it: the noises that were drawn leave fewer digits certain than these."""
    return Entry(
        entry.schedule,
        tuple(float(f"{sigma:.7g}") for sigma in entry.sigmas),
        *(
            tuple(tuple(float(f"{scalar:.5g}") for scalar in row) for row in rows)
            for rows in (entry.scalars, entry.spread)
        ),
    )


def describe(fitted: Fitted) -> str:
    """A line: the levels, and by network the error under shared and under own scalars."""
    errors = ", ".join(
        f"{name} {error:.4f} ({fitted.own[name]:.4f})" for name, error in fitted.shared.items()
    )
    return f"{fitted.entry.schedule} {len(fitted.entry.scalars)}: {errors}"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="JSON file for the prior")
    parser.add_argument("--leave-out", default=[], action="append", help="a network; repeatable")
    parser.add_argument("--schedule", default=[], action="append", help="repeatable")
    parser.add_argument("--nfe", default="3-12", help="numbers of steps")
    parser.add_argument("--noises", type=int, default=64, help="of each network")
    parser.add_argument("--seed", type=int, default=2 * SEED, help="of the first noise")
    parser.add_argument(
        "--fine-steps", type=int, default=30, help="Heun steps of the fine solution"
    )
    parser.add_argument("--towards", default="euler", help="what the ridge draws to")
    parser.add_argument("--ridge", type=float, default=0.01)
    options = parser.parse_args()
    for name in options.leave_out:
        if name not in FITTED:
            raise unknown_name("network", name, FITTED)
    seeds = range(options.seed, options.seed + options.noises)
    fits = [make_fit(load_network(name), seeds, options.fine_steps) for name in FITTED]
    networks = [fit for fit in fits if fit.network.name not in options.leave_out]
    others = [fit for fit in fits if fit.network.name in options.leave_out]
    print("relative RMSE under the shared scalars (under the network's own)")
    entries = []
    for schedule in options.schedule or USUAL:
        for steps in parse_range(options.nfe, "nfe"):
            fitted = fit_entry(schedule, steps, networks, others, options.towards, options.ridge)
            print(describe(fitted), flush=True)
            entries.append(rounded(fitted.entry))
    save_prior(options.out, Prior(tuple(entries), provenance(options, networks)))


def script_command(name: str) -> str:
    """The command that is running, of a script of this folder."""
    return command_line().replace("steindiff", f"python research/{name}", 1)


def provenance(options: argparse.Namespace, networks: Sequence[Fit]) -> dict[str, Any]:
    """What the prior comes from."""
    return {
        "networks": {fit.network.name: fit.network.hash for fit in networks},
        "left_out": options.leave_out,
        "noises": options.noises,
        "seed": options.seed,
        "fine_steps": options.fine_steps,
        "towards": options.towards,
        "ridge": options.ridge,
        "command": script_command("fit_prior.py"),
        "versions": versions("steindiff", "torch"),
    }


if __name__ == "__main__":
    main()
