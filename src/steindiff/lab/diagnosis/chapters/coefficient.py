"""Every rule's gamma against the oracle's; the published coefficient; Stein discrepancies."""

from __future__ import annotations

import math

import torch
from matplotlib.figure import Figure

from ....denoisers import GaussianMixture, Perturbed
from ....solvers import Euler, Solver
from ....stein import Coefficient, Constant, Coupled, Published
from ...diagnostics import ComparedStep, coefficient_error, compare_rules
from ...report.look import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, tidy
from ..setting import Setting, spread_of
from .base import Chapter, Drawing, Found, Outcome, Tell, Verdict, percent

ERRORS = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)
SIZE = 16
ROUNDING = 1e-2
"""Of a small squared distance between states that float32 holds."""
_LEVELS = (1.0, 0.3)
PUBLISHED = "published, 5 probes"
_COLOURS = {
    "oracle": BLACK, "energy": BLUE, PUBLISHED: ORANGE, "published, ratio": PURPLE,
    "coupled, ratio": GREEN, "constant 0.995": GREY,
}  # fmt: skip


def rules(setting: Setting) -> dict[str, Coefficient]:
    """The setting's own and the controls: published and coupled ones without bounds on gamma."""
    return {
        setting.coefficient_text: setting.coefficient,
        PUBLISHED: Published(gamma_min=None, gamma_max=None),
        "published, ratio": Published(estimator="ratio", gamma_min=None, gamma_max=None),
        "coupled, ratio": Coupled(estimator="ratio", gamma_min=None, gamma_max=None),
        "constant 0.995": Constant(0.995),
    }


def _measure(setting: Setting, tell: Tell) -> Found:
    tell("coefficients against the oracle")
    solvers = {setting.solver_text: setting.solver}
    if not isinstance(setting.solver, Euler):
        solvers["euler"] = Euler()
    tables = {text: _table(setting, solver) for text, solver in solvers.items()}
    tell("Stein discrepancies of a perturbed score")
    mixture, of = stand_in(setting)
    return {
        "rule": setting.coefficient_text,
        "solver": setting.solver_text,
        "samples": setting.sizes.samples,
        "tables": tables,
        "mixture": of,
        "pairs": setting.sizes.pairs,
        "discrepancies": _discrepancies(mixture, setting.sizes.pairs),
    }


def _table(setting: Setting, solver: Solver) -> list[Found]:
    count = setting.sizes.samples
    levels = setting.levels()
    targets = [setting.fine.at(level) for level in levels[1:]]
    steps = compare_rules(
        setting.denoiser, setting.start(count), levels, solver, rules(setting), targets,
        conditioning=setting.given(count),
    )  # fmt: skip
    return [_row(step) for step in steps]


def _row(step: ComparedStep) -> Found:
    best = step.projection
    ratio = step.sigma_next / step.sigma
    relative = {name: rule.after / step.plain for name, rule in step.rules.items()}
    relative["oracle"] = best.after(best.gamma) / step.plain
    gammas = {name: rule.gamma for name, rule in step.rules.items()} | {"oracle": best.gamma}
    identity = [
        ((best.after(rule.gamma) - rule.after) / (rule.after + step.plain)).abs().max().item()
        for rule in step.rules.values()
        if not rule.corrected
    ]
    return {
        "sigma": step.sigma,
        "sigma_next": step.sigma_next,
        "one_over": 1 / (1 - ratio),
        "rho": spread_of(best.rho),
        "cosine": spread_of(step.residual.cosine),
        "length": spread_of(step.residual.length),
        "identity": max(identity),
        "gamma": {name: spread_of(values) for name, values in gammas.items()},
        "error": {name: values.mean().item() for name, values in relative.items()},
    }


def stand_in(setting: Setting) -> tuple[GaussianMixture, str]:
    """The exact mixture of the setting, or one that stands for it: a network's score is unknown."""
    if setting.exact is not None and setting.size <= 128:
        return setting.exact, setting.name
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(8, SIZE, generator=generator, dtype=torch.float64)
    return GaussianMixture(means, 0.05), f"a mixture of 8 modes in {SIZE} dimensions"


def _discrepancies(mixture: GaussianMixture, count: int) -> list[Found]:
    clean = mixture.sample(count, torch.Generator().manual_seed(1)).double()
    size = clean[0].numel()
    found = []
    for error in ERRORS:
        wrong = Perturbed(mixture, size, error) if error else mixture
        one = coefficient_error(mixture, wrong, clean, *_LEVELS)
        found.append({"perturbation": error, "bound": one.bound, **one._asdict()})
    return found


def _judge(found: Found) -> list[Verdict]:
    return [
        _residual(found), _degenerates(found), _near_oracle(found), _projection(found),
        _bound(found),
    ]  # fmt: skip


def _residual(found: Found) -> Verdict:
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
    rows = [row for table in found["tables"].values() for row in table]
    aligned = min(row["cosine"]["median"] for row in rows)
    outcome = (
        Outcome.HOLDS if aligned > 0.999 else Outcome.CONDITIONS if aligned > 0.8 else Outcome.FAILS
    )
    return Verdict("The residual u of a step is the noise that the denoiser sees.", text, outcome)


def _degenerates(found: Found) -> Verdict:
    rows = found["tables"]["euler" if "euler" in found["tables"] else found["solver"]]
    ratios = [row["gamma"][PUBLISHED]["median"] / row["one_over"] for row in rows]
    worst = max(row["error"][PUBLISHED] for row in rows)
    text = (
        f"For Euler the published γ* (Hutchinson, 5 probes) is {min(ratios):.2f} to "
        f"{max(ratios):.2f} times 1/(1 − σ'/σ) (medians): above 1 in every step, so that its clamp "
        f"to 1 does nothing; unclamped it multiplies the squared distance to the fine trajectory "
        f"by up to {worst:.3g}."
    )
    useful = all(row["gamma"][PUBLISHED]["median"] <= 1 for row in rows) or worst < 1
    return Verdict(
        "The published coefficient improves a step towards the next state.",
        text,
        Outcome.HOLDS if useful else Outcome.FAILS,
    )


def _near_oracle(found: Found) -> Verdict:
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
    outcome = (
        Outcome.HOLDS if own < 1 and lower == len(rows)
        else Outcome.CONDITIONS if own < 1 or lower
        else Outcome.FAILS
    )  # fmt: skip
    return Verdict(
        f"The {rule} coefficient brings a step nearer to the exact state.", text, outcome
    )


def _projection(found: Found) -> Verdict:
    rows = [row for table in found["tables"].values() for row in table]
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
        Outcome.CONDITIONS if worst < ROUNDING else Outcome.FAILS,
    )


def _bound(found: Found) -> Verdict:
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
        "|γ̃ − γ*| ≤ C·S.", text, Outcome.FAILS if broken else Outcome.HOLDS,
    )  # fmt: skip


def _draw(found: Found) -> list[Drawing]:
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


def _coefficient_figure(found: Found) -> Figure:
    tables = found["tables"]
    figure = Figure(figsize=(9.2, 2.9 * len(tables)), dpi=110, layout="constrained")
    grid = figure.subplots(len(tables), 2, squeeze=False)
    for (text, rows), (left, right) in zip(tables.items(), grid, strict=True):
        at = list(range(1, len(rows) + 1))
        band = [row["gamma"]["oracle"] for row in rows]
        left.fill_between(at, [b["low"] for b in band], [b["high"] for b in band], color=BLACK,
                          alpha=0.1, linewidth=0)  # fmt: skip
        for name in rows[0]["gamma"]:
            colour = _COLOURS.get(name, SKY)
            left.plot(at, [row["gamma"][name]["median"] for row in rows], "o-", color=colour,
                      markersize=3, label=name)  # fmt: skip
            right.plot(at, [row["error"][name] for row in rows], "o-", color=colour, markersize=3)
        left.axhline(1, color=BLACK, linewidth=0.6)
        right.axhline(1, color=BLACK, linewidth=0.6)
        left.set(ylabel="γ", title=text)
        right.set(yscale="log", ylabel="E'(γ)/E'(1)", title=text)
        for axes in (left, right):
            axes.set_xlabel("step", fontsize=8)
            axes.set_xticks(at)
            axes.title.set_fontsize(9)
            tidy(axes)
    grid[0, 0].legend(fontsize=7, frameon=False)
    return figure


def _discrepancy_figure(found: Found) -> Figure:
    figure = Figure(figsize=(6.0, 3.2), dpi=110, layout="constrained")
    axes = figure.subplots()
    rows = [row for row in found["discrepancies"] if row["perturbation"]]
    at = [row["perturbation"] for row in rows]
    axes.plot(at, [row["bound"] for row in rows], "o-", color=GREY, markersize=4, label="C·S")
    axes.plot(at, [row["constant"] * abs(row["kernel"]) for row in rows], "s--", color=ORANGE,
              markersize=4, label="C × kernelised discrepancy")  # fmt: skip
    axes.plot(at, [row["error"] for row in rows], "o-", color=BLUE, markersize=4, label="|γ̃ − γ*|")
    axes.set(xscale="log", yscale="log", xlabel="perturbation of the denoiser")
    axes.legend(fontsize=8, frameon=False)
    tidy(axes)
    return figure


CHAPTER = Chapter(
    "coefficient",
    "Coefficients",
    "The best scalar γ* of a step for a given target is a projection. Rules are set beside the one "
    "whose target is the fine trajectory, at the steps of the plain solver, each rule with its own "
    "memory. The published coefficient aims at the clean sample instead, and equals 1/(1 − σ'/σ) "
    "for Euler with an exact denoiser.",
    _measure,
    _judge,
    _draw,
)
