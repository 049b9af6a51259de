"""`steindiff sample`: images from a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from ... import sampling
from ..._files import write_whole
from ...models import UNetDenoiser
from ..images import to_uint8
from ..specs import check_calibration, parse_coefficient, parse_range, parse_solver
from .edm import EdmOption, TrustOption, load_network, make_levels, number_of_classes
from .options import (
    CalibrationOption,
    ClassesOption,
    CoefficientOption,
    FinalOption,
    GuidanceOption,
    ModelOption,
    ScheduleOption,
    SigmaMaxOption,
    SigmaMinOption,
    SolverOption,
    StepsOption,
    check_output,
    guided,
    model_hash,
    with_calibration,
)
from .picture import image_grid


def sample(
    out: Annotated[Path | None, typer.Option(help="PNG file for a grid of the images.")] = None,
    npz: Annotated[
        Path | None, typer.Option(help="NPZ file for images (uint8, N H W C), seeds and labels.")
    ] = None,
    model: ModelOption = "fashion-mnist",
    edm: EdmOption = None,
    trust: TrustOption = False,
    seeds: Annotated[str, typer.Option(help="One image a seed, such as 0-15,20.")] = "0-29",
    classes: ClassesOption = None,
    guidance: GuidanceOption = 1.0,
    solver: SolverOption = "ipndm",
    calibration: CalibrationOption = None,
    coefficient: CoefficientOption = "energy",
    steps: StepsOption = 5,
    schedule: ScheduleOption = "karras",
    sigma_min: SigmaMinOption = 0.002,
    sigma_max: SigmaMaxOption = 80.0,
    final: FinalOption = "sigma_min",
    batch: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 128,
    overwrite: Annotated[bool, typer.Option(help="Replace existing files.")] = False,
) -> None:
    """Sample images: a PNG grid, an NPZ file, or both."""
    outputs = [path for path in (out, npz) if path is not None]
    if not outputs:
        raise ValueError("nowhere to write to: pass --out FILE.png, --npz FILE.npz, or both")
    if out == npz:
        raise ValueError(f"--out and --npz are both {out}; two paths are needed")
    for path in outputs:
        check_output(path, overwrite)
    net = load_network(model, edm, trust, guidance)
    source = model if edm is None else str(edm)
    numbers = parse_range(seeds, "seeds")
    wanted = parse_range(classes, "classes") if classes else list(range(number_of_classes(net)))
    labels = torch.tensor([wanted[i % len(wanted)] for i in range(len(numbers)) if wanted])
    options: dict[str, Any] = {
        "sigmas": make_levels(net, schedule, steps, sigma_min, sigma_max, final),
        "solver": parse_solver(with_calibration(solver, calibration)),
        "coefficient": parse_coefficient(coefficient),
        "progress": len(numbers) <= batch,
    }
    check_calibration(options["solver"], source, model_hash(source), guidance, options["sigmas"])
    denoiser = guided(net, guidance) if isinstance(net, UNetDenoiser) else net
    shape, start = net.sample_shape, float(options["sigmas"][0])
    assert shape is not None  # load_network looked
    parts, nfe = [], 0
    with typer.progressbar(
        length=len(numbers), label="images", hidden=len(numbers) <= batch
    ) as bar:
        for begin in range(0, len(numbers), batch):
            part = slice(begin, begin + batch)
            x = sampling.noise(shape, start, numbers[part])
            conditioning = {"class_labels": labels[part]} if wanted else {}
            result = sampling.sample(denoiser, x, conditioning=conditioning, **options)
            parts.append(to_uint8(result.x))
            nfe = result.nfe
            bar.update(len(x))
    images = np.concatenate(parts)
    if out is not None:
        write_whole(out, lambda file: image_grid(images, columns=10).save(file, "PNG"))
    if npz is not None:
        arrays = {"images": images, "seeds": np.array(numbers)}
        if wanted:
            arrays["labels"] = labels.numpy()
        write_whole(npz, lambda file: np.savez(file, **arrays))
    typer.echo(f"{len(images)} images, {nfe} NFE each: {', '.join(map(str, outputs))}")
