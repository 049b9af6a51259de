"""`steindiff bench overhead`: what relaxing adds to a step, in time, operations and memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from ..._files import write_text
from ..._provenance import command_line
from ...models import load_model
from ...solvers import SOLVERS
from ..bench.overhead import check_device, measure_overhead
from ..bench.verdicts import title
from ..specs import parse_solver
from .options import ModelOption, SolversOption, check_output

PARTS = ("model", "solver", "relaxation")


def overhead(
    out: Annotated[Path | None, typer.Option(help="JSON file for all figures.")] = None,
    model: ModelOption = "fashion-mnist",
    solver: SolversOption = None,
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
    console = Console(stderr=True)
    with console.status("model") as status:
        found = measure_overhead(
            net,
            net.sample_shape,
            conditioning={
                "class_labels": torch.arange(batch, device=place) % net.config.num_classes
            },
            solvers={spec: parse_solver(spec) for spec in solver or SOLVERS},
            coefficient=coefficient,
            batch=batch,
            steps=steps,
            runs=runs,
            device=place,
            model_seconds=model_seconds or (),
            compiled=compiled,
            started=lambda name: status.update(name),
        )
    found["setting"]["model"] = model
    found["command"] = command_line()
    for table in tables(found):
        Console().print(table)
    if out is not None:
        text = json.dumps(found, indent=1) + "\n"
        write_text(out, text)
        typer.echo(f"figures: {out}")


def tables(found: dict[str, Any]) -> list[Table]:
    """What `measure_overhead` found, as tables: the solvers, then formats and `torch.compile`."""
    return [_solvers(found), _alternatives(found)]


def _solvers(found: dict[str, Any]) -> Table:
    setting, machine = found["setting"], found["machine"]
    table = Table(
        title=f"A step: {setting['steps']} steps, batch {setting['batch']}, {setting['runs']} "
        f"rounds, {machine['gpu'] or machine['cpu']}, {machine['threads']} threads, torch "
        f"{found['versions']['torch']}.\nMedians; below them minimum and maximum",
        title_justify="left",
        box=SIMPLE,
    )
    columns = [_column(row) for row in found["solvers"].values()]
    table.add_column("", overflow="fold")
    for name in found["solvers"]:
        table.add_column(title(name), justify="right", overflow="fold")
    for measure in columns[0]:
        table.add_row(measure, *(column[measure] for column in columns))
    return table


def _column(row: dict[str, Any]) -> dict[str, str]:
    """A solver's figures, by what they measure: solvers side by side fit a narrow terminal."""
    operations, ratio = row["operations_per_step"], row["sampling"]["ratio"]
    return {
        **{f"{part}, ms": _over_range(_milliseconds(row["seconds_per_step"][part]), 2)
           for part in PARTS},
        "share of relaxation": f"{row['share']['relaxation']:.1%}",
        **{f"beside a model of {given} s": f"{share:.2%}"
           for given, share in row["relaxation_share_beside_model_of_seconds"].items()},
        "sampling, relaxed/base": _over_range(ratio, 3),
        **{f"operations of {part}": f"{operations[part]:.0f}" for part in PARTS},
        "host waits": str(row["relaxation_waits"]),
        "state, B a sample": f"{row['state_bytes_per_sample']:g}",
        "peak, B a sample": f"+{row['peak_bytes_per_sample']['relaxation']:.0f}",
    }  # fmt: skip


def _over_range(values: dict[str, float], digits: int) -> str:
    median, low, high = (f"{values[key]:.{digits}f}" for key in ("median", "min", "max"))
    return f"{median}\n{low}\n{high}"


def _alternatives(found: dict[str, Any]) -> Table:
    table = Table(title="What else changes the time of the model", title_justify="left", box=SIMPLE)
    for heading in ("what", "ms before", "ms after", "faster by", "largest difference", "pays"):
        justify = "left" if heading == "what" else "right"
        table.add_column(heading, justify=justify, overflow="fold")
    formats, compiling = found["memory_format"], found["compile"]
    if formats:
        table.add_row("model: contiguous, channels last", *_versus(formats), "at once")
    if compiling and not compiling["available"]:
        table.add_row(f"torch.compile is not available here: {compiling['why']}")
    elif compiling:
        for name in ("model", "coefficient", "coefficient_static"):
            row = compiling[name]
            images = row["pays_after_images"]
            pays = "never" if images is None else f"after {images} images"
            table.add_row(
                f"{name.replace('_', ', ')}: eager, compiled",
                *_versus(row),
                f"{pays} ({row['compile_seconds']:.0f} s)",
            )
    return table


def _versus(row: dict[str, Any]) -> list[str]:
    before, after = (
        f"{_milliseconds(value)['median']:.2f}"
        for key, value in row.items()
        if key.endswith("_seconds") and isinstance(value, dict)
    )
    return [before, after, _range(row["speedup"]), f"{row['largest_difference']:.1e}"]


def _milliseconds(seconds: dict[str, float]) -> dict[str, float]:
    return {key: 1000 * value for key, value in seconds.items()}


def _range(values: dict[str, float]) -> str:
    return f"{values['median']:.3f} \\[{values['min']:.3f}, {values['max']:.3f}]"
