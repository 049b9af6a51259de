"""`steindiff diagnose`: what it writes, and what it refuses."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from command import Command
from edm_networks import FakeEDM

MIXTURE = ("--model", "mixture:dim=6,modes=3", "--samples", 8, "--jacobians", 2, "--modes", 8)


def test_report_and_results(steindiff: Command, tmp_path: Path) -> None:
    """A second start adds chapters, and does not measure the first again."""
    done = steindiff("diagnose", *MIXTURE, "--only", "decay", "--out", tmp_path)
    assert done.code == 0, done
    assert "Relaxing lowers the error to the fine solution at the end." in done.out
    first = json.loads((tmp_path / "results.json").read_text())
    assert list(first["chapters"]) == ["decay"]
    assert first["command"].startswith("steindiff diagnose --model mixture:dim=6,modes=3")
    again = steindiff(
        "diagnose", *MIXTURE, "--only", "decay", "--only", "energy", "--out", tmp_path
    )
    assert again.code == 0, again
    second = json.loads((tmp_path / "results.json").read_text())
    assert list(second["chapters"]) == ["decay", "energy"]
    assert second["chapters"]["decay"] == first["chapters"]["decay"]
    assert "restores the energy" in (tmp_path / "report.html").read_text()
    steindiff("diagnose", *MIXTURE, "--steps", 6, "--out", tmp_path).refused("steps", "--overwrite")


def test_network_of_an_edm_file(steindiff: Command, tmp_path: Path) -> None:
    """Its labels, and the levels that it was made for."""
    path = tmp_path / "net.pkl"
    path.write_bytes(pickle.dumps({"ema": FakeEDM()}))
    options = ("--edm", path, "--samples", 8, "--jacobians", 2, "--only", "decay")
    steindiff("diagnose", *options, "--out", tmp_path / "no").refused("trust")
    done = steindiff("diagnose", *options, "--trust", "--out", tmp_path / "out")
    assert done.code == 0, done
    setting = json.loads((tmp_path / "out" / "results.json").read_text())["setting"]
    assert (setting["shape"], setting["sigma_min"], setting["sigma_max"]) == ([2, 4, 4], 0.01, 50.0)


def test_folder_of_a_pipeline(steindiff: Command, tmp_path: Path) -> None:
    diffusers: Any = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, layers_per_block=1,
        block_out_channels=(8, 8), norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    folder = tmp_path / "ddpm"
    diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler()).save_pretrained(folder)
    done = steindiff(
        "diagnose", "--diffusers", folder, "--samples", 8, "--jacobians", 2, "--steps", 3,
        "--only", "identity", "--out", tmp_path / "out",
    )  # fmt: skip
    assert done.code == 0, done
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["setting"]["shape"] == [1, 8, 8]
    assert "DDPMPipeline: UNet2DModel" in results["setting"]["model"]
    assert len(results["chapters"]["identity"]["found"]["levels"]) == 12


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--edm", "a.pkl", "--diffusers", "folder"), "--edm and --diffusers are both given"),
        (("--model", "mixture:dim=4", "--edm", "a.pkl"), "are both given; one is needed"),
        (("--trust",), "--trust is for --edm PATH"),
        (("--guidance", 2, "--edm", "a.pkl"), "--guidance is 2.0; it is for shipped models"),
        (("--only", "dekay"), "Did you mean 'decay'?"),
        (("--diffusers", "nowhere"), "'nowhere', which is no folder"),
        (("--edm", "nowhere.pkl"), "nowhere.pkl"),
        (("--steps", 2), "steps is 2; at least 3 are needed"),
        (("--coefficient", "none"), "coefficient is 'none'"),
        (("--samples", 8, "--jacobians", 9), "jacobians is 9 and samples 8"),
        (("--model", "fashion"), "Did you mean 'fashion-mnist'?"),
    ],
)
def test_refused_in_one_line(
    steindiff: Command, tmp_path: Path, options: tuple[object, ...], said: str
) -> None:
    steindiff("diagnose", *options, "--out", tmp_path / "out").refused(said)
    assert not (tmp_path / "out").exists()
