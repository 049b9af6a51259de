"""What a bench samples from: mixtures whose denoiser is known, and shipped networks."""

from __future__ import annotations

import pytest
import torch

import steindiff as sd
from steindiff.denoisers import ClassifierFreeGuidance
from steindiff.lab.bench.subjects import (
    Mixture,
    MixtureOptions,
    Network,
    check_subject,
    hashes_of,
    make_subject,
)
from steindiff.models import MODELS


def mixture(spec: str) -> Mixture:
    subject = make_subject(spec, 1.0)
    assert isinstance(subject, Mixture)
    return subject


@pytest.mark.parametrize("spectrum", [0, 2])
@pytest.mark.parametrize(("separation", "modes"), [(8, 40), (1, 40), (0, 1)])
def test_a_mixture_has_the_variance_of_edms_data(
    separation: float, modes: int, spectrum: float
) -> None:
    spec = f"mixture:dim=64,modes={modes},separation={separation},spectrum={spectrum}"
    subject = mixture(spec)
    assert subject.shape == (64,)
    assert subject.exact is None
    x = subject.mixture.sample(20000, torch.Generator().manual_seed(0))
    pooled = x.var(dim=0)
    assert float(pooled.mean()) == pytest.approx(0.25, rel=0.15)
    profile = torch.arange(1, 65) ** -float(spectrum)
    share = profile[:8].sum() / profile.sum()  # of the first coordinates
    assert float(pooled[:8].sum() / pooled.sum()) == pytest.approx(float(share), abs=0.12)


def test_separation_is_the_distance_of_means_in_deviations_of_a_mode() -> None:
    for separation in (2.0, 8.0):
        subject = mixture(f"mixture:dim=400,modes=30,separation={separation}")
        within = 0.25 / (1 + separation**2 / 800)
        distances = torch.pdist(subject.means) / within**0.5
        assert float(distances.mean()) == pytest.approx(separation, rel=0.05)


def test_the_seed_is_that_of_the_means() -> None:
    first = mixture("mixture:dim=4,modes=3").means
    assert torch.equal(mixture("mixture:dim=4,modes=3").means, first)
    assert not torch.equal(mixture("mixture:dim=4,modes=3,seed=1").means, first)


def test_an_imperfect_mixture_knows_its_exact_denoiser() -> None:
    exact, imperfect = mixture("mixture:dim=8"), mixture("mixture:dim=8,error=0.1")
    assert imperfect.exact is imperfect.mixture
    assert imperfect.exact is not None
    x = sd.noise((8,), 1.0, range(4))
    assert torch.equal(imperfect.exact(x, torch.ones(4)), exact.denoiser(x, torch.ones(4)))
    assert not torch.equal(imperfect.denoiser(x, torch.ones(4)), exact.denoiser(x, torch.ones(4)))
    assert mixture("mixture:dim=8,error=0").exact is None


def test_modes_of_a_mixture() -> None:
    subject = mixture("mixture:dim=8,modes=4,separation=20")
    whole = subject.judge(subject.means.repeat(5, 1), torch.empty(0), range(20))["modes"]
    assert whole == {"modes": 4, "covered": 4, "kl": pytest.approx(0, abs=1e-9)}
    half = subject.judge(subject.means[:2].repeat(10, 1), torch.empty(0), range(20))["modes"]
    assert (half["modes"], half["covered"]) == (4, 2)
    assert half["kl"] > 0.5


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_a_shipped_network(guidance: float) -> None:
    subject = make_subject("fashion-mnist", guidance)
    assert isinstance(subject, Network)
    assert subject.images
    assert subject.shape == (1, 28, 28)
    assert isinstance(subject.denoiser, ClassifierFreeGuidance) == (guidance != 1)
    assert hashes_of("fashion-mnist") == {
        part: MODELS["fashion-mnist"][part]["sha256"] for part in ("denoiser", "classifier")
    }
    assert subject.conditioning([3, 9, 10, 25])["class_labels"].tolist() == [3, 9, 0, 5]


def test_agreement_with_the_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = make_subject("fashion-mnist", 1.0)
    assert isinstance(subject, Network)
    guesses = torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 8, 0])  # the last is asked to be a 9
    monkeypatch.setattr(
        subject.classifier, "classify", lambda features: torch.nn.functional.one_hot(guesses, 10)
    )
    judged = subject.judge(torch.empty(0), torch.empty(0), range(10))
    assert judged["as_label"] == pytest.approx(0.9)
    assert (judged["modes"]["modes"], judged["modes"]["covered"]) == (10, 9)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dim": 0}, "dim is 0"),
        ({"dim": True}, "dim is True"),
        ({"modes": 2.0}, "modes is 2.0"),
        ({"separation": -1}, "separation is -1"),
        ({"separation": float("inf")}, "separation is inf"),
        ({"error": "much"}, "error is 'much'"),
        ({"seed": "a"}, "seed is 'a'"),
        ({"seed": 1.5}, "seed is 1.5"),
    ],
)
def test_options_that_a_mixture_refuses(options: dict, said: str) -> None:
    with pytest.raises(ValueError, match=f"mixture option {said}"):
        MixtureOptions(**options)


def test_checks_before_anything_is_made() -> None:
    for spec, guidance, said in (
        ("mixtur", 1.0, "model 'mixtur' is unknown. Did you mean 'mixture'"),
        ("fashion-mnist:dim=3", 1.0, "model 'fashion-mnist:dim=3' is unknown"),
        ("mixture:dims=3", 1.0, "option 'dims' does not exist for model 'mixture'"),
        ("mixture", 2.0, "guidance is 2 for 'mixture'"),
        ("fashion-mnist", float("inf"), "guidance is inf"),
    ):
        for check in (check_subject, make_subject):
            with pytest.raises(ValueError, match=said):
                check(spec, guidance)
