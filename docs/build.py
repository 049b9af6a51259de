"""Writes the tables of README.md and docs/ from the committed result files.

    python docs/build.py            (make docs)
    python docs/build.py --check    fails, and writes nothing, where a page has another table

A table stands between `<!-- table NAME -->` and `<!-- end -->`; nothing else is touched.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

from diffusers_schedulers import SchedulerCell, SchedulerResults
from overhead import alternatives_table, solvers_table
from steindiff.lab.bench.judging import Effect, coefficients_of, effect_of
from steindiff.lab.bench.results import CellRecord, CellResult, Measured, read_results
from steindiff.lab.bench.tables import (
    best_table,
    cells_table,
    change_entry,
    coefficients_table,
    distance_entry,
    figure,
    groups_table,
)
from steindiff.lab.bench.titles import schedule_title, solver_title
from steindiff.lab.tables import Entry, plain_table, render
from steindiff.lab.theory import Grade, Verdict
from steindiff.lab.theory import verdicts as verdicts_of
from steindiff.lab.theory.results import Results, read_diagnosis
from steindiff.lab.typed import read_json

DOCS = Path(__file__).parent
sys.path += [str(DOCS / "figures"), str(DOCS.parent / "research")]

import grid_tables  # noqa: E402  (scripts beside this one)
import plane  # noqa: E402
import recipe_tables  # noqa: E402

RESULTS = DOCS / "results"
RESEARCH = DOCS.parent / "research" / "results"
RULES = ["end", "energy"]
MOVED = {
    r"steindiff bench diffusers (.*)": r"python benchmarks/diffusers_schedulers.py \1",
    r"steindiff bench overhead (.*)": r"python benchmarks/overhead.py \1",
    r"steindiff diagnose --model \S+ (.*) --only plane --out (\S+)":
        r"python docs/figures/plane.py \2 \1",
}  # fmt: skip


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str | Entry]]) -> str:
    return render(plain_table(headings, rows), "markdown")


def paper(**where: Any) -> list[CellResult]:
    """Cells of the committed bench whose fields have these values."""
    cells = read_results(RESULTS / "paper").cells
    return [
        cell for cell in cells if all(getattr(cell, key) == value for key, value in where.items())
    ]


def today(command: str) -> str:
    """The command that made a result file, as it is called now: some of them have moved."""
    for before, now in MOVED.items():
        command = re.sub(f"^{before}$", now, command)
    return command


def images(guidance: float | None = None) -> list[CellResult]:
    where = {} if guidance is None else {"guidance": guidance}
    return paper(model="fashion-mnist", **where)


def mixtures() -> list[CellResult]:
    return [cell for cell in paper() if cell.model.startswith("mixture")]


MARKED = "Bold: the 95% interval of a paired bootstrap lies on one side."
"""Stands under tables of changes."""


def choose() -> str:
    """The recommended settings where they were measured."""
    found = read_json(RESULTS / "diffusers.json", SchedulerResults).cells
    places = {
        "UniPC-2 on log-SNR, guidance 2": paper(
            model="fashion-mnist", guidance=2.0, solver="unipc:2", schedule="log_snr"
        ),
        "diffusers' UniPC-2 on flow levels, shift 3, no guidance": [
            cell for cell in found if cell.solver == "flow UniPC-2, shift 3"
        ],
    }
    rows: list[Sequence[str | Entry]] = [*recipe_tables.changes("fashion-mnist")]
    rows += [
        [label, str(cell.nfe), *_pair(cell)] for label, cells in places.items() for cell in cells
    ]
    return f"{markdown(['setting', 'NFE', 'alone → with SteinDiff', 'change'], rows)}\n\n{MARKED}"


def verdicts() -> str:
    """In how many cells it helps, does nothing, harms: in one sentence."""
    parts = []
    for name, cells in (
        ("flow levels in even steps", [c for c in images(1.0) if c.schedule == "simple"]),
        ("levels down to .002", [c for c in images(1.0) if c.schedule != "simple"]),
        ("guidance 2", images(2.0)),
        ("guidance 4", images(4.0)),
        ("mixtures", mixtures()),
    ):
        found = [effect_of(cell, "energy") for cell in cells]
        better, worse = found.count(Effect.BETTER), found.count(Effect.WORSE)
        parts.append(f"{name} {better} / {worse} of {len(cells)}")
    return "Cells better / worse, by their 95% intervals: " + "; ".join(parts) + "."


def worse() -> str:
    """The cells that relaxing harms."""
    cells = [cell for cell in paper() if effect_of(cell, "energy") is Effect.WORSE]
    cells.sort(key=lambda cell: -_ratio(cell))
    return table(cells, ("model", "guidance", "schedule", "nfe"))


def table(cells: Sequence[CellResult], keys: Sequence[str]) -> str:
    return render(cells_table(cells, RULES, keys), "markdown")


def grouped(cells: Sequence[CellResult]) -> str:
    return render(groups_table(cells), "markdown")


def best(usual: bool) -> str:
    found = best_table(images(), usual=usual)
    return markdown(found.headings[1:], [row[1:] for row in found.rows])


def ablated() -> list[CellResult]:
    return read_results(RESULTS / "ablation").cells


def ablation() -> str:
    """Every rule and control over the cells of the ablation."""
    cells = ablated()
    rules = [name for name in coefficients_of(cells) if name != "base"]
    found = coefficients_table(cells, rules)
    return markdown(["rule", *found.headings[1:]], found.rows)


def ablation_cells() -> str:
    """The ablation's cells, under the rules that say most."""
    found = cells_table(
        ablated(),
        [
            "energy",
            "energy:law=one",
            "energy:law=two",
            "energy:gift=none",
            "constant",
            "oracle",
        ],
        ("model", "guidance", "schedule", "nfe"),
    )
    return render(found, "markdown")


def gains() -> str:
    """Change of the distance by a noise excess that one step leaves behind."""
    found = json.loads((RESEARCH / "response.json").read_text())
    names = list(found["places"][0]["steps"][0]["change"])
    rows = []
    for place in found["places"]:
        where = place["place"]
        for i, step in enumerate(place["steps"]):
            first = (
                f"{solver_title(where['solver'])}, {where['network']}, "
                f"{schedule_title(where['schedule'])}, {where['nfe']} NFE"
            )
            change = [_percent(1 + step["change"][name]) for name in names]
            span = f"{figure(step['sigma'])} → {figure(step['sigma_next'])}"
            rows.append([first if i == 0 else "", span, *change])
    heading = ["solver", "step", *(f"g = {name}" for name in names)]
    return f"{markdown(heading, rows)}\n\nCommand: `{found['command']}`"


def _measured(cell: CellRecord, rule: str) -> Measured:
    found = cell.coefficients[rule]
    assert isinstance(found, Measured), cell.id
    return found


def _metrics(cell: CellRecord, rule: str) -> Any:
    """The metrics; typed as anything, since which of them there are depends on the model."""
    return _measured(cell, rule).metrics


def _distance(cell: CellRecord, rule: str) -> float:
    return _metrics(cell, rule).fd.value


def _ratio(cell: CellRecord) -> float:
    ratio = _measured(cell, "energy").ratio
    assert ratio is not None, cell.id
    return ratio.value


def _percent(ratio: float) -> str:
    """A ratio as a change; large ones as a factor."""
    return f"×{ratio:.3g}" if ratio > 3 else f"{100 * (ratio - 1):+.0f}%"


def errors() -> str:
    """What is the solver's and what the model's, where the exact denoiser is known."""
    rows: list[list[str | Entry]] = []
    for cell in mixtures():
        if cell.fine_to_exact is None:
            continue
        base, relaxed = (_metrics(cell, rule) for rule in ("base", "energy"))
        rows.append(
            [
                solver_title(cell.solver),
                distance_entry(cell, "base").text,
                change_entry(cell, "energy"),
                figure(base.fd_to_exact),
                figure(relaxed.fd_to_exact),
                figure(cell.fine_to_exact),
            ]
        )
    headings = [
        "solver", "solver's error (FD to the same model's fine solution)", "with SteinDiff",
        "FD to the exact model", "with SteinDiff", "left at unlimited steps",
    ]  # fmt: skip
    return markdown(headings, rows)


def others() -> str:
    """The other metrics of the usual cells at 5 NFE, base -> relaxed."""
    rows = []
    for cell in images(1.0):
        if not (cell.usual and cell.nfe == 5):
            continue
        base, relaxed = (_metrics(cell, rule) for rule in ("base", "energy"))
        pairs = [
            (getattr(base, key), getattr(relaxed, key))
            for key in ("fd_infinity", "sliced_wasserstein", "rmse", "precision", "recall")
        ]
        pairs += [(base.kid.value, relaxed.kid.value)]
        pairs += [(base.modes.kl, relaxed.modes.kl)]
        pairs += [(base.variance_ratio, relaxed.variance_ratio)]
        shown = [f"{figure(a)} → {figure(b)}" for a, b in pairs]
        label = f"{base.as_label:.1%} → {relaxed.as_label:.1%}"
        rows.append([solver_title(cell.solver), *shown, label])
    headings = [
        "solver", "FD∞", "sliced W", "RMSE", "precision", "recall", "KID", "KL of classes",
        "variance ratio", "as label",
    ]  # fmt: skip
    return markdown(headings, rows)


def source() -> str:
    found = read_results(RESULTS / "paper")
    machine = found.machine
    count = {cell.samples for cell in found.cells}
    seeds = {cell.seeds for cell in found.cells}
    return (
        f"{len(found.cells)} cells, n = {', '.join(map(str, sorted(count)))} each, seeds "
        f"{', '.join(sorted(seeds))}; intervals: {found.interval}; torch "
        f"{found.versions['torch']}, {machine.cpu}, {machine.threads} threads, "
        f"{math.ceil(found.seconds / 60)} minutes. Command:\n\n    {found.command}"
    )


def overhead() -> str:
    found = json.loads((RESULTS / "overhead.json").read_text())
    shown = solvers_table(found)
    return (
        f"{render(shown, 'markdown')}\n\n{shown.title}. Command:\n\n    {today(found['command'])}"
    )


def step_cost() -> str:
    """What relaxing a step of one model call takes beside the shipped network, in a sentence."""
    found = json.loads((RESULTS / "overhead.json").read_text())
    solvers = [one for one in found["solvers"].values() if one["calls_per_step"] == 1]
    times = [1000 * one["seconds_per_step"]["relaxation"]["median"] for one in solvers]
    shares = [100 * one["share"]["relaxation"] for one in solvers]
    setting, place = found["setting"], found["machine"]
    samples = f"{setting['batch']} samples of {'×'.join(map(str, setting['sample_shape']))}"
    return (
        f"Measured with the shipped network ({samples}, {place['gpu'] or place['cpu']}, "
        f"{place['threads']} threads): {min(times):.1f} to {max(times):.1f} ms a step, which is "
        f"{min(shares):.1f} to {max(shares):.1f}% of it."
    )


def alternatives() -> str:
    found = json.loads((RESULTS / "overhead.json").read_text())
    return render(alternatives_table(found), "markdown")


def peers(name: str, *nfes: int) -> str:
    """Schedulers of diffusers, plain and relaxed, side by side for each NFE."""
    found = read_json(RESULTS / f"{name}.json", SchedulerResults)
    cells = {(cell.solver, cell.nfe): cell for cell in found.cells}
    rows = []
    for solver in dict.fromkeys(cell.solver for cell in found.cells):
        row: list[str | Entry] = [solver]
        for nfe in nfes:
            cell = cells.get((solver, nfe))
            row += _peer(cell, nfe) if cell else ["—", "—"]
        rows.append(row)
    headings = ["scheduler", *(text for nfe in nfes for text in (f"{nfe} NFE", "change [95%]"))]
    judged = [effect_of(cell, "energy") for cell in found.cells]
    better, worse = judged.count(Effect.BETTER), judged.count(Effect.WORSE)
    mean = math.exp(sum(math.log(_ratio(cell)) for cell in found.cells) / len(judged))
    setting = found.setting
    note = (
        f"{_best_peers(found.cells, nfes)} {len(judged)} cells: better in {better}, worse in "
        f"{worse}, no significant difference in "
        f"{len(judged) - better - worse}; geometric mean of the change {_percent(mean)}. "
        f"n = {setting.samples}, seeds {setting.seeds}, guidance {setting.guidance:g}; "
        f"reference: {found.reference}; intervals: {found.interval}; diffusers "
        f"{found.versions['diffusers']}. In parentheses: evaluations where the steps of the "
        f"scheduler do not make exactly as many. Command:\n\n    {today(found.command)}"
    )
    return f"{markdown(headings, rows)}\n\n{note}"


def _best_peers(cells: Sequence[SchedulerCell], nfes: Sequence[int]) -> str:
    """The best plain and the best relaxed scheduler of each NFE."""
    parts = []
    for nfe in nfes:
        peers = [cell for cell in cells if cell.nfe == nfe]
        best = [min(peers, key=lambda cell: _distance(cell, rule)) for rule in ("base", "energy")]
        plain, relaxed = (_distance(c, r) for c, r in zip(best, ("base", "energy"), strict=True))
        parts.append(
            f"{nfe} NFE: {figure(plain)} ({best[0].solver}), relaxed {figure(relaxed)} "
            f"({best[1].solver}), {_percent(relaxed / plain)}"
        )
    return f"Best against best, {'; '.join(parts)}."


def _peer(cell: SchedulerCell, nfe: int) -> list[str | Entry]:
    base, relaxed = (figure(_distance(cell, rule)) for rule in ("base", "energy"))
    calls = "" if cell.calls == nfe else f" ({cell.calls})"
    return [f"{base} → {relaxed}{calls}", change_entry(cell, "energy")]


def _pair(cell: CellRecord) -> list[str | Entry]:
    """The distances of a cell, alone and relaxed, and the change."""
    base, relaxed = (figure(_distance(cell, rule)) for rule in ("base", "energy"))
    return [f"{base} → {relaxed}", change_entry(cell, "energy")]


def schedulers() -> str:
    """What the adapter supports."""
    from steindiff.adapters.diffusers import SUPPORTED

    rows = [[f"`{name}`", *text.split(": ", 1)] for name, text in SUPPORTED.items()]
    return markdown(["scheduler", "coordinates", "its step"], rows)


def refused() -> str:
    """What the adapter refuses, and why."""
    from steindiff.adapters.diffusers import REFUSED

    return markdown(["scheduler", "it"], [[f"`{name}`", why] for name, why in REFUSED.items()])


THEORY = RESULTS / "theory"
RUNS = {
    "fashion-mnist-dpmpp_2m": "DPM++ 2M, network",
    "fashion-mnist-euler": "Euler, network",
    "mixture-dpmpp_2m": "DPM++ 2M, mixture",
    "mixture-euler": "Euler, mixture",
}
"""The diagnoses that docs/theory/measured.md shows side by side, the first with all its figures."""
_SHORT = {
    Grade.HOLDS: "holds",
    Grade.CONDITIONS: "conditions",
    Grade.FAILS: "**fails**",
    Grade.UNDECIDED: "open",
}


def diagnosis(folder: Path) -> Results:
    """Results of `steindiff diagnose`, and of docs/figures/plane.py."""
    return read_diagnosis(folder, plane.ALL)


def theory_verdicts(name: str) -> dict[str, list[Verdict]]:
    """The verdicts of a run, the plane's among them."""
    return verdicts_of(diagnosis(THEORY / name), plane.ALL)


def theory_summary() -> str:
    """How many statements hold in each run, and which fail in all of them."""
    found = {name: theory_verdicts(name) for name in RUNS}
    rows = []
    for name, title_ in RUNS.items():
        grades = [v.grade for chapter in found[name].values() for v in chapter]
        rows.append([title_, *(str(grades.count(grade)) for grade in _SHORT)])
    headings = ["run, 5 steps", "holds", "holds under conditions", "fails", "not decided"]
    everywhere = [
        _plain(together[0].statement)
        for chapter in plane.ALL
        for together in zip(*(found[name][chapter] for name in RUNS), strict=True)
        if all(v.grade is Grade.FAILS for v in together)
    ]
    listed = "\n".join(f"- {statement}" for statement in everywhere)
    return f"{markdown(headings, rows)}\n\nFails in all four runs:\n\n{listed}"


def theory(chapter: str) -> str:
    """A chapter's statements: what was measured in the first run, and the verdict of each run."""
    found = [theory_verdicts(name)[chapter] for name in RUNS]
    rows = [
        [_plain(together[0].statement), _plain(together[0].found),
         *(_SHORT[v.grade] for v in together)]
        for together in zip(*found, strict=True)
    ]  # fmt: skip
    return markdown(["statement", f"measured ({next(iter(RUNS.values()))})", *RUNS.values()], rows)


def theory_modes() -> str:
    """Variance within modes and what is missed, on known mixtures of all sizes."""
    rows = []
    for folder in sorted(THEORY.glob("modes-*"), key=_mixture_order):
        found = diagnosis(folder)["chapters"]["modes"]["found"]
        modes = found["rows"][0]["base"]["modes"]
        lost = [
            "/".join(str(modes - row[kind]["covered"]) for kind in ("base", "relaxed"))
            for row in found["rows"]
        ]
        shown = [f"{r['base']['within']:.3f} → {r['relaxed']['within']:.3f}" for r in found["rows"]]
        shares = [f"{r['base']['kl']:.3g} → {r['relaxed']['kl']:.3g}" for r in found["rows"]]
        name = f"{found['what']}, {solver_title(found['solver'])}"
        rows.append([name, "variance within", *shown, f"{found['fine']['within']:.3f}"])
        rows.append(["", "KL of the shares", *shares, f"{found['fine']['kl']:.3g}"])
        missing = str(modes - found["fine"]["covered"])
        rows.append(["", "modes missed", *(part.replace("/", " → ") for part in lost), missing])
    steps = [str(row["steps"]) for row in found["rows"]]
    headings = ["mixture", "", *(f"{count} steps" for count in steps), "fine solution"]
    return (
        f"{markdown(headings, rows)}\n\nBase → relaxed; {found['samples']} samples, seeds from 0."
    )


def theory_trust() -> str:
    """Energy and variance at the end with the trust region and without it."""
    rows = []
    for model in ("fashion-mnist", "mixture"):
        for name, rule in ((f"{model}-euler", "energy"), (f"energy-{model}", "no trust region")):
            table = diagnosis(THEORY / name)["chapters"]["energy"]["found"]["tables"]["euler"]
            ends = {
                kind: (table[kind]["energy"][-1]["value"], table[kind]["variance"][-1])
                for kind in ("base", "relaxed")
            }
            shown = [
                f"{a:.3f} → {b:.3f}" for a, b in zip(ends["base"], ends["relaxed"], strict=True)
            ]
            rows.append([model, rule, *shown])
    return markdown(["model, Euler, 5 steps", "rule", "energy", "variance"], rows)


def _mixture_order(folder: Path) -> tuple[int, str]:
    return int(re.findall(r"dim=(\d+)", folder.name)[0]), folder.name


def theory_commands() -> str:
    """The command of every committed diagnosis, and what it took."""
    lines = []
    for folder in sorted(path for path in THEORY.iterdir() if path.is_dir()):
        found = diagnosis(folder)
        seconds = sum(part["seconds"] for part in found["chapters"].values())
        lines.append(f"    {today(found['command'])}  # {seconds:.0f} s")
    machine = found["machine"]
    place = f"{machine['cpu']}, {machine['threads']} threads, torch {found['versions']['torch']}"
    return "\n".join([f"{place}:", "", *lines])


def _plain(text: str) -> str:
    """Text that Markdown leaves as it is; a backslash before "<" is none to every reader of it."""
    return text.replace("*", r"\*").replace("<", "&lt;")


TABLES: dict[str, Callable[[], str]] = {
    **recipe_tables.TABLES,
    **grid_tables.TABLES,
    **{f"theory-{name}": partial(theory, name) for name in plane.ALL},
    "theory-summary": theory_summary,
    "theory-mixtures": theory_modes,
    "theory-trust": theory_trust,
    "theory-commands": theory_commands,
    "diffusers": lambda: peers("diffusers", 5, 8, 12),
    "diffusers-guided": lambda: peers("diffusers-guided", 5, 8),
    "schedulers": schedulers,
    "refused": refused,
    "choose": choose,
    "verdicts": verdicts,
    "worse": worse,
    "best": lambda: best(usual=False),
    "best-usual": lambda: best(usual=True),
    "groups": lambda: grouped(paper()),
    "ablation": ablation,
    "ablation-cells": ablation_cells,
    "gains": gains,
    "others": others,
    "guidance-1": lambda: table(images(1.0), ("schedule", "nfe")),
    "guidance-2": lambda: table(images(2.0), ("schedule", "nfe")),
    "guidance-4": lambda: table(images(4.0), ("schedule", "nfe")),
    "mixtures": lambda: table(mixtures(), ("model",)),
    "errors": errors,
    "source": source,
    "overhead": overhead,
    "step-cost": step_cost,
    "overhead-alternatives": alternatives,
}


def main() -> None:
    check, stale = "--check" in sys.argv[1:], []
    for page in (DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md"))):
        text = page.read_text()
        if "<!-- table" not in text:
            continue
        new = re.sub(
            r"<!-- table ([\w-]+) -->.*?<!-- end -->",
            lambda match: f"<!-- table {match[1]} -->\n{TABLES[match[1]]()}\n<!-- end -->",
            text,
            flags=re.DOTALL,
        )
        if check:
            stale += [str(page)] if new != text else []
            continue
        page.write_text(new)
        print(f"{page}: {len(re.findall('<!-- table', new))} tables")
    if stale:
        sys.exit(f"python docs/build.py would change {', '.join(stale)}")


if __name__ == "__main__":
    main()
