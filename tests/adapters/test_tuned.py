"""A file of `steindiff tune` gives the same samples everywhere: core, diffusers, k-diffusion."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import tunings
from torch import Tensor

import steindiff as sd
from steindiff.adapters.callable import from_function
from steindiff.adapters.k_diffusion import sample_stein_tuned, tuned_recipe, tuned_sigmas
from steindiff.calibrated import Calibrated
from steindiff.denoisers import GaussianMixture
from steindiff.recipes import COEFFICIENT
from steindiff.trajectory import FineSolution
from steindiff.tuning.network import weights_of
from steindiff.tuning.trials import PURE_NOISE, fine_solution

SHAPE = (2, 4, 4)
MEANS = torch.randn(5, *SHAPE, generator=torch.Generator().manual_seed(0))
MIXTURE = GaussianMixture(MEANS, 0.2)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tuned.json"
    tunings.tuned().save(path)
    return path


def start() -> Tensor:
    return sd.noise(SHAPE, 14.0, range(3))


def core(steps: int) -> Tensor:
    return sd.sample(MIXTURE, start(), steps=tunings.tuned().recipe(steps)).x


def assert_agree(found: Tensor, wanted: Tensor) -> None:
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-5


def in_flow(x: Tensor, t: Tensor) -> Tensor:
    ve = (t / (1 - t)).to(x.dtype)
    return MIXTURE(x * (1 + ve).reshape(-1, *[1] * (x.ndim - 1)), ve)


@pytest.mark.parametrize("steps", [4, 5])
def test_k_diffusion(file: Path, steps: int) -> None:
    plan = tuned_recipe(file, steps)
    rounded = tuned_sigmas(plan).to(torch.float32)
    found = sample_stein_tuned(MIXTURE, start(), rounded, disable=True, tuned=file)
    assert_agree(found, core(steps))
    assert_agree(sample_stein_tuned(MIXTURE, start(), disable=True, tuned=plan), core(steps))
    first = float(tuned_sigmas(plan, "flow")[0])
    assert first == pytest.approx(14 / 15)
    flow = sample_stein_tuned(
        in_flow, start() * (1 - first), tuned_sigmas(plan, "flow").to(torch.float32),
        disable=True, tuned=file, coordinates="flow",
    )  # fmt: skip
    assert_agree(flow, core(steps))


def test_k_diffusion_tells_of_every_step(file: Path) -> None:
    told: list[dict[str, Tensor]] = []
    sample_stein_tuned(
        MIXTURE, start(), callback=told.append, disable=True, tuned=tuned_recipe(file, 4)
    )
    assert [float(each["sigma"]) for each in told] == list(tunings.FITTED.levels[:-1])
    assert all(each["gamma"].shape == (3,) for each in told)


@pytest.mark.parametrize("coordinates", ["ve", "flow"])
def test_k_diffusion_goes_on_without_a_lost_sample(file: Path, coordinates: Any) -> None:
    """As its other samplers do: a warning that names it; an error where none is left."""
    plan = tuned_recipe(file, 5)
    model, x = (MIXTURE, start()) if coordinates == "ve" else (in_flow, start() / 15)
    spoilt: list[int] = []

    def model_with_nan(z: Tensor, sigma: Tensor) -> Tensor:
        found = model(z, sigma)
        found[spoilt] = math.nan
        return found

    def run() -> Tensor:
        return sample_stein_tuned(
            model_with_nan, x, disable=True, tuned=plan, coordinates=coordinates
        )

    whole = run()
    spoilt[:] = [1]
    with pytest.warns(RuntimeWarning, match="not finite at step 0 .* in samples 1; the others"):
        found = run()
    assert torch.equal(found[[0, 2]], whole[[0, 2]])
    spoilt[:] = [0, 1, 2]
    with pytest.raises(sd.NonFiniteError, match="in samples 0, 1, 2"):
        run()


def test_k_diffusion_refuses_what_is_of_something_else(file: Path) -> None:
    with pytest.raises(ValueError, match="the tuning has the levels"):
        sample_stein_tuned(MIXTURE, start(), [14.0, 6.0, 2.0, 0.6, 0.0], tuned=file)
    with pytest.raises(ValueError, match="steps is 3; this network was tuned for 4, 5"):
        sample_stein_tuned(MIXTURE, start(), [14.0, 6.0, 2.0, 0.0], tuned=file)
    with pytest.raises(ValueError, match="steps is None; this network was tuned for 4, 5"):
        sample_stein_tuned(MIXTURE, start(), tuned=file)
    with pytest.raises(ValueError, match="guidance is 4; the recipe was tuned for 1"):
        tuned_recipe(file, 4, 4.0)


class Wrapper(torch.nn.Module):
    """What k-diffusion has around a network: buffers of its own, and guidance as an argument."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.register_buffer("sigmas", torch.ones(5))
        torch.manual_seed(seed)
        self.inner_model = torch.nn.Linear(4, 4)

    def forward(self, x: Tensor, sigma: Tensor, cond_scale: float = 1.0) -> Tensor:
        return MIXTURE(x, sigma) + 0 * self.inner_model(x) * cond_scale


def test_k_diffusion_sees_network_and_guidance(tmp_path: Path) -> None:
    net, other = Wrapper(0), Wrapper(1)
    found = tunings.tuned(3.0, "mine", "", weights_of(net.inner_model))
    found.save(tmp_path / "t.json")

    def run(model: Any, scale: float | None = 3.0, **options: Any) -> Tensor:
        extra = {} if scale is None else {"cond_scale": scale}
        sigmas = tuned_sigmas(found.recipe(4))
        return sample_stein_tuned(
            model, start(), sigmas, extra, disable=True, tuned=tmp_path / "t.json", **options
        )

    assert_agree(run(net), core(4))
    assert_agree(run(net, None), core(4))
    with pytest.raises(ValueError, match="guidance is 7; the recipe was tuned for 3"):
        run(net, 7.0)
    with pytest.raises(ValueError, match=r"network has 20 weights .* it was tuned for mine, of 20"):
        run(other)
    with pytest.warns(UserWarning, match="network has 20 weights"):
        assert_agree(run(other, any_model=True), core(4))
    guided = sd.ClassifierFreeGuidance(net, 2.0, {"cond_scale": 1.0})
    with pytest.raises(ValueError, match="guidance is 2; the recipe was tuned for 3"):
        run(guided, None)


def exact_edm(x: Tensor, timestep: Tensor) -> Tensor:
    """The mixture's posterior mean as the output of an EDM network with sigma_data 0.5."""
    sigma = math.exp(4 * float(timestep))
    total = sigma**2 + 0.25
    state = x * math.sqrt(total)
    denoised = MIXTURE(state, torch.full((len(x),), sigma))
    return (denoised - 0.25 / total * state) * math.sqrt(total) / (sigma * 0.5)


def exact_flow(x: Tensor, timestep: Tensor) -> Tensor:
    t = float(timestep) / 1000
    return (x - in_flow(x, torch.full((len(x),), t))) / t


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # numpy's, in diffusers
@pytest.mark.parametrize("steps", [4, 5])
def test_diffusers(file: Path, steps: int, tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    from steindiff.adapters.diffusers import SteinScheduler

    edm = SteinScheduler.from_tuned(file, diffusers.EDMEulerScheduler(), steps)
    edm.save_pretrained(tmp_path / "kept")
    kept: Any = SteinScheduler.from_pretrained(tmp_path / "kept")
    flow = SteinScheduler.from_tuned(file, diffusers.FlowMatchEulerDiscreteScheduler(), steps)
    for scheduler, network, x in (
        (edm, exact_edm, start()), (kept, exact_edm, start()), (flow, exact_flow, start() / 15),
    ):  # fmt: skip
        scheduler.set_timesteps(steps)
        for timestep in scheduler.timesteps:
            seen = scheduler.scale_model_input(x, timestep)
            x = scheduler.step(network(seen, timestep), timestep, x, return_dict=False)[0]
        assert_agree(x, core(steps))
    with pytest.raises(ValueError, match="num_inference_steps is 7; it was fitted for"):
        edm.set_timesteps(7)
    with pytest.raises(ValueError, match="levels of its own"):
        edm.set_timesteps(sigmas=[14.0, 1.0, 0.0])
    with pytest.raises(ValueError, match="steps is 9; this network was tuned for 4, 5"):
        SteinScheduler.from_tuned(file, diffusers.EDMEulerScheduler(), 9)


def test_diffusers_refuses_levels_that_the_model_does_not_know(tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    from steindiff.adapters.diffusers import SteinScheduler

    found = tunings.tuned()
    low = replace(found.choices[5], recipe=replace(sd.recipe(5, sigma_max=900.0)))
    replace(found, choices={5: low}).save(tmp_path / "high.json")
    with pytest.raises(ValueError, match="the levels run from sigma = 900"):
        SteinScheduler.from_tuned(tmp_path / "high.json", diffusers.DDIMScheduler())


@pytest.fixture(scope="module")
def from_noise() -> sd.Tuned:
    """Of the mixture as a flow model in its own coordinates, for four steps."""
    net = from_function(exact_flow_batch, "flow", coordinates="flow")
    few: dict[str, Any] = {"noises": 8, "held_out": 16, "fresh": 16, "fine_steps": 10}
    return sd.tune(net, 4, shape=SHAPE, calls=3810, **few)


def exact_flow_batch(x: Tensor, t: Tensor) -> Tensor:
    """eps - x0; at t = 1 what is predicted is eps less the mean."""
    at = t.reshape(-1, *[1] * (x.ndim - 1))
    ve = (t.double() / (1 - t.double())).clamp_max(1e6)
    state = x.double() * (1 + ve).reshape(at.shape)
    denoised = torch.where(at == 1, MEANS.mean(dim=0).double(), MIXTURE(state, ve))
    return ((x - denoised) / at).to(x.dtype)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # numpy's, in diffusers
def test_a_flow_starts_at_pure_noise(from_noise: sd.Tuned, tmp_path: Path) -> None:
    """From t = 1 itself; core, diffusers and k-diffusion agree, for what was chosen and others."""
    diffusers = pytest.importorskip("diffusers")
    from steindiff.adapters.diffusers import SteinScheduler

    assert from_noise.sigma_max == PURE_NOISE
    own = from_noise.choices[4]
    assert {each.kind for each in own.tried} >= {"plain", "recipe", "gits", "chosen"}
    assert own.figures["tuned"].error < 0.5
    eps = sd.noise(SHAPE, 1.0, range(3))
    net = from_function(exact_flow_batch, "flow", coordinates="flow")
    fitted = Calibrated((PURE_NOISE, 6.0, 2.0, 0.6, 0.0),
                        ((-1e-9,), (0.2, 0.002), (0.6, -0.2, -0.01), (0.4, -0.1)))  # fmt: skip
    relaxed = replace(COEFFICIENT, law="two")
    plans = [
        own.recipe,
        sd.Recipe(fitted.levels, fitted, relaxed, "none", ""),
        *(sd.Recipe(fitted.levels, sd.solvers.resolve_solver(name), relaxed, "stein", "")
          for name in ("ipndm", "dpmpp_2m", "unipc")),
    ]  # fmt: skip
    own_first = diffusers.FlowMatchEulerDiscreteScheduler()
    own_first.set_timesteps(4)
    for plan in plans:
        replace(from_noise, choices={4: replace(own, recipe=plan)}).save(tmp_path / "t.json")
        wanted = sd.sample(net, eps * PURE_NOISE, steps=plan).x
        assert bool(wanted.isfinite().all())

        scheduler = SteinScheduler.from_tuned(
            tmp_path / "t.json", diffusers.FlowMatchEulerDiscreteScheduler()
        )
        scheduler.set_timesteps(4)
        assert scheduler.timesteps[0] == own_first.timesteps[0] == 1000
        assert scheduler.sigmas[0] == own_first.sigmas[0] == 1
        x = eps * scheduler.init_noise_sigma
        for timestep in scheduler.timesteps:
            at = torch.full((3,), float(timestep) / 1000)
            x = scheduler.step(exact_flow_batch(x, at), timestep, x, return_dict=False)[0]
        assert_agree(x, wanted)

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            return x - t.reshape(-1, 1, 1, 1) * exact_flow_batch(x, t)

        levels = tuned_sigmas(plan, "flow").to(torch.float32)
        assert levels[0] == 1
        found = sample_stein_tuned(
            denoise, eps, levels, disable=True, tuned=tmp_path / "t.json", coordinates="flow"
        )
        assert_agree(found, wanted)


def test_the_fine_solution_from_pure_noise_is_the_flows() -> None:
    """Against the same from a level of 4000, and Euler's first step, which is further off."""
    net = from_function(exact_flow_batch, "flow", coordinates="flow")
    eps = sd.noise(SHAPE, 1.0, range(6), dtype=torch.float64)
    found = fine_solution(net, eps * PURE_NOISE, {}, PURE_NOISE, 60, 0.002, 20.0).states[0]
    exact = FineSolution(MIXTURE, eps * 4000 + MEANS.mean(dim=0), {}, 200, 20.0, 4000.0).states[-2]
    euler = MEANS.mean(dim=0) + 20 * eps
    assert float((found - exact).norm() / (euler - exact).norm()) < 0.1
