"""What an excess of noise does that one step leaves behind: its effect on the distance.

    python research/response.py     (about 10 minutes on two cores)

Results go to research/results/response.json after every place; started again it goes on.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from bed import Bed
from steindiff._errors import NonFiniteError
from steindiff._files import write_text
from steindiff._provenance import versions
from steindiff.lab.specs import parse_solver
from steindiff.schedules import SCHEDULES
from steindiff.stein import Coefficient, Decision, Proposal

RESULTS = Path(__file__).parent / "results"
GAINS = (-0.05, -0.02, 0.02, 0.05, 0.1, 0.2)
SHIPPED = "fashion-mnist"
SIGMA_MIN, SIGMA_MAX, FINE_STEPS = 0.002, 80.0, 20


@dataclass(frozen=True)
class Place:
    """Where a rule is tried: a network, its guidance, a schedule, NFE and a solver."""

    network: str
    guidance: float
    schedule: str
    nfe: int
    solver: str

    def levels(self) -> list[float]:
        """Levels that the NFE pays for; Heun's last step goes into sigma = 0."""
        schedule = SCHEDULES[self.schedule]
        if self.solver == "heun":
            return schedule((self.nfe + 1) // 2, SIGMA_MIN, SIGMA_MAX, final="zero").tolist()
        return schedule(self.nfe, SIGMA_MIN, SIGMA_MAX).tolist()


PLACES = (
    Place(SHIPPED, 1, "karras", 5, "euler"),
    Place(SHIPPED, 1, "karras", 5, "dpmpp_2m"),
    Place(SHIPPED, 1, "karras", 5, "ipndm:3"),
    Place(SHIPPED, 1, "vp_time", 5, "ipndm:3"),
    Place(SHIPPED, 1, "karras", 8, "ipndm:4"),
    Place(SHIPPED, 1, "log_snr", 8, "dpmpp_3m"),
    Place("digits-mixer", 1, "karras", 5, "euler"),
    Place("mixture:dim=64,modes=10,separation=8", 1, "log_snr", 8, "unipc:2"),
)


@dataclass(frozen=True)
class OneStep(Coefficient):
    """Leaves the relative noise excess `gain` behind in one step, counted from 0."""

    step: int
    gain: float

    def init(self, x: torch.Tensor) -> int:
        return 0

    def __call__(self, proposal: Proposal, state: int) -> Decision:
        r = proposal.ratio
        gamma = 1 - self.gain * r / (1 - r) if state == self.step else 1.0
        return Decision(torch.full((len(proposal.x),), gamma), state + 1)


def distance(bed: Bed, place: Place, rule: Coefficient | None) -> float:
    """Fréchet distance, in the first feature set, to the fine solution at `SIGMA_MIN`.

    Heun's samples, which are at sigma = 0, are held to the same: the two differ by less than the
    rounding of an image.
    """
    first = bed.feature_sets[0]
    try:
        x = bed.sample(parse_solver(place.solver), place.levels(), rule)
    except NonFiniteError:
        return math.inf
    return bed.distances(x)[first]


def gains(bed: Bed, place: Place) -> dict[str, Any]:
    """Change of the distance, for each step but the last and each excess left there."""
    base, levels = distance(bed, place, None), place.levels()
    steps = [
        {
            "sigma": levels[i],
            "sigma_next": levels[i + 1],
            "change": {
                f"{gain:g}": distance(bed, place, OneStep(i, gain)) / base - 1 for gain in GAINS
            },
        }
        for i in range(len(levels) - 2)
    ]
    return {"base": base, "steps": steps}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--first-seed", type=int, default=5000)
    options = parser.parse_args()
    path = RESULTS / "response.json"
    seeds = range(options.first_seed, options.first_seed + options.samples)
    header = {
        "command": f"python research/response.py --samples {options.samples} "
        f"--first-seed {options.first_seed}",
        "versions": versions("steindiff", "torch"),
    }
    done: list[dict[str, Any]] = []
    if path.exists():
        saved = json.loads(path.read_text())
        done = saved["places"] if saved["command"] == header["command"] else []
    finished = [row["place"] for row in done]
    bed, key = None, None
    for place in PLACES:
        if asdict(place) in finished:
            continue
        if key != (place.network, place.guidance):
            key = (place.network, place.guidance)
            bed = Bed(*key, seeds, fine_steps=FINE_STEPS)
        assert bed is not None
        done.append({"place": asdict(place), **gains(bed, place)})
        print(place, flush=True)
        path.parent.mkdir(exist_ok=True)
        write_text(path, json.dumps({**header, "places": done}, indent=1) + "\n")


if __name__ == "__main__":
    main()
