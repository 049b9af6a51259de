"""Samples and draws one setting of the page: base, relaxed, tuned and fine from the same noises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from ...composition import AUTO
from ...recipes import Recipe, recipe
from ...sampling import SampleResult, noise, sample
from ...stein import Ended
from ...trajectory import FineSolution
from ..images import to_uint8
from ..metrics import rmse
from ..picture import labelled_rows
from ..report.look import BLUE, ORANGE, tidy
from ..specs import make_schedule, spec_of
from ..subjects import Subject
from .settings import Settings
from .tunings import SIGMA_MAX, SIGMA_MIN, Tunings

MakeSubject = Callable[[str, float], Subject]
"""A prompt and a guidance scale -> the model."""

FINE_STEPS = 20
WIDTH, WIDEST = 112, 256
"""Pixels that an image of the sheet has: small ones are enlarged, wide ones made smaller."""


@dataclass(frozen=True)
class Shown:
    """What the page shows of a setting.

    Attributes:
        sheet: rows base, relaxed, tuned where there is one, fine; a column a noise.
        figure: gamma and energy of every step.
        rows: name, model calls, and relative error to the fine solution, of each row.
        words: how the relaxed row was sampled.
        tuned: what the tuned row rests on, or why there is none.
    """

    sheet: Image.Image
    figure: Figure
    rows: list[list[str]]
    words: str
    tuned: str


class Scene:
    """A model, and the last fine solution of it.

    Args:
        make: the model of a prompt and a guidance scale.
        tunings: what was tuned for it; nothing yet if left out.
    """

    def __init__(self, make: MakeSubject, tunings: Tunings | None = None) -> None:
        self.make, self.tunings = make, tunings or Tunings()
        self._kept: tuple[Any, Any] = (None, None)

    def show(self, settings: Settings) -> Shown:
        """Samples and draws.

        Raises:
            ValueError: a setting that the model or the method refuses; a model of no images.
        """
        key = settings.prompt, settings.guidance, settings.first_seed, settings.seeds
        if self._kept[0] != key:
            self._kept = key, _open(self.make(settings.prompt, settings.guidance), settings)
        subject, x, given, fine = self._kept[1]
        base, relaxed = (_sample(subject, x, given, settings, relax) for relax in (False, True))
        sampled: dict[str, SampleResult | FineSolution] = {"base": base, "relaxed": relaxed}
        plan = self.tunings.plan(settings)
        if plan is not None:
            sampled["tuned"] = _by_tuning(subject, x, given, plan)
        sampled["fine"] = fine
        found = {name: result.x for name, result in sampled.items()}
        size = float(fine.x.double().square().mean().sqrt())
        rows = [
            [name, str(sampled[name].nfe), f"{rmse(y.cpu(), fine.x.cpu()).pooled / size:.3f}"]
            for name, y in found.items()
        ]
        rows[-1][-1] = "–"
        seeds = range(settings.first_seed, settings.first_seed + settings.seeds)
        sheet = _sheet({name: _pictures(subject, y) for name, y in found.items()},
                       [subject.column(seed) for seed in seeds])  # fmt: skip
        figure, said = _figure(relaxed, fine), self.tunings.said(settings)
        return Shown(sheet, figure, rows, _words(relaxed), said)

    def tune(self, settings: Settings, told: Callable[[int, int], object]) -> None:
        """Tunes for these settings, so that they have a tuned row from then on.

        Raises:
            ValueError: as `Tunings.fit`, or the model of the settings.
        """
        self.tunings.fit(self.make(settings.prompt, settings.guidance), settings, told)


def _open(subject: Subject, settings: Settings) -> tuple[Subject, Tensor, dict, FineSolution]:
    if not subject.images:
        raise ValueError(
            f"{subject.name} samples no images (its samples have the shape {subject.shape}), and "
            "the page shows images; `steindiff compare` measures any model"
        )
    seeds = range(settings.first_seed, settings.first_seed + settings.seeds)
    high = min(SIGMA_MAX, subject.sigma_max)
    x = noise(subject.shape, high, seeds, device=subject.device)
    given = subject.conditioning(list(seeds))
    low = max(SIGMA_MIN, subject.sigma_min)
    return subject, x, given, FineSolution(subject.denoiser, x, given, FINE_STEPS, low, high)


def _sample(
    subject: Subject, x: Tensor, given: dict[str, Any], settings: Settings, relax: bool
) -> SampleResult:
    """The base, or the same relaxed and ended as asked for; both with their measurements."""
    high = min(SIGMA_MAX, subject.sigma_max)
    plan = recipe(settings.steps, settings.guidance, high)
    sigmas = torch.tensor(plan.sigmas, dtype=torch.float64)
    if settings.schedule != AUTO:
        low = max(SIGMA_MIN, subject.sigma_min)
        sigmas = make_schedule(settings.schedule, settings.steps, low, high, "zero")
    coefficient, end = settings.coefficient, settings.end
    if settings.schedule == AUTO and plan.coefficient is not None:  # else nothing would be shown
        coefficient = plan.coefficient if coefficient == AUTO else coefficient
        end = plan.end if end == AUTO else end
    return sample(
        subject.denoiser, x, subject.rounded(sigmas),
        plan.solver if settings.solver == AUTO else settings.solver,
        coefficient if relax else None,
        end=end if relax else "none", conditioning=given, record=True,
    )  # fmt: skip


def _by_tuning(subject: Subject, x: Tensor, given: dict[str, Any], plan: Recipe) -> SampleResult:
    """From the same noises, which a tuning may begin at another level."""
    start = x * (plan.sigmas[0] / min(SIGMA_MAX, subject.sigma_max))
    return sample(subject.denoiser, start, steps=plan, conditioning=given)


def _pictures(subject: Subject, x: Tensor) -> np.ndarray:
    found = subject.pictures(x.cpu())
    assert found is not None  # `_open` looked
    return to_uint8(found)


def _sheet(rows: dict[str, np.ndarray], names: list[str]) -> Image.Image:
    """Labelled rows, images of at least `WIDTH` pixels and at most `WIDEST`."""
    width = next(iter(rows.values())).shape[2]
    scale = WIDEST / width if width > WIDEST else max(1, round(WIDTH / width))
    return labelled_rows(rows, names, scale=scale, left=74)


def _words(result: SampleResult) -> str:
    """ "unipc:order=2, energy:last=false, end steady", in the texts of commands."""
    method: Any = result.method
    base, said = method.solver, spec_of(method.coefficient)
    if isinstance(base, Ended):
        return f"{spec_of(base.solver)}, {said}, end {base.end}"
    return f"{spec_of(base)}, {said}"


def _figure(result: SampleResult, fine: FineSolution) -> Figure:
    """gamma of every step, and the energy after it over that of the fine solution there."""
    record = result.record
    assert record is not None
    figure = Figure(figsize=(7, 2.4), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = range(1, len(record.gamma) + 1)
    levels = result.sigmas[1:]
    energies = torch.stack(
        [fine.at(level).double().flatten(1).square().mean(dim=1) for level in levels]
    )
    ratio = record.energy_next.double().cpu() / energies.cpu()
    for axes, values, colour, title in (
        (left, record.gamma.double().cpu(), BLUE, "γ of each step"),
        (right, ratio, ORANGE, "energy after it, over the fine solution's"),
    ):
        low, high = values.min(dim=1).values, values.max(dim=1).values
        axes.fill_between(steps, low.tolist(), high.tolist(), color=colour, alpha=0.2, linewidth=0)
        axes.plot(steps, values.mean(dim=1).tolist(), "o-", color=colour, markersize=3)
        axes.axhline(1, color="#999", linewidth=0.8)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("step", fontsize=8)
        tidy(axes)
    return figure
