"""Precision, recall, density, coverage against the authors' package."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import torch
from prdc import compute_prdc

from steindiff.lab.metrics import prdc

Draw = Callable[..., torch.Tensor]


@pytest.mark.upstream
@pytest.mark.parametrize(
    ("n", "m", "width", "k", "shift"),
    [(200, 200, 8, 5, 0.0), (150, 230, 3, 3, 0.5), (60, 50, 32, 1, 0.1), (40, 90, 2, 5, 2.0)],
)
def test_equals_the_package_of_the_authors(
    n: int, m: int, width: int, k: int, shift: float, draw: Draw
) -> None:
    real, fake = draw(n, width, 1), 0.8 * draw(m, width, 1, shift)
    expected = compute_prdc(real.numpy(), fake.numpy(), nearest_k=k)
    assert prdc(real, fake, k)._asdict() == pytest.approx(expected, rel=1e-12)


def test_parts_do_not_matter(draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    real, fake = draw(70, 4, 1), draw(50, 4, 2)
    whole = prdc(real, fake)
    monkeypatch.setattr(sys.modules["steindiff.lab.metrics.prdc"], "_PAIRS", 300)
    assert prdc(real, fake) == whole


def test_extremes(draw: Draw) -> None:
    real = draw(100, 4)
    near = prdc(real, real + 1e-6)
    assert near[:2] == (1, 1)
    assert near.coverage == 1
    assert prdc(real, real + 1000) == (0, 0, 0, 0)
    collapsed = prdc(real, real[:1] + 1e-6 * draw(100, 4))
    assert collapsed.precision == 1
    assert collapsed.recall < 0.05
    assert collapsed.coverage < 0.2


def test_bad_input_is_named(draw: Draw) -> None:
    with pytest.raises(ValueError, match=r"fake has shape \(5, 2\); \(N >= 6, D\)"):
        prdc(draw(20, 2), draw(5, 2))
    with pytest.raises(ValueError, match="real has 2 features and fake 3"):
        prdc(draw(20, 2), draw(20, 3))
    with pytest.raises(ValueError, match="k is 0"):
        prdc(draw(20, 2), draw(20, 2), k=0)
