"""The parts add up, the counts repeat and are those counted by hand, and bad input is refused."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from torch import Tensor, nn

import overhead
import script
import steindiff as sd
from metering import metered, state_bytes, tensors_of, waits
from overhead import measure_overhead
from steindiff.models import save_model
from steindiff.models.network import NetworkConfig, UNetDenoiser
from steindiff.solvers import SOLVERS, Solver, resolve_solver
from steindiff.stein import Coefficient, Decision, Energy, Proposal, Relaxed
from timing import Setup, interleaved, spread

ROOT = Path(__file__).parents[2]
SHAPE = (1, 8, 8)
SIGMAS = tuple(float(level) for level in sd.schedules.karras(4, 0.01, 80.0))
PARTS = ("model", "solver", "relaxation")


def gaussian(x: Tensor, sigma: Tensor, **_: Any) -> Tensor:
    """Posterior mean of a standard normal."""
    return x / (1 + sigma.reshape(-1, 1, 1, 1) ** 2)


def bound(x: Tensor, sigma: float) -> Tensor:
    return x / (1 + sigma**2)


class Convolution(nn.Module):
    """The smallest network with a memory format."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.conv(x / (1 + sigma.reshape(-1, 1, 1, 1) ** 2))


def measure(denoiser: Any = gaussian, **options: Any) -> dict[str, Any]:
    options = {"batch": 3, "steps": 4, "runs": 2, "solvers": chosen("euler"), **options}
    return measure_overhead(denoiser, SHAPE, **options)


def chosen(*names: str) -> dict[str, Solver]:
    return {name: resolve_solver(name) for name in names}


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """Every solver, once."""
    return measure(Convolution(), solvers=None, model_seconds=[1.0, 1000.0])


def test_result_is_json_and_names_its_setting(found: dict[str, Any]) -> None:
    assert json.loads(json.dumps(found)) == found
    assert set(found["solvers"]) == set(SOLVERS)
    assert found["setting"]["batch"] == 3
    assert found["versions"]["torch"] == torch.__version__
    assert found["machine"]["threads"] == torch.get_num_threads()
    assert found["machine"]["cpu"]


@pytest.mark.parametrize("solver", SOLVERS)
def test_shares_add_up_and_follow_from_the_seconds(found: dict[str, Any], solver: str) -> None:
    row = found["solvers"][solver]
    assert sum(row["share"].values()) == pytest.approx(1)
    seconds = {part: row["seconds_per_step"][part]["median"] for part in PARTS}
    assert row["share"]["relaxation"] == pytest.approx(
        seconds["relaxation"] / sum(seconds.values())
    )
    shares = row["relaxation_share_beside_model_of_seconds"]
    rest = seconds["solver"] + seconds["relaxation"]
    assert shares["1"] == pytest.approx(
        seconds["relaxation"] / (row["calls_per_step"] + rest), rel=1e-9
    )
    assert abs(shares["1000"]) < abs(shares["1"])


@pytest.mark.parametrize("solver", SOLVERS)
def test_parts_of_a_step_are_ordered_and_positive(found: dict[str, Any], solver: str) -> None:
    row = found["solvers"][solver]
    for part in PARTS:
        values = row["seconds_per_step"][part]
        assert values["min"] <= values["median"] <= values["max"]
        assert row["operations_per_step"][part] > 0
    assert row["calls_per_step"] == (2 if solver in ("heun", "res_2s") else 1)


@pytest.mark.parametrize("solver", SOLVERS)
def test_relaxation_never_waits_and_keeps_three_numbers_and_two_samples(
    found: dict[str, Any], solver: str
) -> None:
    row = found["solvers"][solver]
    assert row["relaxation_waits"] == 0
    # The two latest denoised samples, for how they move: those of the solver are not kept twice.
    more = row["state_bytes_per_sample"] - torch.zeros(3, dtype=torch.float64).nbytes
    own = {"unipc": 2, "dpmpp_3m": 2, "dpmpp_2m": 1, "res_multistep": 1, "power": 2}.get(solver, 0)
    assert more == (2 - own) * torch.zeros(SHAPE).nbytes


def test_counts_repeat_and_do_not_depend_on_the_batch() -> None:
    rows = [measure(batch=batch)["solvers"]["euler"] for batch in (3, 3, 8)]
    for key in ("operations_per_step", "views_per_step"):
        assert rows[0][key] == rows[1][key] == rows[2][key]
    for key in ("base", "relaxed", "relaxation"):
        assert rows[0]["peak_bytes_per_sample"][key] == rows[1]["peak_bytes_per_sample"][key]


def test_relaxation_operations_are_those_of_the_relaxed_steps() -> None:
    """The sum grows by the same number with each step between the first two and the last three."""
    total = {
        steps: steps * measure(steps=steps)["solvers"]["euler"]["operations_per_step"]["relaxation"]
        for steps in (5, 6, 7)
    }
    assert total[7] - total[6] == total[6] - total[5] > 0


def test_operations_and_views_are_counted_as_by_hand() -> None:
    x = torch.ones(2, 8)
    used = metered(lambda: (x[:, :4] + x[:, 4:]) * 2)
    assert (used.operations, used.waits) == (2, 0)
    assert used.views == metered(lambda: (x[:, :4], x[:, 4:])).views > 0


def test_peak_is_the_most_that_is_alive_at_once() -> None:
    x = torch.ones(1000)

    def chain() -> Tensor:
        y = x + 1  # 4000 bytes
        z = y + 1  # 8000 with y
        del y
        return z.double()  # 4000 of z and 8000

    assert metered(chain).peak_bytes == 12000
    assert metered(lambda: x.add_(1)).peak_bytes == 0
    assert metered(lambda: x[:10]).peak_bytes == 0


@pytest.mark.parametrize("read", [Tensor.item, Tensor.nonzero, bool, float])
def test_reading_a_value_back_is_seen(read: Callable[[Tensor], object]) -> None:
    x = torch.ones(())
    assert metered(lambda: read(x)).waits == 1


@dataclass(frozen=True)
class Reader(Coefficient):
    """Breaks the contract: looks at a value at every step, and hoards states of a whole image."""

    def init(self, x: Tensor) -> dict[str, Tensor]:
        return {"x": x.clone()}

    def __call__(self, proposal: Proposal, state: Any) -> Decision:
        gamma = 1.0 if proposal.x.sum().item() > 0 else 0.9
        return Decision(torch.full((len(proposal.x),), gamma), state)


def test_a_rule_that_waits_or_hoards_is_seen() -> None:
    x = sd.noise(SHAPE, SIGMAS[0], range(3))
    rule = Relaxed(resolve_solver("euler"), Reader())
    assert waits(rule, bound, x, SIGMAS) == len(SIGMAS) - 2  # the last step is not relaxed
    assert state_bytes(rule, bound, x, SIGMAS) == x.nbytes


@pytest.mark.parametrize("name", ["unipc", "ipndm"])
def test_state_of_the_solver_is_not_charged_to_the_relaxation(name: str) -> None:
    x = sd.noise(SHAPE, SIGMAS[0], range(5))
    rule = Relaxed(resolve_solver(name), Energy())
    # the surplus, <x, x - D>, the last move's square and two denoised samples, which unipc has
    assert state_bytes(rule, bound, x, SIGMAS) == 5 * 8 * 3 + 2 * x.nbytes * (name == "ipndm")


def test_records_are_charged_to_the_relaxation() -> None:
    x = sd.noise(SHAPE, SIGMAS[0], range(5))
    rule = Relaxed(resolve_solver("euler"), Energy(), record=True)
    # these and six measurements
    assert state_bytes(rule, bound, x, SIGMAS) == 5 * 8 * 9 + 2 * x.nbytes


def test_tensors_are_found_at_any_depth() -> None:
    a, b, c = (torch.full((1,), float(i)) for i in range(3))
    assert [float(t) for t in tensors_of((a, {"k": [b, None, 3]}, (c,)))] == [0.0, 1.0, 2.0]


def test_cases_run_in_turn_in_reversing_order_each_after_warming_up() -> None:
    seen: list[str] = []
    cases = {name: lambda name=name: seen.append(name) for name in "abc"}
    seconds = interleaved(cases, runs=3)
    turns = ["".join(group) for _, group in itertools.groupby(seen)]
    # at the seams between two rounds the same case runs twice in a row: one group of both
    assert [turn[0] for turn in turns] == list("ab" + "c" + "b" + "a" + "bc")
    assert all(len(turn) > 1 for turn in turns)  # the timer's own warming up
    assert seen.count("a") == seen.count("b") == seen.count("c")
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3, "c": 3}
    assert spread([3.0, 1.0, 2.5]) == {"min": 1.0, "median": 2.5, "max": 3.0}


def test_memory_formats_are_compared_for_a_network_only(found: dict[str, Any]) -> None:
    formats = found["memory_format"]
    assert formats["speedup"]["min"] > 0
    assert formats["largest_difference"] < 1e-3
    assert measure()["memory_format"] is None


def test_replay_gives_the_samples_of_the_model() -> None:
    """What is timed as solver and relaxation is the same arithmetic on the same numbers."""
    x = sd.noise(SHAPE, SIGMAS[0], range(3))
    setup = Setup(gaussian, x, SIGMAS, {}, Energy(), 1)
    for name in ("heun", "unipc"):
        relaxed = Relaxed(resolve_solver(name), Energy())
        replayed: Any = setup.whole(setup.replay(relaxed), relaxed, {})
        expected = sd.sample(gaussian, x, SIGMAS, name, "energy").x
        for _ in range(2):  # the stored outputs start again from the first
            assert torch.equal(replayed().x, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 0}, "batch is 0"),
        ({"steps": 1}, "steps is 1"),
        ({"runs": True}, "runs is True"),
        ({"solvers": {}}, "solvers is empty"),
        ({"model_seconds": [0.0]}, "model_seconds holds 0.0"),
        ({"model_seconds": [float("nan")]}, "model_seconds holds nan"),
        ({"coefficient": "published"}, "calls the model"),
        ({"coefficient": None}, "coefficient is None"),
        ({"coefficient": "enrgy"}, "Did you mean 'energy'"),
        ({"device": "cuda:99"}, "device is 'cuda:99'"),
        ({"device": "mps"}, "device is 'mps'"),
        ({"device": "gpu"}, "device is 'gpu'"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measure(**options)


def test_relaxed_solvers_and_no_rounds_are_refused() -> None:
    with pytest.raises(TypeError, match="unrelaxed"):
        measure(solvers={"twice": Relaxed(resolve_solver("euler"), Energy())})
    with pytest.raises(ValueError, match="runs is 0"):
        interleaved({}, 0)


def test_a_missing_compiler_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.exc import TorchDynamoException

    def fail(*_: Any, **__: Any) -> Any:
        raise TorchDynamoException("No working C++ compiler")

    monkeypatch.setattr(torch, "compile", fail)
    assert measure(compiled=True)["compile"] == {
        "available": False,
        "why": "TorchDynamoException: No working C++ compiler",
    }


def test_compiled_and_eager_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a compiler that changes nothing, nothing differs."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    compiled = measure(compiled=True)["compile"]
    assert compiled["available"]
    for name in ("model", "coefficient", "coefficient_static"):
        assert compiled[name]["largest_difference"] == 0
        pays, row = compiled[name]["pays_after_images"], compiled[name]
        faster = row["compiled_seconds"]["median"] < row["eager_seconds"]["median"]
        assert (pays is not None) == faster


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """The command on a tiny model; returns what it prints."""
    config = NetworkConfig(image_size=8, num_classes=3, widths=(32, 32), embedding=32)
    weights = tmp_path / "tiny.safetensors"
    save_model(weights, UNetDenoiser(config).eval())
    monkeypatch.setenv("COLUMNS", "250")
    app = typer.Typer()
    app.command()(overhead.overhead)

    def call(*arguments: object) -> str:
        given = ["--model", weights, "--batch", 2, "--steps", 3, "--runs", 1, *arguments]
        monkeypatch.setattr(sys, "argv", ["/here/overhead.py", *map(str, given)])
        app(list(map(str, given)), standalone_mode=False)
        return capsys.readouterr().out

    return call


def test_command_prints_and_saves(run: Callable[..., str], tmp_path: Path) -> None:
    out = tmp_path / "new" / "overhead.json"
    shown = run("--solver", "heun", "--solver", "ipndm:2", "--model-seconds", "2", "--out", out)
    saved = json.loads(out.read_text())
    assert list(saved["solvers"]) == ["heun", "ipndm:2"]
    assert saved["command"].startswith("python benchmarks/overhead.py --model")
    assert "iPNDM-2" in shown
    assert "at 2 s" in shown
    share = saved["solvers"]["heun"]["share"]["relaxation"]
    assert f"{share:.1%}" in shown
    with pytest.raises(FileExistsError, match="--overwrite"):
        run("--solver", "euler", "--out", out)
    assert json.loads(out.read_text()) == saved


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--solver", "eular"), "Did you mean 'euler'"),
        (("--device", "tpu"), "'cpu' or 'cuda' is needed"),
        (("--model-seconds", "-1"), "positive numbers"),
    ],
)
def test_command_refuses(
    run: Callable[..., str], tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    out = tmp_path / "overhead.json"
    with pytest.raises(ValueError, match=message):
        run(*arguments, "--out", out)
    assert not out.exists()


def test_a_bad_option_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["overhead.py", "--solver", "eular"])
    with pytest.raises(SystemExit) as caught:
        script.run(overhead.overhead)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert line.startswith("Error: ")
    assert "Did you mean 'euler'" in line


def test_the_committed_figures_make_tables() -> None:
    found = json.loads((ROOT / "docs" / "results" / "overhead.json").read_text())
    shown = overhead.solvers_table(found)
    assert [row[0].text for row in shown.rows][:2] == ["Euler / DDIM", "DPM++ 2M"]
    assert {len(row) for row in shown.rows} == {len(shown.columns)}
    others = overhead.alternatives_table(found)
    assert len(others.rows) == 4
    assert {len(row) for row in others.rows} == {len(others.columns)}
