"""The judge: distances with known values, fair at few pairs, features of any shape."""

from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from waiting import BOUND

from steindiff.denoisers import ClassifierFreeGuidance
from steindiff.lab.metrics import frechet_distance
from steindiff.models.network import NetworkConfig, UNetDenoiser
from steindiff.tuning.batch import Batch
from steindiff.tuning.features import Inner, RandomFeatures
from steindiff.tuning.frechet import frechet
from steindiff.tuning.judge import Figures, Judge, weights
from steindiff.tuning.ranks import SharedRows
from steindiff.tuning.trials import Noises


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_shift_is_its_square_and_the_same_set_is_at_zero() -> None:
    a = normal(40, 5)
    shift = torch.tensor([1.0, 0, 0, 2.0, 0], dtype=torch.float64)
    assert frechet(a + shift, a) == pytest.approx(5.0)
    assert frechet(a, a) == pytest.approx(0.0, abs=1e-12)


def test_it_is_the_labs_distance_but_for_the_noise_of_the_means() -> None:
    a, b = normal(30, 6), 1.3 * normal(30, 6, seed=1) + 0.5
    off = float((a - b).var(dim=0).sum()) / 30
    assert frechet(a, b) == pytest.approx(frechet_distance(a, b) - off)


def test_means_have_less_bias_of_few_pairs() -> None:
    """Pairs whose difference is noise of mean 0: the mean's part is var/n, of which a third is left
    (it may not be negative).
    """
    found, naive = [], []
    for seed in range(300):
        a, moved = normal(16, 3, seed=seed), normal(16, 3, seed=1000 + seed)
        mean = float(moved.mean(dim=0).square().sum())
        naive.append(mean)
        found.append(mean - frechet_distance(a + moved, a) + frechet(a + moved, a))
    assert sum(naive) / 300 == pytest.approx(3 / 16, rel=0.15)
    assert abs(sum(found) / 300) < 0.4 * 3 / 16


@pytest.mark.parametrize("shape", [(12,), (1, 28, 28), (3, 8, 8), (4, 5, 8, 8), (16, 4, 4)])
def test_features_of_any_shape(shape: tuple[int, ...]) -> None:
    fine = torch.randn(20, *shape, generator=torch.Generator().manual_seed(0))
    features = RandomFeatures(fine)
    seen = features(fine)
    assert seen.shape == (20, 64)
    assert torch.equal(features(fine[:3]), RandomFeatures(fine)(fine[:3]))
    assert float((seen.var(dim=0) > 0).float().mean()) > 0.8
    scaled = RandomFeatures(7 * fine)(7 * fine)
    assert torch.allclose(scaled, seen, atol=1e-4)


def test_the_score_and_a_ratio_with_its_interval() -> None:
    fine = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
    rows = SharedRows(lambda x, sigma: x, {}, Batch(64), lambda done: None)
    judge = Judge([Noises(rows, fine, fine)], lambda x: x, guidance=1.0)
    near, far = (judge.look(fine + size * torch.ones(6)) for size in (0.1, 0.4))
    assert judge.score(Figures(0.25, 4.0)) == 2.0
    ratio, error, distance = judge.ratios(near, far)
    assert judge.measures == ("relative error", "the features")
    assert error.value == pytest.approx(1 / 4, rel=0.01)
    assert distance.value == pytest.approx(1 / 16, rel=0.01)
    assert ratio.value == pytest.approx(1 / 4**2.5, rel=0.01)
    assert ratio.low <= ratio.value <= ratio.high < 1
    assert judge.ratios(near, near) == ((1.0, 1.0, 1.0),) * 3
    assert math.isinf(judge.score(judge.figures(None)))
    assert {one.value for one in judge.ratios(None, near)} == {math.inf}
    assert {one.value for one in judge.ratios(near, None)} == {0.0}
    assert {one.value for one in judge.ratios(None, None)} == {1.0}


def test_features_that_overflow_are_infinitely_far() -> None:
    """What a candidate that grew large makes of a network in half precision."""
    fine = torch.randn(24, 3, generator=torch.Generator().manual_seed(0))
    rows = SharedRows(lambda x, sigma: x, {}, Batch(64), lambda done: None)
    judge = Judge([Noises(rows, fine, fine)], torch.Tensor.half, guidance=1.0)
    for large in (1e6 * fine, torch.cat([fine[:-1], 1e6 * fine[-1:]])):
        look = judge.look(large)
        figures = judge.figures(look)
        assert math.isfinite(figures.error)
        assert figures.frechet == math.inf
        assert judge.score(figures) == math.inf
        assert not judge.ratios(look, judge.look(fine))[0].high < 1


def test_exponents_follow_the_guidance() -> None:
    assert weights(1.0) == (0.5, 1.0)
    assert weights(4.0) == (0.0, 1.0)


def small_network() -> UNetDenoiser:
    torch.manual_seed(0)
    net = UNetDenoiser(NetworkConfig(image_size=8, num_classes=3, widths=(32, 32), embedding=8))
    return net.eval().requires_grad_(False)


def noises(denoiser: object, labels: torch.Tensor, fine: torch.Tensor) -> Noises:
    rows = SharedRows(denoiser, {"class_labels": labels}, Batch(4), lambda done: None)  # type: ignore[arg-type]
    return Noises(rows, fine, fine)


def test_the_middle_block_is_looked_at_sample_by_sample() -> None:
    """In any batches, guided or not; and the network answers as before afterwards."""
    net = small_network()
    labels, fine = torch.arange(6) % 3, torch.randn(6, *net.sample_shape)
    plain = noises(net, labels, fine)
    before = net(fine, torch.ones(6), class_labels=labels)
    inner = Inner(plain)
    seen = inner(plain.rows, fine)
    assert seen.shape == (6, 64)
    assert torch.equal(net(fine, torch.ones(6), class_labels=labels), before)
    few = noises(net, labels[:3], fine[:3])
    assert torch.allclose(inner(few.rows, fine[:3]), seen[:3], atol=1e-5)
    guided = ClassifierFreeGuidance(net, 4.0, {"class_labels": net.null_label})
    again = Inner(noises(guided, labels, fine))
    assert torch.allclose(again(noises(guided, labels, fine).rows, fine), seen, atol=1e-5)
    assert float((seen[0] - seen[1]).norm()) > 1e-3


def test_another_thread_may_use_the_network_meanwhile() -> None:
    """Its evaluations go through the same hooks."""
    network, labels = small_network(), torch.arange(4)
    first = network.unet.conv_in
    fine = normal(4, 1, 8, 8).float()

    def seen(busy: bool) -> torch.Tensor:
        own = noises(network, labels, fine)
        inner = Inner(own)
        with ThreadPoolExecutor(1) as pool:

            def elsewhere() -> None:
                network(fine[:3], 1.0, class_labels=labels[:3])

            def before(*_: object) -> None:
                if threading.get_ident() == here:
                    pool.submit(elsewhere).result(BOUND)

            here = threading.get_ident()
            handle = first.register_forward_pre_hook(before) if busy else None
            found = inner(own.rows, fine), Inner(own).place
            if handle is not None:
                handle.remove()
        assert found[1] == inner.place
        return found[0]

    assert torch.equal(seen(True), seen(False))


def test_with_guidance_a_late_part_is_asked_at_less_noise() -> None:
    """So that it sees the fine detail that few guided steps lose: here a checkerboard."""
    net = small_network()
    labels, fine = torch.arange(6) % 3, torch.randn(6, *net.sample_shape)
    plain = noises(net, labels, fine)
    middle, late = Inner(plain), Inner(plain, 4.0)
    assert late.sigma == pytest.approx(middle.sigma * 0.04 / 0.6)
    order = [part for part in net.modules() if part in (middle.part, late.part)]
    assert order == [middle.part, late.part]
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    board = fine + 0.1 * (-1.0) ** (rows + columns)
    moved = []
    for one in (middle, late):
        seen, wanted = one(plain.rows, board), one(plain.rows, fine)
        moved.append(float((seen - wanted).norm() / wanted.norm()))
    assert moved[1] > 2 * moved[0]


class Small(torch.nn.Module):
    """A D of three parts, which hooks see as long as it is not compiled."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.parts = torch.nn.Sequential(*(torch.nn.Conv2d(1, 1, 3, padding=1) for _ in range(3)))

    def forward(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return 2 * self.parts(x)


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_compiled_network_is_looked_into(wrapped: bool) -> None:
    """As if it were not compiled, by `torch.compile` or in place; it runs compiled afterwards."""
    fine = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    def seen(denoiser: object) -> torch.Tensor:
        found = Noises(SharedRows(denoiser, {}, Batch(4), lambda done: None), fine, fine)  # type: ignore[arg-type]
        return Inner(found)(found.rows, fine)

    wanted, compiled = seen(Small().requires_grad_(False)), Small().requires_grad_(False)
    if wrapped:
        denoiser = torch.compile(compiled, backend="eager")
    else:
        compiled.compile(backend="eager")
        denoiser = compiled
    with torch.no_grad():  # sizes that were compiled before are not compiled anew with the hooks
        before = [denoiser(fine[:size], torch.ones(size)) for size in (2, 3, 4, 6)][-1]
    assert torch.equal(seen(denoiser), wanted)
    with torch.no_grad():
        assert torch.equal(denoiser(fine, torch.ones(6)), before)


def test_without_a_module_there_is_no_middle() -> None:
    fine = torch.randn(6, 3, 8, 8)
    found = Noises(SharedRows(lambda x, sigma: x, {}, Batch(4), lambda done: None), fine, fine)
    assert Inner.of(found, 1.0) is None
    with pytest.raises(LookupError, match="no module"):
        Inner(found)
