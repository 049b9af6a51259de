"""Samplers of others, relaxed through their model calls: what comes out, and what is refused."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
    TOLERANCE,
    Counted,
    close,
    denoise,
    denoise_flow,
    k_diffusion,
    levels,
    start,
)
from torch import Tensor
from waiting import BOUND

import steindiff as sd
from steindiff.adapters.k_diffusion import SAMPLERS, relax, sample_stein_euler
from steindiff.adapters.k_diffusion.calls import ModelCalls
from steindiff.adapters.k_diffusion.relaxed import _RelaxingCalls
from steindiff.adapters.relaxation import Relaxation
from steindiff.levels import NoiseLevel
from steindiff.solvers import DEIS, IPNDM, DPMpp2M, DPMpp3M, Euler, Heun, Solver, UniPC
from steindiff.stein import ENDS, Constant, Energy, Record

Sample = Callable[..., Tensor]


def theirs(name: str, **options: Any) -> Sample:
    return partial(getattr(k_diffusion(), f"sample_{name}"), **options)


def third_party(solver: Solver, name: str = "sample_custom") -> Sample:
    """A k-diffusion sampler that someone else might have written: this solver's steps."""

    def sample(model, x, sigmas, extra_args=None, callback=None, disable=None):
        def denoiser(z: Tensor, sigma: float) -> Tensor:
            return model(z, sigma * z.new_ones(len(z)), **(extra_args or {}))

        state = solver.init(x, sigmas.tolist())
        for sigma, sigma_next in pairwise(sigmas.tolist()):
            step = solver.step(denoiser, x, sigma, sigma_next, state)
            x, state = step.x, step.state
        return x

    sample.__name__ = name
    return sample


def euler_with(
    change: Callable[..., Tensor] | None = None,
    passed: Callable[[Tensor], Tensor] = lambda x: x,
    name: str = "sample_custom",
) -> Sample:
    """Euler that passes something of its state to the model, and changes it after the step."""

    def sample(model, x, sigmas, extra_args=None, callback=None, disable=None):
        for i in range(len(sigmas) - 1):
            denoised = model(passed(x), sigmas[i] * x.new_ones(len(x)), **(extra_args or {}))
            x = denoised + (x - denoised) * (sigmas[i + 1] / sigmas[i])
            x = change(x, sigmas[i + 1]) if change else x
        return x

    sample.__name__ = name
    return sample


# --- what comes out --------------------------------------------------------------------------

RULES = {"energy": Energy(), "trust": Energy(trust=0.4), "constant": Constant(0.93)}
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())

TWINS: dict[str, tuple[Callable[[], Sample], tuple[float, ...], str, dict[str, Any]]] = {
    "euler": (lambda: theirs("euler"), TO_ZERO, "euler", {}),
    "dpmpp_2m": (lambda: theirs("dpmpp_2m"), TO_ZERO, "dpmpp_2m", {}),
    "dpmpp_2m_sde-quiet": (
        lambda: theirs("dpmpp_2m_sde", eta=0.0, noise_sampler=0),
        TO_ZERO,
        "dpmpp_2m",
        {},
    ),
    "dpmpp_3m_sde-quiet": (
        lambda: theirs("dpmpp_3m_sde", eta=0.0, noise_sampler=0),
        EASED_IN,
        "dpmpp_3m",
        {"lower_order_final": False},
    ),
    "euler_ancestral-quiet": (lambda: theirs("euler_ancestral", eta=0.0), TO_ZERO, "euler", {}),
    "lms": (lambda: theirs("lms"), ABOVE_ZERO, "deis", {"order": 4}),
    "lms-2": (lambda: theirs("lms", order=2), ABOVE_ZERO, "deis", {"order": 2}),
    "third-party-dpmpp_3m": (lambda: third_party(DPMpp3M()), TO_ZERO, "dpmpp_3m", {}),
    "third-party-ipndm": (lambda: third_party(IPNDM(4)), TO_ZERO, "ipndm", {"order": 4}),
    "third-party-deis": (lambda: third_party(DEIS(3)), TO_ZERO, "deis", {}),
    "third-party-unip": (
        lambda: third_party(UniPC(corrector=False)),
        TO_ZERO,
        "unipc",
        {"corrector": False},
    ),
}
twins = pytest.mark.parametrize("twin", TWINS)


@twins
@every_rule
@pytest.mark.parametrize("end", ["auto", "linear"])
def test_a_relaxed_sampler_is_ours(twin: str, rule: Any, end: str) -> None:
    make, sigmas, ours, options = TWINS[twin]
    x, model = start(sigmas[0]), Counted()
    arguments: dict[str, Any] = {"extra_args": {"shift": 0.3}, "disable": True}
    found = relax(make(), rule, end)(model, x, levels(sigmas), **arguments)
    sampler = SAMPLERS[f"sample_stein_{ours}"]
    arguments |= {"coefficient": rule, "end": end, **options}
    close(found, sampler(denoise, x, levels(sigmas), **arguments))
    assert len(model.sigmas) == len(sigmas) - 1
    arguments |= {"coefficient": None, "end": "none"}
    plain = sampler(denoise, x, levels(sigmas), **arguments)
    assert float((found - plain).abs().max()) > 1e-3, "nothing was relaxed; the test says nothing"


@twins
def test_weight_one_is_the_plain_sampler_to_the_last_bit(twin: str) -> None:
    make, sigmas, *_ = TWINS[twin]
    x = start(sigmas[0], dtype=torch.float32)
    run = {"x": x, "sigmas": levels(sigmas, torch.float32), "disable": True}
    plain = make()(denoise, **run)
    found = relax(make(), "constant", "none", value=1.0)(denoise, **run)
    assert torch.equal(found, plain)


@pytest.mark.parametrize("end", [end for end in ENDS if end != "none"])
@pytest.mark.parametrize("solver", ["euler", "dpmpp_2m"])
def test_an_end_takes_the_place_of_the_step_into_zero(solver: str, end: str) -> None:
    """Of the shipped network, with and without a coefficient."""
    net = partial(sd.load_model("fashion-mnist"), class_labels=torch.tensor([3]))
    sigmas = sd.schedules.log_snr(4, 0.3, 80.0, final="zero").float()
    x, run = sd.noise((1, 28, 28), sigma=80.0), {"sigmas": sigmas, "disable": True}
    plain = theirs(solver)(net, x, **run)
    for coefficient in ("auto", "none"):
        found = relax(theirs(solver), coefficient, end)(net, x, **run)
        close(found, sd.sample(net, x, sigmas, solver, coefficient, end=end).x)
        if coefficient == "auto" or end in ("linear", "mean"):  # Euler alone may lack no energy
            assert float((found - plain).abs().max()) > 0.01
    ours = SAMPLERS[f"sample_stein_{solver}"]
    close(ours(net, x, **run, coefficient=None, end=end), found)


@twins
def test_no_end_acts_where_there_is_none(twin: str) -> None:
    """Above zero, in a sampling of one step, and with "none"."""
    make, sigmas, *_ = TWINS[twin]
    one_step = (sigmas[-2], 0.0)
    runs = [(sigmas[:-1], "linear"), (sigmas, "none"), (one_step, "linear")]
    for visited, end in runs[: 2 if "sde" in twin else 3]:  # k-diffusion's fail at one step
        run = {"x": start(visited[0]), "sigmas": levels(visited), "disable": True}
        found = relax(make(), "none", end)(denoise, **run)
        close(found, make()(denoise, **run), 1e-12)


def test_without_coefficient_there_is_no_end_unless_it_is_named() -> None:
    sampler = theirs("euler")
    assert relax(sampler, "none") is relax(sampler, None) is sampler


@pytest.mark.parametrize("order", [2, 4])
def test_a_last_step_of_higher_order_is_left_alone(order: int) -> None:
    """LMS keeps its order into 0; what it proposes there is not D."""
    run = {"x": start(60.0), "sigmas": levels(), "disable": True}
    lms = theirs("lms", order=order)
    assert torch.equal(relax(lms, "none", "linear")(denoise, **run), lms(denoise, **run))
    first = theirs("lms", order=1)  # Euler
    found = relax(first, "none", "linear")(denoise, **run)
    close(found, sample_stein_euler(denoise, **run, coefficient="none", end="linear"))


def test_lms_into_zero_is_relaxed_in_all_steps_but_its_own_last() -> None:
    """LMS keeps its order into 0, where ours takes D: the steps before it are the same."""
    ours, seen, x = [], [], start(60.0)
    rule = Constant(0.93)
    SAMPLERS["sample_stein_deis"](
        denoise, x, levels(), None, ours.append, True, coefficient=rule, order=4
    )
    relax(theirs("lms"), rule)(denoise, x, levels(), None, seen.append, True)
    for mine, own in zip(ours, seen, strict=True):
        close(own["x"], mine["x"])
        close(own["denoised"], mine["denoised"])


@every_rule
@pytest.mark.parametrize(("sigmas", "tolerance"), [(FLOW[1:], TOLERANCE), (FLOW, 1e-3)])
def test_a_flow_is_relaxed_as_ours(rule: Any, sigmas: tuple[float, ...], tolerance: float) -> None:
    """From pure noise both begin with noise of VE level 4096, one with D added and one without."""
    x = start(sigmas[0])
    ours = sample_stein_euler(
        denoise_flow, x, levels(sigmas), disable=True, coordinates="flow", coefficient=rule
    )
    relaxed = relax(theirs("euler"), rule, coordinates="flow")
    found = relaxed(denoise_flow, x, levels(sigmas), disable=True)
    close(found, ours, tolerance)


def test_a_sampler_that_works_in_place_is_relaxed_too() -> None:
    def sample(model, x, sigmas, extra_args=None, callback=None, disable=None):
        for i in range(len(sigmas) - 1):
            ratio = float(sigmas[i + 1] / sigmas[i])
            denoised = model(x, sigmas[i] * x.new_ones(len(x)))
            x.mul_(ratio).add_(denoised.mul_(1 - ratio))
        return x

    x = start(60.0)
    before = x.clone()
    found = relax(sample)(denoise, x, levels(), disable=True)
    close(found, sample_stein_euler(denoise, x, levels(), disable=True))
    assert torch.equal(x, before)


def test_the_samplers_callback_and_options_are_its_own() -> None:
    seen: list[dict[str, Any]] = []
    x, sigmas = start(60.0), levels(ABOVE_ZERO)
    found = relax(k_diffusion().sample_lms)(denoise, x, sigmas, None, seen.append, True, order=2)
    close(found, relax(theirs("lms", order=2))(denoise, x, sigmas, disable=True))
    assert [set(step) for step in seen] == [{"x", "i", "sigma", "sigma_hat", "denoised"}] * 8
    for step in seen:  # what the model said of the state that the step departs from
        close(step["denoised"], denoise(step["x"], step["sigma"].expand(len(x))))


def test_the_relaxed_sampler_is_called_like_the_plain_one() -> None:
    relaxed = relax(k_diffusion().sample_lms)
    assert inspect.signature(relaxed) == inspect.signature(k_diffusion().sample_lms)
    assert relaxed.__name__ == "sample_lms"


def test_random_numbers_are_drawn_as_by_the_plain_sampler() -> None:
    """Euler draws noise and weighs it with 0: who draws after it must get the same."""
    after = []
    for sampler in (theirs("euler"), relax(theirs("euler"))):
        torch.manual_seed(3)
        sampler(denoise, start(60.0), levels(), disable=True)
        after.append(torch.rand(4))
    assert torch.equal(*after)


def test_another_thread_does_not_draw_the_same_numbers_twice() -> None:
    """torch's generator is the process's; what one thread puts back is taken from another."""
    drawn = []

    def sampler(model, x, sigmas, extra_args=None, callback=None, disable=None):
        drawn.append(tuple(pool.submit(torch.rand, 4).result(BOUND).tolist()))
        return third_party(Euler())(model, x, sigmas)

    with ThreadPoolExecutor(1) as pool:
        relax(sampler)(denoise, start(60.0), levels())
    assert len(drawn) == len(set(drawn)) > 1


def test_what_the_sampler_asks_of_the_model_is_the_models() -> None:
    class Wrapped:
        sigma_max = 60.0

        def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
            return denoise(x, sigma)

    def sample(model, x, sigmas, extra_args=None, callback=None, disable=None):
        assert model.sigma_max == 60.0
        assert not hasattr(model, "sigma_min")
        return euler_with()(model, x, sigmas)

    relax(sample)(Wrapped(), start(60.0), levels())


def test_a_sample_does_not_depend_on_its_batch() -> None:
    x, run = start(60.0), relax(theirs("dpmpp_2m"))
    together = run(denoise, x, levels(), disable=True)
    assert torch.equal(together[1:2], run(denoise, x[1:2], levels(), disable=True))


@pytest.mark.parametrize("name", ["euler", "dpmpp_2m"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("answer", [None, torch.float32], ids=str)
def test_half_precision(name: str, dtype: torch.dtype, answer: torch.dtype | None) -> None:
    sigmas = levels(ABOVE_ZERO, dtype)  # by wider ones these samplers would widen the state
    x, run = start(60.0), relax(theirs(name))
    exact = run(denoise, x, sigmas.double(), disable=True)

    def model(z: Tensor, sigma: Tensor) -> Tensor:
        assert z.dtype == dtype
        return denoise(z.double(), sigma.double()).to(answer or dtype)

    half = run(model, x.to(dtype), sigmas, disable=True)
    assert half.dtype == dtype
    error = float((half - exact).abs().mean() / exact.abs().mean())
    assert error < 32 * torch.finfo(dtype).eps


def test_a_state_that_the_sampler_widens() -> None:
    x = start(60.0, dtype=torch.float32)
    plain = theirs("euler")(denoise, x, levels(), disable=True)
    found = relax(theirs("euler"), "constant", "none", value=1.0)(
        denoise, x, levels(), disable=True
    )
    assert found.dtype == plain.dtype == torch.float64
    assert torch.equal(found, plain)


def test_the_shipped_network() -> None:
    net, sigmas = sd.load_model("fashion-mnist"), sd.schedules.karras(5, 0.01, 80.0)
    x = sd.noise((1, 28, 28), sigma=80.0, seeds=range(2))
    labels = {"class_labels": torch.tensor([3, 7])}
    core = sd.sample(net, x, sigmas, DPMpp2M(lower_order_final=False), conditioning=labels).x
    close(relax(theirs("dpmpp_2m"))(net, x, sigmas, labels, disable=True), core)


def test_one_level_is_no_step() -> None:
    x = start(60.0)
    assert torch.equal(relax(theirs("euler"))(denoise, x, levels((60.0,)), disable=True), x)


# --- what goes wrong in a run -----------------------------------------------------------------


class InterruptError(Exception):
    pass


def test_an_interrupt_comes_through() -> None:
    def callback(step: dict[str, Any]) -> None:
        if step["i"] == 2:
            raise InterruptError("stop")

    model = Counted()
    with pytest.raises(InterruptError, match="stop"):
        relax(theirs("euler"))(model, start(60.0), levels(), None, callback, True)
    assert len(model.sigmas) == 3


@pytest.mark.parametrize("at", [0, 3, 7])
def test_a_nan_is_named_with_its_step_and_costs_no_other(at: int) -> None:
    def model(x: Tensor, sigma: Tensor) -> Tensor:
        denoised = denoise(x, sigma)
        if float(sigma[0]) <= TO_ZERO[at]:
            denoised[lost] = float("inf")
        return denoised

    lost = [1]
    with pytest.warns(RuntimeWarning, match=rf"at step {at} .*, in samples 1; the others go on"):
        found = relax(theirs("euler"))(model, start(60.0), levels(), disable=True)
    expected = relax(theirs("euler"))(denoise, start(60.0), levels(), disable=True)
    kept = [k for k in range(len(found)) if k not in lost]
    assert torch.equal(found[kept], expected[kept])
    assert not found[lost].isfinite().all()
    lost = list(range(len(found)))
    with pytest.raises(sd.NonFiniteError) as caught:
        relax(theirs("euler"))(model, start(60.0), levels(), disable=True)
    assert (caught.value.step, caught.value.samples) == (at, lost)


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (lambda x, sigma: x[:, :1], ValueError, "the model's output has shape"),
        (lambda x, sigma: (x,), TypeError, "the model returned a tuple"),
    ],
)
def test_a_bad_model_is_named(model: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        relax(theirs("euler"))(model, start(60.0), levels(), disable=True)


def test_no_step_waits_for_the_device() -> None:
    """A tensor on the meta device has no values: reading one is an error."""
    x, model = start(60.0).to("meta"), Counted(lambda x, sigma: x * 0.5)
    places = [NoiseLevel.ve(sigma) for sigma in TO_ZERO]
    calls = _RelaxingCalls("euler", model, x, TO_ZERO, places, Relaxation(Energy()))
    end = third_party(Euler())(calls, x, levels())
    assert len(model.sigmas) == 8
    with pytest.raises(RuntimeError, match=r"(?i)meta"):
        calls.close(end)  # the one place that looks at values


# --- what is refused ---------------------------------------------------------------------------


def seeded(x: Tensor, sigma: Tensor) -> Tensor:
    """Noise that a second run would add again: a seed of the sampler's own."""
    generator = torch.Generator().manual_seed(0)
    return x + 0.1 * sigma * torch.randn(x.shape, generator=generator).to(x)


def extra_call(model, x, sigmas, extra_args=None, callback=None, disable=None):
    x = euler_with()(model, x, sigmas)
    return model(x, sigmas[-2] * x.new_ones(len(x)))


def skips_a_level(model, x, sigmas, extra_args=None, callback=None, disable=None):
    return euler_with()(model, x, torch.cat([sigmas[:2], sigmas[3:]]))


def stops_early(model, x, sigmas, extra_args=None, callback=None, disable=None):
    return euler_with()(model, x, sigmas[:-1])


def doubles_the_batch(model, x, sigmas, extra_args=None, callback=None, disable=None):
    return euler_with()(model, torch.cat([x, x]), sigmas)[: len(x)]


def drops_samples(model, x, sigmas, extra_args=None, callback=None, disable=None):
    return euler_with()(model, x, sigmas)[:1]


NOISE, LOST = "adds noise in its steps", "does not go on, to the next level, from the state"
ONCE = "and a step can be told only where"

REFUSED: dict[str, tuple[Callable[[], Sample], str, str]] = {
    "heun": (lambda: theirs("heun"), ONCE, "heun"),
    "dpm_2": (lambda: theirs("dpm_2"), "another level than sigmas", "heun"),
    "euler_ancestral": (lambda: theirs("euler_ancestral"), NOISE, "euler"),
    "euler-churn": (lambda: theirs("euler", s_churn=10.0), "another level", "euler"),
    "euler-churn-of-some-levels": (
        lambda: theirs("euler", s_churn=10.0, s_tmin=1.0, s_tmax=5.0),
        r"another level than sigmas\[3\] = 4",
        "euler",
    ),
    "euler_ancestral-no-noise-yet-lower": (
        lambda: theirs("euler_ancestral", s_noise=0.0),
        LOST,
        "euler",
    ),
    "dpmpp_2m_sde": (
        lambda: theirs("dpmpp_2m_sde", noise_sampler=lambda *_: torch.ones(())),
        NOISE,
        "dpmpp_2m",
    ),
    "dpmpp_3m_sde": (
        lambda: theirs("dpmpp_3m_sde", noise_sampler=lambda *_: torch.ones(())),
        NOISE,
        "dpmpp_3m",
    ),
    "dpmpp_sde": (
        lambda: theirs("dpmpp_sde", eta=0.0, noise_sampler=lambda *_: torch.ones(())),
        "another level",
        "dpmpp_2m",
    ),
    "dpm_2_ancestral": (lambda: theirs("dpm_2_ancestral"), "another level", "heun"),
    "dpmpp_2s_ancestral": (lambda: theirs("dpmpp_2s_ancestral"), "another level", "dpmpp_2m"),
    "seeded": (lambda: euler_with(seeded), NOISE, "one of"),
    "unipc": (lambda: third_party(UniPC(), "sample_unipc"), LOST, "unipc"),
    "uni_pc-2": (lambda: third_party(UniPC(2), "sample_uni_pc"), LOST, "unipc"),
    "third-party-heun": (lambda: third_party(Heun(), "my_heun"), ONCE, "heun"),
    "copies": (lambda: euler_with(passed=torch.clone), LOST, "one of"),
    "casts": (lambda: euler_with(passed=lambda x: x.float()), LOST, "one of"),
    "extra-call": (lambda: extra_call, "more than 8 times", "one of"),
    "skips-a-level": (lambda: skips_a_level, r"than sigmas\[2\] = 9", "one of"),
    "stops-early": (lambda: stops_early, "calls the model 7 times", "one of"),
    "drops-samples": (lambda: drops_samples, "changes the state's shape", "one of"),
    "doubles-the-batch": (lambda: doubles_the_batch, "changes the state's shape", "one of"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_sampler_that_cannot_be_followed_is_refused(case: str) -> None:
    """Before the model is called once; with the reason, and with what to use instead."""
    make, reason, instead = REFUSED[case]
    model, x = Counted(), start(60.0)
    before = x.clone()
    instead = f"Use (sample_stein_)?{instead}"
    with pytest.raises(ValueError, match=f"cannot be relaxed: it .*({reason}).*{instead}"):
        relax(make())(model, x, levels(), disable=True)
    assert not model.sigmas
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", ["dpm_adaptive", "dpm_fast"])
def test_a_sampler_of_its_own_levels_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"sample_{name} cannot be relaxed: it has no")):
        relax(getattr(k_diffusion(), f"sample_{name}"))


@pytest.mark.parametrize(
    ("then", "reason"),
    [
        (extra_call, "calls the model more than 8 times"),
        (skips_a_level, "calls the model at another level than sigmas"),
        (stops_early, "calls the model 7 times"),
        (doubles_the_batch, "changes the state's shape"),
    ],
)
def test_a_sampler_that_first_strays_in_the_run_returns_nothing(then: Sample, reason: str) -> None:
    """It does as it should on the numbers that it is tried on."""

    def adaptive(model, x, sigmas, extra_args=None, callback=None, disable=None):
        many = bool(x.abs().max() > 10)
        return (then if many else euler_with())(model, x, sigmas)

    with pytest.raises(ValueError, match=f"adaptive cannot be relaxed: it {reason}"):
        relax(adaptive)(denoise, start(60.0), levels())


def test_where_looking_would_wait_levels_are_compared_at_the_end() -> None:
    class Calls(ModelCalls):
        def respond(self, x: Tensor, sigma: Any, kwargs: dict[str, Any]) -> Tensor:
            return x

    x = start(1.0)
    calls = Calls("sample_late", denoise, x.shape, (3.0, 2.0, 1.0), wait=False)
    calls(x, torch.tensor(3.0))
    calls(x, torch.tensor([2.0, 2.0, 2.5, 2.0]))
    with pytest.raises(ValueError, match=r"sample_late.*than sigmas\[1\] = 2"):
        calls.finish(x)


@pytest.mark.parametrize(
    ("sampler", "options", "error", "message"),
    [
        (sample_stein_euler, {}, ValueError, "sample_stein_euler relaxes its own steps"),
        (relax(euler_with()), {}, ValueError, "sample_custom relaxes its own steps"),
        (partial(sample_stein_euler, disable=True), {}, ValueError, "relaxes its own steps"),
        ("euler", {}, TypeError, "sampler is 'euler'; a k-diffusion sampler function"),
        (lambda x, y: x, {}, ValueError, "has no argument 'sigmas'"),
        (euler_with(), {"coefficient": "enrgy"}, ValueError, "Did you mean 'energy'"),
        (euler_with(), {"coefficient": "published"}, ValueError, "which calls the model"),
        (euler_with(), {"trst": 1}, ValueError, "option 'trst' does not exist"),
        (euler_with(), {"coordinates": "vp"}, ValueError, "coordinates 'vp' is unknown"),
    ],
)
def test_bad_input_is_named(
    sampler: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        relax(sampler, **options)


def test_bad_levels_are_named() -> None:
    run = relax(third_party(Euler()))
    with pytest.raises(ValueError, match="levels must strictly decrease"):
        run(denoise, start(60.0), levels((1.0, 2.0)))
    with pytest.raises(ValueError, match=r"sigmas\[0\] is 60.0; with coordinates='flow'"):
        relax(third_party(Euler()), coordinates="flow")(denoise, start(60.0), levels())


@pytest.mark.parametrize("word", ["none", None])
def test_none_gives_the_sampler_back(word: str | None) -> None:
    sampler = euler_with()
    assert relax(sampler, word) is sampler
    with pytest.raises(ValueError, match="relaxes its own steps"):
        relax(sample_stein_euler, word)


def test_a_run_is_reported_as_the_core_records_it() -> None:
    """Also a plain one; nothing is reported of a run that failed."""
    told: list[Record] = []
    x, sigmas = start(60.0), levels()
    relax(theirs("euler"), report=told.append)(denoise, x, sigmas, disable=True)
    expected = sd.sample(denoise, x, sigmas, "euler", record=True).record
    assert expected is not None
    close(told[0].gamma, expected.gamma)
    close(told[0].kappa, expected.kappa)
    relax(theirs("euler"), None, report=told.append)(denoise, x, sigmas, disable=True)
    assert bool((told[1].gamma == 1).all())
    with pytest.raises(ValueError, match="cannot be relaxed"):
        relax(theirs("heun"), report=told.append)(denoise, x, sigmas, disable=True)
    assert len(told) == 2
