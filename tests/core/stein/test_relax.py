"""What relaxing may never do to any solver."""

import itertools
from collections.abc import Callable

import pytest
import torch
from matrices import quick
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import steindiff as sd
from steindiff.denoisers import Empirical, Gaussian, GaussianMixture
from steindiff.solvers import SOLVERS, Solver, UniPC
from steindiff.stein import COEFFICIENTS, Constant, Coupled, Published, resolve_coefficient

LEVELS = sd.schedules.karras(5, 0.05, 10.0)
GENERATOR = torch.Generator().manual_seed(0)
POINTS = torch.randn(7, 3, 4, generator=GENERATOR, dtype=torch.float64)
START = 10 * torch.randn(17, 3, 4, generator=GENERATOR, dtype=torch.float64)
EXACT: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gaussian": Gaussian(variance=POINTS[0].square()),
    "mixture": GaussianMixture(POINTS, 0.1),
    "empirical": Empirical(POINTS),
}


def run(x: Tensor, solver: str | Solver, coefficient: object, name: str = "mixture") -> Tensor:
    return sd.sample(EXACT[name], x, LEVELS, solver, coefficient).x  # type: ignore[arg-type]


@pytest.mark.parametrize("denoiser", quick(EXACT, ["mixture"]))
@pytest.mark.parametrize("coefficient", COEFFICIENTS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_sample_does_not_depend_on_its_batch(
    solver: str, coefficient: str, denoiser: str
) -> None:
    """Bit for bit, in batches of 1, 3 and 17, and permuted."""
    rule = resolve_coefficient(coefficient)
    whole = run(START, solver, rule, denoiser)
    order = torch.randperm(17, generator=torch.Generator().manual_seed(1))
    assert torch.equal(run(START[order], solver, rule, denoiser), whole[order])
    assert torch.equal(run(START[4:7], solver, rule, denoiser), whole[4:7])
    for k in (0, 11):
        assert torch.equal(run(START[k : k + 1], solver, rule, denoiser)[0], whole[k])


def test_large_samples_do_not_depend_on_their_batch_either() -> None:
    """Above 32,768 elements a library sum of a lone sample is split between threads."""
    x = 10 * torch.randn(3, 50_001, generator=torch.Generator().manual_seed(2))
    whole = sd.sample(Gaussian(variance=0.3), x, LEVELS, "ipndm").x
    for k in range(3):
        alone = sd.sample(Gaussian(variance=0.3), x[k : k + 1], LEVELS, "ipndm").x
        assert torch.equal(alone[0], whole[k])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("solver", SOLVERS)
def test_gamma_of_one_gives_the_base_to_the_bit(solver: str, dtype: torch.dtype) -> None:
    x = START.to(dtype)
    assert torch.equal(run(x, solver, Constant(1.0)), run(x, solver, None))


# What rounding may cost, relative to the samples. The energy law of two levels is a difference of
# nearly equal numbers and passes rounding on amplified: Heun, whose corrector rule follows it at
# every step, by 40 units in the last place of float16; the other solvers by 10.
ROUNDING = {
    "heun": {torch.float16: 50, torch.bfloat16: 15, torch.float32: 30},
    "other": {torch.float16: 15, torch.bfloat16: 5, torch.float32: 30},
}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("solver", SOLVERS)
def test_low_precision_follows_float64(solver: str, dtype: torch.dtype) -> None:
    """With a smooth denoiser. |x|^2 at sigma = 80 overflows float16; the sums do not."""
    x = (80 * torch.randn(8, 2048, generator=torch.Generator().manual_seed(0))).to(dtype)
    levels = sd.schedules.karras(5, 0.05, 80.0)
    low = sd.sample(Gaussian(variance=0.5), x, levels, solver, record=True)
    full = sd.sample(Gaussian(variance=0.5), x.double(), levels, solver)
    assert low.x.dtype == dtype
    assert low.x.isfinite().all()
    assert low.record is not None
    assert low.record.gamma.isfinite().all()
    allowed = ROUNDING["heun" if solver == "heun" else "other"][dtype] * torch.finfo(dtype).eps
    error = (low.x.double() - full.x).square().mean().sqrt()
    assert error < allowed * full.x.square().mean().sqrt()


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_default_costs_no_model_call(solver: str) -> None:
    calls = []

    def counted(x: Tensor, sigma: Tensor) -> Tensor:
        calls.append(len(x))
        return EXACT["mixture"](x, sigma)

    results = []
    for coefficient in (None, "energy"):
        calls.clear()
        results.append(sd.sample(counted, START, LEVELS, solver, coefficient).nfe)
        assert results[-1] == len(calls)
    assert results[0] == results[1]


@pytest.mark.parametrize("solver", SOLVERS)
def test_one_relaxed_solver_serves_two_samplings_at_once(solver: str) -> None:
    relaxed = sd.stein.Relaxed(sd.solvers.resolve_solver(solver), sd.stein.Energy())
    levels = LEVELS.tolist()

    def denoise(x: Tensor, sigma: float) -> Tensor:
        return EXACT["mixture"](x, torch.full((len(x),), sigma, dtype=x.dtype))

    starts = [START, START.flip(0) * 0.7]
    alone = [run(x, relaxed, None) for x in starts]
    states = [relaxed.init(x, levels) for x in starts]
    together = list(starts)
    for sigma, sigma_next in itertools.pairwise(levels):
        for k in (0, 1):
            step = relaxed.step(denoise, together[k], sigma, sigma_next, states[k])
            together[k], states[k] = step.x, step.state
    assert torch.equal(together[0], alone[0])
    assert torch.equal(together[1], alone[1])


def test_the_corrector_of_unipc_does_not_undo_the_relaxation() -> None:
    """What the second step departs from moves by what the first step was moved by."""
    denoiser = EXACT["mixture"]
    solver = UniPC(order=2)
    levels = (10.0, 3.0, 1.0, 0.3)

    def denoise(x: Tensor, sigma: float) -> Tensor:
        return denoiser(x, torch.full((len(x),), sigma, dtype=x.dtype))

    first = solver.step(denoise, START, 10.0, 3.0, solver.init(START, levels))
    moved = 0.9 * first.x + 0.1 * START
    kept = solver.step(lambda x, s: denoise(first.x, s), first.x, 3.0, 1.0, first.state)
    told = solver.replace(first.state, first.x, moved)
    relaxed = solver.step(lambda x, s: denoise(first.x, s), moved, 3.0, 1.0, told)
    untold = solver.step(lambda x, s: denoise(first.x, s), moved, 3.0, 1.0, first.state)
    assert torch.allclose(relaxed.start - kept.start, moved - first.x)
    assert torch.allclose(untold.start, kept.start)  # the trap that `replace` avoids


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_record_says_what_happened(solver: str) -> None:
    result = sd.sample(EXACT["mixture"], START, LEVELS, solver, record=True, return_trajectory=True)
    record, trajectory = result.record, result.trajectory
    assert record is not None
    assert trajectory is not None
    assert len(trajectory) == 6
    assert record.sigmas == tuple(LEVELS.tolist())
    for name in ("gamma", "correction", "energy", "energy_next", "kappa", "stein_ratio"):
        value = getattr(record, name)
        assert value.shape == (5, 17)
        assert value.isfinite().all()
    for k in range(5):
        energy = trajectory[k + 1].square().flatten(1).mean(1)
        assert torch.allclose(record.energy_next[k], energy)
    if solver != "unipc":  # which departs from the state that it corrected
        assert torch.allclose(record.energy[1:], record.energy_next[:-1])
    x = trajectory[0]
    noise = x - EXACT["mixture"](x, torch.full((17,), 10.0, dtype=x.dtype))
    kappa = (x * noise).flatten(1).sum(1) / (12 * 100.0)
    assert torch.allclose(record.kappa[0], kappa)


def test_a_record_changes_nothing() -> None:
    for coefficient in (None, "energy"):
        plain = run(START, "ipndm", coefficient)
        recorded = sd.sample(EXACT["mixture"], START, LEVELS, "ipndm", coefficient, record=True).x
        assert torch.equal(plain, recorded)


def test_kappa_is_one_on_the_exact_marginals() -> None:
    generator = torch.Generator().manual_seed(4)
    clean = EXACT["mixture"].sample(4000, generator)  # type: ignore[attr-defined]
    x = clean + 1.5 * torch.randn(clean.shape, generator=generator, dtype=torch.float64)
    record = sd.sample(EXACT["mixture"], x, [1.5, 1.0], "euler", None, record=True).record
    assert record is not None
    error = record.kappa[0].std() / 4000**0.5
    assert (record.kappa[0].mean() - 1).abs() < 4 * error


@pytest.mark.parametrize("kind", [Published, Coupled])
def test_gradients_flow_only_when_asked(kind: type) -> None:
    x = START[:2].clone().requires_grad_()
    for coefficient in ("energy", kind()):
        off = sd.sample(EXACT["mixture"], x, LEVELS, "euler", coefficient).x
        assert not off.requires_grad
        on = sd.sample(EXACT["mixture"], x, LEVELS, "euler", coefficient, grad=True).x
        (slope,) = torch.autograd.grad(on.sum(), x)
        assert slope.isfinite().all()


class NoHostRead(TorchDispatchMode):
    """Fails when a value is read back to the host: `.item()`, `.tolist()`, `if tensor`."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in (
            torch.ops.aten._local_scalar_dense,
            torch.ops.aten.is_nonzero,
            torch.ops.aten.equal,
            torch.ops.aten.nonzero,
        ):
            raise AssertionError(f"{func} waits for the device")
        return func(*args, **(kwargs or {}))


def test_the_watch_for_host_reads_sees_them() -> None:
    with NoHostRead(), pytest.raises(AssertionError, match="waits"):
        torch.ones(1).item()


@pytest.mark.parametrize("coefficient", ["energy", "constant"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_no_step_waits_for_the_device(solver: str, coefficient: str) -> None:
    rule = resolve_coefficient(coefficient)
    assert rule is not None
    relaxed = sd.stein.Relaxed(sd.solvers.resolve_solver(solver), rule, record=True)
    levels, x = LEVELS.tolist(), START
    with NoHostRead():
        state = relaxed.init(x, levels)
        for sigma, sigma_next in itertools.pairwise(levels):
            step = relaxed.step(lambda z, s: z / (1 + s * s), x, sigma, sigma_next, state)
            x, state = step.x, step.state
    assert x.isfinite().all()


def test_none_is_no_coefficient() -> None:
    assert resolve_coefficient("none") is None
    assert resolve_coefficient(None) is None
    x, levels = torch.full((1, 4), 10.0), [10.0, 3.0, 1.0, 0.1]
    plain = sd.sample(Gaussian(variance=0.5), x, levels, "euler", None).x
    assert torch.equal(sd.sample(Gaussian(variance=0.5), x, levels, "euler", "none").x, plain)
    with pytest.raises(ValueError, match="options trust were given beside None"):
        resolve_coefficient("none", trust=0.1)
    with pytest.raises(ValueError, match="none"):
        resolve_coefficient("nothing")
