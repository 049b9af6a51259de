"""The solvers against diffusers' schedulers: same network, same sigmas, every intermediate sample.

Diffusers' variance-preserving schedulers hold x_vp = alpha x with alpha = 1/sqrt(1 + sigma^2). Each
is driven by its own timesteps, and what it holds is converted to x after every step. Its sigmas are
rounded to float32; both sides use those values, in float64 where the scheduler lets them pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from steindiff.solvers import DEIS, IPNDM, DPMpp2M, DPMpp3M, Euler, Heun, Solver, UniPC

diffusers = pytest.importorskip("diffusers")

pytestmark = [
    pytest.mark.upstream,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # numpy's, in diffusers
]

SIZE = 12
DOUBLE = 1e-9  # the scheduler computes in float64
SINGLE = 2e-6  # the scheduler casts its sample to float32

Network = Callable[[Tensor, float], Tensor]


@pytest.fixture(scope="module")
def network() -> Network:
    """eps(x, sigma) of a small random network."""
    generator = torch.Generator().manual_seed(3)
    first = torch.randn(SIZE + 1, 24, generator=generator, dtype=torch.float64) / 2
    second = torch.randn(24, SIZE, generator=generator, dtype=torch.float64) / 3

    def eps(x: Tensor, sigma: float) -> Tensor:
        level = torch.full_like(x[:, :1], math.log(sigma) / 4)
        scaled = x / math.sqrt(1 + sigma**2)
        return torch.tanh(torch.cat([scaled, level], dim=1) @ first) @ second

    return eps


def noise() -> Tensor:
    return torch.randn(5, SIZE, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def alpha(sigma: float) -> float:
    return 1 / math.sqrt(1 + sigma**2)


def sample(solver: Solver, network: Network, sigmas: list[float]) -> list[Tensor]:
    """The states at all sigmas but the first."""
    x = noise() * sigmas[0]
    state, states = solver.init(x, sigmas), []
    for sigma, sigma_next in pairwise(sigmas):
        x, _, state, *_ = solver.step(
            lambda x, sigma: x - sigma * network(x, sigma), x, sigma, sigma_next, state
        )
        states.append(x)
    return states


def drive(scheduler: Any, network: Network, sigmas: list[float]) -> list[Tensor]:
    """What a variance-preserving scheduler holds after each step, converted to x."""
    held = noise() * sigmas[0] * alpha(sigmas[0])
    states = []
    for i, timestep in enumerate(scheduler.timesteps):
        eps = network(held / alpha(sigmas[i]), sigmas[i])
        held = scheduler.step(eps, timestep, held).prev_sample
        states.append(held / alpha(sigmas[i + 1]))
    return states


def prepared(scheduler: Any, steps: int) -> tuple[Any, list[float]]:
    """The scheduler with its sigmas of `steps` steps, which it will read as float64."""
    scheduler.set_timesteps(steps)
    scheduler.sigmas = scheduler.sigmas.double()
    return scheduler, scheduler.sigmas.tolist()


def assert_agree(ours: list[Tensor], theirs: list[Tensor], tolerance: float) -> None:
    assert len(ours) == len(theirs) > 0
    for step, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        difference = float((mine - other).abs().max() / other.abs().max())
        assert difference < tolerance, f"step {step}"


@pytest.mark.parametrize("end", ["zero", "sigma_min"])
def test_euler_is_euler_discrete(network: Network, end: str) -> None:
    scheduler, sigmas = prepared(
        diffusers.EulerDiscreteScheduler(final_sigmas_type=end, timestep_spacing="trailing"), 10
    )
    x, theirs = noise() * sigmas[0], []
    for timestep, sigma in zip(scheduler.timesteps, sigmas, strict=False):
        scheduler.scale_model_input(x, timestep)  # unused: the network scales its own input
        x = scheduler.step(network(x, sigma), timestep, x).prev_sample
        theirs.append(x)
    assert_agree(sample(Euler(), network, sigmas), theirs, SINGLE)


@pytest.mark.parametrize("to_zero", [True, False])
def test_euler_is_ddim(network: Network, to_zero: bool) -> None:
    scheduler = diffusers.DDIMScheduler(clip_sample=False, set_alpha_to_one=to_zero, steps_offset=1)
    scheduler.set_timesteps(10)
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    scheduler.final_alpha_cumprod = scheduler.final_alpha_cumprod.double()
    kept = [*scheduler.alphas_cumprod[scheduler.timesteps], scheduler.final_alpha_cumprod]
    sigmas = [float((1 / a - 1).sqrt()) for a in kept]
    assert_agree(sample(Euler(), network, sigmas), drive(scheduler, network, sigmas), DOUBLE)


def test_heun_is_heun_discrete(network: Network) -> None:
    """It repeats every inner sigma, once for each call."""
    scheduler, repeated = prepared(diffusers.HeunDiscreteScheduler(), 10)
    sigmas = [repeated[0], *repeated[1::2]]
    x, theirs = noise() * sigmas[0], []
    for i, timestep in enumerate(scheduler.timesteps):
        x = scheduler.step(network(x, repeated[i]), timestep, x).prev_sample
        if i % 2 == 1 or i == len(scheduler.timesteps) - 1:
            theirs.append(x)
    assert_agree(sample(Heun(), network, sigmas), theirs, DOUBLE)


@pytest.mark.parametrize("end", ["zero", "sigma_min"])
@pytest.mark.parametrize(("lower_order_final", "steps"), [(True, 10), (False, 10), (False, 20)])
@pytest.mark.parametrize(("solver", "order"), [(DPMpp2M, 2), (DPMpp3M, 3)])
def test_dpmpp_is_dpm_solver_multistep(
    network: Network, solver: Any, order: int, lower_order_final: bool, steps: int, end: str
) -> None:
    scheduler, sigmas = prepared(
        diffusers.DPMSolverMultistepScheduler(
            solver_order=order, lower_order_final=lower_order_final, final_sigmas_type=end
        ),
        steps,
    )
    ours = sample(solver(lower_order_final=lower_order_final), network, sigmas)
    assert_agree(ours, drive(scheduler, network, sigmas), SINGLE)


@pytest.mark.parametrize("lower_order_final", [True, False])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_deis_is_deis_multistep(network: Network, order: int, lower_order_final: bool) -> None:
    scheduler, sigmas = prepared(
        diffusers.DEISMultistepScheduler(solver_order=order, lower_order_final=lower_order_final),
        10,
    )
    ours = sample(DEIS(order, "log_sigma", lower_order_final), network, sigmas)
    assert_agree(ours, drive(scheduler, network, sigmas), DOUBLE)


@pytest.mark.parametrize(
    ("lower_order_final", "end"), [(True, "zero"), (True, "sigma_min"), (False, "sigma_min")]
)
@pytest.mark.parametrize("corrector", [True, False])
@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_unipc_is_unipc_multistep(
    network: Network, order: int, variant: Any, corrector: bool, lower_order_final: bool, end: str
) -> None:
    steps = 10
    scheduler, sigmas = prepared(
        diffusers.UniPCMultistepScheduler(
            solver_order=order,
            solver_type=variant,
            lower_order_final=lower_order_final,
            final_sigmas_type=end,
            disable_corrector=[] if corrector else list(range(steps)),
        ),
        steps,
    )
    ours = sample(UniPC(order, variant, corrector, lower_order_final), network, sigmas)
    theirs = drive(scheduler, network, sigmas)
    if variant == "bh1" and end == "zero":
        assert theirs.pop().isnan().all()  # its B(h) = -h is infinite there, and multiplies 0
        assert ours.pop().isfinite().all()
    assert_agree(ours, theirs, DOUBLE)


def drive_ipndm(scheduler: Any, network: Network, sigmas: list[float], skip: int) -> list[Tensor]:
    """Its `betas` are standard deviations, and what it takes is v-like: eps = beta x + alpha v."""
    alphas, betas = scheduler.alphas.tolist(), scheduler.betas.tolist()
    held, states = noise() * sigmas[0] * alphas[skip], []
    for i, timestep in enumerate(scheduler.timesteps[skip:], skip):
        eps = network(held / alphas[i], sigmas[i - skip])
        held = scheduler.step((eps - betas[i] * held) / alphas[i], timestep, held).prev_sample
        states.append(held / alphas[i + 1])
    return states


def prepared_ipndm(steps: int, **config: Any) -> tuple[Any, list[float]]:
    scheduler = diffusers.IPNDMScheduler(**config)
    scheduler.set_timesteps(steps)
    scheduler.alphas, scheduler.betas = scheduler.alphas.double(), scheduler.betas.double()
    return scheduler, (scheduler.betas / scheduler.alphas).tolist()


def test_ipndm_is_ipndm_scheduler(network: Network) -> None:
    """On a schedule of our own that ends above 0."""
    levels = [math.atan(20 * (0.05 / 20) ** (i / 12)) for i in range(13)]
    scheduler, sigmas = prepared_ipndm(12, trained_betas=[math.sin(level) for level in levels])
    assert_agree(
        sample(IPNDM(4), network, sigmas), drive_ipndm(scheduler, network, sigmas, 0), DOUBLE
    )


def test_ipndm_is_ipndm_scheduler_but_for_the_step_into_zero(network: Network) -> None:
    """There diffusers keeps order 4 and we take D. Its first level, alpha = 0, is skipped."""
    scheduler, sigmas = prepared_ipndm(13)
    scheduler.set_begin_index(1)
    ours, theirs = (
        sample(IPNDM(4), network, sigmas[1:]),
        drive_ipndm(scheduler, network, sigmas[1:], 1),
    )
    assert_agree(ours[:-1], theirs[:-1], DOUBLE)
    expected = ours[-2] - sigmas[-2] * network(ours[-2], sigmas[-2])
    torch.testing.assert_close(ours[-1], expected, rtol=1e-12, atol=1e-12)
