"""Collapse of modes: which are reached, and how much is left of the variety within each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, NotRequired, Protocol, TypedDict

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..._errors import check_batch
from ...denoisers import GaussianMixture
from ...sampling import sample
from ...stein import Coefficient
from ..metrics import ClassifierFeatures, ModeCoverage, mode_coverage, nearest_mode
from ..report.look import BLACK, BLUE, GREY
from ..subjects import Mixture, Network, Subject
from .diagnosis import Diagnosis
from .plots import entitle, finish, panels
from .sizes import MODES_BATCH
from .statement import Chapter, Drawing, Grade, Tell, Verdict, counted

BATCH = MODES_BATCH
_CLEAR = 0.02  # of within-mode variance: differences below are not told apart by so few samples


class Collapse(NamedTuple):
    """How samples are spread over and within modes.

    Attributes:
        coverage: of the modes, and the divergence of their shares from the target's.
        within: variance within the modes over what it should be; below 1 they have shrunk.
    """

    coverage: ModeCoverage
    within: float


def mixture_collapse(
    samples: Tensor, means: Tensor, variances: Tensor, weights: Tensor | None = None
) -> Collapse:
    """Against a mixture of Gaussians, each sample counted to the mean that it is nearest to.

    Args:
        samples: (N, *shape).
        means: (K, *shape), far apart in units of the modes' spread.
        variances: (K,) or (K, *shape), of the modes; the mean over a mode's elements counts.
        weights: (K,), summing to one; equal if left out.

    Raises:
        TypeError, ValueError: as `nearest_mode` and `mode_coverage` raise.
    """
    assignments = nearest_mode(samples, means)
    equal = torch.full((len(means),), 1 / len(means), dtype=torch.float64)
    target = equal if weights is None else weights
    offset = (samples.double() - means.double()[assignments]).flatten(1)
    wanted = variances.double().reshape(len(means), -1).mean(dim=1)[assignments]
    within = (offset.square().mean(dim=1) / wanted).mean().item()
    return Collapse(mode_coverage(assignments, target.double()), within)


def class_collapse(
    features: Tensor, assignments: Tensor, reference: Tensor, reference_assignments: Tensor
) -> Collapse:
    """Against a reference set, such as the fine solution, by the classes that samples fall into.

    Args:
        features: (N, D), of the samples.
        assignments: (N,) int, their classes.
        reference: (M, D), features of the reference.
        reference_assignments: (M,) int, its classes.

    Raises:
        TypeError, ValueError: no batches, or no class that both have twice.
    """
    classes = int(max(assignments.max(), reference_assignments.max())) + 1
    counts = torch.bincount(reference_assignments, minlength=classes).double()
    coverage = mode_coverage(assignments, counts / counts.sum())
    spread, wanted = (
        _within(check_batch(x, "features"), labels, classes)
        for x, labels in ((features, assignments), (reference, reference_assignments))
    )
    both = ~(spread.isnan() | wanted.isnan())
    if not bool(both.any()):
        raise ValueError("no class has two samples in both sets; more samples are needed")
    return Collapse(coverage, (spread[both] / wanted[both]).log().mean().exp().item())


def _within(x: Tensor, labels: Tensor, classes: int) -> Tensor:
    """(classes,): total variance of each class, NaN where it has fewer than two samples."""
    found = torch.full((classes,), torch.nan, dtype=torch.float64)
    for label in range(classes):
        members = x[labels == label].double()
        if len(members) > 1:
            found[label] = members.var(dim=0).sum()
    return found


class Modes(Protocol):
    """What tells the modes or classes of samples."""

    what: str

    def collapse(self, samples: Tensor, reference: Tensor, seeds: Sequence[int]) -> Collapse:
        """How `samples` are spread over and within modes, beside the reference's."""
        ...


class MixtureModes:
    """The modes of a mixture that is known."""

    def __init__(self, mixture: GaussianMixture) -> None:
        self.mixture = mixture
        self.what = f"{len(mixture.means)} modes in {mixture.means[0].numel()} dimensions"

    def collapse(self, samples: Tensor, reference: Tensor, seeds: Sequence[int]) -> Collapse:
        mixture = self.mixture
        return mixture_collapse(samples, mixture.means, mixture.variances, mixture.weights)


class ClassModes:
    """The classes that the classifier of a shipped model sees, in its features."""

    def __init__(self, name: str) -> None:
        self.classifier = ClassifierFeatures(name)
        self.what = "classes seen by the shipped classifier, variance in its features"

    def collapse(self, samples: Tensor, reference: Tensor, seeds: Sequence[int]) -> Collapse:
        pairs = []
        for x in (samples, reference):
            features = self.classifier.features(x)
            pairs += [features, self.classifier.classify(features).argmax(dim=1)]
        return class_collapse(*pairs)


def modes_of(subject: Subject) -> Modes | None:
    """What tells the modes of a subject; None if nothing is known to."""
    if isinstance(subject, Network):
        return ClassModes(subject.model)
    return MixtureModes(subject.mixture) if isinstance(subject, Mixture) else None


# -- the chapter ----------------------------------------------------------------------------------


class Shares(TypedDict):
    """A `Collapse`; `kl` is None where it is infinite, which JSON has no number for."""

    modes: int
    covered: int
    kl: float | None
    within: float


class Row(TypedDict):
    """A number of steps, without relaxing and with it."""

    steps: int
    base: Shares
    relaxed: Shares


class Counted(TypedDict):
    """What is measured; without modes there are no rows, and nothing else."""

    what: str | None
    rows: list[Row]
    solver: NotRequired[str]
    samples: NotRequired[int]
    fine: NotRequired[Shares]


def measure(diagnosis: Diagnosis, tell: Tell) -> Counted:
    """Modes of the fine solution, and of samplings by number of steps."""
    modes, sizes = diagnosis.modes, diagnosis.sizes
    if modes is None:
        return Counted(what=None, rows=[])
    seeds = range(diagnosis.first_seed, diagnosis.first_seed + sizes.modes)
    tell("fine solution of the modes")
    reference = _fine(diagnosis)
    rows = []
    for steps in sorted({*sizes.counts, diagnosis.sampling.steps}):
        tell(f"modes at {steps} steps")
        base, relaxed = (
            _shares(modes.collapse(_ends(diagnosis, steps, rule), reference, seeds))
            for rule in diagnosis.sampling.ways.values()
        )
        rows.append(Row(steps=steps, base=base, relaxed=relaxed))
    return Counted(
        what=modes.what,
        solver=diagnosis.sampling.solver_text,
        samples=sizes.modes,
        fine=_shares(modes.collapse(reference, reference, seeds)),
        rows=rows,
    )


def _fine(diagnosis: Diagnosis) -> Tensor:
    """The fine solution at the level where the few-step samplings end."""
    end, batches = diagnosis.levels()[-1], diagnosis.batches(diagnosis.sizes.modes, BATCH)
    return torch.cat([diagnosis.solve(batch).at(end).cpu() for batch in batches])


def _ends(diagnosis: Diagnosis, steps: int, rule: Coefficient | None) -> Tensor:
    """The samples of so many steps."""
    solver, levels = diagnosis.sampling.solver, diagnosis.levels(steps)
    found = [
        sample(denoiser, x, levels, solver, rule, conditioning=given).x.cpu()
        for denoiser, x, given in diagnosis.batches(diagnosis.sizes.modes, BATCH)
    ]
    return torch.cat(found)


def _shares(found: Collapse) -> Shares:
    coverage = found.coverage
    return Shares(
        modes=coverage.modes,
        covered=coverage.covered,
        kl=coverage.kl if math.isfinite(coverage.kl) else None,
        within=found.within,
    )


def judge(found: Counted) -> list[Verdict]:
    """Whether few steps collapse modes, and whether relaxing leaves less of it."""
    if not found["rows"] or "fine" not in found:
        text = "This denoiser has neither classes that a classifier tells nor known modes."
        return [Verdict("Few steps collapse modes.", text, Grade.UNDECIDED)]
    return [_collapses(found, found["fine"]), _relieved(found["rows"], found["fine"]["within"])]


def _collapses(found: Counted, fine: Shares) -> Verdict:
    rows = found["rows"]
    shown = ", ".join(f"{row['steps']}: {row['base']['within']:.3f}" for row in rows)
    lost = [row for row in rows if row["base"]["covered"] < row["base"]["modes"]]
    text = (
        f"{found.get('samples')} samples, {found['what']}. Variance within modes over what it "
        f"should be, base, by number of steps: {shown} (fine solution {fine['within']:.3f}). "
        f"{_missing(lost)} KL of the shares: {_range([_kl(row['base']) for row in rows])} (fine "
        f"solution {_kl(fine):.3g})."
    )
    shrunk = sum(row["base"]["within"] < fine["within"] - _CLEAR for row in rows)
    grade = (
        Grade.HOLDS if shrunk == len(rows) and lost
        else Grade.CONDITIONS if shrunk or lost
        else Grade.FAILS
    )  # fmt: skip
    if grade is Grade.CONDITIONS and not lost:
        text += " Collapse is within the modes here, not between them."
    return Verdict("Few steps collapse modes: some are missed, others lose variety.", text, grade)


def _missing(lost: list[Row]) -> str:
    if not lost:
        return "No mode is missed at any number of steps."
    return "Missed: " + ", ".join(
        f"{row['base']['modes'] - row['base']['covered']} of {row['base']['modes']} at "
        f"{row['steps']} steps" for row in lost
    ) + "."  # fmt: skip


def _kl(found: Shares) -> float:
    """Infinite where samples fall into a class that the reference has none of."""
    return math.inf if found["kl"] is None else found["kl"]


def _range(values: list[float]) -> str:
    return f"{min(values):.3g} to {max(values):.3g}"


def _relieved(rows: list[Row], fine: float) -> Verdict:
    nearer = [
        row for row in rows
        if abs(row["relaxed"]["within"] - fine) < abs(row["base"]["within"] - fine)
    ]  # fmt: skip
    shares = [row for row in rows if _kl(row["relaxed"]) <= _kl(row["base"])]
    shown = ", ".join(
        f"{row['steps']}: {row['base']['within']:.3f} → {row['relaxed']['within']:.3f}"
        for row in rows
    )
    text = (
        f"Variance within modes, base → relaxed, by number of steps: {shown}; nearer to the fine "
        f"solution's {fine:.3f} in {len(nearer)} of {len(rows)}. KL of the shares no larger in "
        f"{len(shares)} of {len(rows)}."
    )
    statement = "Relaxing leaves less collapse at large steps."
    return Verdict(statement, text, counted(len(nearer), len(rows)))


def draw(found: Counted) -> list[Drawing]:
    """Variance within modes and shares by number of steps; nothing where there are no modes."""
    if found["what"] is None or "fine" not in found:
        return []
    caption = (
        f"{found['what'].capitalize()}, {found.get('samples')} samples of {found.get('solver')}, "
        "by number of steps; dashed: the fine solution. Left: variance within modes over what it "
        "should be. Right: KL of the shares of the modes."
    )
    return [Drawing("modes", caption, _figure(found["rows"], found["fine"]))]


def _figure(rows: list[Row], fine: Shares) -> Figure:
    figure, ((left, right),) = panels(2, 3.0)
    steps = [row["steps"] for row in rows]
    for kind, found, colour in (
        ("base", [row["base"] for row in rows], GREY),
        ("relaxed", [row["relaxed"] for row in rows], BLUE),
    ):
        look = {"color": colour, "markersize": 4, "label": kind}
        left.plot(steps, [shares["within"] for shares in found], "o-", **look)
        right.plot(steps, [_drawn(shares["kl"]) for shares in found], "o-", **look)
    for axes, value, label, title in (
        (left, fine["within"], "variance within modes", "Variance within modes"),
        (right, _drawn(fine["kl"]), "KL of the shares", "Shares of the modes"),
    ):
        axes.axhline(value, color=BLACK, linewidth=0.8, linestyle="--")
        axes.set(xlabel="steps", ylabel=label)
        entitle(axes, title)
    finish((left, right), legend=[left, right])
    return figure


def _drawn(kl: float | None) -> float:
    """Infinite ones leave a gap."""
    return math.nan if kl is None else kl


CHAPTER = Chapter(
    "modes",
    "Modes",
    "Mode collapse has two parts: modes that are missed or rare, and variety that is lost within "
    "each. Modes are those of a known mixture, or the classes that a classifier sees.",
    Counted,
    measure,
    judge,
    draw,
)
