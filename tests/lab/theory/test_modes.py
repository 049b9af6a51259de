"""Collapse of samples whose modes and spread are known."""

from __future__ import annotations

import math

import pytest
import torch
from draws import normal, rng
from torch import Tensor

from steindiff.denoisers import GaussianMixture
from steindiff.lab.subjects import Given, make_subject
from steindiff.lab.theory import class_collapse, mixture_collapse, modes_of
from steindiff.lab.theory.collapse import ClassModes, MixtureModes

MODES, SHAPE, COUNT = 5, (2, 4), 2000


MEANS = 20 * normal(MODES, *SHAPE, seed=1)
VARIANCES = torch.tensor([0.01, 0.1, 0.3, 1.0, 2.0], dtype=torch.float64)
MIXTURE = GaussianMixture(MEANS, VARIANCES)


def placed(counts: list[int], scale: float = 1.0, seed: int = 0) -> Tensor:
    """So many samples of each mode, its spread scaled."""
    labels = torch.repeat_interleave(torch.arange(MODES), torch.tensor(counts))
    noise = normal(len(labels), *SHAPE, seed=seed)
    return MEANS[labels] + scale * VARIANCES[labels].sqrt()[:, None, None] * noise


def test_samples_of_the_mixture_itself() -> None:
    """`within` is 1 within four standard errors sqrt(2/(N d)), KL (K - 1)/(2 N) in the mean."""
    found = [
        mixture_collapse(MIXTURE.sample(COUNT, rng(seed)), MEANS, VARIANCES) for seed in range(40)
    ]
    within = torch.tensor([one.within for one in found])
    assert abs(within.mean().item() - 1) < 4 * math.sqrt(2 / (40 * COUNT * 8))
    assert within.std().item() == pytest.approx(math.sqrt(2 / (COUNT * 8)), rel=0.4)
    # 2 N KL is chi-squared with K - 1 degrees of freedom.
    scaled = torch.tensor([2 * COUNT * one.coverage.kl for one in found])
    freedom = MODES - 1
    assert abs(scaled.mean().item() - freedom) < 4 * math.sqrt(2 * freedom / 40)
    assert all(one.coverage.covered == one.coverage.modes == MODES for one in found)


@pytest.mark.parametrize("scale", [0.0, 0.5, 0.9, 1.2])
def test_shrunk_modes(scale: float) -> None:
    """mean + c (x - mean) leaves c^2 of the variance, exactly."""
    counts = [400] * MODES
    full = mixture_collapse(placed(counts), MEANS, VARIANCES)
    shrunk = mixture_collapse(placed(counts, scale), MEANS, VARIANCES)
    assert shrunk.within == pytest.approx(scale**2 * full.within, rel=1e-9, abs=1e-15)
    assert full.within == pytest.approx(1, abs=0.05)
    assert shrunk.coverage.kl == pytest.approx(0, abs=1e-6)


def test_only_the_samples_spread_counts() -> None:
    """Each sample's squared distance over its own mode's variance, averaged over the samples."""
    shift = torch.zeros(1, *SHAPE, dtype=torch.float64)
    shift[0, 0, 0] = 2.0
    samples = torch.cat([MEANS[:1] + shift, MEANS[3:4], MEANS[4:5] - shift, MEANS[4:5]])
    found = mixture_collapse(samples, MEANS, VARIANCES)
    assert found.within == pytest.approx((4 / 8 / 0.01 + 4 / 8 / 2.0) / 4, rel=1e-9)
    assert found.coverage.frequencies.tolist() == [0.25, 0, 0, 0.25, 0.5]


@pytest.mark.parametrize("reached", [1, 2, 4])
def test_missing_modes_are_counted(reached: int) -> None:
    """Equal shares of k of K modes: KL = ln(K/k), total variation 1 - k/K."""
    counts = [100] * reached + [0] * (MODES - reached)
    found = mixture_collapse(placed(counts), MEANS, VARIANCES).coverage
    assert (found.modes, found.covered) == (MODES, reached)
    assert found.kl == pytest.approx(math.log(MODES / reached), abs=1e-6)
    assert found.total_variation == pytest.approx(1 - reached / MODES, abs=1e-6)


def test_weights_are_the_target() -> None:
    """Samples in proportion to them have KL 0, equal ones their own."""
    weights = torch.tensor([0.1, 0.1, 0.2, 0.2, 0.4], dtype=torch.float64)
    fitting = mixture_collapse(placed([100, 100, 200, 200, 400]), MEANS, VARIANCES, weights)
    assert fitting.coverage.kl == pytest.approx(0, abs=1e-12)
    equal = mixture_collapse(placed([200] * MODES), MEANS, VARIANCES, weights)
    expected = sum(0.2 * math.log(0.2 / weight) for weight in weights.tolist())
    assert equal.coverage.kl == pytest.approx(expected, rel=1e-12)


def test_a_variance_of_each_element_is_averaged() -> None:
    """Over the elements of a mode."""
    spread = VARIANCES[:, None, None] * torch.tensor([0.5, 1.5], dtype=torch.float64)[:, None]
    full = spread.expand(MODES, *SHAPE).contiguous()
    samples = placed([300] * MODES)
    found = mixture_collapse(samples, MEANS, full)
    assert found.within == pytest.approx(mixture_collapse(samples, MEANS, VARIANCES).within)
    own = mixture_collapse(GaussianMixture(MEANS, full).sample(COUNT, rng()), MEANS, full)
    assert own.within == pytest.approx(1, abs=0.05)


def test_bad_samples_are_refused() -> None:
    with pytest.raises(ValueError, match=r"samples have shape \(3,\)"):
        mixture_collapse(torch.ones(2, 3), MEANS, VARIANCES)
    with pytest.raises(ValueError, match="probabilities that sum to one"):
        mixture_collapse(MEANS, MEANS, VARIANCES, torch.ones(MODES).double())


LABELS = torch.repeat_interleave(torch.arange(3), torch.tensor([50, 30, 20]))
CENTRES = normal(3, 6, seed=3)
REFERENCE = 10 * CENTRES[LABELS] + normal(100, 6, seed=4)


def shrunk(*factors: float) -> Tensor:
    """The reference with each class drawn to its own mean."""
    found = REFERENCE.clone()
    for label, factor in enumerate(factors):
        members = label == LABELS
        mean = REFERENCE[members].mean(dim=0)
        found[members] = mean + factor * (REFERENCE[members] - mean)
    return found


def test_a_copy_has_collapsed_by_nothing() -> None:
    found = class_collapse(REFERENCE, LABELS, REFERENCE, LABELS)
    assert found.within == pytest.approx(1, rel=1e-12)
    assert found.coverage.kl == pytest.approx(0, abs=1e-12)
    assert found.coverage.frequencies.tolist() == [0.5, 0.3, 0.2]


@pytest.mark.parametrize("scale", [0.3, 1.0, 2.0])
def test_a_scaled_copy(scale: float) -> None:
    """c^2, wherever its classes are."""
    found = class_collapse(scale * REFERENCE + 7, LABELS, REFERENCE, LABELS)
    assert found.within == pytest.approx(scale**2, rel=1e-10)


def test_classes_are_averaged_geometrically() -> None:
    """Each counts as much, however many samples it has."""
    found = class_collapse(shrunk(0.5, 1.0, 0.25), LABELS, REFERENCE, LABELS)
    assert found.within == pytest.approx((0.25 * 1.0 * 0.0625) ** (1 / 3), rel=1e-10)


def test_the_variance_is_unbiased_and_total() -> None:
    """Over all features, with n - 1: a half of each class has the same in the mean."""
    features = torch.tensor([[0.0, 0.0], [2.0, 4.0]], dtype=torch.float64)
    reference = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]], dtype=torch.float64)
    labels = torch.zeros(3, dtype=torch.int64)
    found = class_collapse(features, labels[:2], reference, labels)
    assert found.within == pytest.approx(2.0 + 8.0)


def test_classes_that_cannot_be_compared_are_left_out() -> None:
    """One sample has no variance; an empty class counts for coverage only."""
    kept = torch.cat([torch.arange(50), torch.tensor([50])])
    found = class_collapse(shrunk(0.5, 1, 1)[kept], LABELS[kept], REFERENCE, LABELS)
    assert found.within == pytest.approx(0.25, rel=1e-10)
    assert (found.coverage.modes, found.coverage.covered) == (3, 2)
    expected = 50 / 51 * math.log(50 / 51 / 0.5) + 1 / 51 * math.log(1 / 51 / 0.3)
    assert found.coverage.kl == pytest.approx(expected, rel=1e-9)


def test_a_class_that_the_reference_has_not() -> None:
    """Its probability is 0: KL is infinite; the spread of the others stands."""
    labels = LABELS.clone()
    labels[LABELS == 2] = 4
    found = class_collapse(REFERENCE, labels, REFERENCE, LABELS)
    assert found.coverage.kl == math.inf
    assert (found.coverage.modes, found.coverage.covered) == (3, 2)
    assert found.within == pytest.approx(1, rel=1e-12)


def test_no_class_in_common_is_refused() -> None:
    with pytest.raises(ValueError, match="no class has two samples in both sets"):
        class_collapse(REFERENCE[:1], LABELS[:1], REFERENCE, LABELS)
    with pytest.raises(ValueError, match="features has shape"):
        class_collapse(torch.ones(3), LABELS[:3], REFERENCE, LABELS)


# -- what tells modes -----------------------------------------------------------------------------


def test_modes_of_a_mixture() -> None:
    """Samples at the means have no variance; weights are those of the mixture."""
    means = torch.tensor([[-4.0, 0.0], [4.0, 0.0]])
    modes = MixtureModes(GaussianMixture(means, 0.25, torch.tensor([0.75, 0.25])))
    assert modes.what == "2 modes in 2 dimensions"
    samples = means[[0, 0, 0, 1]]
    found = modes.collapse(samples, samples)
    assert (found.within, found.coverage.covered) == (0.0, 2)
    assert found.coverage.kl == pytest.approx(0, abs=1e-12)
    spread = samples + torch.tensor([[0.5, 0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]])
    assert modes.collapse(spread, samples).within == pytest.approx(1)
    one = modes.collapse(means[[0, 0]], samples)
    assert (one.coverage.covered, one.coverage.modes) == (1, 2)


def test_modes_of_classes() -> None:
    """Against themselves images have lost nothing; drawn together they have."""
    modes = ClassModes("fashion-mnist")
    images = torch.randn(60, 1, 28, 28, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    assert "shipped classifier" in modes.what
    same = modes.collapse(images, images)
    assert same.within == pytest.approx(1)
    assert same.coverage.kl == pytest.approx(0, abs=1e-12)
    centre = images.mean(dim=0)
    assert modes.collapse(centre + (images - centre) / 10, images).within < 0.5


def test_modes_of_a_subject() -> None:
    """A mixture's own, also where its denoiser is wrong; a network's classes; of others none."""
    exact, wrong = (
        modes_of(make_subject(f"mixture:dim=6,modes=3{e}", 1.0)) for e in ("", ",error=0.1")
    )
    assert isinstance(exact, MixtureModes)
    assert isinstance(wrong, MixtureModes)
    assert exact.what == "3 modes in 6 dimensions"
    assert torch.equal(wrong.mixture.means, exact.mixture.means)
    assert isinstance(modes_of(make_subject("fashion-mnist", 1.0)), ClassModes)
    assert modes_of(Given("a", lambda x, sigma: x, (3,))) is None
