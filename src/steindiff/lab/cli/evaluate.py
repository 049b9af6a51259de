"""`steindiff fid-stats` and `steindiff evaluate`: how far a set of images is from another."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ..._files import write_text
from ..generate import Processes, processes
from ..generate.measure import measure
from ..generate.reading import holds_images, open_images
from ..metrics import (
    Features,
    Statistics,
    frechet_from_statistics,
    kernel_distance,
    load_statistics,
    prdc,
    resolve_features,
    save_statistics,
)
from .options import check_output

IMAGES_HELP = (
    "A folder of `steindiff generate`; PNG and JPEG files in a folder; an .npz with `images`; "
    ".tar files."
)
FEATURES_HELP = "A shipped model, pixels, or inception:PATH with the weights."
BLOCK = 1000  # images in a block of the kernel distance, as is usual
NEIGHBOURS = 5


def fid_stats(
    images: Annotated[Path, typer.Argument(help=IMAGES_HELP)],
    out: Annotated[Path, typer.Option(help="NPZ file for mean and covariance.")],
    features: Annotated[str, typer.Option(help=FEATURES_HELP)] = "fashion-mnist",
    overwrite: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
) -> None:
    """Save mean and covariance of the features of a set of images, as a reference."""
    with processes() as world:
        with world.together():
            extractor, source = _extractor(features), open_images(images)
            if world.rank == 0:
                check_output(out, overwrite)
        statistics = measure(source, extractor, world).statistics
        if world.rank == 0:
            save_statistics(out, statistics)
            typer.echo(f"{out}: {statistics.count} images, features {statistics.features}")


def evaluate(
    images: Annotated[Path, typer.Argument(help=IMAGES_HELP)],
    reference: Annotated[
        Path, typer.Argument(help="A file of `steindiff fid-stats`, or images again.")
    ],
    features: Annotated[str, typer.Option(help=FEATURES_HELP)] = "fashion-mnist",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="JSON file for the figures.")
    ] = None,
    most: Annotated[
        int, typer.Option(min=6, help="Images of each set that precision and recall compare.")
    ] = 10_000,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
) -> None:
    """Compare a set of images with a reference.

    The Fréchet distance; with images as the reference also the kernel distance (KID), precision,
    recall, density and coverage. Smaller distances are better. With the features of a shipped
    model these are not the FID and KID of the literature, which are of InceptionV3.
    """
    with processes() as world:
        with world.together():
            if json_file is not None and world.rank == 0:
                check_output(json_file, overwrite)
            extractor = _extractor(features)
        figures = _figures(images, reference, extractor, world, most)
    if world.rank == 0:
        number = figures["reference_count"] or "an unknown number of"
        typer.echo(f"{images} ({figures['count']} images) against {reference} ({number} images)")
        typer.echo(f"features: {extractor.name}")
        Console().print(_table(figures))
        if json_file is not None:
            text = json.dumps(figures, indent=1)
            write_text(json_file, text)


def _extractor(name: str) -> Features:
    try:
        return resolve_features(name)
    except ImportError as error:
        raise ValueError(f"features is {name!r}: {error}") from error


def _figures(
    images: Path, reference: Path, extractor: Features, world: Processes, most: int
) -> dict[str, Any]:
    """What there is to say; complete in rank 0 only."""
    known: Statistics | None = None
    with world.together():
        source = open_images(images)
        paired = holds_images(reference)
        target = open_images(reference) if paired else None
        if target is None:
            known = load_statistics(reference, extractor.name, dim=extractor.dim)
    here = measure(source, extractor, world, keep=paired)
    there = measure(target, extractor, world, keep=True) if target is not None else None
    statistics = there.statistics if there is not None else known
    assert statistics is not None
    if world.rank:
        return {}
    figures: dict[str, Any] = {
        "images": str(images),
        "reference": str(reference),
        "features": extractor.name,
        "count": here.statistics.count,
        "reference_count": statistics.count,
        "frechet_distance": frechet_from_statistics(here.statistics, statistics),
        "versions": {name: version(name) for name in ("steindiff", "torch")},
    }
    if there is not None and here.features is not None and there.features is not None:
        figures |= _of_features(here.features, there.features, most)
    return figures


def _of_features(fake: Tensor, real: Tensor, most: int) -> dict[str, Any]:
    block = min(BLOCK, len(fake), len(real))
    nearest = prdc(_some(real, most), _some(fake, most), NEIGHBOURS)
    return {
        "kernel_distance": {**kernel_distance(fake, real, block_size=block)._asdict()},
        "kernel_block": block,
        **nearest._asdict(),
        "neighbours": NEIGHBOURS,
        "neighbours_among": [min(most, len(fake)), min(most, len(real))],
    }


def _some(x: Tensor, most: int) -> Tensor:
    """At most so many rows, drawn with a fixed seed: the order of a set may mean something."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    return x[order[:most].sort().values]


def _table(figures: dict[str, Any]) -> Table:
    table = Table()
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_row("Fréchet distance", f"{figures['frechet_distance']:.4f}")
    if "kernel_distance" in figures:
        kernel = figures["kernel_distance"]
        table.add_row("kernel distance (KID)", f"{kernel['mean']:.6f} ± {kernel['std']:.6f}")
        for name in ("precision", "recall", "density", "coverage"):
            table.add_row(name, f"{figures[name]:.4f}")
    return table
