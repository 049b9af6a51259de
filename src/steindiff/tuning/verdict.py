"""The verdict: which finalist is the best on noises that nothing was chosen by, and if it holds."""

from __future__ import annotations

from collections.abc import Sequence

from .candidates import Candidate
from .judge import ERROR, Figures, Judge, Look, Ratio
from .record import Choice, Tried


class Finals:
    """Candidates on noises that none of them was chosen by, each sampled and looked at once.

    Args:
        judge: of these noises.
    """

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self._looks: dict[Candidate, Look | None] = {}

    def figures(self, one: Candidate) -> Figures:
        """As `Judge.figures`."""
        return self.judge.figures(self._look(one))

    def score(self, one: Candidate) -> float:
        """The less the better."""
        return self.judge.score(self.figures(one))

    def ratios(self, one: Candidate, other: Candidate) -> tuple[Ratio, ...]:
        """As `Judge.ratios`, of `one` to `other`."""
        return self.judge.ratios(self._look(one), self._look(other))

    def _look(self, one: Candidate) -> Look | None:
        if one not in self._looks:
            self._looks[one] = self.judge.sampled(one.recipe)
        return self._looks[one]


def verdict(
    finalists: Sequence[Candidate], plain: Candidate, own: Candidate, finals: Finals, fresh: Finals,
    tried: Sequence[Tried],
) -> Choice:  # fmt: skip
    """The best finalist, if it holds; else the next best; where none does, the plain solver.

    They are ranked by the noises of the finals: on those that they were picked by, what was fitted
    is ahead by chance. On these it has to be ahead beyond the interval: where it was not, what
    nothing was fitted for was better in features that no part of this sees (docs/evidence/tune.md).
    All figures are those of the fresh noises, which rank nobody.

    Args:
        finalists: by the held-out noises, the best first.
        plain: the best plain solver.
        own: the recipe.
        finals: of the noises that rank finalists.
        fresh: of those that are measured in the end.
        tried: for the record.
    """
    ranked = _ranked(finalists, finals)
    shown, chosen, why = ranked[0], plain, {}
    for one in ranked:
        why[one] = objection(fresh.judge, fresh.ratios(one, plain), fresh.ratios(one, own)[0])
        if not why[one]:
            shown = chosen = one
            break
    for one in finalists[: finalists.index(chosen)] if chosen in finalists else ():
        if one not in why:
            ratio = finals.ratios(one, chosen)[0]
            why[one] = f"{_said(ratio)} of the choice's score on noises that neither was picked by"
    named = {"tuned": shown, "recipe": own, "plain": plain}
    return Choice(
        chosen.kind, chosen.recipe, plain.recipe,
        {name: fresh.figures(one) for name, one in named.items()},
        fresh.ratios(shown, plain)[0], fresh.ratios(shown, own)[0], fresh.ratios(own, plain)[0],
        tuple(tried),
        tuple(f"{one.words}: {why[one]}" for one in finalists if why.get(one)),
    )  # fmt: skip


def _ranked(finalists: Sequence[Candidate], finals: Finals) -> list[Candidate]:
    """The best first; a fitted one before those that it is ahead of beyond the interval."""
    found = sorted((one for one in finalists if one.kind != "fitted"), key=finals.score)
    for fit in (one for one in finalists if one.kind == "fitted"):
        behind = [one for one in found if finals.ratios(fit, one)[0].high < 1]
        found.insert(found.index(behind[0]) if behind else len(found), fit)
    return found


def objection(judge: Judge, to_plain: Sequence[Ratio], to_recipe: Ratio) -> str:
    """Why a finalist does not hold on fresh noises; "" where it does.

    It has to beat the best plain solver beyond the interval of their scores, not to be behind the
    recipe, and not to be worse than the plain one, beyond the interval, in any single set of
    features nor, without guidance, in the relative error: hundreds were tried, and one that pleases
    some eyes at the cost of others was picked by chance.

    Args:
        judge: of the fresh noises.
        to_plain: `Judge.ratios` to the best plain solver.
        to_recipe: the ratio of scores to the recipe.
    """
    score, *parts = to_plain
    if not score.high < 1:
        return f"{_said(score)} of the best plain solver's score"
    if not to_recipe.value <= 1:
        return f"{_said(to_recipe)} of the recipe's score"
    for name, ratio in zip(judge.measures, parts, strict=True):
        if ratio.low > 1 and (name != ERROR or judge.weights[0]):
            return f"{_said(ratio)} of the best plain solver in {name}"
    return ""


def _said(ratio: Ratio) -> str:
    return f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"
