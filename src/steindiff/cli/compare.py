"""`steindiff compare`: base beside relaxed beside the fine solution, from the same noise."""

from __future__ import annotations

import json
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import Progress, TimeRemainingColumn
from rich.table import Table
from torch import Tensor

from .. import sampling, schedules
from ..files import write_whole
from ..metrics import paired_bootstrap
from ..models import MODELS, load_classifier, load_model
from ..solvers import Solver
from ..stein import resolve_coefficient
from .options import SOLVER_HELP, check_output, guided, make_schedule, parse_solver
from .picture import Row, comparison
from .sample import to_uint8

BATCH = 128
SHOWN = 10  # columns of the picture
FINE_STEPS = 20  # Heun, 39 evaluations
TITLES = {
    "euler": "Euler / DDIM",
    "heun": "Heun",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_3m": "DPM++ 3M",
    "ipndm": "iPNDM",
    "deis": "DEIS",
    "unipc": "UniPC",
}


@dataclass(frozen=True)
class Setting:
    """Everything that the figures depend on; two runs with equal settings give equal figures."""

    model: str
    model_sha256: str
    solvers: tuple[str, ...]
    nfe: tuple[int, ...]
    schedules: tuple[str, ...]
    coefficient: str
    samples: int
    first_seed: int
    guidance: float
    sigma_min: float
    sigma_max: float
    resamples: int


def compare(
    out: Annotated[Path, typer.Option(help="Folder for compare.png and results.json.")] = Path(
        "out/compare"
    ),
    model: Annotated[str, typer.Option(help="A shipped model.")] = "fashion-mnist",
    solver: Annotated[list[str] | None, typer.Option(help=f"Repeatable. {SOLVER_HELP}")] = None,
    nfe: Annotated[list[int] | None, typer.Option(help="Model calls a sample; repeatable.")] = None,
    schedule: Annotated[list[str] | None, typer.Option(help="Noise schedule; repeatable.")] = None,
    coefficient: Annotated[str, typer.Option(help="Coefficient of the relaxation.")] = "energy",
    samples: Annotated[int, typer.Option(min=SHOWN, help="Samples, from the same noises.")] = 384,
    first_seed: Annotated[int, typer.Option(min=0, help="Seeds count up from here.")] = 0,
    guidance: Annotated[float, typer.Option(help="Classifier-free guidance; 1 is none.")] = 1.0,
    sigma_min: Annotated[float, typer.Option(help="Level at which few-step sampling ends.")] = 0.01,
    sigma_max: Annotated[float, typer.Option(help="Noise level of the start.")] = 80.0,
    resamples: Annotated[int, typer.Option(min=20, help="Bootstrap resamples.")] = 200,
    overwrite: Annotated[bool, typer.Option(help="Replace the results of another run.")] = False,
) -> None:
    """Compare solvers with and without relaxation at equal NFE, from the same noise.

    Each cell is saved as it ends; the same command started again goes on where it was.
    """
    if model not in MODELS:
        raise ValueError(f"model is {model!r}; a shipped one is needed: {', '.join(MODELS)}")
    setting = Setting(
        model=model,
        model_sha256=MODELS[model]["denoiser"]["sha256"],
        solvers=tuple(solver or ("euler", "dpmpp_2m", "ipndm:3", "heun")),
        nfe=tuple(nfe or (5,)),
        schedules=tuple(schedule or ("karras",)),
        coefficient=coefficient,
        samples=samples,
        first_seed=first_seed,
        guidance=guidance,
        sigma_min=sigma_min,
        sigma_max=sigma_max,
        resamples=resamples,
    )
    cells = list(_cells(setting))  # every name is checked before anything is computed
    resolve_coefficient(coefficient)
    path, picture = out / "results.json", out / "compare.png"
    results = _previous(path, setting, overwrite)
    check_output(picture, overwrite=True)
    if not (results["complete"] and picture.exists()) or overwrite:
        _run(setting, cells, results, path, picture)
    Console().print(_table(setting, results))
    typer.echo(f"picture: {picture}   figures: {path}")


def _run(
    setting: Setting,
    cells: list[tuple[str, Plan]],
    results: dict[str, Any],
    path: Path,
    picture: Path,
) -> None:
    """Computes what `results` lacks, saves it as it comes, and draws the picture."""
    with Progress(*Progress.get_default_columns()[:-1], TimeRemainingColumn()) as progress:
        work = _work(setting, cells, results)
        task = progress.add_task("fine solution", total=work)
        experiment = _Experiment(setting, lambda done: progress.advance(task, done))
        for name, plan in cells:
            if name in results["cells"]:
                continue
            progress.update(task, description=f"{name:34}")
            results["cells"][name] = experiment.cell(plan)
            _save(path, results)
        rows = experiment.rows(cells, results)
    results["complete"] = True
    _save(path, results)
    figure = _picture(setting, rows)
    write_whole(picture, lambda file: figure.savefig(file, format="png"))


@dataclass(frozen=True)
class Plan:
    """One cell: a solver on a schedule, with as many steps as its NFE pays for."""

    spec: str
    solver: Solver
    schedule: str
    nfe: int
    sigmas: Tensor


def _cells(setting: Setting) -> Iterator[tuple[str, Plan]]:
    for schedule in setting.schedules:
        for nfe in setting.nfe:
            for spec in setting.solvers:
                solver = parse_solver(spec)
                steps, final = nfe, "sigma_min"
                if solver.calls_per_step == 2:
                    # An odd number pays for a last step into sigma = 0, which takes one call.
                    steps, final = (nfe + 1) // 2, "zero" if nfe % 2 else "sigma_min"
                sigmas = make_schedule(schedule, steps, setting.sigma_min, setting.sigma_max, final)
                yield f"{spec} {schedule} {nfe}", Plan(spec, solver, schedule, nfe, sigmas)


class _Experiment:
    """Samples and measures; making one computes the fine solution."""

    def __init__(self, setting: Setting, advance: Callable[[int], None]) -> None:
        self.setting, self.advance = setting, advance
        net = load_model(setting.model)
        self.classifier = load_classifier(setting.model)
        self.denoiser = guided(net, setting.guidance)
        seeds = range(setting.first_seed, setting.first_seed + setting.samples)
        self.x = sampling.noise(net.sample_shape, setting.sigma_max, seeds)
        self.labels = torch.arange(setting.samples) % net.config.num_classes
        fine = schedules.karras(FINE_STEPS, sigma_max=setting.sigma_max, final="zero")
        self.fine = self.run(fine, "heun", None)
        self.fine_features = self.features(self.fine)

    def run(
        self, sigmas: Tensor, solver: str | Solver, coefficient: str | None, shown: bool = False
    ) -> Tensor:
        count = SHOWN if shown else len(self.x)
        parts = []
        for begin in range(0, count, BATCH):
            part = slice(begin, min(begin + BATCH, count))
            result = sampling.sample(
                self.denoiser, self.x[part], sigmas, solver, coefficient,
                conditioning={"class_labels": self.labels[part]},
            )  # fmt: skip
            parts.append(result.x)
            if not shown:
                self.advance(result.nfe * len(result.x))
        return torch.cat(parts)

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        return torch.cat([self.classifier.features(part) for part in x.split(500)])

    @torch.no_grad()
    def measure(self, x: Tensor, features: Tensor) -> dict[str, float]:
        guesses = self.classifier.head(features).argmax(dim=1)
        return {
            "rmse_to_fine": (x - self.fine).square().mean().sqrt().item(),
            "classified_as_label": (guesses == self.labels).double().mean().item(),
            "variance_over_fine": (x.var(dim=0).mean() / self.fine.var(dim=0).mean()).item(),
        }

    def cell(self, plan: Plan) -> dict[str, Any]:
        began = time.monotonic()
        base = self.run(plan.sigmas, plan.solver, None)
        relaxed = self.run(plan.sigmas, plan.solver, self.setting.coefficient)
        seconds = time.monotonic() - began
        features = self.features(base), self.features(relaxed)
        intervals = paired_bootstrap(*features, self.fine_features, self.setting.resamples)
        fd_base, fd_relaxed, ratio = (interval._asdict() for interval in intervals)
        return {
            "solver": plan.spec,
            "schedule": plan.schedule,
            "nfe": plan.nfe,
            "base": {"frechet_distance": fd_base, **self.measure(base, features[0])},
            "relaxed": {"frechet_distance": fd_relaxed, **self.measure(relaxed, features[1])},
            "ratio": ratio,
            "seconds": round(seconds, 2),
        }

    def rows(self, cells: list[tuple[str, Plan]], results: dict[str, Any]) -> list[Row]:
        """Rows of the picture: the first schedule and NFE asked for."""
        rows = []
        first = cells[0][1]
        for name, plan in cells:
            if (plan.schedule, plan.nfe) != (first.schedule, first.nfe):
                continue
            for key, rule, suffix, colour in (
                ("base", None, "", "#444"),
                ("relaxed", self.setting.coefficient, " + SteinDiff", "#0a7d33"),
            ):
                images = to_uint8(self.run(plan.sigmas, plan.solver, rule, shown=True))
                distance = results["cells"][name][key]["frechet_distance"]["value"]
                label = title(plan.spec) + suffix
                rows.append(Row(label, f"Fréchet distance {distance:.1f}", images, colour))
        fine = to_uint8(self.fine[:SHOWN])
        rows.append(Row(f"Fine solution ({2 * FINE_STEPS - 1} NFE)", "the target", fine, "#1f4e9c"))
        return rows


def title(spec: str) -> str:
    """ "ipndm:3" -> "iPNDM-3"."""
    name, _, options = spec.partition(":")
    values = [option.rpartition("=")[2] for option in options.split(",") if option]
    return "-".join([TITLES.get(name, name), *values])


def _work(setting: Setting, cells: list[tuple[str, Plan]], results: dict[str, Any]) -> int:
    """Model evaluations still to do."""
    todo = sum(2 * plan.nfe for name, plan in cells if name not in results["cells"])
    return setting.samples * (todo + 2 * FINE_STEPS - 1)


def _previous(path: Path, setting: Setting, overwrite: bool) -> dict[str, Any]:
    """The cells of an earlier run with the same setting, or an empty set of results."""
    wanted = json.loads(json.dumps(asdict(setting)))
    if path.exists():
        try:
            found = json.loads(path.read_text())
            if found["setting"] == wanted:
                _table(setting, found)  # fails where a figure is missing
                return {**found, "complete": bool(found["complete"])}
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            if not overwrite:
                raise ValueError(
                    f"{path} is damaged ({type(error).__name__}: {error}); pass --overwrite to "
                    "compute it anew"
                ) from error
        if not overwrite:
            raise FileExistsError(
                f"{path} holds the results of another setting; "
                "choose another --out or pass --overwrite"
            )
    return {
        "setting": wanted,
        "command": shlex.join(["steindiff", *sys.argv[1:]]),
        "reference": f"fine solution: Heun, {2 * FINE_STEPS - 1} NFE, karras, same noise",
        "features": f"classifier of {setting.model}, 64 features",
        "seeds": [setting.first_seed, setting.first_seed + setting.samples - 1],
        "interval": f"95%, percentile bootstrap over noises, {setting.resamples} resamples",
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("steindiff", "torch", "numpy")},
        },
        "complete": False,
        "cells": {},
    }


def _save(path: Path, results: dict[str, Any]) -> None:
    text = json.dumps(results, indent=1)
    check_output(path, overwrite=True)
    write_whole(path, lambda file: file.write(text.encode()))


def _picture(setting: Setting, rows: list[Row]) -> Any:
    names = MODELS[setting.model]["classes"][:SHOWN]
    heading = f"{setting.nfe[0]} model evaluations: the solver alone, and with SteinDiff"
    caption = (
        f"Each column starts from the same noise and asks for the same class ({setting.model}, "
        f"schedule {setting.schedules[0]}).\nFréchet distance in classifier features to the fine "
        f"solution, {setting.samples} samples, seeds {setting.first_seed}+; smaller is better."
    )
    return comparison(rows, names, heading, caption)


def _table(setting: Setting, results: dict[str, Any]) -> Table:
    table = Table(
        title=f"Fréchet distance to the fine solution, {setting.samples} samples, guidance "
        f"{setting.guidance:g}, coefficient {setting.coefficient}; in brackets 95% intervals",
        title_justify="left",
    )
    for heading in ("solver", "schedule", "NFE", "base", "relaxed", "change", "RMSE", "as label"):
        table.add_column(heading, justify="left" if heading in ("solver", "schedule") else "right")
    for cell in results["cells"].values():
        base, relaxed, ratio = cell["base"], cell["relaxed"], cell["ratio"]
        change = ", ".join(f"{100 * (ratio[end] - 1):+.0f}" for end in ("low", "high"))
        table.add_row(
            title(cell["solver"]),
            cell["schedule"],
            str(cell["nfe"]),
            f"{base['frechet_distance']['value']:.2f}",
            f"{relaxed['frechet_distance']['value']:.2f}",
            f"{100 * (ratio['value'] - 1):+.0f}% \\[{change}]",
            f"{base['rmse_to_fine']:.3f} → {relaxed['rmse_to_fine']:.3f}",
            f"{base['classified_as_label']:.0%} → {relaxed['classified_as_label']:.0%}",
        )
    return table
