"""`calibrate`: fits the scalars of a few-step solver to one network, without data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .._errors import (
    check_callable,
    check_count,
    check_number,
    check_shape,
    check_values,
    shown,
    unknown_name,
)
from .._provenance import versions
from ..denoisers.base import Denoiser
from ..sampling import noise
from ..schedules import check_sigmas
from .fit import pooled, solve
from .path import FewStepPath, Rows, fine_solution
from .prior import load_prior
from .record import About, Calibration
from .solver import Calibrated, Scalars, check_scalars, multistep_scalars, scalar_counts

MOST = 1_000_000
"""Of noises, steps and samples at a time."""

SEED = 10**9
"""Of the first noise: away from the seeds that people sample, bench and count from."""

PRIORS = ("shared", "dpmpp_2m", "euler")
"""What the ridge can draw to, by name."""


def calibrate(
    denoiser: Denoiser,
    sigmas: Tensor | Sequence[float],
    *,
    shape: Sequence[int] | None = None,
    conditioning: Mapping[str, Any] | None = None,
    noises: int = 32,
    held_out: int = 16,
    seed: int = SEED,
    fine_steps: int = 30,
    prior: str | Scalars = "shared",
    ridge: float = 0.01,
    batch: int = 64,
    device: torch.device | str = "cpu",
    about: About | None = None,
    told: Callable[[int], object] = lambda done: None,
) -> Calibrated:
    """A solver for these levels, fitted to this network: needs its denoiser, and no data.

    Step after step, least squares of the few-step state, with the errors that its own earlier
    steps made, against a fine trajectory (Heun) from the same noise. Costs (noises + held_out) *
    (2 fine_steps + steps) evaluations.

    Source: this project (docs/evidence/tune.md).

    Args:
        denoiser: D(x, sigma, **conditioning), in VE coordinates.
        sigmas: the levels to calibrate for, decreasing; the last may be 0.
        shape: of one sample; None takes `denoiser.sample_shape`.
        conditioning: keyword arguments for the denoiser; rows of tensors are used in turn, noise k
            gets row k mod their number.
        noises: how many noises to fit on.
        held_out: how many further ones to measure the error on.
        seed: of the first noise; they count up from it.
        fine_steps: Heun steps of the fine trajectory.
        prior: what the ridge draws to: a name of `PRIORS`, or scalars as `Calibrated` has them.
        ridge: its strength, relative to the weight of the data; see `fit.solve`.
        batch: noises at a time.
        device: where to sample.
        about: what is being calibrated, for a file and its checks.
        told: is told of evaluations done, out of `evaluations(...)`.

    Raises:
        ValueError: bad sigmas, counts, ridge, prior or conditioning; each is named.
        NonFiniteError: a NaN or an infinity while sampling.
    """
    levels = check_sigmas(sigmas)
    for name, value, low in (
        ("noises", noises, 1), ("held_out", held_out, 1), ("fine_steps", fine_steps, 2),
        ("batch", batch, 1),
    ):  # fmt: skip
        check_count(name, value, low, MOST)
    check_count("seed", seed, -(2**62), 2**62)
    if not 0 <= check_number("ridge", ridge) < math.inf:
        raise ValueError(f"ridge is {ridge}; a finite number >= 0 is needed")
    name, wanted = prior_scalars(prior, levels)
    sizes = sample_shape(denoiser, shape)
    start = seed
    paths = []
    for first, count in ((0, noises), (noises, held_out)):
        rows = range(first, first + count)
        x = noise(sizes, levels[0], [start + row for row in rows], device=device)
        check_values("x", x)
        bound = Rows(denoiser, take_rows(conditioning or {}, rows), batch, told)
        with torch.no_grad():
            paths.append(FewStepPath(bound, x, levels, fine_solution(bound, x, levels, fine_steps)))
    scalars = fit_paths(paths[:1], wanted, ridge, paths[1:])
    record = Calibration(
        about or About(), noises, held_out, start, fine_steps, name, float(ridge),
        fit_error=paths[0].error(), held_out_error=paths[1].error(),
        versions=versions("steindiff", "torch"),
    )  # fmt: skip
    return Calibrated(levels, scalars, record)


@torch.no_grad()
def fit_paths(
    paths: Sequence[FewStepPath],
    prior: Scalars,
    ridge: float,
    followers: Sequence[FewStepPath] = (),
) -> Scalars:
    """Takes paths of the same levels to their end under the scalars that fit all of them best.

    Each step's equations are those of every path, with equal weights, where the scalars of the
    steps before have brought it.

    Args:
        paths: to fit, one a network.
        prior: scalars that the ridge draws to, for each step, as `solve` takes them.
        ridge: its strength, as `solve` takes it.
        followers: paths that take the same steps without a say in the scalars.
    """
    found = []
    for wanted in prior:
        equations = [path.equations() for path in paths]
        for path in followers:
            path.equations()
        scalars = solve(pooled(equations).first(len(wanted)), wanted, ridge) if wanted else ()
        for path in (*paths, *followers):
            path.advance(scalars)
        found.append(scalars)
    return tuple(found)


def evaluations(steps: int, noises: int, held_out: int, fine_steps: int) -> int:
    """How many samples `calibrate` evaluates the denoiser for."""
    return (noises + held_out) * (2 * fine_steps - 1 + steps)


def prior_scalars(prior: str | Scalars, levels: Sequence[float]) -> tuple[str, Scalars]:
    """The name of a prior and its scalars for these levels."""
    if not isinstance(prior, str):
        if isinstance(prior, bool | int | float | None):
            raise TypeError(f"prior is {shown(prior)}; a name or scalars are needed")
        check_scalars(prior, levels)
        return "given", prior
    if prior == "euler":
        return prior, tuple((0.0,) * count for count in scalar_counts(levels))
    if prior == "dpmpp_2m":
        return prior, multistep_scalars(levels)
    if prior == "shared":
        return prior, load_prior().scalars(levels)
    raise unknown_name("prior", prior, PRIORS)


def sample_shape(denoiser: Denoiser, shape: Sequence[int] | None) -> tuple[int, ...]:
    """The shape of one sample: as given, or the denoiser's own.

    Raises:
        TypeError: `denoiser` is not callable.
        ValueError: neither is known.
    """
    check_callable("denoiser", denoiser)
    found = getattr(denoiser, "sample_shape", None) if shape is None else shape
    if found is None:
        raise ValueError("shape is None; this denoiser has no sample_shape, so it must be given")
    return check_shape("shape", found)


def take_rows(conditioning: Mapping[str, Any], rows: range) -> dict[str, Any]:
    """The conditioning of these noises: rows of tensors in turn, anything else as it is."""
    return {
        name: value[torch.tensor(rows, device=value.device) % len(value)]
        if isinstance(value, Tensor) and value.ndim and len(value)
        else value
        for name, value in conditioning.items()
    }
