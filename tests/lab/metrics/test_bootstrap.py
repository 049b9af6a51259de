"""Bootstrap intervals: paired rows, agreement with plain resampling, coverage, speed."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
import torch

from steindiff.lab.metrics import Interval, bootstrap, frechet_distance, paired_bootstrap

Draw = Callable[..., torch.Tensor]


@pytest.mark.parametrize(("count", "width"), [(300, 6), (40, 12), (20, 50)])
def test_is_plain_resampling_of_the_rows(count: int, width: int, draw: Draw) -> None:
    """With many and few rows a feature, also fewer rows than features."""
    reference = draw(count, width, shift=3.0)
    sets = {
        "base": reference + 0.3 * draw(count, width, 1),
        "relaxed": reference + 0.5 * draw(count, width, 2),
    }
    found = paired_bootstrap(sets, reference, baseline="base", resamples=30, seed=7)
    assert list(found) == ["base", "relaxed"]

    generator, drawn = np.random.default_rng(7), []
    for _ in range(30):
        rows = torch.from_numpy(generator.integers(0, count, count))
        drawn.append([frechet_distance(x[rows], reference[rows]) for x in sets.values()])
    base, relaxed = np.array(drawn).T
    whole = [frechet_distance(x, reference) for x in sets.values()]
    for interval, value, values in [
        (found["base"].distance, whole[0], base),
        (found["relaxed"].distance, whole[1], relaxed),
        (found["relaxed"].ratio, whole[1] / whole[0], relaxed / base),
    ]:
        centred = values * value / np.exp(np.mean(np.log(values)))
        low, high = np.percentile(centred, [2.5, 97.5])
        assert interval.low < interval.value < interval.high
        assert interval.value == pytest.approx(value, rel=1e-12)
        assert (interval.low, interval.high) == pytest.approx((low, high), rel=1e-7)
    assert found["base"].ratio == (1, 1, 1)


def test_rows_are_paired(draw: Draw) -> None:
    """Equal sets give a ratio of one in every resample; the worse set a ratio above one."""
    reference = draw(300, 4)
    near, far = reference + 0.3 * draw(300, 4, 5), reference + 0.6 * draw(300, 4, 6)
    sets = {"near": near, "same": near.clone(), "far": far}
    found = paired_bootstrap(sets, reference, baseline="near", resamples=40)
    assert found["same"].ratio == pytest.approx((1, 1, 1), rel=1e-9)
    assert found["same"].distance == pytest.approx(found["near"].distance, rel=1e-9)
    assert 1 < found["far"].ratio.low < found["far"].ratio.high
    assert paired_bootstrap(sets, reference, baseline="near", resamples=40) == found
    other = paired_bootstrap(sets, reference, baseline="near", resamples=40, seed=1)
    assert other["far"].ratio != found["far"].ratio


def test_features_that_never_fire_do_not_matter(draw: Draw) -> None:
    """Dead directions make every covariance singular, without a distance of their own."""
    reference = draw(200, 4)
    sets = {"a": reference + 0.1 * draw(200, 4, 1), "b": 1.2 * reference}
    padded = {name: torch.nn.functional.pad(x, (0, 6)) for name, x in sets.items()}
    target = torch.nn.functional.pad(reference, (0, 6))
    plain = paired_bootstrap(sets, reference, baseline="a", resamples=20)
    dead = paired_bootstrap(padded, target, baseline="a", resamples=20)
    for name in sets:
        assert dead[name].distance == pytest.approx(plain[name].distance, rel=1e-9)
        assert dead[name].ratio == pytest.approx(plain[name].ratio, rel=1e-9)


def test_is_fast_enough_for_a_table(draw: Draw) -> None:
    """A quarter of the resamples of a table's cell, in processor time: other programs wait."""
    reference = draw(2000, 64)
    sets = {str(k): reference + 0.1 * (k + 1) * draw(2000, 64, k + 1) for k in range(5)}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        began = time.process_time()
        paired_bootstrap(sets, reference, baseline="0", resamples=50)
        assert time.process_time() - began < 2
    finally:
        torch.set_num_threads(threads)


def test_any_statistic_has_an_interval() -> None:
    """The mean of a normal sample: its interval is 1.96 standard errors on either side."""
    x = torch.randn(2000, generator=torch.Generator().manual_seed(0)).double()
    found = bootstrap(lambda rows: float(rows.mean()), x, resamples=1000)
    error = float(x.std()) / 2000**0.5
    assert found.value == pytest.approx(float(x.mean()), rel=1e-12)
    assert (found.high - found.low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.1)
    assert isinstance(found, Interval)


def test_a_statistic_of_several_tensors_sees_the_same_rows() -> None:
    x = torch.arange(30.0)
    found = bootstrap(lambda a, b: float((b - a).mean()), x, x + 2, resamples=20)
    assert found == (2, 2, 2)


def test_bad_input_is_named(draw: Draw) -> None:
    x = draw(20, 3)
    other = x + 0.1 * draw(20, 3, 1)
    with pytest.raises(ValueError, match=r"baseline 'bas' is unknown. Did you mean 'base'"):
        paired_bootstrap({"base": other}, x, baseline="bas")
    with pytest.raises(ValueError, match=r"candidates\['b'\] has 19 rows and reference 20"):
        paired_bootstrap({"a": other, "b": other[1:]}, x, baseline="a")
    with pytest.raises(ValueError, match=r"candidates\['a'\] has 2 features and reference 3"):
        paired_bootstrap({"a": other[:, :2]}, x, baseline="a")
    with pytest.raises(ValueError, match=r"candidates\['a'\] holds NaN"):
        paired_bootstrap({"a": other * float("nan")}, x, baseline="a")
    with pytest.raises(ValueError, match="baseline 'a' has distance 0 to the reference"):
        paired_bootstrap({"a": x, "b": other}, x, baseline="a", resamples=5)
    with pytest.raises(ValueError, match="resamples is 0"):
        paired_bootstrap({"a": other}, x, baseline="a", resamples=0)
    with pytest.raises(ValueError, match=r"lengths \[3, 4\]"):
        bootstrap(lambda a, b: 0.0, torch.zeros(3), torch.zeros(4))
    with pytest.raises(TypeError, match="rows holds a list"):
        bootstrap(lambda a: 0.0, [1.0])  # pyright: ignore[reportArgumentType]
