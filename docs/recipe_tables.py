"""The tables of the recipe and of tuning, from research/results/recipe.json and tune.json."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from steindiff.lab.bench.titles import schedule_title, solver_title
from steindiff.lab.tables import plain_table, render

RESULTS = Path(__file__).parents[1] / "research" / "results" / "recipe.json"
TUNED = RESULTS.with_name("tune.json")
FIXED, GUIDED = "ipndm:4 on karras", "unipc:2 on vp_time"  # named in advance; the best one guided
PRIOR, SEARCHED = RESULTS.with_name("prior.json"), RESULTS.with_name("search.json")
LAST = RESULTS.with_name("last.json")
TITLES = {
    "fashion-mnist": "clothes, U-Net (shipped)",
    "digits-mixer": "digits, MLP-mixer",
    "emoji-transformer": "emoji, transformer",
    "photos-resnet": "photographs, ResNet",
    "latent-emoji": "emoji latents, flow transformer",
}
PARTS = {
    "recipe": "`steps=N`",
    "without end": "without the end",
    "without coefficient": "without the coefficient",
    "levels alone": "levels and solver alone",
    FIXED: "iPNDM-4 on Karras, plain",
    GUIDED: "UniPC-2 on VP time, plain",
}

TUNINGS = {
    "recipe": "`steps=N`",
    "chosen": "tuned, `fit=False`",
    "fitted": "tuned",
    "gits": "GITS, iPNDM-4",
}
GUIDED_TUNINGS = {**TUNINGS, "chosen": "tuned", "fitted": "tuned, `fit=True`"}
"""With guidance nothing is fitted unless asked for."""

PRIORS = {
    "steps=N": "`steps=N`",
    "recipe": "recipe",
    "recipe, relaxed": "recipe, relaxed",
}
USUAL = {"karras": "Karras", "log_snr": "log-SNR", "flow 3": "flow shift 3"}

LASTS = {
    "v|unipc:2|g0|steady": "relaxed, *steady*",
    "v|unipc:2|g0|none": "relaxed",
    "v|unipc:2|none|steady": "*steady*",
    "v|unipc:2|none|none": "neither",
    "u1.35|unipc:2|g0|none": "lower, relaxed",
    "l1.25|ipndm:3|g0|none": "iPNDM-3, relaxed",
}
MORE = {
    "s0^2|ipndm:3|g.2|stein": "0, to $0.3\\,(5/N)^2$",
    "s0^1.5|ipndm:3|g.2|stein": "0",
    "s0.25^1.5|ipndm:3|g.2|stein": "¼",
    "s0.5^1.5|ipndm:3|g.2|stein": "½",
    "s0.75^1.5|ipndm:3|g.2|stein": "¾",
    "s1^1.5|ipndm:3|g.2|stein": "1",
    "s0.5^1.5|ipndm:3|lesser|stein": "½, lesser of two lacks",
}

Cells = Mapping[str, Mapping[str, Any]]


def _places(guidance: float) -> Iterator[tuple[str, int, Cells]]:
    """Network, steps and cells of every place at this guidance."""
    content = json.loads(RESULTS.read_text())["cells"]
    for place, cells in content.items():
        network, scale, steps, *ranked = place.split()
        if not ranked and float(scale) == guidance and any(" on " in name for name in cells):
            yield network, int(steps), cells


def _sets(cells: Cells) -> list[str]:
    return [key for key in next(iter(cells.values())) if key not in ("rmse", "about")]


def ratios(cells: Cells, name: str) -> list[float]:
    """To the best plain choice with hindsight, in each feature set by itself."""
    return _ratios(cells, cells[name])


def _ratios(cells: Cells, figures: Mapping[str, float]) -> list[float]:
    plain = [one for key, one in cells.items() if " on " in key]
    return [figures[key] / min(one[key] for one in plain) for key in _sets(cells)]


def named() -> str:
    """`steps=N` in more calls over plain choices by name; nothing was ranked there."""
    rows = []
    for place, cells in json.loads(RESULTS.read_text())["cells"].items():
        network, _, steps, *kind = place.split()
        if kind != ["named"] or not {"recipe", GUIDED} <= cells.keys():
            continue
        found, sets = cells["recipe"], _sets(cells)
        over = [
            _pair([found[key] / cells[name][key] for key in sets]) if name in cells else ""
            for name in (GUIDED, FIXED)
        ]
        error = found["rmse"] / cells[GUIDED]["rmse"]
        label = f"{TITLES[network]}, {steps}"
        rows.append((int(steps), [label, f"{found[sets[0]]:.3g}", *over, f"{error:.2f}"]))
    headings = [
        "network, calls", "`steps=N`", "over UniPC-2 on VP time", "over iPNDM-4 on Karras",
        "relative error, over UniPC-2",
    ]  # fmt: skip
    return render(plain_table(headings, [row for _, row in sorted(rows)]), "markdown")


def tuned(guidance: float = 1.0) -> str:
    """What `sd.tune` gave: chosen only, and fitted; GITS beside it; means over networks below.

    A kind that was measured nowhere has no column.
    """
    content, rows = json.loads(TUNED.read_text())["cells"], []
    found: dict[tuple[int, str], list[float]] = {}
    places = [
        (network, steps, cells, {"recipe": cells["recipe"], **measured})
        for network, steps, cells in sorted(_places(guidance), key=lambda one: one[1])
        for measured in [content.get(f"{network} {guidance:g} {steps}", {})]
    ]
    titles = TUNINGS if guidance == 1 else GUIDED_TUNINGS
    kinds = [kind for kind in titles if any(kind in measured for *_, measured in places)]
    for network, steps, cells, measured in places:
        row = [f"{TITLES[network]}, {steps}"]
        for kind in kinds:
            if kind not in measured:
                row.append("–")
                continue
            values = _ratios(cells, measured[kind])
            found.setdefault((steps, kind), []).append(_mean(values))
            kept = measured[kind].get("about", {}).get("kind")
            row.append(_pair(values) + (f" ({kept} kept)" if kept in ("plain", "recipe") else ""))
        rows.append(row)
    for steps in sorted({steps for steps, _ in found}):
        every = [found.get((steps, kind), []) for kind in kinds]
        rows.append([f"geometric mean, {steps}", *(_whole_mean(one, every[0]) for one in every)])
    headings = ["network, calls", *(titles[kind] for kind in kinds)]
    return render(plain_table(headings, rows), "markdown")


def last() -> str:
    """Guided: coefficient and end each by itself, over the best fixed plain choice."""
    return _beside(GUIDED, LASTS, lambda guidance: guidance != 1)


def more() -> str:
    """Without guidance: what share of VP time the levels have, over the best fixed plain choice."""
    return _beside(GUIDED, MORE, lambda guidance: guidance == 1)


def _beside(base: str, kinds: Mapping[str, str], wanted: Callable[[float], bool]) -> str:
    """Ratios to one plain choice in both feature sets; means over networks below."""
    content, rows = json.loads(LAST.read_text()), []
    found: dict[str, dict[str, list[list[float]]]] = {}
    for place in sorted(content["cells"], key=lambda one: [*map(float, one.split()[1:])]):
        network, guidance, steps = place.split()
        cells, (first, end) = content["cells"][place], content["noises"][place]
        if base not in cells or not wanted(float(guidance)) or not kinds.keys() & cells.keys():
            continue
        here = found.setdefault(f"{guidance}, {steps}", {kind: [] for kind in kinds})
        for kind, values in here.items():
            one = cells.get(kind)
            values.append([one[key] / cells[base][key] for key in _sets(cells)] if one else [])
        pairs = [_pair(values[-1]) for values in here.values()]
        rows.append([f"{guidance}, {steps}", f"{TITLES[network]} ({end - first + 1})", *pairs])
    for label, here in found.items():
        number = len(here[next(iter(kinds))])
        if number == 1:
            continue
        means = [_mean([*chain(*every)]) if all(every) else 0 for every in here.values()]
        count = f"geometric mean of {number}"
        rows.append([label, count, *(f"{one:.2f}" if one else "" for one in means)])
    headings = ["guidance, calls", "network (noises)", *kinds.values()]
    return render(plain_table(headings, rows), "markdown")


def prior(guidance: float = 1.0) -> str:
    """The shared prior on the recipe's levels, on networks left out of its fit.

    To the best plain choice with hindsight.
    """
    content = json.loads(PRIOR.read_text())
    found = {
        f"{TITLES[network]}, {steps}": {
            title: ratios(cells, "recipe") if kind == "steps=N" else _ratios(cells, measured[kind])
            for kind, title in PRIORS.items()
        }
        for network, steps, cells in sorted(_places(guidance), key=lambda one: one[1])
        for measured in [content["cells"].get(f"{network} {guidance:g} {steps}")]
        if measured and "recipe" in measured
    }
    first, last = content["seeds"]
    command = content["command"] + ("" if guidance == 1 else f" --guidance {guidance:g}")
    return (
        f"{_means('network left out, calls', found)}\n\n"
        f"n = {last - first + 1}, seeds {first}-{last}. Command: `{command}`"
    )


def prior_usual(guidance: float = 1.0) -> str:
    """The shared prior on usual schedules: to the best plain solver on the same levels, and of all.

    From the noises that the plain choices are ranked on.
    """
    plain, searched, judged = (
        json.loads(path.read_text())["cells"] for path in (RESULTS, SEARCHED, PRIOR)
    )
    found: dict[str, dict[str, list[float]]] = {}
    for network, steps, _ in sorted(_places(guidance), key=lambda one: one[1]):
        place = f"{network} {guidance:g} {steps}"
        ranked = plain.get(f"{place} ranked") or searched[place]
        row: dict[str, list[float]] = {}
        for schedule, title in USUAL.items():
            figures = judged.get(place, {}).get(f"{schedule} ranked")
            if figures:
                same = {name: one for name, one in ranked.items() if name.endswith(f" {schedule}")}
                row[f"{title}: same levels"] = _ratios(same, figures)
                row[f"{title}: of all"] = _ratios(ranked, figures)
        if row:
            found[f"{TITLES[network]}, {steps}"] = row
    return _means("network left out, calls", found)


def _means(heading: str, found: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Rows of ratios by column; the mean and the worst of all below."""
    kinds = list(dict.fromkeys(kind for row in found.values() for kind in row))
    rows = [[name, *(_pair(row.get(kind, [])) for kind in kinds)] for name, row in found.items()]
    every = [[value for row in found.values() for value in row.get(kind, [])] for kind in kinds]
    rows.append(
        ["geometric mean (worst)", *(f"{_mean(one):.2f} ({max(one):.2f})" for one in every)]
    )
    return render(plain_table([heading, *kinds], rows), "markdown")


def _whole_mean(values: Sequence[float], networks: Sequence[float]) -> str:
    """Over all networks, or a dash."""
    return f"{_mean(values):.2f}" if values and len(values) == len(networks) else "–"


def _pair(values: Sequence[float]) -> str:
    return " / ".join(f"{value:.2f}" for value in values)


def _mean(values: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def _words(name: str) -> str:
    """ "UniPC-3 on flow shift 2", of "unipc:3 on flow 2"."""
    solver, _, schedule = name.partition(" on ")
    kind, _, shift = schedule.partition(" ")
    titles = {"flow": f"flow shift {shift}", "karras": "Karras"}
    levels = titles.get(kind, schedule_title(schedule))
    return f"{solver_title(solver)} on {levels}"


def networks(guidance: float = 1.0) -> str:
    """One row a network and number of steps."""
    rows = []
    for network, steps, cells in sorted(_places(guidance), key=lambda one: one[1]):
        first = _sets(cells)[0]
        best = _best(cells, first)
        row = [f"{TITLES[network]}, {steps}", _words(best), f"{cells[best][first]:.3g}"]
        row.append(f"{cells['recipe'][first]:.3g}")
        row.append(_pair(ratios(cells, "recipe")))
        rows.append(row)
    headings = ["network, calls", "best plain", "its distance", "`steps=N`", "ratio"]
    return render(plain_table(headings, rows), "markdown")


def parts(guidance: float = 1.0) -> str:
    """The recipe and what it is without each part: means over networks and feature sets."""
    counts = sorted({steps for _, steps, _ in _places(guidance)})
    rows = []
    for name, title in PARTS.items():
        row = [title]
        for count in counts:
            here = [cells for _, steps, cells in _places(guidance) if steps == count]
            found = [_mean(ratios(cells, name)) for cells in here if name in cells]
            whole = len(found) == len(here)  # of some networks it would not compare
            row.append(f"{_mean(found):.2f} ({max(found):.2f})" if whole else "")
        if any(row[1:]):
            rows.append(row)
    headings = ["", *(f"{count} calls" for count in counts)]
    return render(plain_table(headings, rows), "markdown")


def _best(cells: Cells, key: str) -> str:
    """The plain choice with the least distance in the feature set `key`."""
    return min((name for name in cells if " on " in name), key=lambda name: cells[name][key])


def _change(values: Sequence[float]) -> str:
    return " / ".join(f"{100 * (value - 1):+.0f}%" for value in values)


def changes(network: str) -> list[list[str]]:
    """For the page on choosing: one network without guidance, by number of steps."""
    rows = []
    for steps, cells in sorted((n, c) for name, n, c in _places(1.0) if name == network):
        first = _sets(cells)[0]
        before, after = (cells[name][first] for name in (_best(cells, first), "recipe"))
        label = f"`steps={steps}`, no guidance"
        change = _change(ratios(cells, "recipe"))
        rows.append([label, str(steps), f"{before:.3g} → {after:.3g}", change])
    return rows


def short() -> str:
    """For the README: 5 calls without guidance."""
    content, rows = json.loads(TUNED.read_text())["cells"], []
    for network, steps, cells in _places(1.0):
        if steps != 5:
            continue
        first = _sets(cells)[0]
        best = _best(cells, first)
        fitted = content[f"{network} 1 5"]["fitted"]
        rows.append([
            TITLES[network], f"{cells[best][first]:.3g} ({_words(best)})",
            f"{cells['recipe'][first]:.3g} ({_change(ratios(cells, 'recipe'))})",
            f"{fitted[first]:.3g} ({_change(_ratios(cells, fitted))})",
        ])  # fmt: skip
    headings = ["5 calls", "best plain choice, with hindsight", "`steps=5`", "`sd.tune`"]
    return render(plain_table(headings, rows), "markdown")


TABLES = {
    "recipe-networks": networks,
    "recipe-parts": parts,
    "recipe-networks-guided": lambda: networks(4.0),
    "recipe-parts-guided": lambda: parts(4.0),
    "recipe-short": short,
    "prior": prior,
    "recipe-last": last,
    "recipe-more": more,
    "recipe-named": named,
    "prior-guided": lambda: prior(4.0),
    "prior-usual": prior_usual,
    "prior-usual-guided": lambda: prior_usual(4.0),
    "tuned": tuned,
    "tuned-guided": lambda: tuned(4.0),
}
