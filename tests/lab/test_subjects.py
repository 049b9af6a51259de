"""What is sampled from: mixtures, shipped networks, EDM files, folders."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from edm_networks import Discrete, FakeEDM
from torch import Tensor, nn

import steindiff as sd
from steindiff.denoisers import ClassifierFreeGuidance, Perturbed
from steindiff.lab.metrics import RandomConvolutions, RandomProjections
from steindiff.lab.subjects import (
    Given,
    Labels,
    Mixture,
    MixtureOptions,
    Network,
    check_subject,
    hashes_of,
    make_subject,
    of_edm,
    of_folder,
    of_function,
    of_name,
    read_prompts,
    subject_of,
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


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("dim=1000000000", "dim is 1000000000; at most 16777216"),
        ("dim=2,modes=1000000000", "modes is 1000000000; at most 1048576"),
        ("dim=10000000,modes=1000", "their means take 74.5 GiB"),
    ],
)
def test_mixtures_have_bounds(options: str, said: str) -> None:
    """Checked before anything is allocated."""
    with pytest.raises(ValueError, match=said):
        check_subject(f"mixture:{options}", 1.0)


# -- by a file, a folder, a text ------------------------------------------------------------------


def images(count: int, *shape: int) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(0))


def saved(path: Path, network: nn.Module) -> Path:
    path.write_bytes(pickle.dumps({"ema": network}))
    return path


def test_labels_go_round_by_seed() -> None:
    labels = Labels(3, "cpu")(range(7, 12))
    assert list(labels) == ["class_labels"]
    assert labels["class_labels"].tolist() == [1, 2, 0, 1, 2]
    assert labels["class_labels"].dtype == torch.int64
    assert Labels(0, "cpu")(range(3)) == {}


def test_mixtures_by_name() -> None:
    exact = mixture("mixture:dim=6,modes=3")
    assert exact.name == "mixture:dim=6,modes=3"
    assert exact.shape == (6,)
    assert exact.mixture is exact.denoiser
    assert exact.exact is None
    assert exact.conditioning(range(3)) == {}
    wrong = mixture("mixture:dim=6,modes=3,error=0.1")
    assert isinstance(wrong.denoiser, Perturbed)
    assert wrong.exact is wrong.mixture
    assert torch.equal(wrong.mixture.means, exact.mixture.means)
    with pytest.raises(ValueError, match="guidance is 2"):
        make_subject("mixture:dim=6", 2.0, "cpu")


def test_shipped_models_by_name() -> None:
    plain, guided = (make_subject("fashion-mnist", guidance, "cpu") for guidance in (1.0, 2.0))
    assert (plain.name, guided.name) == ("fashion-mnist", "fashion-mnist, guidance 2")
    assert isinstance(guided.denoiser, ClassifierFreeGuidance)
    assert plain.exact is None
    labels = plain.conditioning(range(8, 12))["class_labels"]
    assert labels.tolist() == [8, 9, 0, 1]


def test_edm_file(tmp_path: Path) -> None:
    network = FakeEDM()
    found = of_edm(saved(tmp_path / "net.pkl", network), True, "cpu")
    assert found.name == "net.pkl"
    assert found.shape == (2, 4, 4)
    assert (found.sigma_min, found.sigma_max) == (0.01, 50.0)
    x, given = images(4, 2, 4, 4), found.conditioning(range(1, 5))
    rows = torch.eye(3)[[1, 2, 0, 1]]
    expected = network(x, torch.full((4,), 2.0), rows)
    assert torch.equal(found.denoiser(x, torch.full((4,), 2.0), **given), expected)
    assert not found.images


def test_edm_file_of_few_levels(tmp_path: Path) -> None:
    found = of_edm(saved(tmp_path / "net.pkl", Discrete(label_dim=0)), True, "cpu")
    assert found.conditioning(range(4)) == {}
    rounded = found.rounded(torch.tensor([40.0, 6.0, 0.2]))
    assert rounded.tolist() == pytest.approx([50.0, 8.0, 0.01])


def test_edm_file_that_does_not_say_what_it_samples(tmp_path: Path) -> None:
    network: Any = FakeEDM()
    network.img_channels = network.img_resolution = None
    with pytest.raises(ValueError, match=r"net\.pkl holds a network without img_channels"):
        of_edm(saved(tmp_path / "net.pkl", network), True, "cpu")


def test_folder_of_a_pipeline_with_labels(tmp_path: Path) -> None:
    """The network by two ways: the same D to the last bit."""
    diffusers = pytest.importorskip("diffusers")
    from steindiff.adapters.diffusers.folder import denoiser_of

    unet = diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(8, 8),
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2, norm_num_groups=4,
        num_class_embeds=3,
    )  # fmt: skip
    pipeline = diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler())
    pipeline.save_pretrained(tmp_path)
    found = of_folder(tmp_path)
    assert found.name.startswith(f"{tmp_path.name} (DDPMPipeline")
    assert found.shape == (1, 8, 8)
    assert (found.sigma_min, found.sigma_max) == pytest.approx((0.01, 157.4), rel=1e-3)
    x, given = images(3, 1, 8, 8), found.conditioning(range(3))
    assert given["class_labels"].tolist() == [0, 1, 2]
    sigma = torch.tensor([0.5, 2.0, 10.0])
    expected = denoiser_of(pipeline).denoiser(x, sigma, **given)
    assert torch.equal(found.denoiser(x, sigma, **given), expected)
    with pytest.raises(ValueError, match=r"prompts is \['a cat'\]; a DDPMPipeline takes none"):
        of_folder(tmp_path, ["a cat"])


def test_guidance_of_a_pipeline_needs_a_label_of_no_class(tmp_path: Path) -> None:
    """A U-Net's classes say nothing of one; what a pipeline's own sampler is, is told."""
    diffusers = pytest.importorskip("diffusers")
    unet = diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(8, 8),
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2, norm_num_groups=4,
    )  # fmt: skip
    pipeline = diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler())
    with pytest.raises(ValueError, match="guidance is 2; this network was trained without"):
        subject_of(pipeline, guidance=2.0)
    found = subject_of(pipeline)
    assert found.note.startswith("The pipeline's own DDPMScheduler adds noise at every step")
    assert (found.images, found.column(3)) == (True, "seed 3")
    assert isinstance(found.features, RandomProjections)  # too small for convolutions
    pipeline.scheduler = diffusers.LCMScheduler()
    with pytest.raises(ValueError, match="LCMScheduler: the model is distilled"):
        subject_of(pipeline)


# -- functions and other objects ------------------------------------------------------------------

MODULE = """
import torch

class Half:
    sample_shape = (3, 16, 16)
    def __call__(self, x, sigma):
        return x / 2

def says_its_shape(): return Half()
def pair(): return Half(), (5,)
def nothing(): return 3
def shapeless(): return lambda x, sigma: x
value = 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the working directory, which `sys.path` does not name."""
    (tmp_path / "a_users_model.py").write_text(MODULE)
    (tmp_path / "needing.py").write_text("import something_that_is_not_there")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.delitem(sys.modules, "a_users_model", raising=False)
    return "a_users_model"


def test_functions_of_a_module(module: str) -> None:
    image, vector = of_function(f"{module}:says_its_shape"), of_function(f"{module}:pair")
    assert (image.name, image.shape, image.images) == (
        f"{module}:says_its_shape",
        (3, 16, 16),
        True,
    )
    assert isinstance(image.features, RandomConvolutions)
    assert (vector.shape, vector.images) == ((5,), False)
    x = images(2, 3, 16, 16)
    assert torch.equal(image.denoiser(x, torch.ones(2)), x / 2)
    assert image.features.features(x).shape == (2, 64)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a_users_model", "MODULE:FUNCTION is needed"),
        ("a_users_model:", "MODULE:FUNCTION is needed"),
        ("a_users_modl:pair", "there is no module 'a_users_modl' here"),
        ("needing:f", "needing needs something_that_is_not_there, which is missing"),
        ("a_users_model:pear", "function of a_users_model 'pear' is unknown. Did you mean 'pair'"),
        ("a_users_model:value", "function of a_users_model 'value' is unknown"),
        (
            "a_users_model:nothing",
            "a_users_model:nothing is a int; a denoiser with its sample_shape",
        ),
        ("a_users_model:shapeless", "is a function without sample_shape; a denoiser"),
    ],
)
def test_functions_that_are_none(module: str, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        of_function(text)


def test_subjects_of_objects(module: str) -> None:
    given = Given("mine", lambda x, sigma: x, (4,))
    assert subject_of(given) is given
    assert subject_of((given.denoiser, [2, 2])).shape == (2, 2)
    assert subject_of("mixture:dim=6").shape == (6,)
    net = sd.load_model("fashion-mnist")
    with pytest.raises(ValueError, match=r"prompts is .*they are for a pipeline"):
        subject_of(net, ["a cat"])
    with pytest.raises(ValueError, match="guidance is 2 of a UNetDenoiser; give it guided"):
        subject_of(net, guidance=2)


def test_a_file_of_weights(tmp_path: Path) -> None:
    net = sd.load_model("fashion-mnist")
    path = tmp_path / "mine.safetensors"
    sd.models.save_model(path, net)
    plain, guided = of_name(str(path)), of_name(str(path), 2.0)
    assert (plain.name, guided.name) == ("mine.safetensors", "mine.safetensors, guidance 2")
    assert (plain.guidance, guided.guidance) == (1.0, 2.0)
    assert plain.column(13) == "class 3"
    x, given = images(2, 1, 28, 28), plain.conditioning(range(2))
    assert torch.equal(plain.denoiser(x, torch.ones(2), **given), net(x, torch.ones(2), **given))
    with pytest.raises(FileNotFoundError, match="is not a file"):
        of_name(str(tmp_path / "nowhere.safetensors"))


# -- prompts --------------------------------------------------------------------------------------


def test_prompts_are_the_lines_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes("\ufeffa cat\r\n two dogs, näher \r\n\r\n".encode())
    assert read_prompts(path) == ("a cat", "two dogs, näher")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty; one prompt a line"),
        (b"\n\n", "is empty; one prompt a line"),
        (b"a cat\n\na dog\n  \nx\n", "has nothing on line 2, 4; remove it"),
        (b"\xff\xfe\x00", "is no text in UTF-8"),
        (b"a\n" * 1001, "has 1001 prompts; at most 1000"),
    ],
)
def test_prompts_that_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=said):
        read_prompts(path)
    with pytest.raises(ValueError, match="is missing; a text file"):
        read_prompts(tmp_path)
