"""Inputs that users of diffusers' schedulers have reported trouble with, and the right values."""

from __future__ import annotations

import copy
import importlib
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from diffusers_runs import call, go_on, initial, network, run, same_bits
from torch import Tensor

pytest.importorskip("diffusers")

from steindiff.adapters.diffusers import relax
from steindiff.stein import Energy

diffusers: Any = importlib.import_module("diffusers")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

BETAS: dict[str, Any] = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
}
MEANS = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
STATELESS = ["DDIMScheduler", "DDIMParallelScheduler"]


def exact_noise(x: Tensor, alpha: float, sigma: float) -> Tensor:
    """The exact epsilon of a mixture of three Gaussians of variance 1/16."""
    z, ve = x / alpha, sigma / alpha
    spread = ve**2 + 0.0625
    distances = (z[:, None] - MEANS).square().flatten(2).sum(-1)
    weights = torch.softmax(-distances / (2 * spread), 1)[..., None, None, None]
    mean = (weights * MEANS).sum(1)
    return (z - mean - 0.0625 / spread * (z - mean)) / ve


def sampled(scheduler: Any, steps: int) -> Tensor:
    """Samples in VE coordinates, over the exact network."""
    scheduler.set_timesteps(steps)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, 4, 8, 8, generator=generator, dtype=torch.float64)
    for t in scheduler.timesteps:
        kept = scheduler.alphas_cumprod[int(t)].double()
        x = scheduler.step(exact_noise(x, kept**0.5, (1 - kept) ** 0.5), t, x).prev_sample
    return x


def rms(a: Tensor, b: Tensor) -> float:
    return (a - b).square().mean().sqrt().item()


@pytest.mark.parametrize("order", [2, 3])
def test_a_last_step_of_higher_order_is_given_nothing(order: int) -> None:
    """Singlestep to sigma_min: six to twenty times the error, once."""
    plain = diffusers.DPMSolverSinglestepScheduler(
        **BETAS, solver_order=order, final_sigmas_type="sigma_min", lower_order_final=False
    )
    fine = sampled(copy.deepcopy(plain), 120)
    error = rms(sampled(copy.deepcopy(plain), 12), fine)
    default = rms(sampled(relax(plain, "energy"), 12), fine)
    assert default <= 1.05 * error
    assert default == rms(sampled(relax(plain, Energy(last=False)), 12), fine)


@pytest.mark.parametrize("to_one", [False, True])
@pytest.mark.parametrize("steps", [4, 6, 8])
def test_steps_that_end_elsewhere_than_the_next_begins_are_given_nothing(
    steps: int, to_one: bool
) -> None:
    """DDIM on linspace: its steps are shorter than its time steps are apart."""
    options = {**BETAS, "clip_sample": False, "set_alpha_to_one": to_one}
    plain = diffusers.DDIMScheduler(**options, timestep_spacing="linspace")
    scheduler = relax(plain, record=True)
    end = sampled(scheduler, steps)
    if not to_one:  # the step from t = 0 stays at its level: the one before it is the last
        assert scheduler.stein_record.gamma[-2:].eq(1).all()
    fine = sampled(diffusers.DDIMScheduler(**options, timestep_spacing="trailing"), 500)
    assert rms(end, fine) <= 1.005 * rms(sampled(plain, steps), fine)


def test_steps_that_join_are_given_what_is_owed() -> None:
    options = {**BETAS, "clip_sample": False, "set_alpha_to_one": False}
    plain = diffusers.DDIMScheduler(**options, timestep_spacing="trailing")
    fine = sampled(copy.deepcopy(plain), 500)
    rule = Energy(law="two", gift=None)
    default, without, base = (
        rms(sampled(scheduler, 8), fine)
        for scheduler in (relax(plain, rule), relax(plain, replace(rule, last=False)), plain)
    )
    assert default < 0.95 * without < 0.95 * base


def test_the_first_step_of_pndm_is_no_predictor_with_its_corrector() -> None:
    plain = diffusers.PNDMScheduler(**BETAS, skip_prk_steps=True, timestep_spacing="leading")
    fine = sampled(diffusers.DDIMScheduler(**BETAS, clip_sample=False), 500)
    default = sampled(relax(plain, "energy"), 5)
    assert same_bits(default, sampled(relax(plain, Energy(corrector=False)), 5))
    assert rms(default, fine) <= 1.01 * rms(sampled(plain, 5), fine)


def test_a_repeated_time_step_is_a_step_of_nothing() -> None:
    repeated = [999, 850, 736, 736, 545, 455, 343, 233, 124, 24]
    once = list(dict.fromkeys(repeated))
    plain = diffusers.EulerDiscreteScheduler(**BETAS)
    ours = [relax(plain, "energy", law="two", record=True) for _ in range(2)]
    ends = []
    for scheduler, times in zip(ours, (repeated, once), strict=True):
        scheduler.set_timesteps(timesteps=times)
        ends.append(go_on(scheduler, scheduler.timesteps, initial(scheduler))[-1])
    assert torch.allclose(*ends, rtol=1e-6, atol=1e-6)
    gamma, expected = (scheduler.stein_record.gamma for scheduler in ours)
    assert len(gamma) == 10
    assert gamma[2].eq(1).all()
    kept = [0, 1, *range(3, 10)]
    assert torch.allclose(gamma[kept], expected, rtol=1e-6)
    assert gamma[3].lt(1).any()


@pytest.mark.parametrize("name", STATELESS)
def test_a_step_made_twice_is_made_once(name: str) -> None:
    """Once for pred_original_sample and once for the state."""
    once, twice = (relax(getattr(diffusers, name)(**BETAS), record=True) for _ in range(2))
    expected, net = run(once), network()
    twice.set_timesteps(7)
    state = initial(twice)
    for t, after in zip(twice.timesteps, expected, strict=True):
        first = call(twice, net, t, state).prev_sample
        state = call(twice, net, t, state).prev_sample
        assert same_bits(first, state)
        assert same_bits(state, after)
    assert torch.equal(twice.stein_record.gamma, once.stein_record.gamma)
    assert twice.stein_record.gamma[1:-1].lt(1).any()


@pytest.mark.parametrize("name", STATELESS)
def test_two_samples_by_turns_are_as_each_alone(name: str) -> None:
    scheduler, net = relax(getattr(diffusers, name)(**BETAS)), network()
    starts = [initial(scheduler), 0.3 * initial(scheduler).flip(2)]
    alone = [run(scheduler, state=start) for start in starts]
    scheduler.set_timesteps(7)
    states = list(starts)
    for i, t in enumerate(scheduler.timesteps):
        for k in (0, 1):
            states[k] = call(scheduler, net, t, states[k]).prev_sample
            assert same_bits(states[k], alone[k][i])


def test_samples_by_turns_that_cannot_be_told_apart_are_refused() -> None:
    scheduler, net = relax(diffusers.DDIMScheduler(**BETAS)), network()
    scheduler.set_timesteps(7)
    first, second, *_ = scheduler.timesteps
    a, b = (call(scheduler, net, first, k * initial(scheduler)).prev_sample for k in (1, 2))
    with pytest.raises(ValueError, match="2 samples take steps by turns with one scheduler"):
        call(scheduler, net, second, a.clone())
    assert call(scheduler, net, second, b).prev_sample.isfinite().all()


def test_levels_changed_in_place_are_seen_under_inference_mode() -> None:
    ours = [relax(diffusers.EulerDiscreteScheduler(**BETAS), record=True) for _ in range(2)]
    with torch.inference_mode():
        for scheduler, late in zip(ours, (True, False), strict=True):
            scheduler.set_timesteps(6)
            states = initial(scheduler)
            if not late:
                scheduler.sigmas[3] *= 0.9
            for i, t in enumerate(scheduler.timesteps):
                if late and i == 1:
                    scheduler.sigmas[3] *= 0.9
                states = call(scheduler, network(), t, states).prev_sample
    record, expected = (scheduler.stein_record for scheduler in ours)
    assert record.sigmas == expected.sigmas
    assert torch.equal(record.gamma, expected.gamma)


def test_a_shallow_copy_keeps_notes_of_its_own() -> None:
    scheduler = relax(diffusers.DDIMScheduler(**BETAS))
    expected, net = run(scheduler), network()
    scheduler.set_timesteps(7)
    states, copied = initial(scheduler), None
    for i, (t, after) in enumerate(zip(scheduler.timesteps, expected, strict=True)):
        if i == 3:
            copied = copy.copy(scheduler)
            for later in scheduler.timesteps[3:]:
                call(copied, net, later, 2 * states)
        states = call(scheduler, net, t, states).prev_sample
        assert same_bits(states, after)
    assert copied is not None
    assert copied.__dict__["_stein_numbers"] is not scheduler.__dict__["_stein_numbers"]
    assert all(high > low for high, low in pairwise(scheduler.timesteps.tolist()))
