"""The theory put to the test on one model: measured, judged, drawn, and reported.

from steindiff.lab.diagnosis import diagnose

diagnose(denoiser, (3, 32, 32), out="out/diagnosis", solver="dpmpp_2m", steps=5)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...denoisers import Denoiser
from ...solvers import Solver, resolve_solver
from ..specs import parse_coefficient, parse_solver
from .chapters import CHAPTERS, Chapter, Drawing, Outcome, Verdict
from .report import verdicts, write_report
from .run import read_diagnosis, run_chapters
from .setting import Setting, Sizes

__all__ = [
    "CHAPTERS",
    "Chapter",
    "Drawing",
    "Outcome",
    "Setting",
    "Sizes",
    "Verdict",
    "diagnose",
    "make_setting",
    "read_diagnosis",
    "run_chapters",
    "verdicts",
    "write_report",
]


def make_setting(
    denoiser: Denoiser,
    shape: Sequence[int],
    *,
    name: str = "denoiser",
    solver: str | Solver = "dpmpp_2m",
    coefficient: str = "energy",
    **options: Any,
) -> Setting:
    """A `Setting` with its solver and coefficient by name.

    Args:
        denoiser: D(x, sigma, **conditioning), in VE coordinates, differentiable twice.
        shape: of one sample.
        name: in the report.
        solver: a text such as "ipndm:2", or a `Solver`.
        coefficient: a text such as "energy:trust=0.2".
        options: the other fields of `Setting`.

    Raises:
        TypeError, ValueError: unknown names, or values that the setting refuses.
    """
    rule = parse_coefficient(coefficient)
    if rule is None:
        raise ValueError(f"coefficient is {coefficient!r}; one is needed to compare the base with")
    text = solver if isinstance(solver, str) else type(solver).__name__
    chosen = parse_solver(solver) if isinstance(solver, str) else resolve_solver(solver)
    return Setting(
        name=name, denoiser=denoiser, shape=tuple(shape), solver=chosen, solver_text=text,
        coefficient=rule, coefficient_text=coefficient, **options,
    )  # fmt: skip


def diagnose(
    denoiser: Denoiser,
    shape: Sequence[int],
    out: str | Path,
    *,
    chapters: Sequence[str] = (),
    overwrite: bool = False,
    tell: Callable[[str], object] = lambda text: None,
    **options: Any,
) -> dict[str, list[Verdict]]:
    """Measures the theory on any denoiser and writes `results.json`, `report.html` and figures.

    Args:
        denoiser, shape: as for `make_setting`, as are the options.
        out: folder.
        chapters: names of `CHAPTERS`; all if empty.
        overwrite: drop the results of another setting in `out`.
        tell: is told what is being done.

    Returns:
        The verdicts, by chapter.

    Raises:
        TypeError, ValueError: as `make_setting` and `run_chapters` raise.
    """
    folder = Path(out)
    setting = make_setting(denoiser, shape, **options)
    results = run_chapters(setting, folder, names=chapters, overwrite=overwrite, tell=tell)
    write_report(folder)
    return verdicts(results)
