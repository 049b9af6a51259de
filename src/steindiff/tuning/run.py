"""`tune`: chooses and fits a few-step sampler on the fine solution of a few noises."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .._errors import check_finite, check_values
from .._provenance import versions
from ..calibrated.run import sample_shape
from ..denoisers import ClassifierFreeGuidance, Denoiser
from .batch import Batch
from .checks import (
    check_budget,
    check_callables,
    check_conditioning,
    check_counts,
    check_steps,
    check_tunable,
    screening,
    start_levels,
)
from .contest import Contest, most_evaluations, verdict_evaluations
from .features import Features, Inner, RandomFeatures
from .judge import Judge
from .kept import Store
from .motion import motion
from .network import bare, weights_of
from .ranks import by_first
from .record import Tuned
from .trials import Budget, Parts, Start

SEED = 2 * 10**9
"""Of the first noise: away from the seeds that people sample, bench and calibrate with."""

TRAJECTORIES = 2 * 2**30
"""Bytes that the whole fine solutions of the noises of the fit may take."""


def tune(
    denoiser: Denoiser,
    steps: int | Sequence[int] = (5, 6, 8),
    *,
    guidance: float | None = None,
    conditioning: Mapping[str, Any] | None = None,
    shape: Sequence[int] | None = None,
    fit: bool | None = None,
    features: Features | None = None,
    noises: int = 32,
    held_out: int = 48,
    fresh: int = 64,
    seed: int = SEED,
    fine_steps: int = 30,
    sigma_max: float | None = None,
    sigma_min: float = 0.002,
    batch: int | None = None,
    device: torch.device | str = "cpu",
    half: bool | None = None,
    calls: int | None = None,
    minutes: float | None = None,
    folder: str | Path | None = None,
    model: str = "",
    model_hash: str = "",
    command: str = "",
    told: Callable[[int], object] = lambda done: None,
) -> Tuned:
    """The best few-step sampler for this network, for each number of steps: no data, no training.

    Candidates are sampled from the same noises and compared with the network's own fine solution:
    plain solvers on the usual schedules, the recipe, other levels, bases, coefficients and ends;
    then solvers whose scalars are fitted to the network, on levels that are fitted too. The best
    fitted one, the best other one and the recipe are ranked by noises that none was picked by. The
    winner and the best plain solver are measured once more on fresh noises. Where the winner does
    not hold there beyond its interval, the next one or the plain solver comes back, and the record
    says so.

    Source: this project (docs/tune.md).

    Args:
        denoiser: D(x, sigma, **conditioning), guided as it will be sampled with.
        steps: numbers of steps to tune for, each 3 or more.
        guidance: the guidance scale in it; left out, that of a `ClassifierFreeGuidance`, else 1.
        conditioning: keyword arguments for the denoiser; rows of tensors are used in turn, noise k
            gets row k mod their number.
        shape: of one sample; left out, it is the denoiser's `sample_shape`.
        fit: whether scalars and levels are fitted; without, candidates are only chosen from. Left
            out, they are at guidance 1 alone: with guidance fits gain in what the judge sees and
            lose in what it does not (docs/tune.md).
        features: (B, D) of samples (B, *shape), what distances are measured in; left out, those of
            `RandomFeatures`, and for candidates that go on those of the network's `Inner` too.
        noises: how many scalars are fitted on.
        held_out: how many more candidates are ranked on; a third of them screens. As many again,
            after the fresh ones, rank the finalists.
        fresh: how many more the winner is measured on.
        seed: of the first; they count up from it.
        fine_steps: Heun steps of the fine solution.
        sigma_max: level to start from; left out, 80, or the network's own `sigma_max` where that is
            lower, or pure noise, t = 1, of one in a flow's own coordinates
            (`adapters.callable.from_function`, pipelines of diffusers).
        sigma_min: the lowest level above 0 that is visited.
        batch: noises at a time; left out, as many as there is room for, at most 64: on a device by
            trying, on the CPU by what the network's parts put out for one noise, 1 GiB in all.
        device: where to sample.
        half: whether fine trajectories are kept in half precision; left out, where they would take
            more than 2 GiB otherwise.
        calls: the most samples to evaluate the denoiser for. Numbers of steps share it evenly;
            each stage (plain solvers, recipe, shapes, parts, fits, levels, last step) drops its
            last candidates where there is no room to measure them.
        minutes: the most time, by the time that the evaluations so far took; in the same way.
        folder: where fine solutions and figures are kept, so that a tuning goes on when it is
            started again.
        model: what the model is called, for the file.
        model_hash: SHA-256 of its weights, for the file.
        command: the command that runs, for the file.
        told: is told of evaluations done, out of at most `evaluations(...)`.

    Raises:
        ValueError: bad steps, counts, shape, levels or conditioning, a budget that is too small; a
            folder of another tuning; the denoiser of a pipeline that samples with noise or is
            distilled. Each is named.
        NonFiniteError: a NaN or an infinity in the fine solution, with its step.
        OSError: `folder` is full, or not writable.
    """
    wanted, counts = check_steps(steps), (noises, held_out, fresh)
    check_counts(*counts, fine_steps, seed, batch)
    levels, high = start_levels(denoiser, sigma_min, sigma_max)
    check_callables(features, told)
    check_tunable(denoiser)
    if guidance is None:
        guidance = denoiser.scale if isinstance(denoiser, ClassifierFreeGuidance) else 1.0
    guidance, conditioning = check_finite("guidance", guidance), check_conditioning(conditioning)
    sizes = sample_shape(denoiser, shape)
    budget = _budget(calls, minutes, wanted, counts, fine_steps + (high > levels[1]), told)
    start = Start(
        denoiser, conditioning, sizes, seed, levels, high, fine_steps, Batch(batch), device,
        _half(half, noises, fine_steps, sizes), budget.spend,
    )  # fmt: skip
    about, made_by = _hash(denoiser, conditioning), versions("steindiff", "torch")
    store = Store(
        None if folder is None else Path(folder),
        {"guidance": guidance, "noises": counts, "seed": seed, "fine_steps": fine_steps,
         "levels": [*levels, high], "shape": sizes, "model": model_hash or model, "batch": batch,
         "conditioning": about, "probe": _probe(start), "half": start.half, "versions": made_by},
    )  # fmt: skip
    parts = _parts(start, store, counts)
    found = motion(parts.fit.path)
    seen = features or RandomFeatures(torch.cat([parts.screen.fine, parts.rest.fine]))
    inner = None if features else Inner.of(parts.screen, guidance)
    judging = partial(Judge, features=seen, guidance=guidance, inner=inner)
    choices = {}
    for place, count in enumerate(wanted):
        budget.share(len(wanted) - place)
        contest = Contest(parts, judging, guidance, budget, store, count, levels, high, found)
        choices[count] = contest.choice(guidance == 1 if fit is None else fit)
    return Tuned(
        choices, guidance, high, *counts, seed, fine_steps, found, budget.spent, model,
        model_hash, weights_of(denoiser), about, command, made_by,
    )  # fmt: skip


def evaluations(
    steps: int | Sequence[int], noises: int = 32, held_out: int = 48, fresh: int = 64,
    fine_steps: int = 30, fit: bool = True,
) -> int:  # fmt: skip
    """The most samples that `tune` evaluates the denoiser for; about half of it is usual."""
    wanted = {steps} if isinstance(steps, int) else set(steps)
    made = sum(most_evaluations(count, noises, held_out, fresh, fit) for count in wanted)
    return 4 + (noises + 2 * held_out + fresh) * (2 * fine_steps + 1) + made


def _budget(
    calls: int | None, minutes: float | None, wanted: Sequence[int],
    counts: tuple[int, int, int], fine_steps: int, told: Callable[[int], object],
) -> Budget:  # fmt: skip
    """What may be spent; what the verdicts need is kept back.

    Raises:
        TypeError, ValueError: no numbers, or too small for a tuning.
    """
    noises, held_out, fresh = counts
    reserve = sum(verdict_evaluations(count, held_out, fresh) + held_out for count in wanted)
    needed = (noises + 2 * held_out + fresh) * (2 * fine_steps - 1) + reserve
    check_budget(calls, minutes, needed, held_out, wanted)
    return Budget(calls, minutes, reserve, told)


def _half(half: bool | None, noises: int, fine_steps: int, sizes: Sequence[int]) -> bool:
    """Whether fine trajectories are kept in half precision.

    Raises:
        ValueError: they would be too large even so.
    """
    size = 4 * 2 * fine_steps * noises * torch.Size(sizes).numel()
    if half is None:
        half = size > TRAJECTORIES
    if size / (2 if half else 1) > TRAJECTORIES:
        most = int(noises * TRAJECTORIES / size * 2)
        raise ValueError(
            f"noises is {noises}: their fine trajectories would take more than 2 GiB; "
            f"at most {most} fit, in half precision"
        )
    return half


def _probe(start: Start) -> float:
    """One evaluation, by which a folder knows its network: six digits of the size of D.

    The batch is fitted to it.
    """
    bound, x = start.rows(range(1))
    check_values("x", x)
    with torch.no_grad():
        denoised = start.batch.fit(
            start.denoiser, lambda: bound(x / start.high, torch.ones(1, device=x.device))
        )
    start.batch.count = by_first(lambda: start.batch.count)
    return float(f"{float(denoised.double().square().mean()):.5g}")


def _parts(start: Start, store: Store, counts: tuple[int, int, int]) -> Parts:
    """The noises, with fine solutions that are read or made."""
    noises, held_out, fresh = counts
    screen = screening(held_out)
    sizes = (noises, screen, held_out - screen, fresh, held_out)
    found, first = [], 0
    for name, size in zip(Parts._fields, sizes, strict=True):
        rows, whole = range(first, first + size), name == "fit"
        fine = store.tensors(f"fine-{name}", start.device, lambda: start.solve(rows, whole))  # noqa: B023
        found.append(start.noises(rows, fine, whole))
        first += size
    return Parts(*found)


def _hash(denoiser: Denoiser, conditioning: Mapping[str, Any]) -> str:
    """SHA-256 of prompts and labels, as far as they are tensors, texts or numbers."""
    prompts = getattr(bare(denoiser), "prompts", ())
    given = {**conditioning, "prompts": prompts} if prompts else conditioning
    if not given:
        return ""
    found = hashlib.sha256()
    for name, value in sorted(given.items()):
        found.update(f"{name} {type(value).__name__};".encode())
        if isinstance(value, Tensor):
            found.update(f"{tuple(value.shape)}".encode())
            found.update(value.detach().cpu().double().numpy().tobytes())
        elif isinstance(value, (str, int, float, list, tuple)):
            found.update(repr(value).encode())
    return found.hexdigest()
