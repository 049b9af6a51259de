"""The k-diffusion samplers: against k-diffusion's own, against the core, and their protocol."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from k_diffusion_runs import (
    ABOVE_ZERO,
    EASED_IN,
    FLOW,
    TO_ZERO,
    Counted,
    close,
    denoise,
    denoise_flow,
    gaussian_flow,
    k_diffusion,
    levels,
    start,
)
from torch import Tensor

import steindiff as sd
from steindiff.adapters import k_diffusion as adapter
from steindiff.adapters.k_diffusion import SAMPLERS, Sampler, sample_stein_dpmpp_2m
from steindiff.solvers import SOLVERS, Solver, resolve_solver
from steindiff.solvers.adams import EvenSteps
from steindiff.stein import Constant

every_sampler = pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS.keys())


def solver_of(sampler: Sampler) -> str:
    return sampler.__name__.removeprefix("sample_stein_")


def solver_on_flow(sampler: Sampler) -> Solver:
    """The core's solver that makes the same steps on a flow's levels."""
    solver = resolve_solver(solver_of(sampler))
    return dataclasses.replace(solver, variable="flow") if isinstance(solver, EvenSteps) else solver


# --- against k-diffusion ---------------------------------------------------------------------


@dataclass(frozen=True)
class Twin:
    """A sampler of ours and the one of k-diffusion that makes the same steps."""

    ours: str
    theirs: str
    sigmas: tuple[float, ...] = TO_ZERO
    options: dict[str, Any] = field(default_factory=dict)
    their_options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.ours}-{self.theirs}-{self.sigmas[-1]}-{self.their_options.get('order', '')}"


def no_noise(sigma: Tensor, sigma_next: Tensor) -> Tensor:
    raise AssertionError("noise was asked for")


FULL = {"lower_order_final": False}
QUIET_SDE = {"eta": 0.0, "noise_sampler": no_noise}
TWINS = [
    Twin("euler", "sample_euler"),
    Twin("euler", "sample_euler", ABOVE_ZERO),
    Twin("heun", "sample_heun"),
    Twin("heun", "sample_heun", ABOVE_ZERO),
    Twin("dpmpp_2m", "sample_dpmpp_2m"),
    Twin("dpmpp_2m", "sample_dpmpp_2m", ABOVE_ZERO, FULL),
    Twin("dpmpp_2m", "sample_dpmpp_2m_sde", TO_ZERO, {}, QUIET_SDE),
    Twin("dpmpp_3m", "sample_dpmpp_3m_sde", EASED_IN, FULL, QUIET_SDE),
    Twin("deis", "sample_lms", ABOVE_ZERO, {"order": 4}, {"order": 4}),
    Twin("deis", "sample_lms", ABOVE_ZERO, {"order": 2}, {"order": 2}),
    Twin("ipndm", "sample_euler", TO_ZERO, {"order": 1}),
    Twin("unipc", "sample_euler", TO_ZERO, {"order": 1, "corrector": False}),
]


@pytest.mark.parametrize("twin", TWINS, ids=str)
@pytest.mark.parametrize("coefficient", [None, Constant(1.0)], ids=["none", "one"])
def test_the_plain_sampler_is_k_diffusions(twin: Twin, coefficient: Any) -> None:
    theirs, ours = [], []
    arguments: dict[str, Any] = {"extra_args": {"shift": 0.3}, "disable": True}
    x, sigmas = start(twin.sigmas[0]), levels(twin.sigmas)
    expected = getattr(k_diffusion(), twin.theirs)(
        denoise, x, sigmas, callback=theirs.append, **arguments, **twin.their_options
    )
    sampler = SAMPLERS[f"sample_stein_{twin.ours}"]
    arguments |= {"coefficient": coefficient, **twin.options}
    close(sampler(denoise, x, sigmas, callback=ours.append, **arguments), expected)
    assert len(ours) == len(theirs) == len(sigmas) - 1
    for mine, own in zip(ours, theirs, strict=True):
        assert set(mine) == {*own, "gamma"}
        assert bool((mine["gamma"] == 1).all())
        for key in own:
            close(torch.as_tensor(mine[key]), torch.as_tensor(own[key]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_flow_sampled_by_euler_is_k_diffusions(dtype: torch.dtype) -> None:
    """Euler is the same in all coordinates, so that k-diffusion's is right for a flow too."""
    theirs, ours = [], []
    x, sigmas = start(1.0, dtype=dtype), levels(FLOW, dtype)
    expected = k_diffusion().sample_euler(
        denoise_flow, x, sigmas, callback=theirs.append, disable=True
    )
    found = adapter.sample_stein_euler(
        denoise_flow,
        x,
        sigmas,
        callback=ours.append,
        disable=True,
        coefficient=None,
        coordinates="flow",
    )
    close(found, expected)
    for mine, own in zip(ours, theirs, strict=True):
        for key in own:
            close(torch.as_tensor(mine[key]), torch.as_tensor(own[key]))


# --- against the core ------------------------------------------------------------------------


@every_sampler
def test_samples_of_the_shipped_network_are_the_cores(sampler: Sampler) -> None:
    net = sd.load_model("fashion-mnist")
    x = sd.noise((1, 28, 28), sigma=80.0, seeds=range(2))
    labels, sigmas = torch.tensor([3, 7]), sd.schedules.karras(5, 0.01, 80.0)
    core = sd.sample(
        net, x, sigmas, solver_of(sampler), conditioning={"class_labels": labels}, record=True
    )
    model, steps = Counted(net), []
    found = sampler(model, x, sigmas, {"class_labels": labels}, steps.append, True)
    close(found, core.x)
    assert len(model.sigmas) == core.nfe
    assert core.record is not None
    close(torch.stack([step["gamma"] for step in steps]), core.record.gamma)
    acted = (core.record.gamma < 1) | (core.record.correction < 1)
    assert bool(acted.any()), "nothing was relaxed; the test says nothing"


@every_sampler
@pytest.mark.parametrize("final", [0.0, 0.02])
def test_a_flow_is_the_core_in_other_coordinates(sampler: Sampler, final: float) -> None:
    flow = levels((*FLOW[1:-1], final))
    ve = flow / (1 - flow)
    x = start(float(ve[0]))
    core = sd.sample(denoise, x, ve, solver_on_flow(sampler), record=True)
    seen: list[dict[str, Any]] = []
    found = sampler(
        denoise_flow,
        x * (1 - flow[0]),
        flow,
        callback=seen.append,
        disable=True,
        coordinates="flow",
    )
    close(found, core.x * (1 - final))
    assert core.record is not None
    close(torch.stack([step["gamma"] for step in seen]), core.record.gamma)


# --- flows from pure noise -------------------------------------------------------------------


@every_sampler
@pytest.mark.parametrize("coefficient", [None, "energy", Constant(0.9)], ids=str)
def test_the_first_step_from_pure_noise_is_exact(sampler: Sampler, coefficient: Any) -> None:
    x, steps = start(1.0, dtype=torch.float32), []
    sampler(
        denoise_flow,
        x,
        levels(FLOW, torch.float32),
        callback=steps.append,
        disable=True,
        coefficient=coefficient,
        coordinates="flow",
    )
    first, second = steps[:2]
    assert first["x"] is x
    close(second["x"], FLOW[1] * x + (1 - FLOW[1]) * first["denoised"])
    assert bool((first["gamma"] == 1).all())


@every_sampler
def test_a_flow_from_pure_noise_ends_in_the_data(sampler: Sampler) -> None:
    """Of N(0, c^2) the exact flow turns pure noise eps into c eps."""
    x = start(1.0)
    found = sampler(
        gaussian_flow(0.5),
        x,
        torch.linspace(1, 0, 101, dtype=torch.float64),
        disable=True,
        coefficient=None,
        coordinates="flow",
    )
    assert float((found - 0.5 * x).abs().max()) < 0.04


@every_sampler
def test_a_flow_is_called_at_the_very_levels(sampler: Sampler) -> None:
    model = Counted(denoise_flow)
    sigmas = torch.linspace(1, 0, 41, dtype=torch.float64)
    sampler(model, start(1.0), sigmas, disable=True, coordinates="flow")
    called = torch.stack(model.sigmas)[:, 0].tolist()
    assert called[0] == 1.0
    assert set(called) >= set(sigmas[:-1].tolist())
    halfway = set(called) - set(sigmas[:-1].tolist())
    assert len(halfway) == (38 if solver_of(sampler) == "res_2s" else 0)  # not in first and last


@every_sampler
@pytest.mark.parametrize("near", [4096 / 4097, 0.9999])
def test_a_flow_may_linger_near_pure_noise(sampler: Sampler, near: float) -> None:
    """At the level that stands for pure noise, and above it."""
    x, rest = start(1.0), torch.linspace(0.999, 0, 101, dtype=torch.float64)
    found = sampler(
        gaussian_flow(0.5),
        x,
        torch.cat([levels((1.0, near)), rest]),
        disable=True,
        coefficient=None,
        coordinates="flow",
    )
    assert float((found - 0.5 * x).abs().max()) < 0.04


def upstream_ipndm(x: Tensor, sigmas: Tensor, order: int) -> Tensor:
    """iPNDM in a flow's own levels: d = (x - D)/sigma, weights of even steps, as ComfyUI has it."""
    weights = {1: (1,), 2: (3 / 2, -1 / 2), 3: (23 / 12, -16 / 12, 5 / 12)}
    weights[4] = (55 / 24, -59 / 24, 37 / 24, -9 / 24)
    seen: list[Tensor] = []
    for sigma, sigma_next in pairwise(sigmas):
        denoised = denoise_flow(x, sigma.expand(len(x)))
        seen = [(x - denoised) / sigma, *seen][:order]
        move = sum(w * d for w, d in zip(weights[len(seen)], seen, strict=True))
        x = denoised if sigma_next == 0 else x + (sigma_next - sigma) * move
    return x


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("first", [0, 1])
def test_ipndm_on_a_flow_is_that_of_the_flow(order: int, first: int) -> None:
    """From pure noise and from below it; even steps of a flow are far from even in its VE sigma."""
    x, sigmas = start(1.0), levels(FLOW)[first:]
    found = adapter.sample_stein_ipndm(
        denoise_flow, x, sigmas, order=order, coefficient=None, coordinates="flow", disable=True
    )
    close(found, upstream_ipndm(x, sigmas, order))


def test_one_step_from_pure_noise_is_the_denoised() -> None:
    x = start(1.0)
    found = sample_stein_dpmpp_2m(
        denoise_flow, x, levels((1.0, 0.0)), disable=True, coordinates="flow"
    )
    close(found, denoise_flow(x, torch.ones(len(x), dtype=x.dtype)))


def test_probes_of_a_coefficient_work_on_flows() -> None:
    found = adapter.sample_stein_euler(
        denoise_flow,
        start(1.0),
        levels(FLOW),
        disable=True,
        coefficient="published",
        coordinates="flow",
    )
    assert bool(found.isfinite().all())


# --- the protocol ----------------------------------------------------------------------------


@every_sampler
def test_each_sampler_is_a_function_of_its_own(sampler: Sampler) -> None:
    assert getattr(adapter, sampler.__name__) is sampler
    cls = SOLVERS[solver_of(sampler)]
    parameters = inspect.signature(sampler).parameters
    assert list(parameters)[:6] == ["model", "x", "sigmas", "extra_args", "callback", "disable"]
    assert list(parameters)[6:10] == ["coefficient", "end", "coefficient_options", "coordinates"]
    options = list(parameters)[10:]
    assert {name: parameters[name].default for name in options} == vars(resolve_solver(cls()))
    assert all(f"{name}=" in (sampler.__doc__ or "") for name in options)
    assert cls.__name__ in (sampler.__doc__ or "")


def test_there_are_as_many_samplers_as_solvers() -> None:
    assert {solver_of(sampler) for sampler in SAMPLERS.values()} == set(SOLVERS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": 5}, "order is 5; IPNDM has orders 1 to 4"),
        ({"eta": 1.0}, "option 'eta' does not exist for solver 'ipndm'; it has "),
        ({"coefficient": "enrgy"}, "Did you mean 'energy'"),
        ({"end": "steddy"}, "Did you mean 'steady'"),
        ({"coefficient_options": {"trst": 1}}, "option 'trst' does not exist"),
        ({"coordinates": "vp"}, "coordinates 'vp' is unknown.*flow, ve"),
        ({"coordinates": "flow"}, r"sigmas\[0\] is 60.0; with coordinates='flow'"),
        ({"sigmas": levels((1.0, 2.0))}, "levels must strictly decrease"),
        ({"sigmas": levels(())}, r"sigmas has 0 level\(s\)"),
        ({"sigmas": None}, "sigmas is None; a sequence of numbers is needed"),
        ({"sigmas": 5.0}, "sigmas is 5.0; a sequence of numbers is needed"),
        ({"sigmas": ["a", 1.0]}, r"sigmas is \['a', 1.0\]; a sequence of numbers is needed"),
        ({"sigmas": torch.ones(1, 3)}, r"sigmas has shape \(1, 3\); one dimension is needed"),
        ({"model": lambda x, sigma: x[:, :1]}, "output at step 0 has shape"),
    ],
)
def test_bad_input_is_named(options: dict[str, Any], message: str) -> None:
    arguments = {"model": denoise, "x": start(60.0), "sigmas": levels(), "disable": True} | options
    with pytest.raises(ValueError, match=message):
        adapter.sample_stein_ipndm(**arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "m"}, "model is a str; a callable is needed"),
        ({"callback": 3}, "callback is a int; a callable is needed"),
        ({"extra_args": "a"}, "extra_args is a str; a mapping is needed"),
        ({"coefficient_options": "trust"}, "coefficient_options is a str; a mapping is needed"),
    ],
)
def test_what_is_of_the_wrong_type_is_named(options: dict[str, Any], message: str) -> None:
    arguments = {"model": denoise, "x": start(60.0), "sigmas": levels(), "disable": True} | options
    with pytest.raises(TypeError, match=message):
        adapter.sample_stein_ipndm(**arguments)
    if "coefficient_options" not in options and "callback" not in options:
        with pytest.raises(TypeError, match=message):
            adapter.relax(by_hand_euler)(**arguments)


def by_hand_euler(
    model: Any, x: Tensor, sigmas: Tensor, extra_args: Any = None, callback: Any = None,
    disable: Any = None,
) -> Tensor:  # fmt: skip
    for sigma, after in pairwise(sigmas):
        denoised = model(x, sigma * x.new_ones(len(x)), **(extra_args or {}))
        x = denoised + (x - denoised) * (after / sigma)
    return x


def test_options_reach_solver_and_coefficient() -> None:
    x, sigmas = start(60.0), levels()
    solver = resolve_solver("unipc", order=2, variant="bh1")
    core = sd.sample(denoise, x, sigmas, solver, sd.stein.Energy(trust=0.4)).x
    options: dict[str, Any] = {"order": 2, "variant": "bh1", "coefficient_options": {"trust": 0.4}}
    run = partial(adapter.sample_stein_unipc, denoise, x, sigmas, disable=True, **options)
    assert torch.equal(run(coefficient="energy"), core)
    recipes = dataclasses.replace(sd.recipes.COEFFICIENT, trust=0.4)
    assert torch.equal(run(), sd.sample(denoise, x, sigmas, solver, recipes).x)


@every_sampler
@pytest.mark.parametrize("coordinates", ["ve", "flow"])
def test_the_end_is_the_cores(sampler: Sampler, coordinates: Any) -> None:
    ve = sd.schedules.log_snr(4, 0.3, 20.0, final="zero")
    x, model = start(20.0), denoise_flow if coordinates == "flow" else denoise
    top = ve / (1 + ve) if coordinates == "flow" else ve
    native = x * (1 - top[0]) if coordinates == "flow" else x
    run = partial(sampler, model, native, top, disable=True, coordinates=coordinates)
    solver = solver_on_flow(sampler) if coordinates == "flow" else solver_of(sampler)
    ends = []
    for end in ("auto", "steady", "stein", "linear", "mean", "none"):
        for coefficient in ("auto", "none"):
            core = sd.sample(denoise, x, ve, solver, coefficient, end=end).x
            close(run(coefficient=coefficient, end=end), core)
            ends.append(core)
    assert torch.equal(ends[0], ends[2])  # "auto" is "steady" with a coefficient
    assert torch.equal(ends[1], ends[-1])  # and "none" without one
    assert float((ends[6] - ends[-2]).abs().max()) > 0.01  # "linear" always acts


def test_one_level_is_no_step() -> None:
    x, model = start(60.0), Counted()
    assert torch.equal(sample_stein_dpmpp_2m(model, x, levels((60.0,)), disable=True), x)
    assert not model.sigmas


@every_sampler
@pytest.mark.parametrize("coordinates", ["ve", "flow"])
def test_the_start_is_left_as_it_is(sampler: Sampler, coordinates: Any) -> None:
    flow = coordinates == "flow"
    x, sigmas = (start(1.0), levels(FLOW)) if flow else (start(60.0), levels())
    before = x.clone()
    sampler(denoise_flow if flow else denoise, x, sigmas, disable=True, coordinates=coordinates)
    assert torch.equal(x, before)


@every_sampler
@pytest.mark.parametrize("coordinates", ["ve", "flow"])
def test_a_sample_does_not_depend_on_its_batch(sampler: Sampler, coordinates: Any) -> None:
    flow = coordinates == "flow"
    x, sigmas = (start(1.0), levels(FLOW)) if flow else (start(60.0), levels())
    run = partial(sampler, denoise_flow if flow else denoise, sigmas=sigmas, disable=True)
    together = run(x=x, coordinates=coordinates)
    assert torch.equal(together[2:3], run(x=x[2:3].clone(), coordinates=coordinates))


# --- half precision --------------------------------------------------------------------------


class Strict:
    """A network that takes one dtype, as one loaded in half precision does."""

    def __init__(self, dtype: torch.dtype, model: Any, answer: torch.dtype | None = None) -> None:
        self.dtype, self.model, self.answer = dtype, model, answer or dtype

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        scaled = x / (1 + sigma**2).sqrt().reshape(-1, 1, 1, 1)
        assert scaled.dtype == self.dtype
        return self.model(x.double(), sigma.double()).to(self.answer)


@every_sampler
@pytest.mark.parametrize("answer", [torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("coordinates", ["ve", "flow"])
def test_half_precision(sampler: Sampler, answer: torch.dtype, coordinates: Any) -> None:
    flow = coordinates == "flow"
    x, sigmas = (start(1.0), levels(FLOW)) if flow else (start(60.0), levels())
    model = denoise_flow if flow else denoise
    exact = sampler(model, x, sigmas, disable=True, coordinates=coordinates)
    strict = Strict(torch.float16, model, answer)
    half = sampler(strict, x.half(), sigmas.float(), disable=True, coordinates=coordinates)
    assert half.dtype == torch.float16
    assert float((half - exact).abs().mean() / exact.abs().mean()) < 0.05


# --- masks, interrupts, values that are not finite ---------------------------------------------


@every_sampler
@pytest.mark.parametrize("coordinates", ["ve", "flow"])
def test_a_mask_keeps_the_known_pixels(sampler: Sampler, coordinates: Any) -> None:
    """The model wrapper of an inpainting: known pixels are put into the state and the answer."""
    flow = coordinates == "flow"
    top, sigmas = (1.0, levels(FLOW)) if flow else (60.0, levels())
    x, noise, image = start(top), start(1.0).flip(0), start(1.0).flip(1).tanh()
    known = torch.zeros_like(image)
    known[..., :2] = 1

    def wrapped(z: Tensor, sigma: Tensor) -> Tensor:
        level = sigma.reshape(-1, 1, 1, 1)
        noisy = (image * (1 - level) if flow else image) + level * noise
        inside = noisy * known + z * (1 - known)
        answer = denoise_flow(inside, sigma) if flow else denoise(inside, sigma)
        return image * known + answer * (1 - known)

    free = sampler(
        denoise_flow if flow else denoise, x, sigmas, disable=True, coordinates=coordinates
    )
    found = sampler(wrapped, x, sigmas, disable=True, coordinates=coordinates)
    close(found * known, image * known)
    unknown = (found - free) * (1 - known)
    assert 1e-3 < float(unknown.abs().max()) < 10


class InterruptError(Exception):
    pass


@every_sampler
def test_an_interrupt_comes_through(sampler: Sampler) -> None:
    def callback(step: dict[str, Any]) -> None:
        if step["i"] == 2:
            raise InterruptError("stop")

    model = Counted()
    with pytest.raises(InterruptError, match="stop"):
        sampler(model, start(60.0), levels(), None, callback, True)
    per_step = SOLVERS[solver_of(sampler)]().calls_per_step
    assert len(model.sigmas) == 3 * per_step


@every_sampler
@pytest.mark.parametrize("coordinates", ["ve", "flow"])
@pytest.mark.parametrize("lost", [[1], [0, 2], [0, 1, 2, 3]], ids=str)
def test_a_nan_is_named_with_its_step_and_costs_no_other(
    sampler: Sampler, coordinates: Any, lost: list[int]
) -> None:
    flow = coordinates == "flow"
    x, sigmas = (start(1.0), levels(FLOW)) if flow else (start(60.0), levels())
    good = denoise_flow if flow else denoise

    def model(z: Tensor, sigma: Tensor) -> Tensor:
        denoised = good(z, sigma)
        if float(sigma[0]) <= float(sigmas[3]):
            denoised[lost, 0, 0, 0] = float("nan")
        return denoised

    def sampled() -> Tensor:
        return sampler(model, x, sigmas, disable=True, coordinates=coordinates)

    # Heun sees the level one step ahead.
    first = 2 if solver_of(sampler) == "heun" else 3
    step = rf"at step {first} \(sigma = {float(sigmas[first]):g}\), in samples "
    step += ", ".join(map(str, lost))
    if len(lost) == len(x):
        with pytest.raises(sd.NonFiniteError, match=step) as caught:
            sampled()
        assert (caught.value.step, caught.value.samples) == (first, lost)
        return
    with pytest.warns(RuntimeWarning, match=f"{step}; the others go on") as told:
        found = sampled()
    assert len(told) == 1  # said once
    expected = sampler(good, x, sigmas, disable=True, coordinates=coordinates)
    kept = [k for k in range(len(x)) if k not in lost]
    assert torch.equal(found[kept], expected[kept])
    assert found[lost].isnan().flatten(1).any(1).all()


@every_sampler
@pytest.mark.parametrize("coordinates", ["ve", "flow"])
def test_no_step_waits_for_the_device(sampler: Sampler, coordinates: Any) -> None:
    """A tensor on the meta device has no values: reading one is an error."""
    flow = coordinates == "flow"
    sigmas, steps, calls = levels(FLOW if flow else TO_ZERO), [], Counted(lambda x, sigma: x * 0.5)
    x = start(1.0).to("meta")
    found = sampler(calls, x, sigmas, callback=steps.append, disable=True, coordinates=coordinates)
    assert (found.shape, found.device) == (x.shape, x.device)
    assert [step["i"] for step in steps] == list(range(len(sigmas) - 1))


# --- the progress bar ------------------------------------------------------------------------


@pytest.mark.parametrize(("disable", "shown"), [(True, False), (None, False), (False, True)])
def test_the_bar(disable: bool | None, shown: bool, capfd: pytest.CaptureFixture[str]) -> None:
    sample_stein_dpmpp_2m(denoise, start(60.0), levels(), disable=disable)
    assert ("8/8" in capfd.readouterr().err) == shown


def test_a_missing_tqdm_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ImportError, match=r"steindiff\[k-diffusion\].*disable=True"):
        sample_stein_dpmpp_2m(denoise, start(60.0), levels())
    sample_stein_dpmpp_2m(denoise, start(60.0), levels(), disable=True)


def test_levels_may_be_plain_numbers() -> None:
    x, seen = start(60.0), []
    found = sample_stein_dpmpp_2m(denoise, x, TO_ZERO, None, seen.append, True)
    assert torch.equal(found, sample_stein_dpmpp_2m(denoise, x, levels(), disable=True))
    assert [step["sigma"] for step in seen] == list(TO_ZERO[:-1])
    assert all(a > b for a, b in pairwise(step["sigma"] for step in seen))


@pytest.mark.parametrize("shift", [1.82, 2.14, 2.64, 2.89, 4.03])
def test_a_shift_that_rounds_pure_noise_past_one_is_taken(shift: float) -> None:
    t = torch.tensor([1.0, 0.75, 0.5, 0.25])
    levels = torch.cat([shift * t / (1 + (shift - 1) * t), torch.zeros(1)])
    assert levels[0] > 1
    x = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    exact = torch.cat([torch.ones(1), levels[1:]])
    for sampler in SAMPLERS.values():
        found, expected = (
            sampler(lambda x, s: 0.5 * x, x, sigmas, coordinates="flow", disable=True)
            for sigmas in (levels, exact)
        )
        assert torch.equal(found, expected)
    with pytest.raises(ValueError, match="levels go from 1"):
        SAMPLERS["sample_stein_euler"](
            lambda x, s: x, x, levels + 1e-3, coordinates="flow", disable=True
        )


@pytest.mark.parametrize("repeated", [[0, 0, 1, 2, 3, 4], [0, 1, 2, 2, 3, 4], [0, 1, 2, 3, 4, 4]])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_repeated_level_is_a_step_of_nothing(name: str, repeated: list[int]) -> None:
    """A level list that begins twice with its highest, or ends in two zeros."""
    once, x = torch.tensor([14.6146, 5.0, 1.0, 0.1, 0.0]), torch.full((2, 4), 14.0)
    for sigmas in (once[repeated], once[repeated].tolist()):
        seen: list[Any] = []
        found = SAMPLERS[name](shrink, x, sigmas, callback=seen.append, disable=True)
        assert torch.equal(found, SAMPLERS[name](shrink, x, once, disable=True))
        assert [step["i"] for step in seen] == [0, 1, 2, 3]
        assert [float(step["sigma"]) for step in seen] == pytest.approx(once[:-1].tolist())


def shrink(x: Tensor, sigma: Tensor) -> Tensor:
    return x / (1 + sigma[:, None] ** 2)
