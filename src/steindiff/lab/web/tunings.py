"""What the page knows of tuned samplers: those of a file, and those that its own button fitted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...recipes import Recipe
from ...tuning import Choice, Tuned, evaluations, load_tuned, tune
from ..subjects import Subject
from .settings import Settings

NOISES, HELD_OUT, FRESH, FINE_STEPS = 16, 24, 32, 15
CALLS = 9500
"""Samples that the button evaluates the model for, at the most: half a minute for small ones."""

FEWEST, MOST = 3, 12
"""Steps that the button tunes for; the tests of tuning went no further."""

SIGMA_MIN, SIGMA_MAX = 0.002, 80.0


class Tunings:
    """Samplers that were tuned, each for a prompt, a guidance and a number of steps.

    Args:
        path: a file of `steindiff tune`; it counts for any prompt.
        first: the model that the page is for, which has to be the file's.

    Raises:
        FileNotFoundError, ValueError: no such file, a damaged one, or one of another model.
    """

    def __init__(self, path: Path | None = None, first: Subject | None = None) -> None:
        self._path, self._file = path, None if path is None else load_tuned(path)
        self._fitted: dict[tuple[str, float, int], Tuned] = {}
        if self._file is not None and first is not None:
            self._file.check_use(first.name, first.model_hash, self._file.guidance)

    def plan(self, settings: Settings) -> Recipe | None:
        """The sampler that was tuned for these settings; None where there is none."""
        found = self._of(settings)
        return None if found is None else found.recipe(settings.steps)

    def said(self, settings: Settings) -> str:
        """What the tuned row rests on, or why there is none, in a sentence."""
        found, asked = (
            self._of(settings),
            f"{settings.steps} steps at guidance {settings.guidance:g}",
        )
        if found is not None:
            choice: Choice = found.choices[settings.steps]
            source = "here" if found is not self._file else f"by {self._path}"
            return f"Tuned {source} for {asked}. {choice.verdict[0].upper()}{choice.verdict[1:]}."
        if not FEWEST <= settings.steps <= MOST:
            return f"No tuned row: tuning is for {FEWEST} to {MOST} steps."
        button = (
            f"*Tune* fits a sampler to this model for {asked}, "
            f"with at most {CALLS:,} evaluations of a sample"
        )
        if self._file is None:
            return f"No tuned row yet: {button}."
        known = ", ".join(map(str, sorted(self._file.choices)))
        return (
            f"No tuned row: {self._path} is for {known} steps at guidance "
            f"{self._file.guidance:g}. {button}."
        )

    def can(self, settings: Settings) -> bool:
        """Whether there is something left to tune for these settings."""
        return self._of(settings) is None and FEWEST <= settings.steps <= MOST

    def fit(self, subject: Subject, settings: Settings, told: Callable[[int, int], object]) -> None:
        """Tunes for these settings, with the small budget of a page.

        Args:
            subject: the model of their prompt and guidance.
            settings: of which the steps count.
            told: is told how many evaluations are done, and how many there are at the most.

        Raises:
            ValueError: as `steindiff.tune`, or a number of steps that is not offered.
        """
        if not FEWEST <= settings.steps <= MOST:
            raise ValueError(f"steps is {settings.steps}; {FEWEST} to {MOST} are tuned for here")
        most = evaluations(
            settings.steps, NOISES, HELD_OUT, FRESH, FINE_STEPS, subject.guidance == 1
        )
        total = min(CALLS, most)
        done = 0

        def count(more: int) -> None:
            nonlocal done
            done += more
            told(min(done, total), total)

        self._fitted[_key(settings)] = tune(
            subject.denoiser, settings.steps, shape=subject.shape, guidance=subject.guidance,
            conditioning=subject.conditioning(range(NOISES + HELD_OUT + FRESH)), noises=NOISES,
            held_out=HELD_OUT, fresh=FRESH, fine_steps=FINE_STEPS, calls=CALLS,
            sigma_max=min(SIGMA_MAX, subject.sigma_max),
            sigma_min=max(SIGMA_MIN, subject.sigma_min), device=subject.device,
            model=subject.name, model_hash=subject.model_hash, told=count,
        )  # fmt: skip

    def _of(self, settings: Settings) -> Tuned | None:
        file, fitted = self._file, self._fitted.get(_key(settings))
        if fitted is None and file is not None and settings.guidance == file.guidance:
            return file if settings.steps in file.choices else None
        return fitted


def _key(settings: Settings) -> tuple[str, float, int]:
    return settings.prompt, settings.guidance, settings.steps
