"""The batch that a tuning finds by itself, and what is told where there is no room."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import steindiff as sd
from steindiff.denoisers import GaussianMixture
from steindiff.tuning import ranks
from steindiff.tuning.batch import ACTIVATIONS, AT_ONCE, Batch
from steindiff.tuning.ranks import SharedRows

MIXTURE = GaussianMixture(torch.randn(3, 4, generator=torch.Generator().manual_seed(3)), 0.05)
FEW: dict[str, Any] = {
    "noises": 4, "held_out": 16, "fresh": 16, "fine_steps": 4, "fit": False, "calls": 1040,
}  # fmt: skip
ROOM = 5


def small(x: Tensor, sigma: Tensor) -> Tensor:
    """The mixture on a device that has room for five noises at a time."""
    if len(x) > ROOM:
        raise torch.OutOfMemoryError(f"tried to allocate room for {len(x)}")
    return MIXTURE(x, sigma)


def test_a_device_without_room_is_asked_for_half_until_it_has() -> None:
    """To the same bits as with that batch given: 64, 32, 16, 8, 4."""
    found = sd.tune(small, 3, shape=(4,), **FEW)
    given = sd.tune(small, 3, shape=(4,), batch=4, **FEW)
    assert replace(found, calls=0) == replace(given, calls=0)


def test_a_batch_that_was_given_is_kept() -> None:
    with pytest.raises(torch.OutOfMemoryError, match=r"batch is 8, .* pass a smaller one, or none"):
        sd.tune(small, 3, shape=(4,), batch=8, **FEW)


def test_no_room_for_one_is_said() -> None:
    def never(x: Tensor, sigma: Tensor) -> Tensor:
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError, match=r"batch is 1, .* at a time$"):
        sd.tune(never, 3, shape=(4,), **FEW)


def test_a_process_without_room_halves_the_batch_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other has room at first; all start again with the same smaller batch."""
    asked: list[int] = []

    def exchanged(make: Any) -> list[Any]:
        asked.append(size.count)
        mine = make()
        half = (
            None if size.count > 4 else [MIXTURE(x[part], sigma[part]) for part in (slice(4, 8),)]
        )
        return [mine, half]

    monkeypatch.setattr(ranks, "place", lambda: (0, 2))
    monkeypatch.setattr(ranks, "_exchanged", exchanged)
    size, told = Batch(None), list[int]()
    x, sigma = sd.noise((4,), 1.0, range(8)), torch.ones(8)
    found = SharedRows(MIXTURE, {}, size, told.append)(x, sigma)
    assert asked == [64, 32, 16, 8, 4]
    assert told == [8]
    assert torch.equal(found, torch.cat([MIXTURE(x[:4], sigma[:4]), MIXTURE(x[4:], sigma[4:])]))


@pytest.mark.parametrize(
    ("numbers", "count"),
    [(100, AT_ONCE), (2**23, 2**30 // 2**25 // 2), (2**28, 1)],
)
def test_on_the_cpu_the_parts_outputs_bound_the_batch(numbers: int, count: int) -> None:
    """Two parts put out that many numbers of four bytes for one noise; what holds them does not."""

    class Wide(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.new_zeros(1).expand(len(x), numbers)

    inner = nn.Sequential(Wide(), nn.Identity())

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
            self.inner(x)
            return x

    net, x = Net(), torch.ones(1, 4)
    size = Batch(None)
    assert torch.equal(size.fit(net, lambda: net(x, x)), x)
    assert size.count == count
    assert size.count == 1 or 2 * 4 * numbers * size.count <= ACTIVATIONS
    given = Batch(7)
    given.fit(net, lambda: net(x, x))
    assert given.count == 7
