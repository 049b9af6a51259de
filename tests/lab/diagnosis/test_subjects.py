"""What a command names: shipped models, mixtures, EDM files, folders."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from edm_networks import Discrete, FakeEDM
from torch import Tensor, nn

from steindiff.denoisers import ClassifierFreeGuidance, GaussianMixture, Perturbed
from steindiff.lab.diagnosis.subjects import ClassModes, Labels, MixtureModes, edm, folder, shipped


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


def test_modes_of_a_mixture() -> None:
    """Samples at the means have no variance; weights are those of the mixture."""
    means = torch.tensor([[-4.0, 0.0], [4.0, 0.0]])
    modes = MixtureModes(GaussianMixture(means, 0.25, torch.tensor([0.75, 0.25])))
    assert modes.what == "2 modes in 2 dimensions"
    samples = means[[0, 0, 0, 1]]
    found = modes.collapse(samples, samples, range(4))
    assert (found.within, found.coverage.covered) == (0.0, 2)
    assert found.coverage.kl == pytest.approx(0, abs=1e-12)
    spread = samples + torch.tensor([[0.5, 0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]])
    assert modes.collapse(spread, samples, range(4)).within == pytest.approx(1)
    one = modes.collapse(means[[0, 0]], samples, range(2))
    assert (one.coverage.covered, one.coverage.modes) == (1, 2)


def test_modes_of_classes() -> None:
    """Against themselves images have lost nothing; drawn together they have."""
    modes = ClassModes("fashion-mnist")
    images_ = images(60, 1, 28, 28).clamp(-1, 1)
    assert "shipped classifier" in modes.what
    same = modes.collapse(images_, images_, range(60))
    assert same.within == pytest.approx(1)
    assert same.coverage.kl == pytest.approx(0, abs=1e-12)
    centre = images_.mean(dim=0)
    assert modes.collapse(centre + (images_ - centre) / 10, images_, range(60)).within < 0.5


def test_mixtures_by_name() -> None:
    exact = shipped("mixture:dim=6,modes=3", 1.0, "cpu")
    assert exact["shape"] == (6,)
    assert exact["exact"] is exact["denoiser"]
    assert exact["modes"].what == "3 modes in 6 dimensions"
    assert exact["conditioning"](range(3)) == {}
    wrong = shipped("mixture:dim=6,modes=3,error=0.1", 1.0, "cpu")
    assert isinstance(wrong["denoiser"], Perturbed)
    assert wrong["exact"] is None
    assert torch.equal(wrong["modes"].mixture.means, exact["exact"].means)
    with pytest.raises(ValueError, match="guidance is 2"):
        shipped("mixture:dim=6", 2.0, "cpu")


def test_shipped_models_by_name() -> None:
    plain, guided = (shipped("fashion-mnist", guidance, "cpu") for guidance in (1.0, 2.0))
    assert (plain["name"], guided["name"]) == ("fashion-mnist", "fashion-mnist, guidance 2")
    assert isinstance(guided["denoiser"], ClassifierFreeGuidance)
    assert isinstance(plain["modes"], ClassModes)
    assert "exact" not in plain
    labels = plain["conditioning"](range(8, 12))["class_labels"]
    assert labels.tolist() == [8, 9, 0, 1]


def test_edm_file(tmp_path: Path) -> None:
    network = FakeEDM()
    found = edm(saved(tmp_path / "net.pkl", network), True, "cpu")
    assert found["name"] == "net.pkl"
    assert found["shape"] == (2, 4, 4)
    assert found["limits"] == (0.01, 50.0)
    x, given = images(4, 2, 4, 4), found["conditioning"](range(1, 5))
    rows = torch.eye(3)[[1, 2, 0, 1]]
    expected = network(x, torch.full((4,), 2.0), rows)
    assert torch.equal(found["denoiser"](x, torch.full((4,), 2.0), **given), expected)
    assert "modes" not in found


def test_edm_file_of_few_levels(tmp_path: Path) -> None:
    found = edm(saved(tmp_path / "net.pkl", Discrete(label_dim=0)), True, "cpu")
    assert found["conditioning"](range(4)) == {}
    rounded = found["rounding"](torch.tensor([40.0, 6.0, 0.2]))
    assert rounded.tolist() == pytest.approx([50.0, 8.0, 0.01])


def test_edm_file_that_does_not_say_what_it_samples(tmp_path: Path) -> None:
    network: Any = FakeEDM()
    network.img_channels = network.img_resolution = None
    with pytest.raises(ValueError, match=r"net\.pkl holds a network without img_channels"):
        edm(saved(tmp_path / "net.pkl", network), True, "cpu")


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
    found = folder(tmp_path, "", "cpu")
    assert found["name"].startswith(f"{tmp_path.name} (DDPMPipeline")
    assert found["shape"] == (1, 8, 8)
    assert found["limits"] == pytest.approx((0.01, 157.4), rel=1e-3)
    x, given = images(3, 1, 8, 8), found["conditioning"](range(3))
    assert given["class_labels"].tolist() == [0, 1, 2]
    sigma = torch.tensor([0.5, 2.0, 10.0])
    expected = denoiser_of(pipeline).denoiser(x, sigma, **given)
    assert torch.equal(found["denoiser"](x, sigma, **given), expected)
    with pytest.raises(ValueError, match="prompt is 'a cat'; a DDPMPipeline takes none"):
        folder(tmp_path, "a cat", "cpu")
