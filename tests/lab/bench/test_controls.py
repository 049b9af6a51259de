"""The controls: given gammas, the greedy optimum, and gammas dealt out at random."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

import steindiff as sd
from steindiff.denoisers import Gaussian, GaussianMixture
from steindiff.lab.bench.controls import (
    CHANGES,
    CONTROLS,
    Changed,
    GivenGammas,
    epsilon_scaling,
    shuffled,
    temporal_score_rescaling,
)
from steindiff.solvers import SOLVERS, resolve_solver
from steindiff.stein import Ahead, Coefficient, Decision, Oracle, Proposal, Relaxed
from steindiff.trajectory import FineSolution

STEPS, COUNT, DIM = 5, 7, 6


@pytest.fixture(scope="module")
def mixture() -> GaussianMixture:
    return GaussianMixture(torch.randn(3, DIM, generator=torch.Generator().manual_seed(1)), 0.05)


@pytest.fixture(scope="module")
def start() -> Tensor:
    return sd.noise((DIM,), 80.0, range(COUNT))


@pytest.fixture(scope="module")
def targets(mixture: GaussianMixture, start: Tensor) -> tuple[Tensor, ...]:
    fine = FineSolution(mixture, start, {}, 20, 0.002, 80.0)
    return tuple(fine.at(level) for level in sd.schedules.karras(STEPS).tolist()[1:-1])


@dataclass(frozen=True)
class Watched(Coefficient):
    """Another coefficient, whose proposals and decisions are kept."""

    inside: Coefficient
    seen: list[tuple[Proposal, Decision]] = field(default_factory=list, compare=False)

    def init(self, x: Tensor) -> Any:
        return self.inside.init(x)

    def __call__(self, proposal: Proposal, state: Any) -> Decision:
        decision = self.inside(proposal, state)
        self.seen.append((proposal, decision))
        return decision


def test_controls_are_described() -> None:
    assert set(CONTROLS) == {"constant", "one", "random", "oracle", "end", *CHANGES}


def test_temporal_score_rescaling_of_a_gaussian_makes_a_wider_one(start: Tensor) -> None:
    """Its D' is the exact denoiser of data of variance 1/0.95."""
    levels = sd.schedules.karras(STEPS)
    changed = Changed(sd.Euler(), temporal_score_rescaling)
    found = sd.sample(Gaussian(variance=1.0), start, levels, changed, None).x
    expected = sd.sample(Gaussian(variance=1 / 0.95), start, levels, "euler", None).x
    torch.testing.assert_close(found, expected)


def test_epsilon_scaling_divides_the_noise(mixture: GaussianMixture, start: Tensor) -> None:
    denoised = mixture(start, 80.0)
    noise = start - epsilon_scaling(denoised, start, 80.0)
    torch.testing.assert_close(noise, (start - denoised) / 1.005)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("rule", [None, "energy"])
def test_more_noise_is_a_larger_start(
    mixture: GaussianMixture, start: Tensor, solver: str, rule: str | None
) -> None:
    levels = sd.schedules.karras(STEPS)
    changed = Changed(resolve_solver(solver), *CHANGES["more_noise"])
    assert changed.calls_per_step == resolve_solver(solver).calls_per_step
    found = sd.sample(mixture, start, levels, changed, rule).x
    expected = sd.sample(mixture, 1.01 * start, levels, solver, rule).x
    assert torch.equal(found, expected)
    assert not torch.equal(found, sd.sample(mixture, start, levels, solver, rule).x)


@pytest.mark.parametrize("solver", SOLVERS)
def test_given_gammas_are_given_again(mixture: GaussianMixture, start: Tensor, solver: str) -> None:
    levels = sd.schedules.karras(STEPS)
    first = sd.sample(mixture, start, levels, solver, "energy", record=True)
    assert first.record is not None
    acted = (first.record.gamma != 1) | (first.record.correction != 1)
    assert bool(acted.any())
    correction = first.record.correction
    again = sd.sample(mixture, start, levels, solver, GivenGammas(first.record.gamma), record=True)
    assert again.record is not None
    assert torch.equal(again.record.gamma, first.record.gamma)
    if bool((correction == 1).all()):  # gamma is all that the energy law decided
        assert torch.equal(again.x, first.x)


@pytest.mark.parametrize("solver", SOLVERS)
def test_oracle_is_the_best_gamma_of_every_step(
    mixture: GaussianMixture, start: Tensor, targets: tuple[Tensor, ...], solver: str
) -> None:
    watched = Watched(Oracle(targets))
    method = Relaxed(resolve_solver(solver), watched)
    sd.sample(mixture, start, sd.schedules.karras(STEPS), method, None)
    assert len(watched.seen) == STEPS - 1  # the last step is not relaxed

    def distance(proposal: Proposal, gamma: Tensor, target: Tensor) -> Tensor:
        x, candidate = proposal.x.double(), proposal.candidate.double()
        return (x + gamma[:, None] * (candidate - x) - target.double()).square().sum(1)

    for (proposal, decision), target in zip(watched.seen, targets, strict=True):
        gamma = decision.gamma.double()
        best = distance(proposal, gamma, target)
        for change in (1e-3, 1e-2, 0.1, 1.0):
            for sign in (-1, 1):
                assert bool((distance(proposal, gamma + sign * change, target) > best).all())
        assert bool((best <= distance(proposal, torch.ones_like(gamma), target)).all())
    assert any(bool((d.gamma - 1).abs().max() > 1e-3) for _, d in watched.seen)


def test_oracle_where_the_solver_does_not_move() -> None:
    x = torch.ones(2, 3)
    candidate = torch.stack([torch.ones(3), torch.zeros(3)])
    proposal = Proposal(x, x, candidate, None, 1.0, 0.5, lambda z: z, Ahead(3))
    oracle = Oracle((torch.full((2, 3), 0.25), x))
    decision = oracle(proposal, oracle.init(x))
    assert decision.gamma.tolist() == pytest.approx([1.0, 0.75])
    assert oracle(proposal, decision.state).gamma.tolist() == pytest.approx([1.0, 0.0])


def test_shuffled_deals_out_the_same_gammas() -> None:
    gammas = torch.cat(
        [torch.rand(4, 9, generator=torch.Generator().manual_seed(3)), torch.ones(1, 9)]
    )
    before = gammas.clone()
    dealt = shuffled(gammas)
    assert torch.equal(gammas, before)
    assert dealt.shape == gammas.shape
    assert torch.equal(dealt[-1], gammas[-1])
    assert torch.equal(dealt[:-1].flatten().sort().values, gammas[:-1].flatten().sort().values)
    # Over steps and samples alike: neither rows nor columns keep their own.
    assert not torch.equal(dealt[:-1].sort(dim=1).values, gammas[:-1].sort(dim=1).values)
    assert not torch.equal(dealt[:-1].sort(dim=0).values, gammas[:-1].sort(dim=0).values)
    assert torch.equal(shuffled(gammas), dealt)
    assert not torch.equal(shuffled(gammas, seed=1), dealt)
