"""Results of a benchmark: their names, verdicts and summaries."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

Results = dict[str, Any]
Cell = dict[str, Any]
Outcome = dict[str, Any]

FORMAT = 1
BASE = "base"
PRODUCT = "energy"
TITLES = {
    "euler": "Euler / DDIM",
    "heun": "Heun",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_3m": "DPM++ 3M",
    "ipndm": "iPNDM",
    "deis": "DEIS",
    "unipc": "UniPC",
}
SCHEDULES = {
    "karras": "EDM (ρ=7)",
    "log_snr": "log-SNR",
    "linear": "linear",
    "vp_time": "VP time",
    "flow_shift": "flow",
}
RULES = {
    BASE: "base",
    PRODUCT: "SteinDiff",
    "constant": "best constant γ",
    "one": "γ = 1",
    "random": "random γ",
    "oracle": "oracle γ",
    "published": "published γ",
}


class Verdict(Enum):
    """What a rule did to a solver, by the 95% interval of its distance relative to the base's."""

    BETTER = "better"
    WORSE = "worse"
    NEUTRAL = "no significant difference"
    DIVERGED = "diverged"
    RESCUED = "base diverged"
    BOTH = "both diverged"
    NONE = "not measured"

    @property
    def symbol(self) -> str:
        """A sign beside the colour; the triangles show where the distance went."""
        return SYMBOLS[self]


SYMBOLS = {
    Verdict.BETTER: "▼",
    Verdict.WORSE: "▲",
    Verdict.NEUTRAL: "≈",
    Verdict.DIVERGED: "✕",
    Verdict.RESCUED: "◇",
    Verdict.BOTH: "✕",
    Verdict.NONE: "",
}


def read_results(folder: Path) -> Results:
    """The results in `folder`, or in a file of results.

    Raises:
        FileNotFoundError: there are none.
        ValueError: they are damaged, or of another format.
    """
    path = folder / "results.json" if folder.is_dir() else folder
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{folder} holds no results.json; a folder that `steindiff bench` wrote is needed"
        ) from None
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    found = results.get("format") if isinstance(results, dict) else None
    if found != FORMAT:
        raise ValueError(f"{path} has format {found!r}; format {FORMAT} is needed")
    if not isinstance(results.get("cells"), list):
        raise ValueError(f"{path} holds no list of cells")
    return results


def cell_file_name(cell_id: str) -> str:
    """A cell's name in the file system, any file system, but for the suffix."""
    name = re.sub(r"[^\w.+=-]", "_", cell_id.replace("/", "__"))
    if len(name.encode()) <= 200:
        return name
    # Long lists of seeds: a name may have 255 bytes.
    return f"{name[:80]}-{hashlib.sha256(cell_id.encode()).hexdigest()[:16]}"


def title(spec: str) -> str:
    """The display name of a solver: "ipndm:order=3,lower_order_final=true" -> "iPNDM-3, l.o.f."."""
    name, _, options = spec.partition(":")
    shown = TITLES.get(name, name)
    if name == "calibrated":  # the text goes on with the path of a file
        return f"{name} ({Path(options).stem})"
    for option in filter(None, options.split(",")):
        key, _, value = option.rpartition("=")
        if key == "lower_order_final":
            shown += ", l.o.f." if value == "true" else ", no l.o.f."
        else:
            shown += f"-{value}"
    return shown


def schedule_title(schedule: str) -> str:
    """The display name of a schedule."""
    return SCHEDULES.get(schedule, schedule)


def rule_title(rule: str) -> str:
    """The display name of a rule."""
    return RULES.get(rule, rule)


def cell_title(cell: Cell) -> str:
    """ "iPNDM-3, 5 NFE, EDM (ρ=7), fashion-mnist, guidance 1"."""
    return (
        f"{title(cell['solver'])}, {cell['nfe']} NFE, {schedule_title(cell['schedule'])}, "
        f"{cell['model']}, guidance {cell['guidance']:g}"
    )


def distinct(cells: Iterable[Cell], *keys: str) -> list[tuple[Any, ...]]:
    """The combinations of those keys, in order of appearance; numbers of the last key sorted."""
    found = list(dict.fromkeys(tuple(cell[key] for key in keys) for cell in cells))
    order = list(dict.fromkeys(combination[:-1] for combination in found))
    if all(isinstance(combination[-1], int | float) for combination in found):
        found.sort(key=lambda c: (order.index(c[:-1]), c[-1]))
    return found


def matching(cells: Iterable[Cell], **wanted: Any) -> list[Cell]:
    """The cells with those values."""
    return [cell for cell in cells if all(cell[key] == value for key, value in wanted.items())]


def rules_of(cells: Iterable[Cell]) -> list[str]:
    """Every rule of the cells: the base, the product, then the controls as they appear."""
    found = dict.fromkeys(rule for cell in cells for rule in cell["rules"])
    return sorted(found, key=lambda rule: {BASE: 0, PRODUCT: 1}.get(rule, 2))


def outcome_of(cell: Cell, rule: str) -> Outcome | None:
    """A rule's outcome; one that equals the base has the base's figures and a ratio of 1."""
    outcome = cell["rules"].get(rule)
    if outcome is None or not outcome.get("equals_base"):
        return outcome
    base = cell["rules"].get(BASE)
    if base is None or base["status"] != "ok":
        return base
    return {**base, **outcome, "ratio": {"value": 1.0, "low": 1.0, "high": 1.0}}


def diverged(outcome: Outcome | None) -> bool:
    """Whether the rule was run and broke down."""
    return outcome is not None and outcome["status"] != "ok"


def distance(outcome: Outcome | None) -> dict[str, float] | None:
    """The Fréchet distance with its interval, where there is one."""
    if outcome is None or outcome["status"] != "ok":
        return None
    return outcome.get("metrics", {}).get("fd")


def ratio_of(cell: Cell, rule: str) -> dict[str, float] | None:
    """The distance relative to the base's, with its interval; None where either has none."""
    outcome = outcome_of(cell, rule)
    if outcome is None or diverged(outcome) or diverged(cell["rules"].get(BASE)):
        return None
    ratio = outcome.get("ratio")
    usable = ratio and all(_positive(ratio.get(key)) for key in ("value", "low", "high"))
    return ratio if usable else None


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value > 0


def verdict(cell: Cell, rule: str) -> Verdict:
    """Better or worse where the 95% interval of the ratio lies on one side of 1."""
    outcome = outcome_of(cell, rule)
    if outcome is None:
        return Verdict.NONE
    lost_base = diverged(cell["rules"].get(BASE))
    if diverged(outcome):
        return Verdict.BOTH if lost_base else Verdict.DIVERGED
    if lost_base:
        return Verdict.RESCUED
    ratio = ratio_of(cell, rule)
    if ratio is None:
        return Verdict.NONE
    if ratio["high"] < 1:
        return Verdict.BETTER
    return Verdict.WORSE if ratio["low"] > 1 else Verdict.NEUTRAL


def geometric_mean(values: Sequence[float]) -> float | None:
    """exp of the mean logarithm; None of nothing."""
    return math.exp(math.fsum(map(math.log, values)) / len(values)) if values else None


@dataclass(frozen=True)
class Summary:
    """What a rule did over many cells.

    Attributes:
        rule: its name.
        mean: geometric mean of the ratios to the base, of the cells in which neither diverged.
        by_verdict: the cells of each verdict, from the lowest ratio to the highest.
    """

    rule: str
    mean: float | None
    by_verdict: dict[Verdict, list[Cell]]

    def count(self, verdict: Verdict) -> int:
        """How many cells have it."""
        return len(self.by_verdict[verdict])

    @property
    def measured(self) -> int:
        """How many cells have the rule at all."""
        return sum(len(cells) for key, cells in self.by_verdict.items() if key != Verdict.NONE)

    @property
    def with_ratio(self) -> list[Cell]:
        """Cells with a ratio, from the lowest to the highest."""
        kinds = (Verdict.BETTER, Verdict.NEUTRAL, Verdict.WORSE)
        return _by_ratio([cell for kind in kinds for cell in self.by_verdict[kind]], self.rule)

    @property
    def best(self) -> Cell | None:
        """The cell with the lowest ratio."""
        return next(iter(self.with_ratio), None)

    @property
    def worst(self) -> Cell | None:
        """The cell that it diverged in while the base did not, or that with the highest ratio."""
        broken = self.by_verdict[Verdict.DIVERGED]
        return next(iter([*broken, *reversed(self.with_ratio)]), None)


def summarise(cells: Sequence[Cell], rule: str = PRODUCT) -> Summary:
    """What `rule` did over `cells`."""
    ratios = [ratio for cell in cells if (ratio := ratio_of(cell, rule))]
    groups = {kind: [cell for cell in cells if verdict(cell, rule) is kind] for kind in Verdict}
    return Summary(
        rule,
        geometric_mean([ratio["value"] for ratio in ratios]),
        {kind: _by_ratio(group, rule) for kind, group in groups.items()},
    )


def _by_ratio(cells: list[Cell], rule: str) -> list[Cell]:
    def key(cell: Cell) -> float:
        ratio = ratio_of(cell, rule)
        return ratio["value"] if ratio else math.inf

    return sorted(cells, key=key)


class Best(NamedTuple):
    """The best base and the best relaxed sampling at one NFE, over solvers and schedules."""

    model: str
    guidance: float
    nfe: int
    base: Cell | None
    relaxed: Cell | None
    ratio: float | None
    verdict: Verdict


def best_against_best(
    cells: Sequence[Cell], rule: str = PRODUCT, usual: bool = False
) -> list[Best]:
    """One comparison for each (model, guidance, NFE).

    Where both bests are the same cell its paired interval decides; elsewhere the two intervals
    have to be apart, which asks for more. Samplings that spent more calls than the cell's NFE are
    left out.

    Args:
        cells: to choose from.
        rule: the relaxation.
        usual: only those in which the solver is on its usual schedule.
    """
    pool = [cell for cell in cells if cell["usual"]] if usual else list(cells)
    return [
        _best(matching(pool, model=model, guidance=guidance, nfe=nfe), rule)
        for model, guidance, nfe in distinct(pool, "model", "guidance", "nfe")
    ]


def _best(cells: Sequence[Cell], rule: str) -> Best:
    base, relaxed = _lowest(cells, BASE), _lowest(cells, rule)
    where = (cells[0]["model"], cells[0]["guidance"], cells[0]["nfe"])
    if base is None or relaxed is None:
        only = Verdict.NONE if base is relaxed else Verdict.RESCUED if relaxed else Verdict.DIVERGED
        return Best(*where, base, relaxed, None, only)
    if base is relaxed and (ratio := ratio_of(base, rule)):
        return Best(*where, base, relaxed, ratio["value"], verdict(base, rule))
    a, b = distance(outcome_of(base, BASE)), distance(outcome_of(relaxed, rule))
    assert a is not None  # `_lowest` chose by it
    assert b is not None
    change = b["value"] / a["value"] if a["value"] > 0 else None
    return Best(*where, base, relaxed, change, compare_intervals(a, b))


def _lowest(cells: Iterable[Cell], rule: str) -> Cell | None:
    found = [
        (fd["value"], index, cell)
        for index, cell in enumerate(cells)
        if (outcome := outcome_of(cell, rule))
        and (fd := distance(outcome))
        and math.isfinite(fd["value"])
        and outcome.get("nfe", cell["nfe"]) <= cell["nfe"]
    ]
    return min(found, key=lambda entry: entry[:2])[2] if found else None


def compare_intervals(a: dict[str, float], b: dict[str, float]) -> Verdict:
    """Where `b` is against `a`, by whether their 95% intervals are apart."""
    if b["high"] < a["low"]:
        return Verdict.BETTER
    return Verdict.WORSE if b["low"] > a["high"] else Verdict.NEUTRAL
