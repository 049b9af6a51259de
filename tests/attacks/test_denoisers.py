"""Denoisers that misbehave, and states in every layout, through every solver.

The judgement is the core's own result on a plain tensor with a plain denoiser, to the last bit.
"""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

import steindiff as sd
from steindiff.adapters.k_diffusion import SAMPLERS
from steindiff.adapters.k_diffusion import relax as relax_sampler
from steindiff.solvers import SOLVERS
from steindiff.stein import COEFFICIENTS
from steindiff.stein.names import relax

pytestmark = pytest.mark.slow

SIGMAS = [80.0, 20.0, 5.0, 1.5, 0.4, 0.0]
every_solver = pytest.mark.parametrize("solver", SOLVERS)
every_coefficient = pytest.mark.parametrize("coefficient", [None, "energy", "constant", "coupled"])


class OddError(Exception):
    """What an attack raises; to come out as it is."""


def denoise(x: Tensor, sigma: Tensor, /, **conditioning: Any) -> Tensor:
    """Of a Gaussian around 0.5, elementwise."""
    spread = sigma.reshape(-1, *[1] * (x.ndim - 1)).to(x.dtype) ** 2 / 0.25
    return 0.5 + (x - 0.5) / (1 + spread)


def sampled(x: Tensor, denoiser: Any = denoise, solver: str = "ipndm", **options: Any) -> Tensor:
    return sd.sample(denoiser, x, SIGMAS, solver, **{"coefficient": "energy", **options}).x


def start(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return sd.noise(shape, SIGMAS[0], range(3), dtype=dtype)


# -- layouts --------------------------------------------------------------------------------------

LAYOUTS: dict[str, Callable[[], Tensor]] = {
    "transposed": lambda: start(2, 6, 4).transpose(2, 3),
    "strided": lambda: start(2, 8, 6)[..., ::2, ::3],
    "flipped": lambda: start(2, 4, 4).flip(-1),
    "expanded": lambda: start(1, 1, 5).expand(3, 4, 3, 5),
    "expanded batch": lambda: start(2, 4, 4)[:1].expand(5, 2, 4, 4),
    "channels last": lambda: start(4, 4, 6).to(memory_format=torch.channels_last),
    "5-D": lambda: start(2, 3, 4, 4),
    "6-D": lambda: start(1, 2, 1, 2, 2),
    "2-D": lambda: start(7),
    "one pixel": lambda: start(1, 1, 1),
    "one number": lambda: start(1)[:1],
    "large batch": lambda: sd.noise((2,), SIGMAS[0], range(4096)),
    "part of another": lambda: start(4, 4, 4)[:, 1:3],
    "with a gradient": lambda: start(2, 4).requires_grad_(),
}


@every_solver
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout(solver: str, layout: str) -> None:
    x = LAYOUTS[layout]()
    plain = x.detach().clone(memory_format=torch.contiguous_format)
    found = sampled(x, solver=solver)
    assert torch.equal(found, sampled(plain, solver=solver))
    assert torch.equal(x, plain)  # the start is not written to


@every_solver
@every_coefficient
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_a_precision(solver: str, coefficient: str | None, dtype: torch.dtype) -> None:
    """float16 at sigma = 80 too: as float32, to what the state's own rounding makes of it."""
    found = sampled(start(2, 4, dtype=dtype), solver=solver, coefficient=coefficient)
    expected = sampled(start(2, 4), solver=solver, coefficient=coefficient)
    assert found.dtype == dtype
    tolerance = max(40 * torch.finfo(dtype).eps, 1e-4) * expected.abs().max()
    assert (found.double() - expected.double()).abs().max() < tolerance


# -- outputs --------------------------------------------------------------------------------------

OUTPUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "transposed": lambda d: d.transpose(-1, -2).clone().transpose(-1, -2),
    "channels last": lambda d: d.to(memory_format=torch.channels_last),
    "of a larger tensor": lambda d: torch.cat([d, d])[: len(d)],
    "with a graph": lambda d: d.clone().requires_grad_() * 1,
    "a parameter": lambda d: torch.nn.Parameter(d),
}


@every_solver
@pytest.mark.parametrize("output", OUTPUTS)
def test_an_output_in_another_layout(solver: str, output: str) -> None:
    x = start(4, 3, 3)
    found = sampled(x, lambda z, s: OUTPUTS[output](denoise(z, s)), solver)
    assert torch.equal(found, sampled(x, solver=solver))


@every_solver
@every_coefficient
def test_an_output_that_is_the_input(solver: str, coefficient: str | None) -> None:
    """D = x, the very tensor: nothing moves, and nothing is written over."""
    x = start(2, 3)
    kept = x.clone()
    found = sampled(x, lambda z, s: z, solver, coefficient=coefficient, end="none")
    assert torch.allclose(found, kept, rtol=1e-4)
    assert torch.equal(x, kept)


@every_solver
def test_one_output_for_all_steps(solver: str) -> None:
    """A constant D may be one tensor: the flow is a straight line into it."""
    target = torch.full((3, 2, 3), 0.25)
    assert torch.allclose(sampled(start(2, 3), lambda z, s: target, solver), target, atol=1e-5)
    assert bool((target == 0.25).all())


@every_solver
@every_coefficient
def test_a_denoiser_that_changes_its_input(solver: str, coefficient: str | None) -> None:
    def careless(x: Tensor, sigma: Tensor) -> Tensor:
        return denoise(x.mul_(1.5), sigma) if sigma[0] == SIGMAS[3] else denoise(x, sigma)

    # Heun sees the level one step ahead.
    step = 2 if solver == "heun" else 3
    with pytest.raises(ValueError, match=f"changed its input at step {step}; a copy is needed"):
        sampled(start(2, 3), careless, solver, coefficient=coefficient)


@every_solver
def test_a_denoiser_that_writes_over_its_output(solver: str) -> None:
    buffer = torch.empty(3, 2, 3)

    def careless(x: Tensor, sigma: Tensor) -> Tensor:
        return buffer.copy_(denoise(x, sigma))

    with pytest.raises(
        ValueError, match=r"what the denoiser had returned was written over before step [01];"
    ):
        sampled(start(2, 3), careless, solver)


SPOILT: dict[str, tuple[Callable[[Tensor], Any], type[Exception], str]] = {
    "nan": (lambda d: d * float("nan"), sd.NonFiniteError, "not finite at step"),
    "inf": (lambda d: d + float("inf"), sd.NonFiniteError, "not finite at step"),
    "shape": (lambda d: d[..., :1], ValueError, r"at step \d has shape"),
    "batch": (lambda d: d[:1], ValueError, r"at step \d has shape"),
    "more": (lambda d: d[None], ValueError, r"at step \d has shape"),
    "float64": (lambda d: d.double(), TypeError, r"at step \d has dtype"),
    "float16": (lambda d: d.half(), TypeError, r"at step \d has dtype"),
    "int": (lambda d: d.long(), TypeError, r"at step \d has dtype"),
    "complex": (lambda d: d + 0j, TypeError, r"at step \d has dtype"),
    "device": (lambda d: d.to("meta"), TypeError, r"at step \d has device"),
    "none": (lambda d: None, TypeError, r"returned a NoneType at step \d"),
    "tuple": (lambda d: (d,), TypeError, r"returned a tuple at step \d"),
    "array": (lambda d: d.numpy(), TypeError, r"returned a ndarray at step \d"),
}


@every_solver
@pytest.mark.parametrize("spoilt", SPOILT)
def test_an_output_that_goes_wrong_at_step_3(solver: str, spoilt: str) -> None:
    spoil, error, said = SPOILT[spoilt]
    step = 2 if solver == "heun" else 3

    def bad(x: Tensor, sigma: Tensor) -> Any:
        good = denoise(x, sigma)
        return spoil(good) if sigma[0] == SIGMAS[3] else good

    with pytest.raises(error, match=said) as caught:
        sampled(start(2, 3), bad, solver)
    assert type(caught.value) is error
    assert f"at step {step}" in str(caught.value)


@every_solver
@pytest.mark.parametrize("raised", [OddError, KeyboardInterrupt, MemoryError, StopIteration])
def test_an_error_of_the_denoiser_comes_through(solver: str, raised: type[BaseException]) -> None:
    error = raised("stop")

    def bad(x: Tensor, sigma: Tensor) -> Tensor:
        if sigma[0] == SIGMAS[3]:
            raise error
        return denoise(x, sigma)

    with pytest.raises(raised) as caught:
        sampled(start(2, 3), bad, solver)
    assert caught.value is error
    assert torch.is_grad_enabled()


@every_solver
def test_a_denoiser_that_samples(solver: str) -> None:
    """A sampling inside another one knows nothing of it."""
    x, seen = start(2, 3), []

    def nested(z: Tensor, sigma: Tensor) -> Tensor:
        seen.append(sampled(x, solver=solver))
        return denoise(z, sigma)

    expected = sampled(x, solver=solver)
    assert torch.equal(sampled(x, nested, solver), expected)
    assert all(torch.equal(inner, expected) for inner in seen)


# -- the same through k-diffusion's protocol ------------------------------------------------------


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if "gradient" not in name])
def test_a_layout_in_a_sampler(sampler: Any, layout: str) -> None:
    x, levels = LAYOUTS[layout](), torch.tensor(SIGMAS)
    plain = x.clone(memory_format=torch.contiguous_format)
    found = sampler(denoise, x, levels, disable=True)
    assert torch.equal(found, sampler(denoise, plain, levels, disable=True))
    assert torch.equal(x, plain)


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
@pytest.mark.parametrize("spoilt", [s for s in SPOILT if s not in ("float64", "float16", "int")])
def test_an_output_that_goes_wrong_in_a_sampler(sampler: Any, spoilt: str) -> None:
    spoil, error, said = SPOILT[spoilt]
    if spoilt == "complex":
        pytest.skip("what a model returns is brought to the dtype of x, with torch's warning")

    def bad(x: Tensor, sigma: Tensor) -> Any:
        good = denoise(x, sigma)
        return spoil(good) if sigma[0] == SIGMAS[3] else good

    with pytest.raises(error, match=said):
        sampler(bad, start(2, 3), torch.tensor(SIGMAS), disable=True)


def plain_euler(model, x, sigmas, extra_args=None, callback=None, disable=None):
    for i in range(len(sigmas) - 1):
        denoised = model(x, sigmas[i] * x.new_ones(len(x)), **(extra_args or {}))
        x = denoised + (x - denoised) * (sigmas[i + 1] / sigmas[i])
    return x


@pytest.mark.parametrize("layout", [n for n in LAYOUTS if "gradient" not in n])
def test_a_layout_in_a_relaxed_sampler(layout: str) -> None:
    x, levels = LAYOUTS[layout](), torch.tensor(SIGMAS)
    plain = x.clone(memory_format=torch.contiguous_format)
    relaxed = relax_sampler(plain_euler, "energy")
    assert torch.equal(relaxed(denoise, x, levels), relaxed(denoise, plain, levels))
    assert torch.equal(x, plain)


# -- threads and processes ------------------------------------------------------------------------


@every_solver
@pytest.mark.parametrize("coefficient", COEFFICIENTS)
def test_threads_that_share_a_solver(solver: str, coefficient: str) -> None:
    relaxed = relax(solver, coefficient)

    def run(seed: int) -> Tensor:
        return sd.sample(denoise, sd.noise((2, 3), SIGMAS[0], [seed]), SIGMAS, relaxed).x

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(run, range(16)))
    assert all(torch.equal(image, run(seed)) for seed, image in enumerate(found))


def test_spawned_processes() -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        data = sd.denoisers.Gaussian(0.5, 0.25, shape=(2, 3))
        run = functools.partial(sd.sample, data, sigmas=SIGMAS, solver="unipc", record=True)
        starts = [sd.noise((2, 3), SIGMAS[0], [seed]) for seed in range(2)]
        found = list(pool.map(run, starts))
    assert all(torch.equal(one.x, run(x).x) for one, x in zip(found, starts, strict=True))
