"""The report of a diagnosis: a verdict for every statement, the figures, all in one page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..._files import write_text, write_whole
from ..report import Picture, make_template, moving, saved
from .chapters import CHAPTERS, Drawing, Found, Outcome, Verdict
from .run import read_diagnosis

SYMBOLS = {
    Outcome.HOLDS: ("✓", "better"),
    Outcome.CONDITIONS: ("◐", "neutral"),
    Outcome.FAILS: ("✕", "worse"),
    Outcome.UNDECIDED: ("–", "open"),
}
"""What stands before a verdict, and its class in the page's style."""


def write_report(folder: Path) -> Path:
    """Writes `report.html` and `figures/` from the `results.json` in `folder`.

    The page needs no other file and no network.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError, ValueError: as `read_diagnosis` does.
    """
    results = read_diagnosis(folder)
    (folder / "figures").mkdir(exist_ok=True)
    chapters = [_chapter(folder, name, part) for name, part in _in_order(results)]
    page = make_template("steindiff.lab.diagnosis", "report.html").render(
        setting=results["setting"],
        command=results["command"],
        complete=len(chapters) == len(CHAPTERS),
        chapters=chapters,
        counts=_counts(chapters),
        symbols=SYMBOLS,
        facts=_facts(results),
        seconds=sum(part["seconds"] for part in results["chapters"].values()),
    )
    path = folder / "report.html"
    write_text(path, page)
    return path


def verdicts(results: Found) -> dict[str, list[Verdict]]:
    """The verdicts of every chapter that was measured."""
    return {name: CHAPTERS[name].judge(part["found"]) for name, part in _in_order(results)}


def _in_order(results: Found) -> list[tuple[str, Found]]:
    """Chapters that were measured, in the report's order, whenever they were."""
    return [(name, results["chapters"][name]) for name in CHAPTERS if name in results["chapters"]]


def _chapter(folder: Path, name: str, part: Found) -> dict[str, Any]:
    chapter = CHAPTERS[name]
    return {
        "name": name,
        "title": chapter.title,
        "about": chapter.about,
        "verdicts": chapter.judge(part["found"]),
        "drawings": [
            {"caption": drawing.caption, "image": _picture(folder, drawing)}
            for drawing in chapter.draw(part["found"])
        ],
    }


def _picture(folder: Path, drawing: Drawing) -> Picture:
    content = drawing.content
    if isinstance(content, bytes):
        write_whole(folder / "figures" / f"{drawing.name}.gif", lambda file: file.write(content))
        return moving(content, drawing.caption)
    return saved(folder / "figures" / f"{drawing.name}.png", content, drawing.caption)


def _counts(chapters: list[dict[str, Any]]) -> list[tuple[Outcome, int]]:
    found = [verdict.outcome for chapter in chapters for verdict in chapter["verdicts"]]
    return [(outcome, found.count(outcome)) for outcome in Outcome if outcome in found]


def _facts(results: Found) -> list[tuple[str, str]]:
    setting = results["setting"]
    sizes = "; ".join(f"{name}: {value}" for name, value in setting["sizes"].items())
    facts = [(name, str(setting[name])) for name in ("schedule", "sigma_min", "sigma_max")]
    facts += [("first seed", str(setting["first_seed"])), ("sizes", sizes)]
    for name in ("versions", "machine"):
        facts.append((name, "; ".join(f"{k}: {v}" for k, v in results[name].items())))
    return facts
