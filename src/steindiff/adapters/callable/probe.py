"""Whether the conventions of a network were understood, and what is wrong if not."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..._errors import check_batch, check_number, shown
from ...sampling import noise
from .conventions import conventions
from .denoiser import FunctionDenoiser
from .trial import Trial, run_trial

_AS_GOOD, _BETTER = 0.9, 1.25


@dataclass(frozen=True)
class ProbeReport:
    """What `probe` found; printing it shows all of it.

    Attributes:
        measured: the denoiser as it was given, level by level: sigmas, kappa, signal, residual.
        alternatives: other conventions under which kappa is near 1 at all levels, likeliest first.
        status: "fits", "doubtful" (it fits, but so poorly that something is likely wrong) or
            "wrong".
        verdict: that in words.
        suggestions: denoisers of the likeliest conventions by name, likeliest first: more than one
            where they cannot be told apart.
    """

    measured: Trial
    alternatives: tuple[Trial, ...]
    status: str
    verdict: str
    suggestions: dict[str, FunctionDenoiser]

    @property
    def ok(self) -> bool:
        """Whether the conventions fit, as far as can be told."""
        return self.status == "fits"

    def __str__(self) -> str:
        columns = (self.measured.sigmas, self.measured.kappa, self.measured.signal)
        lines = [f"{'sigma':>9} {'kappa':>9} {'signal':>9} {'residual':>9}"]
        for row in zip(*columns, self.measured.residual, strict=True):
            lines.append(" ".join(f"{value:9.3g}" for value in row))
        return "\n".join([*lines, f"{self.status}: {self.verdict}"])


def probe(
    denoiser: Callable[..., Tensor],
    shape: Sequence[int],
    conditioning: Mapping[str, Any] | None = None,
    *,
    seeds: Iterable[int] = range(4),
    sigmas: Sequence[float] | None = None,
    alternatives: bool = True,
    device: torch.device | str = "cpu",
) -> ProbeReport:
    """Samples in a few steps and looks whether the denoiser can be a posterior mean.

    By Stein's identity kappa = <x, x - D>/(d sigma^2) is 1 in the mean, at all levels, for any data
    (docs/theory/method.md). A denoiser of `from_function` is also read by every other convention
    that is in use; of those under which kappa is near 1 at all levels, the likeliest is the one
    that both keeps the most signal and removes the most noise: a network that is misunderstood
    tends to answer with a mean.

    What cannot be told is in docs/use/network.md. With guidance kappa is not 1: probe without.

    Args:
        denoiser: D(x, sigma, **conditioning).
        shape: of one sample.
        conditioning: for as many samples as there are seeds.
        seeds: one a sample; four are enough for images, more are needed in few dimensions.
        sigmas: decreasing levels, none 0; ten from 80 (or the highest that the network knows) to
            0.2 if None, for data of a standard deviation about 1.
        alternatives: whether other conventions are tried; costs about 35 samplings, many of which
            end after a step or two.
        device: where the network is.

    Raises:
        ValueError: bad shape, seeds or sigmas.
    """
    known = denoiser.coordinates.sigma_max if isinstance(denoiser, FunctionDenoiser) else 80.0
    levels = _levels(sigmas, min(80.0, known))
    x = check_batch(noise(shape, levels[0], seeds, device=device))
    bound = dict(conditioning or {})
    with torch.no_grad():
        measured = run_trial("as given", denoiser, x, levels, bound)
        others = _others(denoiser, x, levels, bound, measured.tolerance) if alternatives else {}
    ranked = sorted(others, key=_merit, reverse=True)
    status = _status(measured, ranked)
    likely = [t for t in ranked if _merit(t) > _AS_GOOD * _merit(ranked[0])]
    suggestions = {} if status == "fits" else {t.name: others[t] for t in likely}
    verdict = _verdict(measured, ranked, status, list(suggestions))
    return ProbeReport(measured, tuple(ranked), status, verdict, suggestions)


def _levels(sigmas: Sequence[float] | None, highest: float) -> list[float]:
    if sigmas is None:
        return torch.logspace(math.log10(highest), math.log10(0.2), 10).tolist()
    try:
        levels = [check_number(f"sigmas[{i}]", sigma) for i, sigma in enumerate(sigmas)]
    except TypeError:
        raise TypeError(f"sigmas is {shown(sigmas)}; decreasing levels are needed") from None
    falling = all(b < a for a, b in itertools.pairwise(levels))
    if len(levels) < 2 or not falling or levels[-1] <= 0:
        raise ValueError(f"sigmas is {levels}; two or more decreasing positive levels are needed")
    return levels


def _others(
    denoiser: Callable[..., Tensor],
    x: Tensor,
    levels: list[float],
    conditioning: dict[str, Any],
    tolerance: float,
) -> dict[Trial, FunctionDenoiser]:
    """The other conventions that fit."""
    if not isinstance(denoiser, FunctionDenoiser):
        return {}
    trials = {
        run_trial(name, other, x, levels, conditioning, give_up=tolerance): other
        for name, other in conventions(denoiser)
    }
    return {trial: other for trial, other in trials.items() if trial.fits}


def _merit(trial: Trial) -> float:
    """Signal kept times noise removed, at the lowest level."""
    return trial.signal[-1] * trial.residual[-1]


def _status(measured: Trial, ranked: list[Trial]) -> str:
    if not measured.fits:
        return "wrong"
    outdone = ranked and _merit(ranked[0]) > _BETTER * _merit(measured)
    return "doubtful" if outdone or _collapsed(measured) else "fits"


def _collapsed(trial: Trial) -> bool:
    return trial.signal[-1] < trial.sigmas[-1]


def _verdict(measured: Trial, ranked: list[Trial], status: str, likely: list[str]) -> str:
    if status == "fits":
        close = [t.name for t in ranked if _merit(t) > _AS_GOOD * _merit(measured)]
        also = f"; fits as well, and cannot be told from it: {'; '.join(close)}" if close else ""
        return f"kappa is near 1 at all levels{also}"
    said = [*_symptoms(measured)]
    if likely:
        said.append(f"the network is likely to be: {'; or '.join(likely)}")
    elif status == "wrong":
        said.append("no usual convention fits better")
    return ". ".join(said)


def _symptoms(trial: Trial) -> list[str]:
    """What is seen, and what it is typical of."""
    said = []
    if not trial.fits:
        worst = max(range(len(trial.kappa)), key=lambda i: abs(trial.kappa[i] - 1))
        said.append(f"kappa is {trial.kappa[worst]:.3g} at sigma {trial.sigmas[worst]:.3g}, not 1")
    if trial.signal[0] > trial.sigmas[0] / 4:
        said.append(
            "D follows x at high noise, where it should be the mean of the data: typical of "
            "another prediction type read as epsilon, or of a wrong input scale or time"
        )
    elif trial.residual[-1] > 1.3:
        said.append(
            "D is further from x than the noise at low noise: typical of noise or a velocity read "
            "as the sample, or of a wrong input scale"
        )
    elif trial.residual[-1] < 0.6 and trial.kappa[-1] < 1:
        said.append("D removes too little noise: typical of a network told too low a level")
    if _collapsed(trial):
        said.append("D holds less signal than noise at the end: it answers with a mean")
    return said
