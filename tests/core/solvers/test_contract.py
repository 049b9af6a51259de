"""What every solver promises: no state of its own, its dtype, its calls, clear refusals."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from steindiff.solvers import (
    DEIS,
    IPNDM,
    SOLVERS,
    DPMpp2M,
    DPMpp3M,
    Euler,
    GradientEstimation,
    Heun,
    PowerMultistep,
    Res2S,
    ResMultistep,
    Solver,
    UniPC,
    resolve_solver,
)

ALL = [
    Euler(),
    Heun(),
    DPMpp2M(),
    DPMpp3M(),
    DPMpp3M(lower_order_final=False),
    *(IPNDM(order) for order in (1, 2, 3, 4)),
    *(DEIS(order, variable) for order in (1, 2, 3, 4) for variable in ("sigma", "log_sigma")),
    *(UniPC(order, "bh1", corrector) for order in (1, 2, 3) for corrector in (True, False)),
    UniPC(),
    UniPC(lower_order_final=False),
    ResMultistep(),
    ResMultistep(lower_order_final=True),
    *(PowerMultistep(order, power) for order in (1, 2, 3) for power in (0.0, 0.3, 1.0)),
    PowerMultistep(lower_order_final=True),
    Res2S(),
    GradientEstimation(),
]
SIGMAS = [10.0, 5.0, 2.0, 0.9, 0.4, 0.15]

every_solver = pytest.mark.parametrize("solver", ALL, ids=str)


def denoiser(x: Tensor, sigma: float) -> Tensor:
    return torch.tanh(x / (1 + sigma)) / (1 + 0.3 * sigma)


def start(seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (SIGMAS[0] * torch.randn(3, 5, generator=generator, dtype=torch.float64)).to(dtype)


def run(solver: Solver, x: Tensor, sigmas: list[float]) -> Tensor:
    state = solver.init(x, sigmas)
    for sigma, sigma_next in pairwise(sigmas):
        x, _, state, *_ = solver.step(denoiser, x, sigma, sigma_next, state)
    return x


@every_solver
def test_interleaved_samplings_do_not_touch_each_other(solver: Solver) -> None:
    grids = [SIGMAS, [2 * sigma for sigma in SIGMAS]]
    alone = [run(solver, start(seed), grid) for seed, grid in enumerate(grids)]
    together = [start(0), start(1)]
    states = [solver.init(x, grid) for x, grid in zip(together, grids, strict=True)]
    for i in range(len(SIGMAS) - 1):
        for k, grid in enumerate(grids):
            step = solver.step(denoiser, together[k], grid[i], grid[i + 1], states[k])
            together[k], states[k] = step.x, step.state
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


@every_solver
def test_the_states_passed_in_are_left_alone(solver: Solver) -> None:
    """The same step twice from one state gives the same, and `x` is not written to."""
    x = start()
    state = solver.init(x, SIGMAS)
    for sigma, sigma_next in pairwise(SIGMAS):
        before = x.clone()
        first = solver.step(denoiser, x, sigma, sigma_next, state)
        second = solver.step(denoiser, x, sigma, sigma_next, state)
        assert torch.equal(first.x, second.x)
        assert torch.equal(x, before)
        x, state = first.x, first.state


@every_solver
def test_number_of_model_calls(solver: Solver) -> None:
    for sigmas, saved in ((SIGMAS, 0), ([*SIGMAS, 0.0], solver.calls_per_step - 1)):
        levels: list[float] = []

        def counting(x: Tensor, sigma: float, levels: list[float] = levels) -> Tensor:
            levels.append(sigma)
            return denoiser(x, sigma)

        x = start()
        state = solver.init(x, sigmas)
        for sigma, sigma_next in pairwise(sigmas):
            x, _, state, *_ = solver.step(counting, x, sigma, sigma_next, state)
        assert len(levels) == solver.calls_per_step * (len(sigmas) - 1) - saved
        assert min(levels) > 0


@every_solver
def test_the_step_into_zero_returns_the_denoised(solver: Solver) -> None:
    x = start()
    state = solver.init(x, [*SIGMAS, 0.0])
    for sigma, sigma_next in pairwise(SIGMAS):
        x, _, state, *_ = solver.step(denoiser, x, sigma, sigma_next, state)
    last = solver.step(denoiser, x, SIGMAS[-1], 0.0, state)
    assert torch.equal(last.x, last.denoised)


@every_solver
def test_one_step_sampling(solver: Solver) -> None:
    x = start()
    assert torch.equal(run(solver, x, [10.0, 0.0]), denoiser(x, 10.0))


@every_solver
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float16, 2e-2), (torch.bfloat16, 2e-1)]
)
def test_dtype_is_kept(solver: Solver, dtype: torch.dtype, tolerance: float) -> None:
    x = start(dtype=dtype)
    state = solver.init(x, SIGMAS)
    for sigma, sigma_next in pairwise(SIGMAS):
        step = solver.step(denoiser, x, sigma, sigma_next, state)
        assert step.x.dtype == step.start.dtype == dtype
        x, state = step.x, step.state
    reference = run(solver, start(dtype=dtype).double(), SIGMAS)
    assert float((x.double() - reference).abs().max()) < tolerance * SIGMAS[0]


@every_solver
def test_replacing_a_candidate_by_itself_changes_nothing(solver: Solver) -> None:
    x = start()
    step = solver.step(denoiser, x, SIGMAS[0], SIGMAS[1], solver.init(x, SIGMAS))
    assert solver.replace(step.state, step.x, step.x) is step.state


@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_unipc_corrects_to_where_the_accepted_candidate_is(order: int, variant: Any) -> None:
    """With the evaluation held fixed the corrected state moves by accepted - proposed."""
    solver = UniPC(order, variant)
    x = start()
    state = solver.init(x, SIGMAS)
    for i in range(4):
        step = solver.step(denoiser, x, SIGMAS[i], SIGMAS[i + 1], state)
        delta = 0.1 * start(seed=9 + i)
        accepted = step.x + delta
        moved = solver.replace(step.state, step.x, accepted)
        fixed = denoiser(accepted, SIGMAS[i + 1])

        def frozen(x: Tensor, sigma: float, fixed: Tensor = fixed) -> Tensor:
            return fixed

        kept, shifted = (
            solver.step(frozen, accepted, SIGMAS[i + 1], 0.1, state)
            for state in (step.state, moved)
        )
        torch.testing.assert_close(shifted.start - kept.start, delta, rtol=1e-10, atol=1e-12)
        x, state = accepted, moved


def test_unipc_replace_into_zero_and_without_corrector() -> None:
    x = start()
    into_zero = UniPC().step(denoiser, x, 1.0, 0.0, UniPC().init(x, [1.0, 0.0]))
    assert UniPC().replace(into_zero.state, into_zero.x, into_zero.x + 1) is into_zero.state
    predictor = UniPC(corrector=False)
    step = predictor.step(denoiser, x, SIGMAS[0], SIGMAS[1], predictor.init(x, SIGMAS))
    accepted = step.x + 1
    state = predictor.replace(step.state, step.x, accepted)
    assert predictor.step(denoiser, accepted, SIGMAS[1], SIGMAS[2], state).start is accepted


def test_unipc_departs_from_the_corrected_state() -> None:
    solver, x = UniPC(), start()
    first = solver.step(denoiser, x, SIGMAS[0], SIGMAS[1], solver.init(x, SIGMAS))
    second = solver.step(denoiser, first.x, SIGMAS[1], SIGMAS[2], first.state)
    assert first.start is x
    assert not torch.equal(second.start, first.x)
    assert torch.equal(second.denoised, denoiser(first.x, SIGMAS[1]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: IPNDM(5), "order is 5; IPNDM has orders 1 to 4"),
        (lambda: IPNDM(0), "order is 0; IPNDM has orders 1 to 4"),
        (lambda: DEIS(5), "order is 5; DEIS has orders 1 to 4"),
        (lambda: UniPC(4), "order is 4; UniPC has orders 1 to 3"),
        (lambda: UniPC(True), "order is True; UniPC"),
        (lambda: DEIS(2.0), r"order is 2\.0; DEIS"),  # pyright: ignore[reportArgumentType]
        (lambda: DEIS(variable="t"), "variable 't' is unknown"),  # pyright: ignore
        (lambda: UniPC(variant="bh3"), "variant 'bh3' is unknown.*bh1, bh2"),  # pyright: ignore
    ],
)
def test_options_out_of_range_are_refused(make: Callable[[], Solver], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_resolve_solver() -> None:
    assert {name: type(resolve_solver(name)) for name in SOLVERS} == SOLVERS
    assert resolve_solver("deis", order=2, variable="log_sigma") == DEIS(2, "log_sigma")
    solver = UniPC()
    assert resolve_solver(solver) is solver


@pytest.mark.parametrize(
    ("solver", "options", "error", "message"),
    [
        ("dpmp_2m", {}, ValueError, "solver 'dpmp_2m' is unknown.*'dpmpp_2m'"),
        ("unipc", {"ordr": 2}, ValueError, "option 'ordr'.*order, variant, corrector"),
        ("euler", {"order": 2}, ValueError, "option 'order'.*'euler'; it has none"),
        ("unipc", {"order": 7}, ValueError, "order is 7"),
        (Euler(), {"order": 2}, ValueError, "order were given beside a Euler object"),
        (Euler, {}, TypeError, "solver is"),
        (None, {}, TypeError, "solver is None"),
    ],
)
def test_resolve_solver_refuses(
    solver: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        resolve_solver(solver, **options)


def excess_after(solver: Solver, excess: Tensor) -> Tensor:
    """What is left, a step later, of an excess put into the state after three steps.

    D of every step is what it was without the excess.
    """
    sigmas = (10.0, 6.0, 3.0, 1.5, 0.6, 0.2)
    generator = torch.Generator().manual_seed(5)
    seen = [torch.randn(3, 5, generator=generator).double() for _ in sigmas]
    ends = []
    for moved in (torch.zeros_like(excess), excess):
        x, state = start(), solver.init(start(), sigmas)
        for i, (sigma, to) in enumerate(pairwise(sigmas[:-1])):
            step = solver.step(lambda *_, i=i: seen[i], x, sigma, to, state)
            x, state = step.x, step.state
            if i == 2:
                x, state = x + moved, solver.replace(state, step.x, x + moved)
        ends.append(x)
    return ends[1] - ends[0]


@pytest.mark.parametrize("solver", [*ALL, GradientEstimation(), IPNDM(3, variable="flow")])
def test_a_solver_says_how_an_excess_travels(solver: Solver) -> None:
    """As the same share of the noise, unless the noise itself is remembered."""
    excess = torch.ones(3, 5, dtype=torch.float64)
    carried = torch.allclose(excess_after(solver, excess), 0.6 / 1.5 * excess)
    assert carried == (solver.history != "noise")


@pytest.mark.parametrize("solver", ALL)
def test_a_solver_without_history_is_the_same_at_every_step(solver: Solver) -> None:
    x, sigmas = start(), (10.0, 3.0, 1.0, 0.3, 0.1)
    fresh = solver.init(x, sigmas)
    first = solver.step(denoiser, x, 10.0, 3.0, fresh)
    again = solver.step(denoiser, x, 3.0, 1.0, first.state)
    alone = solver.step(denoiser, x, 3.0, 1.0, solver.init(x, sigmas[1:]))
    assert torch.equal(again.x, alone.x) == (solver.history == "none")
