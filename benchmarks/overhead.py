"""Time that relaxing adds to a whole sampling of the shipped model.

    python benchmarks/overhead.py --out docs/results/overhead.json

Base and relaxed runs alternate, so that a machine whose speed drifts slows both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

import steindiff as sd

SOLVERS = ("euler", "dpmpp_2m", "ipndm", "unipc", "heun")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    net = sd.load_model("fashion-mnist")
    x = sd.noise(net.sample_shape, 80.0, range(options.batch))
    sigmas = sd.schedules.karras(options.steps, 0.02, 80.0)
    labels = {"class_labels": torch.arange(options.batch) % 10}
    results = {}
    for solver in SOLVERS:
        times: dict[str | None, list[float]] = {None: [], "energy": []}
        for run in range(options.runs + 1):
            for coefficient, seconds in times.items():
                began = time.perf_counter()
                sd.sample(net, x, sigmas, solver, coefficient, conditioning=labels)
                if run:  # the first pair warms up
                    seconds.append(time.perf_counter() - began)
        ratios = [b / a for a, b in zip(times[None], times["energy"], strict=True)]
        results[solver] = {
            "base_median_s": statistics.median(times[None]),
            "relaxed_median_s": statistics.median(times["energy"]),
            "ratio_of_minima": min(times["energy"]) / min(times[None]),
            "ratio_median": statistics.median(ratios),
            "ratio_min": min(ratios),
            "ratio_max": max(ratios),
        }
        print(solver, {key: round(value, 4) for key, value in results[solver].items()}, flush=True)
    if options.out:
        setting = {key: value for key, value in vars(options).items() if key != "out"}
        setting["threads"], setting["torch"] = torch.get_num_threads(), torch.__version__
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(
            json.dumps({"setting": setting, "solvers": results}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
