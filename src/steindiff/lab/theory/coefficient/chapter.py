"""Every rule's gamma against the oracle's; the published coefficient; Stein discrepancies."""

from __future__ import annotations

import torch

from ....denoisers import GaussianMixture, Perturbed
from ....solvers import Solver
from ....stein import Coefficient, Constant, Coupled, Published
from ..diagnosis import Diagnosis, Sampling
from ..estimates import spread_of
from ..statement import Chapter, Tell
from .discrepancy import coefficient_error
from .draw import draw
from .fields import PUBLISHED, Coefficients, Discrepancy, Step
from .judge import judge
from .rules import ComparedStep, compare_rules

ERRORS = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)
SIZE = 16
_LEVELS = (1.0, 0.3)


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
