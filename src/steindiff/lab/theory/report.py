"""The report of a diagnosis: a verdict for every statement, the figures, all in one page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..._files import write_text
from ..folders import claim
from ..report import make_template, saved
from .chapters import CHAPTERS
from .results import NAME, Part, Results, read_diagnosis
from .statement import Chapter, Grade, Verdict

SYMBOLS = {
    Grade.HOLDS: ("✓", "better"),
    Grade.CONDITIONS: ("◐", "neutral"),
    Grade.FAILS: ("✕", "worse"),
    Grade.UNDECIDED: ("–", "open"),
}
"""What stands before a verdict, and its class in the page's style."""


def write_report(folder: Path) -> Path:
    """Writes `report.html` and `figures/` from the `results.json` in `folder`.

    The page needs no other file and no network; the folder has to be that of a diagnosis.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError, ValueError: as `read_diagnosis` and `claim` do, and for numbers that
            cannot be judged.
    """
    results = read_diagnosis(folder)
    claim(folder, "diagnosis", overwrite=False)
    (folder / "figures").mkdir(exist_ok=True)
    chapters = [_chapter(folder, name, part) for name, part in _in_order(results)]
    page = make_template("steindiff.lab.theory", "report.html").render(
        setting=results["setting"],
        command=results["command"],
        complete=len(chapters) == len(CHAPTERS),
        chapters=chapters,
        counts=_counts(chapters),
        symbols=SYMBOLS,
        facts=_facts(results),
        seconds=sum(part["seconds"] for _, part in _in_order(results)),
    )
    path = folder / "report.html"
    write_text(path, page)
    return path


def verdicts(
    results: Results, chapters: Mapping[str, Chapter] = CHAPTERS
) -> dict[str, list[Verdict]]:
    """The verdicts of every one of `chapters` that was measured."""
    return {
        name: chapters[name].judge(part["found"]) for name, part in _in_order(results, chapters)
    }


def _in_order(
    results: Results, chapters: Mapping[str, Chapter] = CHAPTERS
) -> list[tuple[str, Part]]:
    """Chapters that were measured, in the report's order, whenever they were."""
    return [(name, results["chapters"][name]) for name in chapters if name in results["chapters"]]


def _chapter(folder: Path, name: str, part: Part) -> dict[str, Any]:
    chapter = CHAPTERS[name]
    try:
        judged, drawn = chapter.judge(part["found"]), chapter.draw(part["found"])
    except (ArithmeticError, LookupError, ValueError) as error:
        raise ValueError(
            f"{folder / NAME}: chapter {name!r} holds numbers that cannot be judged "
            f"({type(error).__name__}: {error})"
        ) from error
    return {
        "name": name,
        "title": chapter.title,
        "about": chapter.about,
        "verdicts": judged,
        "drawings": [
            {"caption": text, "image": saved(folder / "figures" / f"{file}.png", figure, text)}
            for file, text, figure in drawn
        ],
    }


def _counts(chapters: list[dict[str, Any]]) -> list[tuple[Grade, int]]:
    found = [verdict.grade for chapter in chapters for verdict in chapter["verdicts"]]
    return [(grade, found.count(grade)) for grade in Grade if grade in found]


def _facts(results: Results) -> list[tuple[str, str]]:
    setting = results["setting"]
    sizes = "; ".join(f"{name}: {value}" for name, value in setting["sizes"].items())
    return [
        ("schedule", setting["schedule"]),
        ("sigma_min", str(setting["sigma_min"])),
        ("sigma_max", str(setting["sigma_max"])),
        ("first seed", str(setting["first_seed"])),
        ("sizes", sizes),
        ("versions", "; ".join(f"{k}: {v}" for k, v in results["versions"].items())),
        ("machine", "; ".join(f"{k}: {v}" for k, v in results["machine"].items())),
    ]
