"""The bench of diffusers' schedulers."""
# pyright: reportPrivateImportUsage=false

import json
from pathlib import Path
from typing import Any

import diffusers
import msgspec
import pytest
import torch
from matrices import slow

import diffusers_schedulers as bench
import steindiff as sd
from diffusers_schedulers import PEERS, Peer, measure_peers
from steindiff.adapters.diffusers import SUPPORTED
from steindiff.lab.metrics import rmse

EULER = Peer("Euler of EDM", "EDMEulerScheduler", {"sigma_data": 0.7})
HEUN = Peer("Heun", "HeunDiscreteScheduler", {"use_karras_sigmas": True})


def test_every_supported_scheduler_is_measured() -> None:
    assert {peer.scheduler for peer in PEERS} == set(SUPPORTED)
    assert len({peer.title for peer in PEERS}) == len(PEERS)


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.title)
@pytest.mark.parametrize("nfe", [5, slow(8), slow(12)])
def test_evaluations_are_as_many_as_fit(peer: Peer, nfe: int) -> None:
    steps = bench._steps(peer, nfe)
    assert steps > 0
    assert bench._calls(peer, steps) <= nfe < bench._calls(peer, steps + 1)


def test_cells_are_what_the_core_gives(tmp_path: Path) -> None:
    found = measure_peers(tmp_path / "out.json", nfes=[6], count=12, peers=[EULER])
    cell: Any
    (cell,) = found.cells
    scheduler = diffusers.EDMEulerScheduler(sigma_data=0.7)
    scheduler.set_timesteps(6)
    net, labels = sd.load_model("fashion-mnist"), {"class_labels": torch.arange(12) % 10}
    x = sd.noise((1, 28, 28), 80.0, range(12))
    fine = sd.sample(
        net, x, sd.schedules.karras(20, final="zero"), "heun", None, conditioning=labels
    ).x
    # upstream starts with the data's variance added to the noise's
    start = x * (1 + 1 / 80**2) ** 0.5
    for rule, coefficient in (("base", None), ("energy", "energy")):
        ours = sd.sample(net, start, scheduler.sigmas, "euler", coefficient, conditioning=labels).x
        measured = cell.coefficients[rule].metrics.rmse
        assert measured == pytest.approx(rmse(ours, fine).pooled, rel=1e-3)
    assert cell.calls == 6
    assert cell.coefficients["energy"].ratio.value != 1


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    out, told = tmp_path / "out.json", []
    options: dict[str, Any] = {"nfes": [4], "count": 12, "tell": told.append}
    first = measure_peers(out, peers=[EULER], **options).cells
    both = measure_peers(out, peers=[EULER, HEUN], **options)
    assert told == ["Euler of EDM, 4 NFE", "Heun, 4 NFE"]
    assert both.cells[0] == first[0]
    assert both.cells[1].calls == 3
    assert json.loads(out.read_text()) == json.loads(msgspec.json.encode(both))
    with pytest.raises(ValueError, match="holds results of"):
        measure_peers(out, nfes=[4], count=13, peers=[EULER])


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    for text, said in (("{", "damaged"), ("[]", "damaged"), ('{"format": 1}', "`complete`")):
        out.write_text(text)
        with pytest.raises(ValueError, match=f"out.json.*{said}"):
            measure_peers(out, nfes=[4], count=20, peers=[EULER])
        assert out.read_text() == text
