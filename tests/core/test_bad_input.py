"""What `sample`, `noise` and the schedules refuse: each names the argument, the value, the cure."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import steindiff as sd
from steindiff.models.network import NetworkConfig, UNetDenoiser
from steindiff.solvers import DEIS, IPNDM, Euler, Heun, UniPC
from steindiff.stein import Constant, Energy, Relaxed

SIGMAS = [10.0, 4.0, 1.0, 0.2]


def denoiser(x: Tensor, sigma: Tensor, /, **conditioning: Any) -> Tensor:
    return x / (1 + sigma.reshape(-1, *[1] * (x.ndim - 1)) ** 2)


@pytest.fixture
def x() -> Tensor:
    return sd.noise((2, 3), SIGMAS[0], range(4))


def test_what_these_tests_start_from_is_accepted(x: Tensor) -> None:
    """Otherwise each refusal below could be one of something else."""
    for solver in sd.solvers.SOLVERS:
        for coefficient in (None, *sd.stein.COEFFICIENTS):
            result = sd.sample(denoiser, x, SIGMAS, solver, coefficient)
            assert result.x.shape == x.shape
            assert torch.isfinite(result.x).all()


# -- sigmas ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [list, tuple, torch.tensor], ids=["list", "tuple", "tensor"])
@pytest.mark.parametrize(
    ("sigmas", "message"),
    [
        ([10.0, 1.0, 4.0], r"sigmas\[1\] is 1.0 and sigmas\[2\] is 4.0; levels must strictly dec"),
        ([10.0, 4.0, 4.0], r"sigmas\[1\] is 4.0 and sigmas\[2\] is 4.0; levels must strictly dec"),
        ([1.0, 10.0], r"sigmas\[0\] is 1.0 and sigmas\[1\] is 10.0; levels must strictly decrease"),
        ([10.0, 4.0, -1.0], r"sigmas\[2\] is -1.0; levels may not be negative"),
        ([-1.0, -2.0], r"sigmas\[0\] is -1.0; levels may not be negative"),
        ([10.0, math.nan, 1.0], r"sigmas\[1\] is nan; finite levels are needed"),
        ([math.nan, 1.0], r"sigmas\[0\] is nan; finite levels are needed"),
        ([10.0, math.nan], r"sigmas\[1\] is nan; finite levels are needed"),
        ([math.inf, 1.0], r"sigmas\[0\] is inf; finite levels are needed"),
        ([10.0], r"sigmas has 1 level\(s\); a step needs two"),
        ([], r"sigmas has 0 level\(s\); a step needs two"),
        ([10.0, 0.0, 1.0], r"sigmas\[1\] is 0; only the last level may be 0"),
        ([10.0, 0.0, 0.0], r"sigmas\[1\] is 0; only the last level may be 0"),
        ([0.0, 0.0], r"sigmas\[0\] is 0; only the last level may be 0"),
    ],
    ids=str,
)
def test_bad_sigmas(x: Tensor, sigmas: list[float], message: str, form: Any) -> None:
    with pytest.raises(ValueError, match=message):
        sd.sample(denoiser, x, form(sigmas))


@pytest.mark.parametrize(
    ("sigmas", "message"),
    [
        (torch.tensor([[10.0, 1.0]]), r"sigmas has shape \(1, 2\); one dimension is needed"),
        (torch.tensor(10.0), r"sigmas has shape \(\); one dimension is needed"),
        (10.0, "sigmas is 10.0; a sequence of numbers is needed"),
        (None, "one of sigmas and steps is needed; neither is given"),
        (["a", "b"], r"sigmas is \['a', 'b'\]; a sequence of numbers is needed"),
        (["10", "1"], r"sigmas is \['10', '1'\]; a sequence of numbers is needed"),
        ([True, False], r"sigmas is \[True, False\]; a sequence of numbers is needed"),
    ],
    ids=["2-D", "0-D", "number", "None", "text", "texts of numbers", "flags"],
)
def test_sigmas_that_are_no_levels(x: Tensor, sigmas: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sd.sample(denoiser, x, sigmas)


# -- solver and coefficient -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("eulr", "euler"), ("huen", "heun"), ("dpmpp2m", "dpmpp_2m"), ("IPNDM", None), ("qq", None)],
)
def test_unknown_solver(x: Tensor, name: str, nearest: str | None) -> None:
    with pytest.raises(ValueError, match=f"solver '{name}' is unknown") as caught:
        sd.sample(denoiser, x, SIGMAS, name)
    message = str(caught.value)
    known = message.partition("Known: ")[2]
    assert all(solver in known for solver in sd.solvers.SOLVERS)
    assert len(sd.solvers.SOLVERS) == 11
    assert ("Did you mean" in message) == (nearest is not None)
    assert nearest is None or f"Did you mean '{nearest}'?" in message


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("enrgy", "energy"), ("publishd", "published"), ("constnat", "constant"), ("qq", None)],
)
def test_unknown_coefficient(x: Tensor, name: str, nearest: str | None) -> None:
    with pytest.raises(ValueError, match=f"coefficient '{name}' is unknown") as caught:
        sd.sample(denoiser, x, SIGMAS, "euler", name)
    message = str(caught.value)
    known = message.partition("Known: ")[2]
    assert all(coefficient in known for coefficient in sd.stein.COEFFICIENTS)
    assert len(sd.stein.COEFFICIENTS) == 4
    assert ("Did you mean" in message) == (nearest is not None)
    assert nearest is None or f"Did you mean '{nearest}'?" in message


@pytest.mark.parametrize("solver", [None, 3, Euler, Energy()], ids=str)
def test_solver_of_the_wrong_type(x: Tensor, solver: Any) -> None:
    with pytest.raises(TypeError, match=r"solver is .*; a name or a Solver object is needed"):
        sd.sample(denoiser, x, SIGMAS, solver)


@pytest.mark.parametrize("coefficient", [1.0, True, Energy, Euler()], ids=str)
def test_coefficient_of_the_wrong_type(x: Tensor, coefficient: Any) -> None:
    with pytest.raises(
        TypeError, match=r"coefficient is .*; a name, a Coefficient or None is needed"
    ):
        sd.sample(denoiser, x, SIGMAS, "euler", coefficient)


@pytest.mark.parametrize("coefficient", ["energy", Constant(0.9)])
def test_relaxed_solver_with_a_coefficient(x: Tensor, coefficient: Any) -> None:
    relaxed = Relaxed(Euler(), Energy())
    message = "solver is relaxed already; coefficient and end belong to it"
    with pytest.raises(ValueError, match=message):
        sd.sample(denoiser, x, SIGMAS, relaxed, coefficient)
    expected = sd.sample(denoiser, x, SIGMAS, "euler", "energy", end="none").x
    assert torch.equal(sd.sample(denoiser, x, SIGMAS, relaxed, None).x, expected)
    assert torch.equal(sd.sample(denoiser, x, SIGMAS, relaxed).x, expected)


@pytest.mark.parametrize(
    ("kind", "orders", "high"), [(IPNDM, [0, -1, 5], 4), (DEIS, [0, -1, 5], 4), (UniPC, [0, 4], 3)]
)
def test_order_out_of_range(kind: Any, orders: list[int], high: int) -> None:
    kind(order=1)
    kind(order=high)
    for order in orders:
        with pytest.raises(ValueError, match=f"order is {order}; {kind.__name__} has orders 1 to"):
            kind(order=order)


@pytest.mark.parametrize("order", [2.0, "2", None, True], ids=repr)
def test_order_of_the_wrong_type(order: Any) -> None:
    with pytest.raises(ValueError, match=f"order is {order!r}; IPNDM has orders 1 to 4"):
        IPNDM(order=order)


@pytest.mark.parametrize("value", [0.0, -1.0, 2.0, math.nan, math.inf])
def test_constant_out_of_range(value: float) -> None:
    with pytest.raises(ValueError, match=f"value is {value}; a number between 0 and 2 is needed"):
        Constant(value)


@pytest.mark.parametrize("trust", [-0.1, math.nan])
def test_trust_out_of_range(trust: float) -> None:
    with pytest.raises(ValueError, match=rf"trust is {trust}; a number >= 0 is needed"):
        Energy(trust=trust)


# -- x --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (torch.ones(2, 3, dtype=torch.int64), TypeError, "x has dtype torch.int64; a real float"),
        (torch.ones(2, 3, dtype=torch.uint8), TypeError, "x has dtype torch.uint8; a real float"),
        (torch.ones(2, 3, dtype=torch.bool), TypeError, "x has dtype torch.bool; a real float"),
        (torch.ones(2, 3, dtype=torch.complex64), TypeError, "x has dtype torch.complex64; a real"),
        ([[1.0, 2.0]], TypeError, r"x is a list; a torch\.Tensor is needed"),
        (np.ones((2, 3)), TypeError, r"x is a ndarray; a torch\.Tensor is needed"),
        (None, TypeError, r"x is a NoneType; a torch\.Tensor is needed"),
        (torch.ones(3), ValueError, r"x has shape \(3,\); \(batch, \*sample shape\) is needed"),
        (torch.tensor(1.0), ValueError, r"x has shape \(\); \(batch, \*sample shape\) is needed"),
        (torch.ones(0, 3), ValueError, r"x has shape \(0, 3\): the batch is empty"),
        (torch.ones(2, 0), ValueError, r"x has shape \(2, 0\): the batch is empty"),
    ],
    ids=["int", "uint8", "bool", "complex", "list", "array", "None", "1-D", "0-D", "empty", "bare"],
)
def test_bad_x(bad: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        sd.sample(denoiser, bad, SIGMAS)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("coefficient", [None, "energy"])
def test_non_finite_x(x: Tensor, value: float, coefficient: str | None) -> None:
    x[1, 0, 2] = x[3, 1, 0] = value
    message = r"^x is not finite at step 0 \(sigma = 10\), in samples 1, 3$"
    with pytest.raises(sd.NonFiniteError, match=message) as caught:
        sd.sample(denoiser, x, SIGMAS, "euler", coefficient)
    assert caught.value.step == 0
    assert caught.value.samples == [1, 3]
    assert isinstance(caught.value, ValueError)


# -- the denoiser ---------------------------------------------------------------------------------


def test_denoiser_that_is_none(x: Tensor) -> None:
    nothing: Any = None
    with pytest.raises(TypeError, match="denoiser is a NoneType; a callable is needed"):
        sd.sample(nothing, x, SIGMAS)


@pytest.mark.parametrize("step", [0, 2])
@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda d: d[:, :1], ValueError, r"shape torch\.Size\(\[4, 1, 3\]\); .*\[4, 2, 3\].*of x"),
        (lambda d: d[:1], ValueError, r"shape torch\.Size\(\[1, 2, 3\]\); .*\[4, 2, 3\].*of x"),
        (lambda d: d.double(), TypeError, r"dtype torch\.float64; torch\.float32, that of x"),
        (lambda d: d.half(), TypeError, r"dtype torch\.float16; torch\.float32, that of x"),
        (lambda d: d.to("meta"), TypeError, r"device meta; cpu, that of x, is needed"),
        (
            lambda d: d.to_sparse(),
            TypeError,
            r"layout torch\.sparse_coo; torch\.strided, that of x",
        ),
    ],
    ids=["shape", "batch", "float64", "float16", "device", "sparse"],
)
def test_output_that_is_not_like_x(
    x: Tensor, spoil: Any, error: type[Exception], message: str, step: int
) -> None:
    def bad(x: Tensor, sigma: Tensor, /, **conditioning: Any) -> Tensor:
        good = denoiser(x, sigma)
        return spoil(good) if sigma[0] == SIGMAS[step] else good

    with pytest.raises(error, match=f"^the denoiser's output at step {step} has {message}"):
        sd.sample(bad, x, SIGMAS)


@pytest.mark.parametrize(
    ("output", "kind"), [(None, "NoneType"), ([1.0], "list"), ((1, 2), "tuple"), (1.0, "float")]
)
def test_output_that_is_no_tensor(x: Tensor, output: Any, kind: str) -> None:
    def bad(x: Tensor, sigma: Tensor, /, **conditioning: Any) -> Tensor:
        return output

    with pytest.raises(TypeError, match=f"the denoiser returned a {kind} at step 0; a tensor"):
        sd.sample(bad, x, SIGMAS)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("coefficient", [None, *sorted(sd.stein.COEFFICIENTS)])
@pytest.mark.parametrize("solver", sorted(set(sd.solvers.SOLVERS) - {"heun"}))
@pytest.mark.parametrize("step", [0, 1, 2])
def test_non_finite_output(
    x: Tensor, step: int, solver: str, coefficient: str | None, value: float
) -> None:
    """One number of one sample goes wrong at one level. (Heun comes to a level twice: below.)"""

    def bad(x: Tensor, sigma: Tensor, /, **conditioning: Any) -> Tensor:
        wrong = torch.zeros_like(x)
        if sigma[0] == SIGMAS[step]:
            wrong[2, 1, 1] = value
        return denoiser(x, sigma) + wrong

    message = rf"^the denoiser's output is not finite at step {step} .*, in samples 2$"
    with pytest.raises(sd.NonFiniteError, match=message) as caught:
        sd.sample(bad, x, SIGMAS, solver, coefficient)
    assert caught.value.step == step
    assert caught.value.samples == [2]
    assert f"(sigma = {SIGMAS[step]:g})" in str(caught.value)


def test_non_finite_output_inside_a_step(x: Tensor) -> None:
    """Heun's second call belongs to the step that made it."""

    def bad(x: Tensor, sigma: Tensor, /, **conditioning: Any) -> Tensor:
        return denoiser(x, sigma) * (math.nan if sigma[0] == SIGMAS[2] else 1.0)

    message = r"^the state after the step is not finite at step 1 \(sigma = 4\), in samples 0, 1, 2"
    with pytest.raises(sd.NonFiniteError, match=message) as caught:
        sd.sample(bad, x, SIGMAS, Heun(), None)
    assert (caught.value.step, caught.value.samples) == (1, [0, 1, 2, 3])


def test_every_sampling_tells_of_its_lost_samples(x: Tensor) -> None:
    """Not only the first in the process, and at the line that sampled."""
    lost = x.clone()
    lost[1] = math.nan
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        for _ in range(2):
            sd.sample(lambda z, sigma: 0.5 * z, lost, SIGMAS, strict=False)
    assert [str(one.message).partition(";")[0] for one in told] == [
        f"x is not finite at step 0 (sigma = {SIGMAS[0]:g}), in samples 1"
    ] * 2
    assert {one.filename for one in told} == {__file__}


def test_many_non_finite_samples_are_abridged() -> None:
    x = torch.full((30, 2), math.nan)
    with pytest.raises(sd.NonFiniteError, match=r"in samples 0, 1, 2, 3, 4, 5, 6, 7, \.\.\.$") as e:
        sd.sample(denoiser, x, SIGMAS)
    assert e.value.samples == list(range(30))


def test_nothing_is_called_when_an_argument_is_bad(x: Tensor) -> None:
    calls = []

    def counting(x: Tensor, sigma: Tensor, /, **conditioning: Any) -> Tensor:
        calls.append(sigma)
        return denoiser(x, sigma)

    bad: list[tuple[Any, ...]] = [
        (x, [1.0, 2.0]), (x, SIGMAS, "eulr"), (x, SIGMAS, "euler", "enrgy"), (x[0, 0], SIGMAS),
        (x * math.nan, SIGMAS),
    ]  # fmt: skip
    for arguments in bad:
        with pytest.raises(ValueError):
            sd.sample(counting, *arguments)
    assert not calls
    sd.sample(counting, x, SIGMAS)
    assert len(calls) == len(SIGMAS) - 1


# -- conditioning ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def net() -> UNetDenoiser:
    torch.manual_seed(0)
    return UNetDenoiser(
        NetworkConfig(
            image_size=8, channels=1, num_classes=3, patch=2, widths=(32, 32), embedding=32
        )
    ).eval()


@pytest.mark.parametrize("guided", [False, True], ids=["plain", "guided"])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "class_labels"),
        ([0, 1, 2], r"class_labels has shape \(3,\) and dtype torch.int64; .* shape \(2,\)"),
        ([0.0, 1.0], r"class_labels has shape \(2,\) and dtype torch.float32; an int64"),
        ([0, 7], "class_labels holds values from 0 to 7; this model has the classes 0 to 2"),
        ([-1, 0], "class_labels holds values from -1 to 0; this model has the classes 0 to 2"),
    ],
    ids=["missing", "many", "float", "high", "negative"],
)
def test_bad_class_labels(
    net: UNetDenoiser, labels: list[float] | None, message: str, guided: bool
) -> None:
    model: Any = net
    if guided:
        none = {"class_labels": net.null_label}
        model = sd.denoisers.ClassifierFreeGuidance(net, 2.0, none)
    x = sd.noise(net.sample_shape, 10.0, range(2))
    conditioning = {} if labels is None else {"class_labels": torch.tensor(labels)}
    with pytest.raises(ValueError, match=message):
        sd.sample(model, x, SIGMAS, conditioning=conditioning)
    good = {"class_labels": torch.tensor([0, 2])}
    assert sd.sample(model, x, SIGMAS, conditioning=good).nfe == 3


def test_conditioning_that_the_model_does_not_take(net: UNetDenoiser) -> None:
    x = sd.noise(net.sample_shape, 10.0, range(2))
    labels = torch.tensor([0, 2])
    with pytest.raises(ValueError, match=r"conditioning has \['labels'\].*takes 'class_labels'"):
        sd.sample(net, x, SIGMAS, conditioning={"class_labels": labels, "labels": labels})


def test_samples_of_another_shape(net: UNetDenoiser) -> None:
    x = sd.noise((1, 28, 28), 10.0, range(2))
    message = r"x has samples of shape \(1, 28, 28\); this model takes \(1, 8, 8\)"
    with pytest.raises(ValueError, match=message):
        sd.sample(net, x, SIGMAS, conditioning={"class_labels": torch.tensor([0, 2])})


def test_conditioning_by_something_else_than_names(x: Tensor) -> None:
    with pytest.raises(TypeError, match="conditioning has the key 3; names of arguments are need"):
        sd.sample(denoiser, x, SIGMAS, conditioning={3: x})  # type: ignore[dict-item]


def test_levels_that_are_too_large_for_the_dtype(x: Tensor) -> None:
    with pytest.raises(
        ValueError, match=r"starts at sigma = 1e\+39, which is infinite in torch.fl"
    ):
        sd.sample(denoiser, x, [1e39, 1.0])
    assert sd.sample(denoiser, x.double(), [1e39, 1.0]).x.isfinite().all()


# -- noise ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf])
def test_noise_of_a_bad_level(sigma: float) -> None:
    with pytest.raises(ValueError, match=f"sigma is {sigma}; a positive number is needed"):
        sd.noise((2, 2), sigma)


def test_noise_that_is_too_large_for_its_dtype() -> None:
    message = r"sigma is 1000000\.0; noise of that size is not finite in torch\.float16"
    with pytest.raises(ValueError, match=message):
        sd.noise((2, 2), 1e6, dtype=torch.float16)


@pytest.mark.parametrize("seeds", [[], (), range(0), torch.zeros(0, dtype=torch.int64)], ids=repr)
def test_noise_without_seeds(seeds: Any) -> None:
    with pytest.raises(ValueError, match="seeds is empty; one seed a sample is needed"):
        sd.noise((2, 2), 1.0, seeds)


@pytest.mark.parametrize("seed", [0.5, "1", None, 2**64], ids=repr)
def test_noise_with_a_bad_seed(seed: Any) -> None:
    with pytest.raises(ValueError, match=rf"seeds holds {seed!r}; integers from -2\*\*63 to"):
        sd.noise((2, 2), 1.0, [0, seed])


NOT_COMPUTED = [torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn, torch.float8_e5m2]


@pytest.mark.parametrize("dtype", NOT_COMPUTED, ids=str)
def test_noise_of_a_bad_dtype(dtype: torch.dtype) -> None:
    with pytest.raises(TypeError, match=f"dtype is {dtype}; a real floating-point dtype of 16"):
        sd.noise((2, 2), 1.0, [0], dtype=dtype)


def test_noise_takes_any_kind_of_integer() -> None:
    expected = sd.noise((2, 2), 3.0, [4, 5])
    kinds: list[Any] = [range(4, 6), np.array([4, 5]), torch.tensor([4, 5]), iter([4, 5])]
    for seeds in kinds:
        assert torch.equal(sd.noise((2, 2), 3.0, seeds), expected)


@pytest.mark.parametrize("dtype", NOT_COMPUTED, ids=str)
def test_a_state_of_a_bad_dtype(x: Tensor, dtype: torch.dtype) -> None:
    with pytest.raises(
        TypeError, match=f"x has dtype {dtype}; a real floating-point dtype of 16 bits or more is"
    ):
        sd.sample(denoiser, x.to(dtype), SIGMAS)


@pytest.mark.filterwarnings("ignore:Sparse", "ignore:The PyTorch API of nested")
@pytest.mark.parametrize(
    ("form", "said"),
    [
        (lambda x: x.to_sparse(), "of layout torch.sparse_coo"),
        (lambda x: x.flatten(1).to_sparse_csr(), "of layout torch.sparse_csr"),
        (lambda x: x.to_mkldnn(), "of layout torch._mkldnn"),
        (lambda x: torch.nested.nested_tensor([*x]), "nested"),
        (lambda x: torch.nested.nested_tensor([*x], layout=torch.jagged), "nested"),
    ],
    ids=["coo", "csr", "mkldnn", "nested", "jagged"],
)
def test_a_state_that_is_not_dense(x: Tensor, form: Any, said: str) -> None:
    with pytest.raises(TypeError, match=f"x is {said}; a dense tensor"):
        sd.sample(denoiser, form(x), SIGMAS)


# -- schedules ------------------------------------------------------------------------------------

GOOD: dict[str, Any] = {"steps": 3, "sigma_min": 0.02, "sigma_max": 80.0}


@pytest.mark.parametrize("name", sorted(sd.schedules.SCHEDULES))
@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        ({"steps": 0}, ValueError, "steps is 0; at least 1 is needed"),
        ({"steps": -2}, ValueError, "steps is -2; at least 1 is needed"),
        ({"steps": 2.0}, TypeError, "steps is 2.0; an int is needed"),
        ({"steps": True}, TypeError, "steps is True; an int is needed"),
        ({"sigma_min": 0.0}, ValueError, "sigma_min is 0.0; a finite number > 0 is needed"),
        ({"sigma_min": math.nan}, ValueError, "sigma_min is nan; a finite number > 0 is needed"),
        ({"sigma_max": math.inf}, ValueError, "sigma_max is inf; a finite number > 0 is needed"),
        ({"sigma_max": 0.02}, ValueError, "sigma_min is 0.02 and sigma_max 0.02; sigma_min must"),
        ({"final": "zeros"}, ValueError, "final 'zeros' is unknown. Did you mean 'zero'"),
    ],
    ids=str,
)
def test_bad_schedule(name: str, bad: dict[str, Any], error: type[Exception], message: str) -> None:
    schedule = sd.schedules.SCHEDULES[name]
    assert len(schedule(**GOOD)) == 4
    with pytest.raises(error, match=message):
        schedule(**{**GOOD, **bad})
