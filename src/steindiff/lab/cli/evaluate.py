"""Does `steindiff fid-stats` and `steindiff evaluate`: how far a set of images is from another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer
from torch import Tensor

from ..._files import write_text
from ..._provenance import versions
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
from ..tables import Table
from .commands.evaluate import Compared, Figures, Pair, StatisticsFile
from .options import check_output
from .show import check_format, figures, remark, show

BLOCK = 1000  # images in a block of the kernel distance, as is usual
NEIGHBOURS = 5


def fid_stats(images: Path, features: str, file: StatisticsFile) -> None:
    """Measures, and saves the statistics."""
    with processes() as world:
        with world.together():
            extractor, source = _extractor(features), open_images(images)
            if world.rank == 0:
                check_output(file.out, file.overwrite)
        statistics = measure(source, extractor, world).statistics
        if world.rank == 0:
            save_statistics(file.out, statistics)
            typer.echo(f"{file.out}: {statistics.count} images, features {statistics.features}")


def evaluate(pair: Pair, compared: Compared, output: Figures) -> None:
    """Measures, shows the figures, and saves them."""
    with processes() as world:
        with world.together():
            check_format(output.format)
            if output.json is not None and world.rank == 0:
                check_output(output.json, output.overwrite)
            extractor = _extractor(compared.features)
        found = _figures(pair, extractor, world, compared.most)
    if world.rank == 0:
        _tell(pair, found, output)


def _tell(pair: Pair, found: dict[str, Any], output: Figures) -> None:
    number = found["reference_count"] or "an unknown number of"
    remark(
        f"{pair.images} ({found['count']} images) against {pair.reference} ({number} images)",
        output.format,
    )
    remark(f"features: {found['features']}", output.format)
    show([_table(found)], output.format)
    if output.json is not None:
        write_text(output.json, json.dumps(found, indent=1))


def _extractor(name: str) -> Features:
    try:
        return resolve_features(name)
    except ImportError as error:
        raise ValueError(f"features is {name!r}: {error}") from error


def _figures(pair: Pair, extractor: Features, world: Processes, most: int) -> dict[str, Any]:
    """What there is to say; complete in rank 0 only."""
    images, reference = pair.images, pair.reference
    known: Statistics | None = None
    with world.together():
        source = open_images(images)
        paired = holds_images(reference)
        target = open_images(reference) if paired else None
        if target is None:
            known = load_statistics(reference, extractor.name, dim=extractor.dim)
    here = measure(source, extractor, world, most if paired else 0)
    there = measure(target, extractor, world, most) if target is not None else None
    statistics = there.statistics if there is not None else known
    assert statistics is not None
    if world.rank:
        return {}
    found: dict[str, Any] = {
        "images": str(images),
        "reference": str(reference),
        "features": extractor.name,
        "count": here.statistics.count,
        "reference_count": statistics.count,
        "frechet_distance": frechet_from_statistics(here.statistics, statistics),
        "versions": versions("steindiff", "torch"),
    }
    if there is not None and here.sample is not None and there.sample is not None:
        found |= _of_samples(here.sample, there.sample)
    return found


def _of_samples(fake: Tensor, real: Tensor) -> dict[str, Any]:
    block = min(BLOCK, len(fake), len(real))
    return {
        "kernel_distance": {**kernel_distance(fake, real, block_size=block)._asdict()},
        "kernel_block": block,
        **prdc(real, fake, NEIGHBOURS)._asdict(),
        "neighbours": NEIGHBOURS,
        "compared": [len(fake), len(real)],
    }


def _table(found: dict[str, Any]) -> Table:
    rows = [["Fréchet distance", f"{found['frechet_distance']:.4f}"]]
    if "kernel_distance" in found:
        kernel = found["kernel_distance"]
        rows.append(["kernel distance (KID)", f"{kernel['mean']:.6f} ± {kernel['std']:.6f}"])
        rows += [[n, f"{found[n]:.4f}"] for n in ("precision", "recall", "density", "coverage")]
    return figures("Distance", ["metric", "value"], rows)
