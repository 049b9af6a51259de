"""`steindiff fid-stats` and `steindiff evaluate`: how far a set of images is from another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from ..options import MODEL, FormatOption, OverwriteOption, option

ImagesArgument = Annotated[
    Path,
    typer.Argument(
        help="A folder of steindiff generate; PNG and JPEG files in a folder; an .npz with images; "
        ".tar files."
    ),
]


@dataclass(frozen=True, kw_only=True)
class Images:
    """The images."""

    images: ImagesArgument


@dataclass(frozen=True, kw_only=True)
class Pair(Images):
    """The images and what they are held against."""

    reference: Annotated[
        Path, typer.Argument(help="A file of steindiff fid-stats, or images again.")
    ]


@dataclass(frozen=True, kw_only=True)
class By:
    """What the images are seen by."""

    panel: ClassVar[str] = "Measuring"
    features: Annotated[
        str, option("Shipped model, pixels, or inception:PATH with the weights.")
    ] = MODEL


@dataclass(frozen=True, kw_only=True)
class Compared(By):
    """The same, and how much is compared."""

    most: Annotated[
        int,
        option(
            "Images of each set, drawn at random, that KID, precision, recall, density and "
            "coverage compare; their features are kept in memory, at most 2 GiB a set.",
            min=6,
        ),
    ] = 10_000


@dataclass(frozen=True, kw_only=True)
class StatisticsFile:
    """Where the statistics go."""

    panel: ClassVar[str] = "Output"
    out: Annotated[Path, option("NPZ file for mean and covariance.")]
    overwrite: OverwriteOption = False


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Where the figures go, and how they are shown."""

    panel: ClassVar[str] = "Output"
    json: Annotated[Path | None, option("JSON file for the figures.", "no file")] = None
    format: FormatOption = "table"
    overwrite: OverwriteOption = False


def fid_stats(images: Images, by: By, file: StatisticsFile) -> None:
    """Save mean and covariance of the features of a set of images, as a reference."""
    from ..evaluate import fid_stats

    fid_stats(images.images, by.features, file)


def evaluate(pair: Pair, compared: Compared, figures: Figures) -> None:
    """Compare a set of images with a reference.

    The Fréchet distance, of all images; with images as the reference also the kernel distance
    (KID), precision, recall, density and coverage, of a sample. Smaller distances are better. With
    the features of a shipped model these are not the FID and KID of the literature, which are of
    InceptionV3.
    """
    from ..evaluate import evaluate

    evaluate(pair, compared, figures)
