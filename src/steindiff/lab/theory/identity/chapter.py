"""Stein's identities along the trajectory: a check of the network's health that needs no data."""

from __future__ import annotations

import torch

from ....denoisers import Gaussian
from ...metrics import bootstrap
from ..diagnosis import Diagnosis, LevelSurvey
from ..estimates import Mean, mean_of, spread_of, without_chance
from ..hutchinson import COUNTS, asymmetry, study_probes
from ..statement import Chapter, Tell
from .draw import draw
from .fields import Dimension, Exact, Identities, Level, Study
from .identities import Identity, stein_identity
from .judge import judge

LARGEST = 1024  # elements of a sample whose exact trace is affordable
DIMENSIONS = (2, 8, 32, 128, 512, 3072)


def measure(diagnosis: Diagnosis, tell: Tell) -> Identities:
    """The identities at the levels of the survey, exact traces, and the study of probes."""
    sizes, survey, size = diagnosis.sizes, diagnosis.survey, diagnosis.size
    tell("Stein's identities along the trajectory")
    levels = [_level(diagnosis, part) for part in survey]
    tell("exact traces and the study of probes")
    middle = survey[len(survey) // 2 :: 3][:2]
    return Identities(
        samples=sizes.samples,
        probes=sizes.probes,
        sigma_data=diagnosis.data_scale,
        levels=levels,
        exact=[_exact(diagnosis, part) for part in middle[:1]] if size <= LARGEST else [],
        study=[_study(diagnosis, part) for part in middle],
        dimensions=[_dimension(size, sizes.study) for size in DIMENSIONS],
        size=size,
    )


def _level(diagnosis: Diagnosis, part: LevelSurvey) -> Level:
    found, count = part.identity, diagnosis.sizes.jacobians
    noises = diagnosis.noise_energy()
    denoiser = diagnosis.batch(count).at(part.sigma)
    return Level(
        sigma=part.sigma,
        kappa=mean_of(without_chance(found.kappa, noises)),
        second_order=mean_of(without_chance(found.second_order, noises)),
        ratio=_pooled(found),
        trace=mean_of(found.trace),
        frobenius=mean_of(found.frobenius),
        asymmetry=spread_of(asymmetry(denoiser, part.x[:count])),
    )


def _pooled(found: Identity) -> Mean:
    """E<D, x - D>/E<x, x - D> with its interval: a sample's own ratio has no mean at low noise."""
    ends = bootstrap(
        lambda ratio, kappa: float((ratio * kappa).mean() / kappa.mean()),
        found.ratio.double().cpu(), found.kappa.double().cpu(),
    )  # fmt: skip
    return Mean(value=ends.value, low=ends.low, high=ends.high)


def _exact(diagnosis: Diagnosis, part: LevelSurvey) -> Exact:
    """The three estimates on the first few samples."""
    batch = diagnosis.batch(min(4, diagnosis.sizes.samples))
    count = len(batch.x)
    exact = stein_identity(
        batch.denoiser, part.x[:count], part.sigma, conditioning=batch.conditioning, exact=True
    )
    return Exact(
        sigma=part.sigma,
        samples=count,
        exact=exact.trace.mean().item(),
        ratio=exact.ratio.mean().item(),
        hutchinson=part.identity.trace[:count].mean().item(),
    )


def _study(diagnosis: Diagnosis, part: LevelSurvey) -> Study:
    count = diagnosis.sizes.jacobians
    denoiser = diagnosis.batch(count).at(part.sigma)
    study = study_probes(denoiser, part.x[:count], probes=diagnosis.sizes.study)
    trace = study.trace.square().mean()
    counts = [count for count in COUNTS if 2 * count <= len(study.singles)]
    return Study(
        sigma=part.sigma,
        size=diagnosis.size,
        counts=counts,
        measured=[(study.variance(n).mean() / trace).sqrt().item() for n in counts],
        predicted=[(study.predicted(n).mean() / trace).sqrt().item() for n in counts],
    )


def _dimension(size: int, probes: int) -> Dimension:
    """One probe on an exact denoiser whose variances fall as those of images do, at sigma = 0.3."""
    variance = torch.arange(1, size + 1, dtype=torch.float64) ** -1.0
    gaussian = Gaussian(variance=variance)
    x = torch.zeros(4, size, dtype=torch.float64)
    study = study_probes(lambda z: gaussian(z, 0.3), x, probes=probes)
    gain = variance / (variance + 0.09)
    closed = (2 * gain.square().sum()).sqrt() / gain.sum()
    measured = (study.variance(1).mean().sqrt() / gain.sum()).item()
    return Dimension(size=size, measured=measured, closed=closed.item())


CHAPTER = Chapter(
    "identity",
    "Stein's identities",
    "For an exact denoiser at states of its own marginals E<x − D, f(x)> = σ² E div f for every f. "
    "Each f is a check that needs no data: f = x gives κ = 1, f = x − D the identity of second "
    "order, f = D the free estimate of the divergence that coefficients live on. Where a network "
    "breaks them, its D is not the posterior mean of what it samples.",
    Identities,
    measure,
    judge,
    draw,
)
