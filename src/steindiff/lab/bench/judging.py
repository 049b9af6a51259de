"""What results say: better or worse, in how many cells, and best against best."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, TypeVar

import msgspec

from .results import BASE, PRODUCT, CellRecord, CellResult, CoefficientResult, Diverged, Interval


class Effect(Enum):
    """What a coefficient did to a solver, by the 95% interval of its distance over the base's.

    Attributes:
        symbol: a sign beside the colour; the triangles show where the distance went.
        style: its colour in a terminal.
    """

    symbol: str
    style: str

    BETTER = "better", "▼", "green"
    WORSE = "worse", "▲", "bold red"
    NEUTRAL = "no significant difference", "≈", ""
    DIVERGED = "diverged", "✕", "bold magenta"
    RESCUED = "base diverged", "◇", "cyan"
    BOTH = "both diverged", "✕", "magenta"
    NONE = "not measured", "", ""

    def __new__(cls, value: str, symbol: str, style: str) -> Effect:
        self = object.__new__(cls)
        self._value_, self.symbol, self.style = value, symbol, style
        return self

    @property
    def strong(self) -> bool:
        """Whether it stands out in print: significantly better or worse."""
        return self in (Effect.BETTER, Effect.WORSE)


C = TypeVar("C", bound=CellRecord)


def distinct(cells: Iterable[CellRecord], *keys: str) -> list[tuple[Any, ...]]:
    """The combinations of those keys, in order of appearance; numbers of the last key sorted."""
    found = list(dict.fromkeys(tuple(getattr(cell, key) for key in keys) for cell in cells))
    order = list(dict.fromkeys(combination[:-1] for combination in found))
    if all(isinstance(combination[-1], int | float) for combination in found):
        found.sort(key=lambda c: (order.index(c[:-1]), c[-1]))
    return found


def matching(cells: Iterable[C], **wanted: Any) -> list[C]:
    """The cells with those values."""
    return [c for c in cells if all(getattr(c, key) == value for key, value in wanted.items())]


def coefficients_of(cells: Iterable[CellRecord]) -> list[str]:
    """Every coefficient of the cells: the base, the product, then the controls as they appear."""
    found = dict.fromkeys(name for cell in cells for name in cell.coefficients)
    return sorted(found, key=lambda name: {BASE: 0, PRODUCT: 1}.get(name, 2))


def result_of(cell: CellRecord, coefficient: str) -> CoefficientResult | None:
    """What it gave; one that equals the base has the base's figures and a ratio of 1."""
    result = cell.coefficients.get(coefficient)
    if result is None or isinstance(result, Diverged) or not result.equals_base:
        return result
    base = cell.coefficients.get(BASE)
    if base is None or isinstance(base, Diverged):
        return base
    same = Interval(value=1.0, low=1.0, high=1.0)
    return msgspec.structs.replace(base, equals_base=True, ratio=same)


def distance(result: CoefficientResult | None) -> Interval | None:
    """The Fréchet distance with its interval, where there is one."""
    if result is None or isinstance(result, Diverged) or result.metrics is None:
        return None
    return result.metrics.fd


def ratio_of(cell: CellRecord, coefficient: str) -> Interval | None:
    """The distance over the base's, with its interval; None where either has none."""
    result = result_of(cell, coefficient)
    if result is None or isinstance(result, Diverged):
        return None
    if isinstance(cell.coefficients.get(BASE), Diverged) or result.ratio is None:
        return None
    ratio = result.ratio
    usable = all(math.isfinite(v) and v > 0 for v in (ratio.value, ratio.low, ratio.high))
    return ratio if usable else None


def effect_of(cell: CellRecord, coefficient: str) -> Effect:
    """Better or worse where the 95% interval of the ratio lies on one side of 1."""
    result = result_of(cell, coefficient)
    if result is None:
        return Effect.NONE
    lost_base = isinstance(cell.coefficients.get(BASE), Diverged)
    if isinstance(result, Diverged):
        return Effect.BOTH if lost_base else Effect.DIVERGED
    if lost_base:
        return Effect.RESCUED
    ratio = ratio_of(cell, coefficient)
    if ratio is None:
        return Effect.NONE
    if ratio.high < 1:
        return Effect.BETTER
    return Effect.WORSE if ratio.low > 1 else Effect.NEUTRAL


def geometric_mean(values: Sequence[float]) -> float | None:
    """exp of the mean logarithm; None of nothing."""
    return math.exp(math.fsum(map(math.log, values)) / len(values)) if values else None


@dataclass(frozen=True)
class Summary:
    """What a coefficient did over many cells.

    Attributes:
        coefficient: its name.
        mean: geometric mean of the ratios to the base, of the cells in which neither diverged.
        by_effect: the cells of each effect, from the lowest ratio to the highest.
    """

    coefficient: str
    mean: float | None
    by_effect: dict[Effect, list[CellRecord]]

    def count(self, effect: Effect) -> int:
        """How many cells have it."""
        return len(self.by_effect[effect])

    @property
    def measured(self) -> int:
        """How many cells have the coefficient at all."""
        return sum(len(cells) for key, cells in self.by_effect.items() if key != Effect.NONE)

    @property
    def with_ratio(self) -> list[CellRecord]:
        """Cells with a ratio, from the lowest to the highest."""
        kinds = (Effect.BETTER, Effect.NEUTRAL, Effect.WORSE)
        cells = [cell for kind in kinds for cell in self.by_effect[kind]]
        return _by_ratio(cells, self.coefficient)

    @property
    def best(self) -> CellRecord | None:
        """The cell with the lowest ratio."""
        return next(iter(self.with_ratio), None)

    @property
    def worst(self) -> CellRecord | None:
        """The cell that it diverged in while the base did not, or that with the highest ratio."""
        broken = self.by_effect[Effect.DIVERGED]
        return next(iter([*broken, *reversed(self.with_ratio)]), None)


def summarise(cells: Sequence[CellRecord], coefficient: str = PRODUCT) -> Summary:
    """What `coefficient` did over `cells`."""
    ratios = [ratio.value for cell in cells if (ratio := ratio_of(cell, coefficient))]
    groups: dict[Effect, list[CellRecord]] = {kind: [] for kind in Effect}
    for cell in cells:
        groups[effect_of(cell, coefficient)].append(cell)
    sorted_groups = {kind: _by_ratio(group, coefficient) for kind, group in groups.items()}
    return Summary(coefficient, geometric_mean(ratios), sorted_groups)


def _by_ratio(cells: list[CellRecord], coefficient: str) -> list[CellRecord]:
    def key(cell: CellRecord) -> float:
        ratio = ratio_of(cell, coefficient)
        return ratio.value if ratio else math.inf

    return sorted(cells, key=key)


class Best(NamedTuple):
    """The best base and the best relaxed sampling at one NFE, over solvers and schedules."""

    model: str
    guidance: float
    nfe: int
    base: CellRecord | None
    relaxed: CellRecord | None
    ratio: float | None
    effect: Effect


def best_against_best(
    cells: Sequence[CellResult], coefficient: str = PRODUCT, usual: bool = False
) -> list[Best]:
    """One comparison for each (model, guidance, NFE).

    Where both bests are the same cell its paired interval decides; elsewhere the two intervals
    have to be apart, which asks for more. Samplings that spent more calls than the cell's NFE are
    left out.

    Args:
        cells: to choose from.
        coefficient: of the relaxation.
        usual: only those in which the solver is on its usual schedule.
    """
    pool = [cell for cell in cells if cell.usual] if usual else list(cells)
    return [
        _best(matching(pool, model=model, guidance=guidance, nfe=nfe), coefficient)
        for model, guidance, nfe in distinct(pool, "model", "guidance", "nfe")
    ]


def _best(cells: Sequence[CellRecord], coefficient: str) -> Best:
    where = (cells[0].model, cells[0].guidance, cells[0].nfe)
    base, relaxed = _lowest(cells, BASE), _lowest(cells, coefficient)
    if base is None or relaxed is None:
        only = Effect.NONE if base is relaxed else Effect.RESCUED if relaxed else Effect.DIVERGED
        return Best(*where, base and base[1], relaxed and relaxed[1], None, only)
    (a, cell), (b, other) = base, relaxed
    if cell is other and (ratio := ratio_of(cell, coefficient)):
        return Best(*where, cell, cell, ratio.value, effect_of(cell, coefficient))
    change = b.value / a.value if a.value > 0 else None
    return Best(*where, cell, other, change, compare_intervals(a, b))


def _lowest(cells: Iterable[CellRecord], coefficient: str) -> tuple[Interval, CellRecord] | None:
    """The lowest distance and its cell."""
    found = []
    for cell in cells:
        result = result_of(cell, coefficient)
        fd = distance(result)
        if fd is None or not math.isfinite(fd.value) or isinstance(result, Diverged | None):
            continue
        if result.nfe is None or result.nfe <= cell.nfe:
            found.append((fd, cell))
    return min(found, key=lambda entry: entry[0].value, default=None)


def compare_intervals(a: Interval, b: Interval) -> Effect:
    """Where `b` is against `a`, by whether their 95% intervals are apart."""
    if b.high < a.low:
        return Effect.BETTER
    return Effect.WORSE if b.low > a.high else Effect.NEUTRAL
