"""The report of a tuning: verdicts, pictures, candidates, and how D moves."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from ..._files import write_text
from ...denoisers import Denoiser
from ...recipes import Recipe
from ...sampling import noise, sample
from ...tuning import Choice, Tuned
from ...tuning.checks import TOP
from ...tuning.trials import PURE_NOISE, fine_solution
from ..images import to_uint8
from ..picture import Row, comparison
from ..report.html import Picture, inline, make_template
from ..report.look import BLUE, GREY, ORANGE, plain_numbers, tidy
from ..specs import spec_of
from ..subjects import Subject

SHOWN = 8  # noises of the pictures, from seed 0


def write_report(path: Path, found: Tuned, subject: Subject) -> None:
    """One HTML file that needs no other."""
    parts = [
        {
            "steps": steps,
            "one": one,
            "levels": " ".join(f"{sigma:.4g}" for sigma in one.recipe.sigmas),
            "picture": pictured(found, one, subject),
        }
        for steps, one in sorted(found.choices.items())
    ]
    facts = {
        "model": f"{found.model} (SHA-256 {found.model_hash[:12] or 'unknown'})",
        "guidance": f"{found.guidance:g}",
        "noises": f"{found.noises} fitted on, {found.held_out} ranked on, {found.fresh} fresh",
        "seed": found.seed,
        "fine solution": f"Heun, {found.fine_steps} steps",
        "evaluations": f"{found.calls:,} samples",
        **found.versions,
    }
    template = make_template("steindiff.lab.cli", "tuning.html")
    page = template.render(
        found=found, parts=parts, facts=facts.items(), motion=_inline(plot(found), "D's motion"),
        command=found.command,
    )  # fmt: skip
    write_text(path, page)


def pictured(found: Tuned, one: Choice, subject: Subject) -> Picture | None:
    """Best plain, what was kept and the fine solution, of the same noises; None if no images."""
    seeds = range(SHOWN)
    x = noise(subject.shape, found.sigma_max, seeds, device=subject.device)
    conditioning = subject.conditioning(seeds)
    lowest = max(0.002, subject.sigma_min)
    with torch.no_grad():
        highest = TOP if found.sigma_max == PURE_NOISE else found.sigma_max
        fine = fine_solution(
            subject.denoiser, x, conditioning, found.sigma_max, found.fine_steps, lowest, highest
        )
    sides = [
        (
            "Best plain",
            spec_of(one.plain.solver),
            _sampled(subject.denoiser, x, conditioning, one.plain),
        ),
        ("Tuned", one.kind, _sampled(subject.denoiser, x, conditioning, one.recipe)),
        ("Fine solution", f"Heun, {fine.nfe} calls", fine.x),
    ]
    rows = []
    for (title, words, samples), colour in zip(sides, ("#444", "#0a7d33", "#1f4e9c"), strict=True):
        images = subject.pictures(samples)
        if images is None:
            return None
        rows.append(Row(title, words, np.asarray(to_uint8(images)), colour))
    names = [subject.column(seed) for seed in seeds]
    steps = len(one.recipe.sigmas) - 1
    return _inline(comparison(rows, names, f"{steps} steps", ""), f"Samples in {steps} steps")


def _sampled(denoiser: Denoiser, x: Tensor, conditioning: dict[str, Any], plan: Recipe) -> Tensor:
    return sample(
        denoiser, x, plan.sigmas, plan.solver, plan.coefficient, end=plan.end,
        conditioning=conditioning,
    ).x  # fmt: skip


def plot(found: Tuned) -> Figure:
    """How fast D moves over sigma, and where each recipe looks."""
    figure = Figure(figsize=(7, 2.6 + 0.3 * len(found.choices)), layout="constrained")
    axes = figure.subplots()
    axes.semilogx(*found.motion, color=BLUE, label="how fast D moves, rms |dD/d ln σ|")
    top = max(found.motion[1])
    for row, (steps, one) in enumerate(sorted(found.choices.items())):
        levels = [sigma for sigma in one.recipe.sigmas if 0 < sigma < PURE_NOISE]
        height = top * (1.12 + 0.12 * row)
        axes.plot(levels, [height] * len(levels), "o", color=ORANGE, markersize=5)
        axes.annotate(
            f"{steps} steps", (levels[0], height), (6, 0), textcoords="offset points",
            va="center", fontsize=8, color=GREY,
        )  # fmt: skip
    axes.plot([], [], "o", color=ORANGE, label="levels that were kept")
    axes.set_xlabel("noise level σ")
    axes.set_ylabel("speed of D")
    axes.legend(fontsize=8, loc="upper left", frameon=False)
    plain_numbers(axes.xaxis)
    tidy(axes)
    return figure


def _inline(figure: Figure, alt: str) -> Picture:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return inline(Image.open(stream).convert("RGB"), alt)
