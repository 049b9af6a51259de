"""`steindiff tune` on several processes: the same file, and a failure in one ends all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import steindiff as sd

FEW = ("--steps", 3, "--noises", 4, "--held-out", 16, "--fresh", 16, "--fine-steps", 4,
       "--calls", 1440, "--device", "cpu", "--overwrite")  # fmt: skip


@pytest.mark.slow  # a minute and a half on two cores
def test_number_of_processes(
    start: Callable[..., Any], steindiff: Callable[..., Any], weights: Path, tmp_path: Path
) -> None:
    """In batches of 5 there are one to four of them, some of one noise.

    With a folder, which one process goes on from: the fine solutions are not made again.
    """
    out, kept = tmp_path / "tuned.json", tmp_path / "kept"
    command = ("tune", "--model", weights, *FEW, "--batch", 5, "--out", out, "--folder", kept)
    assert steindiff(*command).code == 0
    wanted = out.read_bytes()
    shutil.rmtree(kept)
    ranks = start(3, *command)
    assert ranks.wait() == [0] * 3, ranks.said
    assert out.read_bytes() == wanted
    assert ranks.said.count("3 steps: ") == 1
    assert ranks.said.count("use it:") == 1

    made = {path.name: path.stat().st_mtime_ns for path in kept.glob("*.pt")}
    assert len(made) == 5  # fit, screen, rest, fresh, finals
    assert steindiff(*command).code == 0
    assert {path.name: path.stat().st_mtime_ns for path in kept.glob("*.pt")} == made
    tried = json.loads(wanted)["choices"][0]["tried"]
    assert len(sd.load_tuned(out).choices[3].tried) > len(tried)  # what the budget allows now


FAILS = """
from steindiff.models.network import UNetDenoiser
kept, count = UNetDenoiser.forward, [0]
def forward(self, *arguments, **options):
    count[0] += 1
    if os.environ["RANK"] == "1" and count[0] == 9:
        raise ValueError("the network broke")
    return kept(self, *arguments, **options)
UNetDenoiser.forward = forward
"""


def test_a_failure_in_one_ends_all(
    start: Callable[..., Any], weights: Path, tmp_path: Path
) -> None:
    out = tmp_path / "tuned.json"
    ranks = start(2, "tune", "--model", weights, *FEW, "--batch", 5, "--out", out, before=FAILS)
    assert ranks.wait() == [2, 2], ranks.said
    assert "Error: the network broke" in ranks.said
    assert "process 1 of this tuning failed: the network broke" in ranks.said
    assert not out.exists()


def test_what_is_wrong_is_said_once(
    start: Callable[..., Any], weights: Path, tmp_path: Path
) -> None:
    out = tmp_path / "tuned.json"
    ranks = start(2, "tune", "--model", weights, *FEW, "--batch", 16, "--out", out, "--steps", 2)
    assert ranks.wait() == [2, 2], ranks.said
    assert ranks.said.count("Error:") == 1
    assert "steps is 2; an int >= 3 is needed" in ranks.said
    assert ranks.said.count("Note: 2 processes share batches") == 1
