"""`steindiff diagnose`: what it writes, and what it refuses."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from command import Command
from edm_networks import Discrete, FakeEDM

from steindiff.lab.theory import read_diagnosis, verdicts

MIXTURE = ("--model", "mixture:dim=6,modes=3", "--samples", 8, "--jacobians", 2, "--modes", 8)


def test_report_and_results(steindiff: Command, tmp_path: Path) -> None:
    """A second start adds chapters, and does not measure the first again."""
    done = steindiff("diagnose", *MIXTURE, "--only", "decay", "--out", tmp_path)
    assert done.code == 0, done
    for verdict in verdicts(read_diagnosis(tmp_path))["decay"]:
        (line,) = [line for line in done.out.splitlines() if verdict.statement in line]
        assert line.replace("│", "").split(verdict.statement)[1].strip() == verdict.grade.value
    assert f"report: {tmp_path / 'report.html'}" in done.out
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
    assert "Relaxing lowers the error" in again.out
    assert "restores the energy" in again.out
    assert "restores the energy" in (tmp_path / "report.html").read_text()
    other = ("diagnose", *MIXTURE, "--steps", 6, "--only", "decay", "--out", tmp_path)
    steindiff(*other).refused("holds a diagnosis with another steps", "--overwrite")
    assert json.loads((tmp_path / "results.json").read_text()) == second
    assert steindiff(*other, "--overwrite").code == 0
    assert list(json.loads((tmp_path / "results.json").read_text())["chapters"]) == ["decay"]


def test_options_are_the_setting(steindiff: Command, tmp_path: Path) -> None:
    done = steindiff(
        "diagnose", *MIXTURE, "--only", "modes", "--out", tmp_path, "--solver", "ipndm:2",
        "--steps", 7, "--coefficient", "energy:trust=0.2", "--schedule", "log_snr",
        "--sigma-min", 0.01, "--sigma-max", 40, "--first-seed", 5,
    )  # fmt: skip
    assert done.code == 0, done
    setting = json.loads((tmp_path / "results.json").read_text())["setting"]
    sizes = setting.pop("sizes")
    assert setting == {
        "model": "mixture:dim=6,modes=3", "shape": [6], "solver": "ipndm:2", "steps": 7,
        "coefficient": "energy:trust=0.2", "schedule": "log_snr", "sigma_min": 0.01,
        "sigma_max": 40.0, "first_seed": 5,
    }  # fmt: skip
    assert (sizes["samples"], sizes["jacobians"], sizes["modes"]) == (8, 2, 8)


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


def test_network_of_few_levels(steindiff: Command, tmp_path: Path) -> None:
    """Sampled at levels that it knows; it has no classes."""
    path = tmp_path / "net.pkl"
    path.write_bytes(pickle.dumps({"ema": Discrete(label_dim=0)}))
    done = steindiff(
        "diagnose", "--edm", path, "--trust", "--samples", 8, "--jacobians", 2, "--steps", 3,
        "--only", "energy", "--out", tmp_path / "out",
    )  # fmt: skip
    assert done.code == 0, done
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    levels = found["chapters"]["energy"]["found"]["levels"]
    assert levels == pytest.approx([50.0, 8.0, 1.0, 0.01])


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
        "--only", "preconditioning", "--out", tmp_path / "out",
    )  # fmt: skip
    assert done.code == 0, done
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["setting"]["shape"] == [1, 8, 8]
    assert "DDPMPipeline: UNet2DModel" in results["setting"]["model"]
    assert len(results["chapters"]["preconditioning"]["found"]["levels"]) == 12


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--edm", "a.pkl", "--diffusers", "folder"), "--edm and --diffusers are both given"),
        (("--model", "mixture:dim=4", "--edm", "a.pkl"), "are both given; one is needed"),
        (("--trust",), "--trust is for --edm PATH"),
        (("--guidance", 2, "--edm", "a.pkl"), "--guidance is 2.0; EDM networks have no label"),
        (("--guidance", 2, "--function", "a:b"), "--guidance is 2.0; a function returns what is"),
        (("--function", "a:b", "--diffusers", "."), "--diffusers and --function are both given"),
        (("--function", "no_such_module:load"), "there is no module 'no_such_module' here"),
        (("--function", "load"), "MODULE:FUNCTION is needed"),
        (("--prompts", "nowhere.txt", "--diffusers", "."), "prompts file nowhere.txt is missing"),
        (("--prompts", "nowhere.txt"), "--prompts nowhere.txt is for --diffusers FOLDER"),
        (("--prompts", "a.txt", "--prompt", "b", "--diffusers", "."), "are both given; one is"),
        (("--guidance", 2, "--model", "mixture:dim=4"), "guidance is 2 for 'mixture:dim=4'"),
        (("--diffusers", "."), "has no model_index.json"),
        (("--trust", "--diffusers", "folder"), "--trust is for --edm PATH"),
        (("--solver", "eulre"), "Did you mean 'euler'?"),
        (("--only", "dekay"), "Did you mean 'decay'?"),
        (("--diffusers", "nowhere"), "'nowhere', which is no folder"),
        (("--edm", "nowhere.pkl"), "nowhere.pkl"),
        (("--steps", 2), "steps is 2; at least 3 are needed"),
        (("--coefficient", "none"), "coefficient is 'none'"),
        (("--samples", 8, "--jacobians", 9), "jacobians is 9 and samples 8"),
        (("--model", "fashion"), "Did you mean 'fashion-mnist'?"),
        (("--samples", 10**11), "samples is 100000000000; at most 1000000 is possible"),
        (("--steps", 10**11), "steps is 100000000000; at most 10000 are possible"),
        (("--model", "mixture:dim=1000000000"), "dim is 1000000000; at most 16777216 is possible"),
        (("--model", "mixture:dim=1e9"), "mixture option dim is 1000000000.0; an int >= 1"),
    ],
)
def test_refused_in_one_line(
    steindiff: Command, tmp_path: Path, options: tuple[object, ...], said: str
) -> None:
    steindiff("diagnose", *options, "--out", tmp_path / "out").refused(said)
    assert not (tmp_path / "out").exists()


def test_prompt_needs_a_pipeline(steindiff: Command, tmp_path: Path) -> None:
    options = (*MIXTURE, "--only", "modes", "--prompt", "a cat", "--out", tmp_path / "out")
    steindiff("diagnose", *options).refused("--prompt is for --diffusers")


def test_samples_too_few_for_the_option(steindiff: Command, tmp_path: Path) -> None:
    done = steindiff("diagnose", "--samples", 7, "--out", tmp_path / "out")
    assert done.code == 2
    assert "Invalid value for '--samples'" in done.err
    assert not (tmp_path / "out").exists()
