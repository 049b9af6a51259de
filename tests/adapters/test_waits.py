"""What the adapters read from a device: the levels that they are given, once, and no step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from meta import NoWait, reads_counted
from torch import Tensor

from steindiff.adapters import k_diffusion
from steindiff.adapters.diffusers import SteinScheduler
from steindiff.adapters.k_diffusion import SAMPLERS
from steindiff.recipes import recipe
from steindiff.solvers import SOLVERS

START = torch.zeros(2, 3, 8, 8, device="meta")


def model(x: Tensor, sigma: Tensor, **_: Any) -> Tensor:
    return x / (1 + sigma.reshape(-1, 1, 1, 1) ** 2)


@pytest.mark.parametrize("coefficient", ["auto", None])
@pytest.mark.parametrize("coordinates", ["ve", "flow"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_k_diffusion_reads_the_levels_and_the_end(
    name: str, coordinates: Any, coefficient: str | None
) -> None:
    top = 1.0 if coordinates == "flow" else 20.0
    sigmas = torch.tensor([1.0, 0.7, 0.7, 0.4, 0.1, 0.0]) * top
    for callback in (None, lambda told: told["gamma"]):
        with reads_counted() as reads, NoWait():
            SAMPLERS[name](
                model, START, sigmas, callback=callback, disable=True,
                coefficient=coefficient, coordinates=coordinates,
            )  # fmt: skip
        assert reads == [(6,), (9, 2)]


@pytest.mark.parametrize("coefficient", ["auto", None])
@pytest.mark.parametrize("kind", ["vp", "edm", "flow"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_stein_scheduler_reads_nothing(solver: str, kind: str, coefficient: str | None) -> None:
    scheduler = SteinScheduler(model=kind, solver=solver, coefficient=coefficient)
    scheduler.set_timesteps(5, device="meta")
    x = START
    with reads_counted() as reads, NoWait():
        for timestep in scheduler.timesteps:
            seen = scheduler.scale_model_input(x, timestep)
            x = scheduler.step(0.1 * seen, timestep, x, return_dict=False)[0]
    assert reads == []


@pytest.mark.parametrize("given", ["timesteps", "sigmas"])
def test_stein_scheduler_reads_levels_that_are_given_once(given: str) -> None:
    values = {"timesteps": [900.0, 500.0, 100.0], "sigmas": [10.0, 3.0, 1.0, 0.0]}[given]
    with reads_counted() as reads:
        told: dict[str, Any] = {given: torch.tensor(values)}
        SteinScheduler().set_timesteps(**told)
        seen = reads.count(torch.Size([len(values)]))
    with reads_counted() as reads:
        told = {given: values}
        SteinScheduler().set_timesteps(**told)
        assert seen == reads.count(torch.Size([len(values)])) + 1


def test_a_tuning_reads_levels_that_are_given_once() -> None:
    plan = recipe(5)
    sigmas = k_diffusion.tuned_sigmas(plan).float()
    with reads_counted() as reads, NoWait():
        k_diffusion.sample_stein_tuned(model, START, sigmas, disable=True, tuned=plan)
    assert reads.count(sigmas.shape) == 2  # one is of the recipe's own, on the host
