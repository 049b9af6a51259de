"""Writes the tables of README.md and docs/results.md from the committed result files.

    python docs/build.py            (make docs)

A table stands between `<!-- table NAME -->` and `<!-- end -->`; nothing else is touched.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from steindiff.bench.verdicts import title

DOCS = Path(__file__).parent
RESULTS = DOCS / "results"
NAMES = {"karras": "EDM (ρ=7)", "log_snr": "log-SNR"}


def load(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / name / "results.json").read_text())


def verdict(ratio: dict[str, float]) -> str:
    change = f"{100 * (ratio['value'] - 1):+.0f}%"
    interval = f"[{100 * (ratio['low'] - 1):+.0f}, {100 * (ratio['high'] - 1):+.0f}]"
    return (
        f"**{change}** {interval}"
        if ratio["high"] < 1 or ratio["low"] > 1
        else f"{change} {interval}"
    )


def row(cell: dict[str, Any]) -> list[str]:
    base, relaxed = cell["base"], cell["relaxed"]
    schedule: str = cell["schedule"]
    return [
        title(cell["solver"]),
        NAMES.get(schedule, schedule),
        str(cell["nfe"]),
        f"{base['frechet_distance']['value']:.2f}",
        f"{relaxed['frechet_distance']['value']:.2f}",
        verdict(cell["ratio"]),
        f"{base['rmse_to_fine']:.3f} → {relaxed['rmse_to_fine']:.3f}",
        f"{base['classified_as_label']:.1%} → {relaxed['classified_as_label']:.1%}",
    ]


HEADINGS = ["solver", "schedule", "NFE", "base", "relaxed", "change [95%]", "RMSE", "as label"]


def markdown(headings: list[str], rows: list[list[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def full_table(name: str) -> str:
    results = load(name)
    rows = [row(cell) for cell in results["cells"].values()]
    setting = results["setting"]
    note = (
        f"n = {setting['samples']}, seeds {results['seeds'][0]}–{results['seeds'][1]}, guidance "
        f"{setting['guidance']:g}, torch {results['versions']['torch']}. Intervals: "
        f"{results['interval']}. Command:\n\n    {results['command']}"
    )
    return f"{markdown(HEADINGS, rows)}\n\n{note}"


def short_table(name: str) -> str:
    """EDM schedule, 5 NFE: what the demo shows."""
    cells = [
        cell
        for cell in load(name)["cells"].values()
        if (cell["schedule"], cell["nfe"]) == ("karras", 5)
    ]
    rows = [[*row(cell)[:1], *row(cell)[3:6]] for cell in cells]
    return markdown(["5 NFE, EDM schedule", "alone", "with SteinDiff", "change [95%]"], rows)


def summary(name: str) -> str:
    """Geometric means, the worst cell, and best against best, per schedule and NFE."""
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for cell in load(name)["cells"].values():
        groups.setdefault((cell["schedule"], cell["nfe"]), []).append(cell)
    rows = []
    for (schedule, nfe), cells in groups.items():
        ratios = [cell["ratio"]["value"] for cell in cells]
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        worst = max(cells, key=lambda cell: cell["ratio"]["value"])
        best = {
            key: min(cells, key=lambda cell: cell[key]["frechet_distance"]["value"])
            for key in ("base", "relaxed")
        }
        value = {key: best[key][key]["frechet_distance"]["value"] for key in best}
        rows.append(
            [
                NAMES.get(schedule, schedule),
                str(nfe),
                f"{100 * (mean - 1):+.0f}%",
                f"{title(worst['solver'])} {100 * (worst['ratio']['value'] - 1):+.0f}%",
                f"{title(best['base']['solver'])} {value['base']:.2f}",
                f"{title(best['relaxed']['solver'])} {value['relaxed']:.2f}",
                f"{100 * (value['relaxed'] / value['base'] - 1):+.0f}%",
            ]
        )
    headings = [
        "schedule",
        "NFE",
        "geometric mean",
        "worst cell",
        "best base",
        "best relaxed",
        "change",
    ]
    return markdown(headings, rows)


def overhead() -> str:
    found = json.loads((RESULTS / "overhead.json").read_text())
    rows = [
        [
            title(solver),
            f"{1000 * x['base_median_s']:.0f} ms",
            f"{x['ratio_median']:.3f}",
            f"{x['ratio_min']:.3f} to {x['ratio_max']:.3f}",
            f"{x['ratio_of_minima']:.3f}",
        ]
        for solver, x in found["solvers"].items()
    ]
    headings = ["solver", "base, median", "relaxed/base, median of pairs", "range", "of the minima"]
    return markdown(headings, rows)


TABLES: dict[str, Callable[[], str]] = {
    "short": lambda: short_table("guidance-1"),
    "summary": lambda: summary("guidance-1"),
    "full": lambda: full_table("guidance-1"),
    "full-guided": lambda: full_table("guidance-2"),
    "overhead": overhead,
}


def main() -> None:
    for page in (DOCS.parent / "README.md", DOCS / "results.md"):
        text = page.read_text()
        new = re.sub(
            r"<!-- table ([\w-]+) -->.*?<!-- end -->",
            lambda match: f"<!-- table {match[1]} -->\n{TABLES[match[1]]()}\n<!-- end -->",
            text,
            flags=re.DOTALL,
        )
        page.write_text(new)
        print(f"{page}: {len(re.findall('<!-- table', new))} tables")


if __name__ == "__main__":
    main()
