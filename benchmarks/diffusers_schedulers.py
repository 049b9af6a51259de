"""Every supported scheduler of diffusers on the shipped pipeline: plain and relaxed, equal NFE.

    python benchmarks/diffusers_schedulers.py --out docs/results/diffusers.json    (make diffusers)

The samples are held against the fine solution from the same noise, as in the rest of the bench.
diffusers' schedulers start at different levels (VE sigma 83.6 for the VP ones, 80 for EDM, pure
noise for flow models); at all of them the noise is all that can be seen, and the solutions are
the same but for that.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import diffusers
import msgspec
import torch
import typer
from rich.console import Console
from torch import Tensor

from script import command_line, run
from shipped_pipeline import FashionMNISTPipeline  # of examples/
from steindiff._files import write_text
from steindiff._provenance import machine, versions
from steindiff.adapters.diffusers import relax
from steindiff.lab.bench.results import (
    BASE,
    FORMAT,
    CellRecord,
    Interval,
    Machine,
    Measured,
    Metrics,
)
from steindiff.lab.bench.tables import cells_table
from steindiff.lab.metrics import paired_bootstrap, rmse
from steindiff.lab.subjects import Network
from steindiff.lab.tables import render
from steindiff.lab.typed import read_json
from steindiff.sampling import noise
from steindiff.trajectory import FineSolution

MODEL = "fashion-mnist"
BETAS = {"beta_start": 1e-4, "beta_end": 0.0175}
FINE_STEPS = 20
RESAMPLES = 200
BATCH = 250


@dataclass(frozen=True)
class Peer:
    """A scheduler in a setting that people use.

    Attributes:
        title: as they call it.
        scheduler: class in diffusers.
        options: its own; VP schedulers also get the betas of the shipped pipeline.
    """

    title: str
    scheduler: str
    options: dict[str, Any] = field(default_factory=dict)

    def make(self) -> Any:
        """The plain scheduler."""
        cls = getattr(diffusers, self.scheduler)
        takes = cls.__init__.__wrapped__.__code__.co_varnames
        betas = BETAS if "beta_start" in takes else {}
        return cls(**betas, **self.options)


KARRAS = {"use_karras_sigmas": True}
LOG_SNR = {"use_exponential_sigmas": True}
TRAILING = {"timestep_spacing": "trailing"}
LOWERED = {"lower_order_final": True}
NOISE_PREDICTION = {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}
FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 3.0}

PEERS: tuple[Peer, ...] = (
    Peer("DDIM, trailing", "DDIMScheduler", {**TRAILING, "clip_sample": False}),
    Peer("DDIM parallel, trailing", "DDIMParallelScheduler", {**TRAILING, "clip_sample": False}),
    Peer(
        "DDIM of CogVideoX, trailing",
        "CogVideoXDDIMScheduler",
        {**TRAILING, "clip_sample": False, "snr_shift_scale": 1.0, "beta_schedule": "linear"},
    ),
    Peer("PNDM, PLMS", "PNDMScheduler", {"skip_prk_steps": True, "steps_offset": 1}),
    Peer("Euler, Karras", "EulerDiscreteScheduler", KARRAS),
    Peer("Euler, trailing", "EulerDiscreteScheduler", TRAILING),
    Peer("LMS, Karras", "LMSDiscreteScheduler", KARRAS),
    Peer("LMS, trailing", "LMSDiscreteScheduler", TRAILING),
    Peer("Heun, Karras", "HeunDiscreteScheduler", KARRAS),
    Peer("DPM2, Karras", "KDPM2DiscreteScheduler", KARRAS),
    Peer("DPM++ 2M, Karras", "DPMSolverMultistepScheduler", KARRAS),
    Peer("DPM++ 2M, log-SNR", "DPMSolverMultistepScheduler", LOG_SNR),
    Peer("DPM++ 2M, trailing", "DPMSolverMultistepScheduler", TRAILING),
    Peer("DPM++ 3M, log-SNR", "DPMSolverMultistepScheduler", {**LOG_SNR, "solver_order": 3}),
    Peer("DPM-Solver 2M, log-SNR", "DPMSolverMultistepScheduler", {**LOG_SNR, **NOISE_PREDICTION}),
    Peer("DPM++ 2S, log-SNR", "DPMSolverSinglestepScheduler", {**LOG_SNR, **LOWERED}),
    Peer(
        "DPM++ 3S, log-SNR",
        "DPMSolverSinglestepScheduler",
        {**LOG_SNR, **LOWERED, "solver_order": 3},
    ),
    Peer("DEIS-3, Karras", "DEISMultistepScheduler", {**KARRAS, "solver_order": 3}),
    Peer("DEIS-3, trailing", "DEISMultistepScheduler", {**TRAILING, "solver_order": 3}),
    Peer("UniPC-2, log-SNR", "UniPCMultistepScheduler", LOG_SNR),
    Peer("UniPC-2, trailing", "UniPCMultistepScheduler", TRAILING),
    Peer("UniPC-3, log-SNR", "UniPCMultistepScheduler", {**LOG_SNR, "solver_order": 3}),
    Peer("iPNDM-4, own schedule", "IPNDMScheduler"),
    Peer("Euler of EDM", "EDMEulerScheduler", {"sigma_data": 0.7}),
    Peer("DPM++ 2M of EDM", "EDMDPMSolverMultistepScheduler", {"sigma_data": 0.7}),
    Peer("flow Euler, shift 3", "FlowMatchEulerDiscreteScheduler", {"shift": 3.0}),
    Peer("flow Heun, shift 3", "FlowMatchHeunDiscreteScheduler", {"shift": 3.0}),
    Peer("flow Euler of MiniMax, shift 3", "MiniMaxH3Scheduler", {"shift": 3.0}),
    Peer("flow DPM++ 2M, shift 3", "DPMSolverMultistepScheduler", FLOW),
    Peer("flow DEIS-2, shift 3", "DEISMultistepScheduler", FLOW),
    Peer("flow UniPC-2, shift 3", "UniPCMultistepScheduler", FLOW),
)


class SchedulerCell(CellRecord, frozen=True, kw_only=True):
    """One scheduler at one NFE, plain and relaxed.

    Attributes:
        calls: evaluations that its steps cost, where they do not fit the NFE exactly.
        options: of the scheduler, whose class is the cell's `schedule`.
    """

    calls: int
    options: dict[str, Any]


class SchedulerSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What all cells of a file share."""

    seeds: str
    samples: int
    guidance: float


class SchedulerResults(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """All of a file of results; `Results` of the bench says what the fields are."""

    format: int
    complete: bool
    command: str
    setting: SchedulerSetting
    versions: dict[str, str]
    machine: Machine
    interval: str
    reference: str
    cells: list[SchedulerCell]


def measure_peers(
    out: Path,
    *,
    nfes: Sequence[int],
    count: int,
    first_seed: int = 0,
    guidance: float = 1.0,
    coefficient: str = "energy",
    peers: Sequence[Peer] = PEERS,
    command: str = "",
    tell: Callable[[str], object] = lambda text: None,
) -> SchedulerResults:
    """Measures every peer at every NFE, saving each cell in `out`; goes on where a run stopped.

    Args:
        out: JSON file. One of another setting is refused.
        nfes: evaluations of the network; a scheduler whose steps do not fit exactly does as many
            as stay below.
        count: samples; sample s is asked to be of class s mod 10.
        first_seed: of the samples.
        guidance: scale of classifier-free guidance; an evaluation is then of two halves.
        coefficient: of the relaxation.
        peers: the schedulers.
        command: recorded with the results.
        tell: is told of each cell that begins.

    Returns:
        What `out` then holds.

    Raises:
        ValueError: `out` holds the results of another setting, or is damaged.
    """
    seeds = range(first_seed, first_seed + count)
    setting = SchedulerSetting(f"{seeds[0]}-{seeds[-1]}", count, float(guidance))
    found = _opened(out, setting, command)
    wanted = [(peer, nfe) for nfe in nfes for peer in peers if _steps(peer, nfe)]
    done = {cell.id for cell in found.cells}
    judge = _Judge(seeds, setting)
    for peer, nfe in wanted:
        if _id(peer, nfe) not in done:
            tell(f"{peer.title}, {nfe} NFE")
            found.cells.append(judge.cell(peer, nfe, coefficient))
            _save(out, found)
    found.complete = True
    _save(out, found)
    return found


class _Judge:
    """The pipeline, the noises and what the samples are held against."""

    def __init__(self, seeds: Sequence[int], setting: SchedulerSetting) -> None:
        self.setting, self.guidance = setting, setting.guidance
        self.subject = Network(MODEL, setting.guidance)
        self.pipe = FashionMNISTPipeline.from_shipped(MODEL)
        self.pipe.set_progress_bar_config(disable=True)
        self.noise = noise(self.subject.shape, 1.0, seeds)
        self.labels = self.subject.conditioning(seeds)["class_labels"]
        fine = [self._fine(part) for part in self._parts()]
        self.fine = torch.cat(fine)
        self.features = self.subject.features.features(self.fine)

    def cell(self, peer: Peer, nfe: int, coefficient: str) -> SchedulerCell:
        """Plain and relaxed, from the same noises."""
        began = time.perf_counter()
        plain, steps = peer.make(), _steps(peer, nfe)
        samples = {
            BASE: self._sample(steps, plain),
            coefficient: self._sample(steps, relax(plain, coefficient)),
        }
        features = {name: self.subject.features.features(x) for name, x in samples.items()}
        paired = paired_bootstrap(features, self.features, baseline=BASE, resamples=RESAMPLES)
        return SchedulerCell(
            id=_id(peer, nfe),
            model=MODEL,
            schedule=peer.scheduler,
            nfe=nfe,
            calls=_calls(peer, steps),
            solver=peer.title,
            options=peer.options,
            coefficients={
                name: Measured(
                    metrics=Metrics(
                        fd=Interval(**paired[name].distance._asdict()),
                        rmse=rmse(x, self.fine).pooled,
                    ),
                    ratio=None if name == BASE else Interval(**paired[name].ratio._asdict()),
                )
                for name, x in samples.items()
            },
            seconds=round(time.perf_counter() - began, 1),
            **msgspec.structs.asdict(self.setting),
        )

    def _sample(self, steps: int, scheduler: Any) -> Tensor:
        self.pipe.scheduler = scheduler
        parts = [
            self.pipe(
                self.labels[part],
                steps,
                self.guidance,
                latents=self.noise[part],
                output_type="latent",
                return_dict=False,
            )[0]
            for part in self._parts()
        ]
        return torch.cat(parts)

    def _fine(self, part: slice) -> Tensor:
        labels = {"class_labels": self.labels[part]}
        start = 80.0 * self.noise[part]
        return FineSolution(self.subject.denoiser, start, labels, FINE_STEPS, 0.002, 80.0).x

    def _parts(self) -> Iterator[slice]:
        for low in range(0, len(self.noise), BATCH):
            yield slice(low, low + BATCH)


def _steps(peer: Peer, nfe: int) -> int:
    """The most steps that cost `nfe` evaluations or fewer; 0 if there are none."""
    for steps in range(nfe + 1, 0, -1):
        calls = _calls(peer, steps)
        if 0 < calls <= nfe:
            return steps
    return 0


def _calls(peer: Peer, steps: int) -> int:
    """Evaluations that so many steps cost; 0 where the scheduler cannot do so few."""
    scheduler = peer.make()
    try:
        scheduler.set_timesteps(steps)
    except (ValueError, IndexError):
        return 0
    return len(scheduler.timesteps)


def _id(peer: Peer, nfe: int) -> str:
    return f"{peer.title}/{nfe}"


def _opened(out: Path, setting: SchedulerSetting, command: str) -> SchedulerResults:
    """The results so far, none at first."""
    if not out.exists():
        return SchedulerResults(
            format=FORMAT,
            complete=False,
            command=command,
            setting=setting,
            versions=versions("torch", "diffusers"),
            machine=Machine(**machine(torch.device("cpu"))),
            interval=f"95%, paired bootstrap over noises, {RESAMPLES} resamples",
            reference=f"fine solution from the same noise: Heun, {2 * FINE_STEPS - 1} NFE",
            cells=[],
        )
    found = read_json(out, SchedulerResults)
    if found.setting != setting:
        raise ValueError(
            f"{out} holds results of {found.setting}; {setting} is asked for: choose another "
            "file, or remove this one"
        )
    return found


def _save(out: Path, found: SchedulerResults) -> None:
    plain = msgspec.to_builtins(found)
    write_text(out, json.dumps(plain, indent=1, allow_nan=False) + "\n")


def schedulers(
    out: Annotated[Path, typer.Option(help="JSON file; a run that stopped goes on.")],
    nfe: Annotated[list[int] | None, typer.Option(min=1, help="Repeatable: 5, 8, 12.")] = None,
    count: Annotated[int, typer.Option(min=20, help="Samples a cell.")] = 1000,
    guidance: Annotated[float, typer.Option(help="Scale of classifier-free guidance.")] = 1.0,
    only: Annotated[
        list[str] | None, typer.Option(help="Schedulers whose title holds this text; repeatable.")
    ] = None,
    first_seed: Annotated[int, typer.Option(min=0, help="Seed of the first sample.")] = 0,
) -> None:
    """Measure every supported scheduler of diffusers on the shipped pipeline, base and relaxed."""
    peers = [peer for peer in PEERS if not only or any(text in peer.title for text in only)]
    if not peers:
        raise ValueError(f"only is {only}; one of {', '.join(peer.title for peer in PEERS)}")
    out.parent.mkdir(parents=True, exist_ok=True)
    with Console(stderr=True).status("fine solution") as status:
        found = measure_peers(
            out,
            nfes=nfe or [5, 8, 12],
            count=count,
            first_seed=first_seed,
            guidance=guidance,
            peers=peers,
            command=command_line(),
            tell=status.update,
        )
    table = cells_table(found.cells, ["energy"], ["nfe"], "Fréchet distance")
    Console().print(render(table, "terminal"))
    typer.echo(f"figures: {out}")


if __name__ == "__main__":
    run(schedulers)
