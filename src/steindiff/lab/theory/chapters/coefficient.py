"""Every rule's gamma against the oracle's; the published coefficient; Stein discrepancies."""

from __future__ import annotations

import math
from typing import TypedDict

import torch
from matplotlib.figure import Figure

from ....denoisers import GaussianMixture, Perturbed
from ....solvers import Solver
from ....stein import Coefficient, Constant, Coupled, Published
from ...report.look import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY
from ..diagnosis import Diagnosis, Sampling
from ..discrepancy import coefficient_error
from ..estimates import Positive, Some, Spread, spread_of
from ..plots import band, entitle, finish, medians, panels
from ..rules import ComparedStep, compare_rules
from ..statement import Chapter, Drawing, Grade, Tell, Verdict, decided, percent

ERRORS = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)
SIZE = 16
_LEVELS = (1.0, 0.3)
PUBLISHED = "published, 5 probes"
"""The published coefficient as it was published, without its clamp."""
ROUNDING = 1e-2
"""Of a small squared distance; results from before differences were taken in float64 have it."""
_COLOURS = {
    "oracle": BLACK, "energy": BLUE, PUBLISHED: ORANGE, "published, ratio": PURPLE,
    "coupled, ratio": GREEN, "constant 0.995": GREY,
}  # fmt: skip


class Step(TypedDict):
    """All rules at one step; `error` is E'(gamma)/E'(1), `one_over` 1/(1 - r).

    `cosine` and `length` are those of `Residual`; `identity` is how far E' is from (1 - rho) E.
    """

    sigma: Positive
    sigma_next: float
    one_over: Positive
    rho: Spread
    cosine: Spread
    length: Spread
    identity: float
    gamma: dict[str, Spread]
    error: dict[str, Positive]


class Discrepancy(TypedDict):
    """A `CoefficientError` with its bound, by the perturbation of the denoiser."""

    perturbation: float
    bound: float
    truth: float
    by_score: float
    by_divergence: float
    error: float
    constant: float
    discrepancy: float
    kernel: float


class Coefficients(TypedDict):
    """All of it: a table for each solver, and the discrepancies on `mixture`."""

    rule: str
    solver: str
    samples: int
    tables: dict[str, Some[Step]]
    mixture: str
    pairs: int
    discrepancies: Some[Discrepancy]


# -- measured -------------------------------------------------------------------------------------


def rules(sampling: Sampling) -> dict[str, Coefficient]:
    """The sampling's own and the controls: published and coupled ones without bounds on gamma."""
    return {
        sampling.coefficient_text: sampling.coefficient,
        PUBLISHED: Published(gamma_min=None, gamma_max=None),
        "published, ratio": Published(estimator="ratio", gamma_min=None, gamma_max=None),
        "coupled, ratio": Coupled(estimator="ratio", gamma_min=None, gamma_max=None),
        "constant 0.995": Constant(0.995),
    }


def measure(diagnosis: Diagnosis, tell: Tell) -> Coefficients:
    """The rules at the steps of the solver and of Euler, and the discrepancies of wrong scores."""
    sampling, sizes = diagnosis.sampling, diagnosis.sizes
    tell("coefficients against the oracle")
    tables = {text: _table(diagnosis, solver) for text, solver in sampling.solvers.items()}
    tell("Stein discrepancies of a perturbed score")
    mixture, of = stand_in(diagnosis)
    return Coefficients(
        rule=sampling.coefficient_text,
        solver=sampling.solver_text,
        samples=sizes.samples,
        tables=tables,
        mixture=of,
        pairs=sizes.pairs,
        discrepancies=_discrepancies(mixture, sizes.pairs),
    )


def _table(diagnosis: Diagnosis, solver: Solver) -> list[Step]:
    levels, (denoiser, x, given) = diagnosis.levels(), diagnosis.samples
    targets = [diagnosis.fine.at(level) for level in levels[1:]]
    compared = compare_rules(
        denoiser, x, levels, solver, rules(diagnosis.sampling), targets, conditioning=given
    )
    return [_row(step) for step in compared]


def _row(step: ComparedStep) -> Step:
    best = step.projection
    relative = {name: rule.after / step.plain for name, rule in step.rules.items()}
    relative["oracle"] = best.after(best.gamma) / step.plain
    gammas = {name: rule.gamma for name, rule in step.rules.items()} | {"oracle": best.gamma}
    identity = [
        ((best.after(rule.gamma) - rule.after) / (rule.after + step.plain)).abs().max().item()
        for rule in step.rules.values()
        if not rule.corrected
    ]
    return Step(
        sigma=step.sigma,
        sigma_next=step.sigma_next,
        one_over=1 / (1 - step.sigma_next / step.sigma),
        rho=spread_of(best.rho),
        cosine=spread_of(step.residual.cosine),
        length=spread_of(step.residual.length),
        identity=max(identity),
        gamma={name: spread_of(values) for name, values in gammas.items()},
        error={name: values.mean().item() for name, values in relative.items()},
    )


def stand_in(diagnosis: Diagnosis) -> tuple[GaussianMixture, str]:
    """The exact mixture of the subject, or one that stands for it: a network's score is unknown."""
    if diagnosis.exact is not None and diagnosis.size <= 128:
        return diagnosis.exact, diagnosis.subject.name
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(8, SIZE, generator=generator, dtype=torch.float64)
    return GaussianMixture(means, 0.05), f"a mixture of 8 modes in {SIZE} dimensions"


def _discrepancies(mixture: GaussianMixture, count: int) -> list[Discrepancy]:
    clean = mixture.sample(count, torch.Generator().manual_seed(1)).double()
    size = clean[0].numel()
    found = []
    for error in ERRORS:
        wrong = Perturbed(mixture, size, error) if error else mixture
        one = coefficient_error(mixture, wrong, clean, *_LEVELS)
        found.append(Discrepancy(perturbation=error, bound=one.bound, **one._asdict()))
    return found


# -- judged ---------------------------------------------------------------------------------------


def judge(found: Coefficients) -> list[Verdict]:
    """One verdict for each statement about residuals, coefficients and their errors."""
    return [
        _residual(found), _degenerates(found), _near_oracle(found), _projection(found),
        _bound(found),
    ]  # fmt: skip


def _residual(found: Coefficients) -> Verdict:
    texts = []
    for solver, rows in found["tables"].items():
        cosine, length = (
            ", ".join(f"{row[key]['median']:.3f}" for row in rows) for key in ("cosine", "length")
        )
        texts.append(f"{solver}: cosine {cosine}, length {length}")
    text = (
        "Between u = x − T(x) and the noise x − D that the denoiser sees, step by step (medians): "
        f"{'; '.join(texts)}; length in units of (1 − σ'/σ)|x − D|. For Euler they are one; for "
        "the others the rest is extrapolation."
    )
    rows = _every_step(found)
    aligned = min(row["cosine"]["median"] for row in rows)
    statement = "The residual u of a step is the noise that the denoiser sees."
    return Verdict(statement, text, decided(aligned > 0.999, aligned > 0.8))


def _degenerates(found: Coefficients) -> Verdict:
    rows = found["tables"]["euler" if "euler" in found["tables"] else found["solver"]]
    ratios = [row["gamma"][PUBLISHED]["median"] / row["one_over"] for row in rows]
    worst = max(row["error"][PUBLISHED] for row in rows)
    above = sum(row["gamma"][PUBLISHED]["median"] > 1 for row in rows)
    text = (
        f"For Euler the published γ* (Hutchinson, 5 probes) is {min(ratios):.2f} to "
        f"{max(ratios):.2f} times 1/(1 − σ'/σ) (medians): {_clamped(above, len(rows))}; unclamped "
        f"it multiplies the squared distance to the fine trajectory by up to {worst:.3g}."
    )
    useful = not above or worst < 1
    return Verdict(
        "The published coefficient improves a step towards the next state.",
        text,
        Grade.HOLDS if useful else Grade.FAILS,
    )


def _clamped(above: int, steps: int) -> str:
    """What a clamp to 1 does to a coefficient that is above 1 in so many steps."""
    if above == steps:
        return "above 1 in every step, so that its clamp to 1 does nothing"
    return f"above 1 in {above} of {steps} steps, where its clamp makes it 1"


def _near_oracle(found: Coefficients) -> Verdict:
    rows, rule = found["tables"][found["solver"]], found["rule"]
    own = math.exp(sum(math.log(row["error"][rule]) for row in rows) / len(rows))
    best = math.exp(sum(math.log(row["error"]["oracle"]) for row in rows) / len(rows))
    off = [abs(row["gamma"][rule]["median"] - row["gamma"]["oracle"]["median"]) for row in rows]
    lower = sum(row["error"][rule] < 1 for row in rows)
    text = (
        f"Squared distance to the fine trajectory after a step, relative to γ = 1, geometric mean "
        f"over {len(rows)} steps of {found['solver']}: {own:.3f} with {rule}, {best:.3f} with the "
        f"oracle; {rule} lowers it in {lower} of {len(rows)}. |γ − γ*| of the medians is "
        f"{min(off):.2g} to {max(off):.2g}. This is a distance from one state to another; what the "
        "rule does to the distribution is another question (energy and modes)."
    )
    grade = decided(own < 1 and lower == len(rows), own < 1 or lower > 0)
    return Verdict(f"The {rule} coefficient brings a step nearer to the exact state.", text, grade)


def _projection(found: Coefficients) -> Verdict:
    rows = _every_step(found)
    worst = max(row["identity"] for row in rows)
    rho = [row["rho"]["median"] for row in rows]
    text = (
        f"E' = E (1 − ρ (1 − (1 − γ/γ*)²)) holds to {worst:.0e} (states in float32) for every "
        "rule and step; it is the projection on u, for one step and one target. ρ is "
        f"{min(rho):.3f} to {max(rho):.3f} (medians): nearly all of E is the way that any "
        "step goes, so ρ near 1 says nothing of a sampler's error. That the error decays over a "
        "sampling does not follow: the target moves."
    )
    return Verdict(
        "Error decay: E' = (1 − ρ)E for the best coefficient.",
        text,
        Grade.CONDITIONS if worst < ROUNDING else Grade.FAILS,
    )


def _bound(found: Coefficients) -> Verdict:
    rows = found["discrepancies"]
    wrong = [row for row in rows if row["perturbation"]]
    broken = [row for row in rows if row["error"] > row["bound"] * (1 + 1e-9)]
    share = [row["error"] / row["bound"] for row in wrong]
    floor = abs(rows[0]["kernel"])
    text = (
        f"On {found['mixture']}, {found['pairs']} states: |γ̃ − γ*| is {percent(min(share))} to "
        f"{percent(max(share))} of C·S over perturbations of {wrong[0]['perturbation']:g} to "
        f"{wrong[-1]['perturbation']:g} of the posterior's spread, from {wrong[0]['error']:.1e} to "
        f"{wrong[-1]['error']:.1e}. The kernelised discrepancy sees a perturbation only above its "
        f"noise of {floor:.2g} with so many states. A coefficient from the divergence of the step "
        f"itself needs no score and errs by its sampling error alone (on these states "
        f"{max(abs(row['by_divergence'] - row['truth']) for row in rows):.2g})."
    )
    return Verdict(
        "The error of a coefficient is bounded by the Stein discrepancy of the score, "
        "|γ̃ − γ*| ≤ C·S.", text, Grade.FAILS if broken else Grade.HOLDS,
    )  # fmt: skip


def _every_step(found: Coefficients) -> list[Step]:
    """The steps of all tables."""
    return [row for table in found["tables"].values() for row in table]


# -- drawn ----------------------------------------------------------------------------------------


def draw(found: Coefficients) -> list[Drawing]:
    """Coefficients at each step, and the discrepancies."""
    return [
        Drawing(
            "coefficients",
            "γ of every rule at the steps of the plain solver (medians; the oracle's middle 90% as "
            "a band), and the squared distance to the fine trajectory that it leaves, relative to "
            "γ = 1.",
            _coefficient_figure(found),
        ),
        Drawing(
            "discrepancy",
            f"Error of the coefficient by a wrong score, on {found['mixture']}: the error, its "
            "bound C·S, and the same with the kernelised discrepancy in place of S.",
            _discrepancy_figure(found),
        ),
    ]


def _coefficient_figure(found: Coefficients) -> Figure:
    tables = found["tables"]
    figure, grid = panels(2, 2.9 * len(tables), len(tables))
    for (text, rows), (left, right) in zip(tables.items(), grid, strict=True):
        at = list(range(1, len(rows) + 1))
        band(left, at, [row["gamma"]["oracle"] for row in rows], BLACK, 0.1)
        for name in rows[0]["gamma"]:
            look = {"color": _COLOURS.get(name, SKY), "markersize": 3}
            gammas = medians(row["gamma"][name] for row in rows)
            left.plot(at, gammas, "o-", label=name, **look)
            right.plot(at, [row["error"][name] for row in rows], "o-", **look)
        left.set(ylabel="γ")
        right.set(yscale="log", ylabel="E'(γ)/E'(1)")
        for axes, what in ((left, "coefficients"), (right, "squared distance")):
            axes.axhline(1, color=BLACK, linewidth=0.6)
            axes.set_xlabel("step", fontsize=8)
            axes.set_xticks(at)
            entitle(axes, f"{text}: {what}")
    finish(grid.flat, legend=[grid[0, 0]])
    return figure


def _discrepancy_figure(found: Coefficients) -> Figure:
    figure, ((axes,),) = panels(1, 3.2)
    rows = [row for row in found["discrepancies"] if row["perturbation"]]
    at = [row["perturbation"] for row in rows]
    kernel = [row["constant"] * abs(row["kernel"]) for row in rows]
    axes.plot(at, [row["bound"] for row in rows], "o-", color=GREY, markersize=4, label="C·S")
    axes.plot(at, kernel, "s--", color=ORANGE, markersize=4, label="C × kernelised discrepancy")
    axes.plot(at, [row["error"] for row in rows], "o-", color=BLUE, markersize=4, label="|γ̃ − γ*|")
    axes.set(xscale="log", yscale="log", xlabel="perturbation of the denoiser")
    entitle(axes, "Error of a coefficient by a wrong score, and its bounds", 70)
    finish([axes], legend=[axes])
    return figure


CHAPTER = Chapter(
    "coefficient",
    "Coefficients",
    "The best scalar γ* of a step for a given target is a projection. Rules are set beside the one "
    "whose target is the fine trajectory, at the steps of the plain solver, each rule with its own "
    "memory. The published coefficient aims at the clean sample instead, and equals 1/(1 − σ'/σ) "
    "for Euler with an exact denoiser.",
    Coefficients,
    measure,
    judge,
    draw,
)
