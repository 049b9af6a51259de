"""A picture in two dimensions, where everything can be seen: base, relaxed and exact."""

from __future__ import annotations

import numpy as np
import torch

from ...diagnostics import Paths, animate, mixture_collapse, ring, still, trace_paths
from ..setting import Setting
from .base import Chapter, Drawing, Found, Tell, Verdict, counted

COUNT = 120


def _measure(setting: Setting, tell: Tell) -> Found:
    tell("trajectories in the plane")
    mixture = ring()
    paths = trace_paths(
        mixture, setting.solver, setting.coefficient, setting.levels(), count=COUNT,
        frames=setting.sizes.frames,
    )  # fmt: skip
    ends = {kind: torch.from_numpy(getattr(paths, kind)[-1]) for kind in ("base", "relaxed")}
    exact = torch.from_numpy(paths.exact[-1])
    return {
        "solver": setting.solver_text,
        "steps": setting.steps,
        "samples": COUNT,
        "modes": len(mixture.means),
        "rmse": {k: (x - exact).square().mean().sqrt().item() for k, x in ends.items()},
        "within": {
            kind: mixture_collapse(x, mixture.means, mixture.variances).within
            for kind, x in {**ends, "exact": exact}.items()
        },
        "paths": _packed(paths),
    }


def _packed(paths: Paths) -> Found:
    """As JSON holds it, to a thousandth."""
    arrays = {name: getattr(paths, name) for name in ("base", "relaxed", "exact", "data")}
    arrays["data"] = arrays["data"][:800]
    packed = {name: np.round(values, 3).tolist() for name, values in arrays.items()}
    return {"levels": paths.levels.tolist(), "steps": list(paths.steps), **packed}


def _judge(found: Found) -> list[Verdict]:
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


def _draw(found: Found) -> list[Drawing]:
    kept = found["paths"]
    arrays = {name: np.array(kept[name]) for name in ("levels", "base", "relaxed", "exact", "data")}
    paths = Paths(steps=tuple(kept["steps"]), **arrays)
    name = f"{found['solver']}, {found['steps']} steps"
    titles = (name, f"{name}, relaxed", "exact flow")
    return [
        Drawing(
            "trajectories",
            "From the same noises in the plane, states divided by √(1 + σ²): the solver, the "
            "relaxed solver, and the exact flow. Tan: the data.",
            animate(paths, titles),
        ),
        Drawing("plane", "The ends of the same trajectories.", still(paths, titles)),
    ]


CHAPTER = Chapter(
    "plane",
    "In the plane",
    "A mixture on a circle, whose exact denoiser is known; independent of the model. Two "
    "dimensions show what happens and are a poor guide to many: no sample here has the noise-only "
    "directions that decide in images.",
    _measure,
    _judge,
    _draw,
)
