"""Sampling in two dimensions, where everything can be seen: base, relaxed and exact.

    python docs/figures/plane.py out/theory/plane --solver euler --steps 8 --schedule vp_time
    python docs/figures/plane.py out/theory/fashion-mnist-euler     (a diagnosis: its sampling)

Measures the chapter "plane", adds it to the `results.json` of the folder, and draws
`figures/trajectories.gif` and `figures/plane.png`.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from animation import Paths, animate, ring, still, trace_paths

from steindiff._files import write_text, write_whole
from steindiff.lab.report import saved
from steindiff.lab.theory import (
    CHAPTERS,
    Chapter,
    Diagnosis,
    Drawing,
    Verdict,
    make_diagnosis,
    mixture_collapse,
    read_diagnosis,
    run_chapters,
)
from steindiff.lab.theory.results import NAME, Part
from steindiff.lab.theory.statement import Tell, counted

COUNT, FRAMES = 120, 40


class Distance(TypedDict):
    base: float
    relaxed: float


class Within(Distance):
    exact: float


class Packed(TypedDict):
    """`Paths`, to a thousandth."""

    levels: list[float]
    steps: list[float]
    base: list
    relaxed: list
    exact: list
    data: list


class Plane(TypedDict):
    """Distance to the exact ends, variance within modes, and the paths."""

    solver: str
    steps: int
    samples: int
    modes: int
    rmse: Distance
    within: Within
    paths: Packed


def measure(diagnosis: Diagnosis, tell: Tell, frames: int = FRAMES) -> Plane:
    tell("trajectories in the plane")
    mixture, sampling = ring(), diagnosis.sampling
    paths = trace_paths(
        mixture, sampling.solver, sampling.coefficient, sampling.levels().tolist(), count=COUNT,
        frames=frames,
    )  # fmt: skip
    base, relaxed, exact = (
        torch.from_numpy(states[-1]) for states in (paths.base, paths.relaxed, paths.exact)
    )
    within = [
        mixture_collapse(x, mixture.means, mixture.variances).within for x in (base, relaxed, exact)
    ]
    rmse = [(x - exact).square().mean().sqrt().item() for x in (base, relaxed)]
    return Plane(
        solver=sampling.solver_text,
        steps=sampling.steps,
        samples=COUNT,
        modes=len(mixture.means),
        rmse=Distance(base=rmse[0], relaxed=rmse[1]),
        within=Within(base=within[0], relaxed=within[1], exact=within[2]),
        paths=_packed(paths),
    )


def _packed(paths: Paths) -> Packed:
    arrays = (paths.base, paths.relaxed, paths.exact, paths.data[:800])
    base, relaxed, exact, data = (np.round(values, 3).tolist() for values in arrays)
    return Packed(
        levels=paths.levels.tolist(), steps=list(paths.steps), base=base, relaxed=relaxed,
        exact=exact, data=data,
    )  # fmt: skip


def judge(found: Plane) -> list[Verdict]:
    within, rmse = found["within"], found["rmse"]
    text = (
        f"{found['modes']} modes on a circle, {found['samples']} samples, {found['solver']} with "
        f"{found['steps']} steps: variance within modes over what it should be "
        f"{within['base']:.3f} (base), {within['relaxed']:.3f} (relaxed), "
        f"{within['exact']:.3f} (exact flow); distance to the exact ends "
        f"{rmse['base']:.3f} and {rmse['relaxed']:.3f}."
    )
    nearer = abs(within["relaxed"] - 1) < abs(within["base"] - 1), rmse["relaxed"] < rmse["base"]
    statement = (
        "In the plane relaxing brings samples nearer to the exact ones, and their spread too."
    )
    return [Verdict(statement, text, counted(sum(nearer), len(nearer)))]


def draw(found: Plane) -> list[Drawing]:
    figure = still(*_shown(found))
    return [Drawing("plane", "The ends of trajectories from the same noises in the plane.", figure)]


def animated(found: Plane) -> bytes:
    """The trajectories as a GIF."""
    return animate(*_shown(found))


def _shown(found: Plane) -> tuple[Paths, tuple[str, str, str]]:
    """The paths, and the titles of their panels."""
    kept: Any = found["paths"]
    arrays = {name: np.array(kept[name]) for name in ("levels", "base", "relaxed", "exact", "data")}
    name = f"{found['solver']}, {found['steps']} steps"
    return Paths(steps=tuple(kept["steps"]), **arrays), (name, f"{name}, relaxed", "exact flow")


CHAPTER = Chapter(
    "plane",
    "In the plane",
    "A mixture on a circle, whose exact denoiser is known; independent of the model. Two "
    "dimensions show what happens and are a poor guide to many: no sample here has the noise-only "
    "directions that decide in images.",
    Plane,
    measure,
    judge,
    draw,
)
ALL = {**CHAPTERS, CHAPTER.name: CHAPTER}
"""The chapters of `steindiff diagnose`, and this one."""


def run(folder: Path, **sampling: Any) -> Plane:
    """Measures into `folder`: the sampling of the diagnosis that is there, or one's own."""
    if not (folder / NAME).exists():
        diagnosis = make_diagnosis(ring(), (2,), name="a mixture on a circle", **sampling)
        command = shlex.join(["python", "docs/figures/plane.py", *sys.argv[1:]])
        done = run_chapters(diagnosis, folder, names=[CHAPTER.name], command=command, chapters=ALL)
        return done["chapters"][CHAPTER.name]["found"]
    results = read_diagnosis(folder, ALL)
    setting: Any = results["setting"]
    keys = ("solver", "coefficient", "schedule", "steps", "sigma_min", "sigma_max")
    begin = time.perf_counter()
    diagnosis = make_diagnosis(ring(), (2,), **{key: setting[key] for key in keys})
    found = measure(diagnosis, print)
    part = Part(seconds=time.perf_counter() - begin, found=found)
    results["chapters"][CHAPTER.name] = part
    write_text(folder / NAME, json.dumps(results, ensure_ascii=False, allow_nan=False) + "\n")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--solver", default="euler")
    parser.add_argument("--coefficient", default="energy")
    parser.add_argument("--schedule", default="karras")
    parser.add_argument("--steps", type=int, default=5)
    options = vars(parser.parse_args())
    folder = options.pop("folder")
    found = run(folder, **options)
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    write_whole(figures / "trajectories.gif", lambda file: file.write(animated(found)))
    for drawing in draw(found):
        saved(figures / f"{drawing.name}.png", drawing.figure, drawing.caption)
    print(judge(found)[0].found)


if __name__ == "__main__":
    main()
