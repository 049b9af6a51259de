"""What relaxing costs: time, operations, waits for the device, memory; and what would pay more.

    python benchmarks/overhead.py --out docs/results/overhead.json        (make overhead)

A step of a sampling has three parts, each measured by itself:

    model       a call of the denoiser, times the calls of a step
    solver      a sampling whose denoiser hands out the stored outputs of an earlier one, so that
                what is left is the solver's arithmetic and the checks of the sampling loop
    relaxation  the same with relaxation, less the part before

so that the cost of relaxing is no difference of two long and noisy times. Everything that is
compared is run in turn, in an order that reverses from round to round: a machine whose speed drifts
slows both. Figures of a step are those of a whole sampling over its number of steps, the last one,
which is never relaxed, included.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from torch import nn

from alternatives import compare_compiled, compare_memory_formats
from metering import Call, cuda_usage, metered, state_bytes, waits
from script import command_line, run
from steindiff import sampling, schedules
from steindiff._files import write_text
from steindiff._provenance import machine, versions
from steindiff.denoisers import Denoiser
from steindiff.lab.bench.titles import solver_title
from steindiff.lab.cli.options import SOLVER_HELP, ModelOption, check_output
from steindiff.lab.devices import check_device
from steindiff.lab.specs import parse_solver
from steindiff.lab.tables import Column, Entry, Table, render
from steindiff.models import load_model
from steindiff.solvers import SOLVERS, Solver, resolve_solver
from steindiff.stein import Coefficient, Relaxed, resolve_coefficient
from timing import Setup, interleaved, paired, spread

PARTS = ("model", "solver", "relaxation")
REPLAYS = 10
"""Rounds of the samplings without a model for each one with it: they are short, hence noisy."""


# --- one solver ----------------------------------------------------------------------------------


def _measure_solver(setup: Setup, base: Solver, model_seconds: Sequence[float]) -> dict[str, Any]:
    relaxed = Relaxed(base, setup.coefficient)
    replays = {"solver": (setup.replay(base), base), "with": (setup.replay(relaxed), relaxed)}
    parts = {name: setup.whole(replay, solver, {}) for name, (replay, solver) in replays.items()}
    samplings = {
        "base": setup.whole(setup.denoiser, base, setup.conditioning),
        "relaxed": setup.whole(setup.denoiser, relaxed, setup.conditioning),
    }
    seconds = {
        **interleaved({"model": setup.model(), **samplings}, setup.runs),
        **interleaved(parts, REPLAYS * setup.runs),
    }
    calls = _calls_per_step(setup, base)
    per_step = _per_step(seconds, calls, setup.steps)
    beside = {
        f"{given:g}": _shares({**per_step, "model": {"median": calls * given}})["relaxation"]
        for given in model_seconds
    }
    replay, _ = replays["with"]
    return {
        "calls_per_step": calls,
        "seconds_per_step": per_step,
        "share": _shares(per_step),
        "relaxation_share_beside_model_of_seconds": beside,
        "sampling": {
            "base_seconds": spread(seconds["base"]),
            "relaxed_seconds": spread(seconds["relaxed"]),
            "ratio": spread(paired(seconds, "relaxed", "base", lambda a, b: a / b)),
        },
        **_usage(setup, calls, {**samplings, **parts}),
        "relaxation_waits": waits(relaxed, replay, setup.x, setup.sigmas),
        "state_bytes_per_sample": state_bytes(relaxed, replay, setup.x, setup.sigmas)
        / len(setup.x),
    }


def _calls_per_step(setup: Setup, solver: Solver) -> float:
    """Model calls of a whole sampling over its steps."""
    shape = setup.x[:1]
    result = sampling.sample(lambda x, sigma, **_: 0.5 * x, shape, setup.sigmas, solver, None)
    return result.nfe / setup.steps


def _per_step(
    seconds: Mapping[str, list[float]], calls: float, steps: int
) -> dict[str, dict[str, float]]:
    return {
        "model": spread([calls * value for value in seconds["model"]]),
        "solver": spread([value / steps for value in seconds["solver"]]),
        "relaxation": spread(paired(seconds, "with", "solver", lambda a, b: (a - b) / steps)),
    }


def _shares(per_step: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Each part's share of a relaxed step, by the medians; they add up to 1."""
    total = sum(part["median"] for part in per_step.values())
    return {name: part["median"] / total for name, part in per_step.items()}


def _usage(setup: Setup, calls: float, cases: Mapping[str, Call]) -> dict[str, Any]:
    """Operations a step and peaks of memory; on CUDA also kernels and the allocator's peaks."""
    model, used = metered(setup.model()), {name: metered(case) for name, case in cases.items()}
    found: dict[str, Any] = {}
    for kind in ("operations", "views"):
        base, relaxed = (getattr(used[name], kind) for name in ("solver", "with"))
        found[f"{kind}_per_step"] = _split(calls * getattr(model, kind), base, relaxed, setup.steps)
    found["peak_bytes_per_sample"] = _peaks(
        {name: usage.peak_bytes for name, usage in used.items()}, len(setup.x)
    )
    if setup.x.device.type == "cuda":
        here = {name: cuda_usage(case) for name, case in cases.items()}
        found["cuda_kernels_per_step"] = _split(
            calls * cuda_usage(setup.model())["kernels"],
            here["solver"]["kernels"],
            here["with"]["kernels"],
            setup.steps,
        )
        found["cuda_peak_bytes_per_sample"] = _peaks(
            {name: usage["peak_bytes"] for name, usage in here.items()}, len(setup.x)
        )
    return found


def _split(model: float, base: int, relaxed: int, steps: int) -> dict[str, float]:
    return {"model": model, "solver": base / steps, "relaxation": (relaxed - base) / steps}


def _peaks(peak: Mapping[str, int], batch: int) -> dict[str, float]:
    """Of whole samplings, and what relaxing adds to the peak where no model hides it."""
    return {
        "base": peak["base"] / batch,
        "relaxed": peak["relaxed"] / batch,
        "relaxation": (peak["with"] - peak["solver"]) / batch,
    }


# --- all of it -----------------------------------------------------------------------------------


def measure_overhead(
    denoiser: Denoiser,
    sample_shape: Sequence[int],
    *,
    conditioning: Mapping[str, Any] | None = None,
    solvers: Mapping[str, Solver] | None = None,
    coefficient: str | Coefficient = "energy",
    batch: int = 64,
    steps: int = 5,
    runs: int = 15,
    sigma_min: float = 0.01,
    sigma_max: float = 80.0,
    device: torch.device | str = "cpu",
    model_seconds: Sequence[float] = (),
    compiled: bool = False,
    started: Callable[[str], object] = lambda name: None,
) -> dict[str, Any]:
    """Measures what relaxing adds to a step beside the model and the solver.

    Args:
        denoiser: D(x, sigma, **conditioning), on `device`.
        sample_shape: of one sample.
        conditioning: for a whole batch.
        solvers: by the names they get in the result; None measures all of `SOLVERS`.
        coefficient: one that calls the model (`extra_calls`) cannot be told from it.
        batch: samples at a time.
        steps: of a sampling.
        runs: rounds of measurement.
        sigma_min: lowest level of the schedule, `schedules.karras`.
        sigma_max: highest level.
        device: "cpu", or "cuda" with or without an index.
        model_seconds: seconds of a call of other models, to give the relaxation's share beside
            them, at this batch and sample shape.
        compiled: also measure `torch.compile`, which takes a minute and a C++ compiler.
        started: told the name of each measurement as it starts.

    Returns:
        What json can hold: `setting`, `machine`, `versions`, `model` (a call), `solvers` (by name:
        seconds, operations and views a step of model, solver and relaxation, shares, whole
        samplings, waits, bytes), `memory_format` (of an `nn.Module`, else None), `compile` (None if
        not asked for). Seconds have min, median and max over the rounds.

    Raises:
        ValueError: batch or runs < 1, steps < 2, no solver, a time that is not positive, a device
            that is not there, or a coefficient that calls the model.
        TypeError: a solver that is no `Solver` or is relaxed already.
    """
    place = check_device(device)
    relaxation = _check(coefficient, batch, steps, runs, model_seconds)
    chosen = _chosen(solvers, relaxation)
    sigmas = tuple(float(level) for level in schedules.karras(steps, sigma_min, sigma_max))
    x = sampling.noise(sample_shape, sigma_max, range(batch), device=place)
    setup = Setup(denoiser, x, sigmas, dict(conditioning or {}), relaxation, runs)
    started("model")
    found: dict[str, Any] = {
        **_described(setup, coefficient, sigma_min, sigma_max),
        "model": _measure_model(setup),
        "solvers": {},
        "memory_format": None,
        "compile": None,
    }
    for name, solver in chosen.items():
        started(name)
        found["solvers"][name] = _measure_solver(setup, solver, model_seconds)
    if isinstance(denoiser, nn.Module):
        started("memory format")
        found["memory_format"] = compare_memory_formats(setup, denoiser)
    if compiled:
        started("torch.compile")
        found["compile"] = compare_compiled(setup, next(iter(chosen.values())))
    return found


def _chosen(solvers: Mapping[str, Solver] | None, relaxation: Coefficient) -> dict[str, Solver]:
    """The solvers; what cannot be relaxed is refused before anything is measured."""
    chosen = {name: resolve_solver(name) for name in SOLVERS} if solvers is None else dict(solvers)
    if not chosen:
        raise ValueError("solvers is empty; at least one is needed")
    for solver in chosen.values():
        Relaxed(solver, relaxation)
    return chosen


def _described(
    setup: Setup, coefficient: str | Coefficient, sigma_min: float, sigma_max: float
) -> dict[str, Any]:
    """The setting, and where it was measured."""
    place = setup.x.device
    return {
        "setting": {
            "batch": len(setup.x),
            "steps": setup.steps,
            "runs": setup.runs,
            "sample_shape": list(setup.x.shape[1:]),
            "coefficient": coefficient if isinstance(coefficient, str) else repr(coefficient),
            "sigma_min": sigma_min,
            "sigma_max": sigma_max,
            "device": str(place),
        },
        "machine": {
            **machine(place),
            "cores": os.cpu_count(),
            "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        },
        "versions": versions("steindiff", "torch"),
    }


def _check(
    coefficient: str | Coefficient, batch: int, steps: int, runs: int, times: Sequence[float]
) -> Coefficient:
    for name, value, least in (("batch", batch, 1), ("steps", steps, 2), ("runs", runs, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} is {value!r}; an integer of at least {least} is needed")
    for value in times:
        if not 0 < value < float("inf"):
            raise ValueError(f"model_seconds holds {value!r}; positive numbers are needed")
    relaxation = resolve_coefficient(coefficient)
    if relaxation is None:
        raise ValueError("coefficient is None; one to measure is needed")
    if relaxation.extra_calls:
        raise ValueError(
            f"coefficient is {coefficient!r}, which calls the model itself; one without model "
            "calls is needed"
        )
    return relaxation


def _measure_model(setup: Setup) -> dict[str, Any]:
    call = setup.model()
    seconds = interleaved({"model": call}, setup.runs)["model"]
    used = metered(call)
    found = {
        "seconds_per_call": spread(seconds),
        "samples_per_second": spread([len(setup.x) / value for value in seconds]),
        "operations_per_call": used.operations,
        "views_per_call": used.views,
        "peak_bytes_per_sample": used.peak_bytes / len(setup.x),
    }
    if setup.x.device.type == "cuda":
        found["cuda_kernels_per_call"] = cuda_usage(call)["kernels"]
    return found


# --- the command ---------------------------------------------------------------------------------


def overhead(
    out: Annotated[Path | None, typer.Option(help="JSON file for all figures.")] = None,
    model: ModelOption = "fashion-mnist",
    solver: Annotated[list[str] | None, typer.Option(help=f"Repeatable. {SOLVER_HELP}")] = None,
    coefficient: Annotated[str, typer.Option(help="Coefficient of the relaxation.")] = "energy",
    batch: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 64,
    steps: Annotated[int, typer.Option(min=2, help="Solver steps of a sampling.")] = 5,
    runs: Annotated[int, typer.Option(min=1, help="Rounds; a round runs everything once.")] = 15,
    device: Annotated[str, typer.Option(help="cpu, or cuda.")] = "cpu",
    model_seconds: Annotated[
        list[float] | None,
        typer.Option(help="Also the share beside a model whose call takes so long; repeatable."),
    ] = None,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Also torch.compile; needs a C++ compiler.")
    ] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
) -> None:
    """Measure what relaxing adds to a step: seconds, operations, waits for the device, bytes.

    The times of model, solver and relaxation are measured one by one, in turn.
    """
    if out is not None:
        check_output(out, overwrite)
    place = check_device(device)
    net = load_model(model, device=place)
    labels = torch.arange(batch, device=place) % net.config.num_classes
    with Console(stderr=True).status("model") as status:
        found = measure_overhead(
            net,
            net.sample_shape,
            conditioning={"class_labels": labels},
            solvers={spec: parse_solver(spec) for spec in solver or SOLVERS},
            coefficient=coefficient,
            batch=batch,
            steps=steps,
            runs=runs,
            device=place,
            model_seconds=model_seconds or (),
            compiled=compiled,
            started=status.update,
        )
    found["setting"]["model"] = model
    found["command"] = command_line()
    for table in (solvers_table(found), alternatives_table(found)):
        Console().print(render(table, "terminal"))
    if out is not None:
        write_text(out, json.dumps(found, indent=1) + "\n")
        typer.echo(f"figures: {out}")


def solvers_table(found: dict[str, Any]) -> Table:
    """A row for each solver; a terminal shows what a narrow one has room for."""
    setting, place = found["setting"], found["machine"]
    beside = next(iter(found["solvers"].values()))["relaxation_share_beside_model_of_seconds"]
    columns = [
        Column("solver", words=True),
        *(Column(f"{part}, ms", short=f"{part[:5]}, ms") for part in PARTS),
        Column("share of relaxation", short="share"),
        *(Column(f"beside a model of {seconds} s", short=f"at {seconds} s") for seconds in beside),
        Column("whole sampling, relaxed/base", short="relaxed/base"),
        *(Column(name, terminal=False) for name in ("operations", "waits", "state", "peak, alone")),
    ]
    rows = [[Entry(solver_title(name)), *map(Entry, _figures(row))]
            for name, row in found["solvers"].items()]  # fmt: skip
    title = (
        f"{place['gpu'] or place['cpu']}, {place['threads']} threads, batch {setting['batch']}, "
        f"{setting['steps']} steps, {setting['runs']} rounds, torch {found['versions']['torch']}"
    )
    return Table(columns, rows, title)


def _figures(row: dict[str, Any]) -> Iterator[str]:
    """A solver's figures of a step: medians, and the ratio of whole samplings with its range."""
    for part in PARTS:
        yield f"{1000 * row['seconds_per_step'][part]['median']:.2f}"
    yield f"{row['share']['relaxation']:.1%}"
    for share in row["relaxation_share_beside_model_of_seconds"].values():
        yield f"{share:.2%}"
    ratio, operations = row["sampling"]["ratio"], row["operations_per_step"]
    yield f"{ratio['median']:.3f} [{ratio['min']:.3f}, {ratio['max']:.3f}]"
    yield " + ".join(f"{operations[part]:.0f}" for part in PARTS)
    yield str(row["relaxation_waits"])
    yield f"{row['state_bytes_per_sample']:g} B"
    yield f"{row['peak_bytes_per_sample']['relaxation'] / 1024:.1f} KiB"


def alternatives_table(found: dict[str, Any]) -> Table:
    """Memory formats and `torch.compile`: what else changes the time."""
    compiled = found["compile"] or {}
    cases = {"model in channels-last, over contiguous": found["memory_format"]}
    if compiled.get("available"):
        cases |= {
            "model by torch.compile": compiled["model"],
            "coefficient by torch.compile": compiled["coefficient"],
            "coefficient by torch.compile, dynamic=False": compiled["coefficient_static"],
        }
    rows = []
    for name, row in cases.items():
        if row is None:
            continue
        count, speed = row.get("pays_after_images", 0), row["speedup"]
        pays = "at once" if count == 0 else "never" if count is None else f"{count} images"
        faster = f"{speed['median']:.2f} [{speed['min']:.2f}, {speed['max']:.2f}]"
        difference = f"{row['largest_difference']:.1e}"
        seconds = f"{row.get('compile_seconds', 0):.0f} s"
        rows.append([Entry(text) for text in (name, faster, difference, seconds, pays)])
    if "why" in compiled:
        rows.append([Entry(f"torch.compile is not available here: {compiled['why']}"),
                     *[Entry("—")] * 4])  # fmt: skip
    columns = [
        Column("what", words=True), Column("speed-up"),
        Column("largest difference", short="difference"), Column("compiling"), Column("pays after"),
    ]  # fmt: skip
    return Table(columns, rows, "What else changes the time of the model")


if __name__ == "__main__":
    run(overhead)
