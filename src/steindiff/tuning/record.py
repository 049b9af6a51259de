"""What tuning found."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._errors import check_finite, shown
from ..recipes import Recipe
from .judge import Figures, Ratio
from .motion import Motion
from .network import Weights, weights_of


@dataclass(frozen=True)
class TunedRecipe(Recipe):
    """A recipe that knows its network.

    Attributes:
        model: what that is called, where it was said.
        weights: of that network, where they could be read.
        any_model: whether it may be used with another one, such as one with a LoRA on top.
    """

    model: str = ""
    weights: Weights | None = None
    any_model: bool = False

    def check_network(self, thing: Any) -> None:
        """Refuses another network inside `thing`, as far as both can be read.

        Raises:
            ValueError: names both; with `any_model` it is a warning.
        """
        found = None if self.weights is None else weights_of(thing)
        if found is None or self.weights is None or found.same(self.weights):
            return
        other = f"{self.model}, of" if self.model else "one of"
        differ = f"the network has {found}; it was tuned for {other} {self.weights}"
        if not self.any_model:
            raise ValueError(f"{differ}; any_model=True uses it all the same")
        warnings.warn(differ, stacklevel=2)


@dataclass(frozen=True)
class Tried:
    """One candidate that was measured on all held-out noises.

    Attributes:
        kind: one of `candidates.KINDS`.
        words: what it is.
        figures: on the held-out noises.
        score: the less the better.
    """

    kind: str
    words: str
    figures: Figures
    score: float


@dataclass(frozen=True)
class Choice:
    """The choice for one number of steps. All figures but `tried` are of the fresh noises.

    Attributes:
        kind: what was chosen in the end: one of `candidates.KINDS`.
        recipe: what was chosen.
        plain: the best plain solver on a usual schedule, by the held-out noises.
        figures: by what they are of: "tuned" is what was chosen, or where the plain solver was, the
            best of the finalists; "recipe" what is there without tuning, "plain" the best plain
            solver.
        against_plain: the score of "tuned" over that of "plain".
        against_recipe: the score of "tuned" over that of "recipe".
        recipe_against_plain: the score of "recipe" over that of "plain".
        tried: what was measured on the held-out noises, the best first.
        passed: what ranked before the choice and was not taken, and why.
    """

    kind: str
    recipe: Recipe
    plain: Recipe
    figures: Mapping[str, Figures]
    against_plain: Ratio
    against_recipe: Ratio
    recipe_against_plain: Ratio
    tried: tuple[Tried, ...]
    passed: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """What came of it, in a sentence."""
        if self.kind == "plain":
            return "nothing beat the best plain solver and held in every part: it is kept"
        ratio = self.recipe_against_plain if self.kind == "recipe" else self.against_plain
        return (
            f"{self.kind}: {ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}] of the best plain "
            "solver's score, on fresh noises"
        )


@dataclass(frozen=True)
class Tuned:
    """Recipes of one network, by their number of steps.

    Attributes:
        choices: by number of steps.
        guidance: guidance scale that they are for.
        sigma_max: level that they start at.
        noises: how many noises scalars were fitted on.
        held_out: how many more candidates were ranked on.
        fresh: how many more the figures are of.
        seed: of the first noise.
        fine_steps: Heun steps of the fine solution.
        motion: how D moves along the fine trajectories.
        calls: samples that the denoiser was evaluated for.
        model: what the model is called, where that was said.
        model_hash: SHA-256 of its weights' file, where that was said.
        weights: figures of its weights, where there is a network that they can be read of.
        conditioning_hash: SHA-256 of the prompts or labels, where there were any.
        command: the command that was run, where it was one.
        versions: of the packages used.
    """

    choices: Mapping[int, Choice]
    guidance: float
    sigma_max: float
    noises: int
    held_out: int
    fresh: int
    seed: int
    fine_steps: int
    motion: Motion
    calls: int
    model: str = ""
    model_hash: str = ""
    weights: Weights | None = None
    conditioning_hash: str = ""
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    def recipe(self, steps: int | None = None, any_model: bool = False) -> TunedRecipe:
        """What was chosen for that number of steps, for `sample(..., steps=tuned.recipe(5))`.

        Where it is used it refuses another guidance, and another network where one can be seen.

        Args:
            steps: left out, the one number that there is.
            any_model: whether another network is let pass, with a warning.

        Raises:
            ValueError: it was not tuned for that number; says for which it was.
        """
        if steps is None and len(self.choices) == 1:
            steps = next(iter(self.choices))
        if not isinstance(steps, int) or steps not in self.choices:
            known = ", ".join(map(str, sorted(self.choices)))
            raise ValueError(f"steps is {shown(steps)}; this network was tuned for {known}")
        plan = {**vars(self.choices[steps].recipe), "guidance": self.guidance}
        return TunedRecipe(**plan, model=self.model, weights=self.weights, any_model=any_model)

    def check_use(
        self, model: str, model_hash: str, guidance: float, any_model: bool = False
    ) -> None:
        """Refuses another network or guidance than it was tuned for.

        Args:
            model: name of the network that is to be sampled from, for the message.
            model_hash: SHA-256 of its weights' file; empty where it is not known.
            guidance: its guidance scale.
            any_model: whether another network is let pass, such as one with a LoRA on top.

        Raises:
            ValueError: names what differs, and both values.
        """
        if check_finite("guidance", guidance) != self.guidance:
            raise ValueError(f"guidance is {guidance:g}; it was tuned for {self.guidance:g}")
        known = self.model_hash and model_hash
        other = model_hash != self.model_hash if known else model != self.model
        if other and not any_model:
            raise ValueError(
                f"model is {model!r} (SHA-256 {model_hash[:12] or 'unknown'}...); it was tuned for "
                f"{self.model!r} (SHA-256 {self.model_hash[:12] or 'unknown'}...); --any-model "
                "(any_model=True) uses it all the same"
            )

    def save(self, path: str | Path) -> None:
        """Writes it as JSON, whole or not at all; `load_tuned` reads it."""
        from .file import save_tuned

        save_tuned(path, self)
