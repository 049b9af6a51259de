"""The memo: the same bits as without it, and nothing mixed up."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import steindiff as sd
from steindiff.denoisers import GaussianMixture
from steindiff.lab.bench.memo import Memo


class Spy:
    """A denoiser whose output depends on all it is given; counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: Tensor, sigma: Tensor | float, /, **conditioning: Any) -> Tensor:
        self.calls += 1
        shift = sum(
            (k + 2) * torch.as_tensor(value, dtype=x.dtype).sum()
            for k, value in enumerate(conditioning[name] for name in sorted(conditioning))
        )
        names = sum(map(ord, "".join(sorted(conditioning))))
        level = torch.as_tensor(sigma, dtype=x.dtype).reshape(-1, *[1] * (x.ndim - 1))
        return x / (1 + level**2) + shift + names


def test_samplings_have_the_same_bits_and_share_calls() -> None:
    mixture = GaussianMixture(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), 0.1)
    memo = Memo(mixture)
    x = sd.noise((4,), 80.0, range(8))
    levels = sd.schedules.karras(5)
    made = 0
    for solver in ("euler", "ipndm", "heun", "unipc", "euler"):
        for coefficient in (None, "energy"):
            plain = sd.sample(mixture, x, levels, solver, coefficient)
            found = sd.sample(memo, x, levels, solver, coefficient)
            assert torch.equal(found.x, plain.x)
            assert found.nfe == plain.nfe
            made += plain.nfe
    assert memo.calls == made
    # The second Euler runs are hits altogether, and every run shares the first call.
    assert memo.hits >= 2 * 5 + 7
    assert len(memo.outputs) == memo.calls - memo.hits


def test_a_hit_does_not_call_and_cannot_be_spoiled() -> None:
    spy = Spy()
    memo = Memo(spy)
    x, sigma = torch.randn(2, 3), torch.full((2,), 0.5)
    first = memo(x, sigma)
    wanted = first.clone()
    first.zero_()  # what the caller does with an output is no matter to the memo
    second = memo(x.clone(), sigma.clone())
    assert torch.equal(second, wanted)
    second.zero_()
    assert torch.equal(memo(x, sigma), wanted)
    assert (spy.calls, memo.calls, memo.hits) == (1, 3, 2)


def test_a_state_that_is_not_contiguous() -> None:
    spy = Spy()
    memo = Memo(spy)
    x = torch.randn(3, 2).T
    assert torch.equal(memo(x, 0.5), memo(x.contiguous(), 0.5))
    assert spy.calls == 1


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((torch.zeros(2, 3), 0.5, {}), (torch.full((2, 3), -0.0), 0.5, {})),
        ((torch.zeros(2, 3), 0.5, {}), (torch.zeros(2, 3), 0.5000001, {})),
        ((torch.zeros(2, 3), 0.5, {}), (torch.zeros(2, 3) + 1e-45, 0.5, {})),
        ((torch.ones(2, 3), 0.5, {"y": 1}), (torch.ones(2, 3), 0.5, {"y": 2})),
        ((torch.ones(2, 3), 0.5, {"y": 1}), (torch.ones(2, 3), 0.5, {})),
        (
            (torch.ones(2, 3), 0.5, {"y": torch.tensor([1, 2])}),
            (torch.ones(2, 3), 0.5, {"y": torch.tensor([2, 1])}),
        ),
        ((torch.ones(2, 3), 0.5, {"y": 1}), (torch.ones(2, 3), 0.5, {"z": 1})),
        (
            (torch.ones(2, 3), 0.5, {"a": 1, "b": 2}),
            (torch.ones(2, 3), 0.5, {"a": 2, "b": 1}),
        ),
        ((torch.ones(2, 3), 0.5, {"a": 1, "b": 23}), (torch.ones(2, 3), 0.5, {"a": 12, "b": 3})),
        ((torch.ones(2, 3), 0.5, {}), (torch.ones(3, 2), 0.5, {})),
        ((torch.zeros(2, 3), 0.5, {}), (torch.zeros(1, 3, dtype=torch.float64), 0.5, {})),
    ],
    ids=[
        "sign of zero", "level", "smallest difference", "label", "no label", "order of labels",
        "name", "exchanged", "digits", "shape", "dtype",
    ],
)  # fmt: skip
def test_nothing_is_mixed_up(a: tuple[Any, ...], b: tuple[Any, ...]) -> None:
    memo, plain = Memo(Spy()), Spy()
    for x, sigma, conditioning in (a, b, a, b):
        found, wanted = memo(x, sigma, **conditioning), plain(x, sigma, **conditioning)
        assert found.dtype == wanted.dtype
        assert found.shape == wanted.shape
        assert torch.equal(found, wanted)
    assert (memo.calls, memo.hits) == (4, 2)


def test_order_of_the_conditioning_is_no_matter() -> None:
    memo = Memo(Spy())
    x = torch.ones(2, 3)
    assert torch.equal(memo(x, 0.5, a=1, b=2), memo(x, 0.5, b=2, a=1))
    assert memo.hits == 1


def test_memory_is_bounded_and_the_longest_unused_goes() -> None:
    spy = Spy()
    memo = Memo(spy, capacity=3 * 24)  # three outputs of six float32
    states = [torch.full((2, 3), float(k)) for k in range(4)]
    for x in states[:3]:
        memo(x, 0.5)
    memo(states[0], 0.5)  # used again: now the second is the oldest
    memo(states[3], 0.5)
    assert memo.size == 72 == sum(output.nbytes for output in memo.outputs.values())
    assert spy.calls == 4
    memo(states[0], 0.5)
    assert spy.calls == 4
    memo(states[1], 0.5)
    assert spy.calls == 5
    for k in range(100):
        memo(torch.full((2, 3), 10.0 + k), 0.5)
        assert memo.size <= 72
        assert len(memo.outputs) <= 3


def test_an_output_larger_than_the_memory() -> None:
    memo = Memo(Spy(), capacity=8)
    x = torch.ones(2, 3)
    assert torch.equal(memo(x, 0.5), Spy()(x, 0.5))
    assert (memo.size, len(memo.outputs)) == (0, 0)


def test_the_denoisers_own_check() -> None:
    class Checked(Spy):
        def check(self, x: Tensor, **conditioning: Any) -> None:
            raise ValueError("class_labels is missing")

    with pytest.raises(ValueError, match="class_labels is missing"):
        Memo(Checked()).check(torch.ones(2, 3))
    Memo(Spy()).check(torch.ones(2, 3))
