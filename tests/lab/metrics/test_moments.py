"""Moments are the same bits for any split, order and number of processes, and are right."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from waiting import BOUND

from steindiff.lab.metrics import Moments

Draw = Callable[..., torch.Tensor]


def moments_of(*parts: torch.Tensor) -> Moments:
    moments = Moments(parts[0].shape[1])
    for part in parts:
        moments.add(part)
    return moments


def same_bits(a: Moments, b: Moments) -> bool:
    return (
        a.count == b.count
        and torch.equal(a.mean(), b.mean())
        and torch.equal(a.covariance(), b.covariance())
    )


def features(seed: int, count: int, width: int, scale: float) -> torch.Tensor:
    """Heavy-tailed, with a mean far from zero, within the range that is taken."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, width, generator=generator, dtype=torch.float64)
    return (scale * (x**3 + 5)).clamp(-32767, 32767)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    count=st.integers(2, 60),
    width=st.integers(1, 5),
    scale=st.sampled_from([1e-6, 1.0, 3000.0]),
    data=st.data(),
)
def test_any_split_order_and_merge_gives_the_same_bits(
    seed: int, count: int, width: int, scale: float, data: st.DataObject
) -> None:
    x = features(seed, count, width, scale)
    order = torch.tensor(data.draw(st.permutations(range(count))))
    cuts = sorted(data.draw(st.lists(st.integers(0, count), max_size=6)))
    parts = [moments_of(part) for part in x[order].tensor_split(cuts)]
    while len(parts) > 1:
        i = data.draw(st.integers(0, len(parts) - 2))
        second = parts.pop(i + 1)
        parts[i] += second
    assert same_bits(parts[0], moments_of(x))


def test_batches_of_a_stream_give_the_same_bits(draw: Draw) -> None:
    """Matrix products of other sizes take other paths in the library behind them."""
    x = (draw(3000, 48, shift=7.0)).float()
    whole = moments_of(x)
    for size in (1, 7, 500, 2999):
        assert same_bits(moments_of(*x.split(size)), whole)
    total = Moments(48)
    for part in x.flip(0).split(700):
        total += moments_of(part)
    assert same_bits(total, whole)


@pytest.mark.parametrize(
    ("scale", "shift"),
    [(1.0, 0.0), (50.0, -300.0), (0.01, 30000.0), (1e-3, 0.5), (1e-6, 0.0), (1e-9, 0.0)],
)
def test_agrees_with_numpy(scale: float, shift: float, draw: Draw) -> None:
    """On multiples of 2^-32, which are taken as they are; shifts would cancel in a plain sum."""
    x = ((scale * draw(500, 6) + shift) * 2**32).round() / 2**32
    moments = moments_of(x)
    exact = (x - shift).numpy()  # so that numpy cancels nothing either
    assert np.allclose(moments.mean().numpy(), exact.mean(axis=0) + shift, rtol=1e-14, atol=0)
    expected = np.cov(exact, rowvar=False)
    spread = np.sqrt(np.outer(expected.diagonal(), expected.diagonal()))
    assert np.abs((moments.covariance().numpy() - expected) / spread).max() < 1e-12


def test_plain_features_agree_with_numpy(draw: Draw) -> None:
    """float32 features, as networks give them."""
    x = draw(400, 5, shift=1.0).float()
    found, expected = moments_of(x).covariance().numpy(), np.cov(x.double().numpy(), rowvar=False)
    assert np.abs(found - expected).max() < 1e-9 * np.abs(expected).max()


def test_extremes_of_the_range_are_exact() -> None:
    """The largest digits of both signs, and the smallest step."""
    largest = 32768 - 2**-32
    rows = [[largest, -largest], [-largest, largest], [2**-32, 0.5]]
    x = torch.tensor(rows, dtype=torch.float64)
    found, expected = moments_of(x).covariance().numpy(), np.cov(x.numpy(), rowvar=False)
    assert np.allclose(found, expected, rtol=1e-14, atol=0)
    constant = moments_of(torch.full((7, 1), 0.1, dtype=torch.float64))
    assert constant.covariance().item() == 0


def test_a_sum_leaves_what_was_added_as_it_is(draw: Draw) -> None:
    a, b = moments_of(draw(20, 3, 1)), moments_of(draw(30, 3, 2))
    a += b
    assert a.count == 50
    assert same_bits(b, moments_of(draw(30, 3, 2)))


PROCESS = """
import sys
import torch
import torch.distributed as dist
from steindiff.lab.metrics import Moments

rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
moments = Moments(6)
moments.add(torch.load(f"{folder}/rows.pt").tensor_split([37])[rank])
moments.all_reduce()
torch.save([moments.mean(), moments.covariance()], f"{folder}/{rank}.pt")
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_get_the_bits_of_one(draw: Draw, tmp_path: Path) -> None:
    x = draw(101, 6, shift=2.0)
    torch.save(x, tmp_path / "rows.pt")
    command = [sys.executable, "-c", PROCESS]
    processes = [subprocess.Popen([*command, str(rank), str(tmp_path)]) for rank in range(2)]
    try:
        assert [process.wait(timeout=BOUND) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    for rank in range(2):
        mean, covariance = torch.load(tmp_path / f"{rank}.pt")
        assert torch.equal(mean, moments_of(x).mean())
        assert torch.equal(covariance, moments_of(x).covariance())


def test_what_cannot_be_summed_is_refused_and_leaves_nothing(draw: Draw) -> None:
    x = draw(10, 3)
    moments = moments_of(x)
    for bad, message in [
        (torch.full((2, 3), float("nan")), "features holds NaN"),
        (torch.full((2, 3), 32768.0), "features reaches 32768"),
        (torch.zeros(2, 4), r"features has shape \(2, 4\); \(N, 3\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            moments.add(bad)
    with pytest.raises(TypeError, match=r"torch.int64"):
        moments.add(torch.zeros(2, 3).long())
    assert same_bits(moments, moments_of(x))
    with pytest.raises(ValueError, match="other has 2 features; 3 are needed"):
        moments += Moments(2)
    with pytest.raises(ValueError, match="at least two"):
        moments_of(x[:1]).covariance()
    with pytest.raises(ValueError, match="at least one row"):
        Moments(3).mean()
    with pytest.raises(RuntimeError, match="not initialised"):
        moments.all_reduce()


def test_too_many_rows_are_refused(draw: Draw) -> None:
    full = moments_of(draw(10, 3))
    full.count = 1 << 28
    with pytest.raises(ValueError, match="268435457 rows in all"):
        full.add(torch.zeros(1, 3))
    one = moments_of(draw(1, 3))
    with pytest.raises(ValueError, match="268435457 rows in all"):
        full += one
