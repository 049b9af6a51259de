"""Products with a Jacobian against the matrix itself."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from draws import normal
from maps import MATRIX, MIXTURE, SHAPE, attention, linear, matrices, network
from torch import Tensor
from waiting import BOUND

from steindiff._jacobian import Jacobian

MAPS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": linear(MATRIX),
    "network": network,
    "mixture": lambda x: MIXTURE(x, 0.7),
    "attention": attention,
}
GUARDS = {
    "grad": contextlib.nullcontext,
    "no_grad": torch.no_grad,
    "inference": torch.inference_mode,
}


def product(matrix: Tensor, v: Tensor) -> Tensor:
    return (matrix @ v.flatten(1)[:, :, None])[..., 0].reshape(v.shape)


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("name", MAPS)
def test_products_are_those_of_the_matrix(name: str, guard: str) -> None:
    """J v and J' u of each sample, gradients on or off where they are asked for."""
    f, x, v = MAPS[name], normal(3, *SHAPE, seed=4), normal(3, *SHAPE, seed=5)
    matrix = matrices(f, x)
    context: Any = GUARDS[guard]
    with context():
        jacobian = Jacobian(f, x * 1)
        forward, back = jacobian.times(v * 1), jacobian.transposed_times(v * 1)
        value = jacobian.value * 1
    torch.testing.assert_close(forward, product(matrix, v), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(back, product(matrix.mT, v), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(value, f(x), rtol=1e-12, atol=1e-12)
    assert not any(tensor.requires_grad for tensor in (forward, back, value))
    assert (forward - back).abs().max() > 1e-2 or name == "mixture"


@pytest.mark.parametrize("name", MAPS)
def test_the_products_are_adjoint(name: str) -> None:
    """<J v, u> = <v, J' u>."""
    jacobian = Jacobian(MAPS[name], normal(5, *SHAPE, seed=4))
    v, u = normal(5, *SHAPE, seed=5), normal(5, *SHAPE, seed=6)
    left = (jacobian.times(v) * u).flatten(1).sum(1)
    right = (v * jacobian.transposed_times(u)).flatten(1).sum(1)
    torch.testing.assert_close(left, right, rtol=1e-11, atol=1e-11)
    assert left.abs().min() > 1e-3


def test_a_linear_map_has_one_jacobian_everywhere() -> None:
    v = normal(2, *SHAPE, seed=5)
    for seed in (4, 6):
        jacobian = Jacobian(linear(MATRIX), normal(2, *SHAPE, seed=seed))
        torch.testing.assert_close(jacobian.times(v), linear(MATRIX)(v), rtol=1e-12, atol=1e-12)


def test_the_identity() -> None:
    jacobian, v = Jacobian(lambda x: x, normal(2, *SHAPE)), normal(2, *SHAPE, seed=1)
    assert torch.equal(jacobian.times(v), v)
    assert torch.equal(jacobian.transposed_times(v), v)


@pytest.mark.parametrize("f", [torch.round, lambda x: 0 * x, torch.sign])
def test_a_map_that_does_not_move_has_the_jacobian_zero(f: Callable[[Tensor], Tensor]) -> None:
    """Also where J' u is a constant to autograd, as for rounding."""
    jacobian, v = Jacobian(f, normal(2, *SHAPE)), normal(2, *SHAPE, seed=1)
    assert torch.equal(jacobian.times(v), torch.zeros_like(v))
    assert torch.equal(jacobian.transposed_times(v), torch.zeros_like(v))


def test_the_map_is_called_once() -> None:
    calls = []

    def f(x: Tensor) -> Tensor:
        calls.append(len(x))
        return network(x)

    jacobian = Jacobian(f, normal(2, *SHAPE))
    for seed in range(3):
        jacobian.times(normal(2, *SHAPE, seed=seed))
        jacobian.transposed_times(normal(2, *SHAPE, seed=seed))
    assert calls == [2]


def test_what_is_given_is_left_alone() -> None:
    """No gradient reaches `x`, which need not ask for any; single precision is kept."""
    tracked = normal(2, *SHAPE).requires_grad_()
    Jacobian(network, tracked).times(normal(2, *SHAPE, seed=1))
    assert tracked.grad is None
    low = Jacobian(linear(MATRIX), normal(2, *SHAPE).float())
    v = normal(2, *SHAPE, seed=1)
    assert low.value.dtype == torch.float32
    for result, wanted in ((low.times(v), MATRIX), (low.transposed_times(v), MATRIX.T)):
        assert result.dtype == torch.float32
        expected = (v.flatten(1) @ wanted.T).reshape(v.shape).float()
        torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("f", "x", "error", "message"),
    [
        (lambda x: x.detach(), torch.ones(2, 3), ValueError, "not connected to x by autograd"),
        (lambda x: torch.ones(2, 3), torch.ones(2, 3), ValueError, "use finite_difference"),
        (lambda x: x[:, :2], torch.ones(2, 3), ValueError, r"shape \(2, 2\); that of x, \(2, 3\)"),
        (lambda x: x.sum(0), torch.ones(2, 3), ValueError, r"shape \(3,\)"),
        (torch.tanh, torch.ones(2, 3, dtype=torch.int64), TypeError, "dtype torch.int64"),
        (torch.tanh, torch.ones(3), ValueError, r"shape \(3,\)"),
    ],
)
def test_maps_and_states_that_are_refused(
    f: Callable[[Tensor], Tensor], x: Tensor, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Jacobian(f, x)


def test_a_detached_map_with_parameters_is_refused() -> None:
    """f(x) has a graph, of the network's weights, but x is not in it."""
    weight = normal(*SHAPE).requires_grad_()
    with pytest.raises(ValueError, match="not connected to x by autograd"):
        Jacobian(lambda x: x.detach() * weight, normal(2, *SHAPE)).transposed_times(
            normal(2, *SHAPE)
        )


class _Once(torch.autograd.Function):
    """sin, differentiable once only."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0] * ctx.saved_tensors[0].cos()


def test_a_map_without_second_derivative_has_the_transposed_product_only() -> None:
    x, v = normal(2, *SHAPE), normal(2, *SHAPE, seed=1)
    jacobian = Jacobian(_Once.apply, x)  # pyright: ignore[reportArgumentType]
    torch.testing.assert_close(jacobian.transposed_times(v), v * x.cos())
    with pytest.raises(RuntimeError):
        jacobian.times(v)


def _fused() -> tuple[bool, bool]:
    backends = torch.backends.cuda
    return backends.flash_sdp_enabled(), backends.mem_efficient_sdp_enabled()


def test_two_threads_leave_attention_as_it_was() -> None:
    """The second comes while the first is inside and goes after it."""
    before, inside = _fused(), []
    first_in, second_in, first_out = threading.Event(), threading.Event(), threading.Event()

    def first(x: Tensor) -> Tensor:
        first_in.set()
        assert second_in.wait(BOUND)
        return x**2

    def second(x: Tensor) -> Tensor:
        second_in.set()
        assert first_out.wait(BOUND)
        inside.append(_fused())
        return x**2

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(Jacobian, first, torch.ones(1, 2))
        assert first_in.wait(BOUND)
        other = pool.submit(Jacobian, second, torch.ones(1, 2))
        one.result(BOUND)
        first_out.set()
        other.result(BOUND)
    assert before == (True, True)
    assert inside == [(False, False)]
    assert _fused() == before
