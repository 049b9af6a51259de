"""The theory behind the relaxation: measured on any denoiser, judged, drawn, and reported.

Each measurement is a function on any denoiser:

    from steindiff.lab.theory import certify, open_steps

    for step in open_steps(denoiser, x, sigmas, solver, coefficient):
        print(step.sigma, certify(step).step.constant)

All of them on one model, with a verdict for every statement, as `steindiff diagnose` does it:

    from steindiff.lab.theory import diagnose

    diagnose(denoiser, (3, 32, 32), out="out/diagnosis", solver="dpmpp_2m", steps=5)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...denoisers import Denoiser
from ..subjects import Subject
from .certificate import Certificate, Weights, certify, step_weights
from .chapters import CHAPTERS
from .collapse import Collapse, Modes, class_collapse, mixture_collapse, modes_of
from .diagnosis import Batch, Diagnosis, Sampling, make_diagnosis
from .discrepancy import (
    CoefficientError,
    coefficient_error,
    fisher_discrepancy,
    kernel_stein_discrepancy,
)
from .energies import LawError, energy, euler_deficit, law_error, spectrum, variance
from .hutchinson import ProbeStudy, asymmetry, study_probes
from .identities import Identity, stein_identity
from .lipschitz import Lipschitz, local_lipschitz
from .propagation import Propagation, propagate_errors, rms_error
from .report import verdicts, write_report
from .results import Results, read_diagnosis
from .rules import (
    ComparedStep,
    Projection,
    Residual,
    RuleAtStep,
    compare_rules,
    project,
    residual_of,
)
from .run import run_chapters
from .sizes import Sizes
from .skips import (
    SKIPS,
    Preconditioning,
    c_skip,
    gaussian_variance,
    least_squares_skip,
    precondition,
    stein_skip,
)
from .statement import Chapter, Drawing, Grade, Verdict
from .steps import OpenStep, open_steps

__all__ = [
    "CHAPTERS",
    "SKIPS",
    "Batch",
    "Certificate",
    "Chapter",
    "CoefficientError",
    "Collapse",
    "ComparedStep",
    "Diagnosis",
    "Drawing",
    "Grade",
    "Identity",
    "LawError",
    "Lipschitz",
    "Modes",
    "OpenStep",
    "Preconditioning",
    "ProbeStudy",
    "Projection",
    "Propagation",
    "Residual",
    "Results",
    "RuleAtStep",
    "Sampling",
    "Sizes",
    "Verdict",
    "Weights",
    "asymmetry",
    "c_skip",
    "certify",
    "class_collapse",
    "coefficient_error",
    "compare_rules",
    "diagnose",
    "energy",
    "euler_deficit",
    "fisher_discrepancy",
    "gaussian_variance",
    "kernel_stein_discrepancy",
    "law_error",
    "least_squares_skip",
    "local_lipschitz",
    "make_diagnosis",
    "mixture_collapse",
    "modes_of",
    "open_steps",
    "precondition",
    "project",
    "propagate_errors",
    "read_diagnosis",
    "residual_of",
    "rms_error",
    "run_chapters",
    "spectrum",
    "stein_identity",
    "stein_skip",
    "step_weights",
    "study_probes",
    "variance",
    "verdicts",
    "write_report",
]


def diagnose(
    denoiser: Denoiser | Subject,
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
        denoiser: as for `make_diagnosis`, as are `shape` and the options.
        shape: of one sample; () where a `Subject` has its own.
        out: folder; new, empty, or of a diagnosis.
        chapters: names of `CHAPTERS`; all if empty.
        overwrite: drop the results of another diagnosis in `out`.
        tell: is told what is being done.

    Returns:
        The verdicts, by chapter.

    Raises:
        TypeError, ValueError: as `make_diagnosis` and `run_chapters` raise.
    """
    folder = Path(out)
    diagnosis = make_diagnosis(denoiser, shape, **options)
    results = run_chapters(diagnosis, folder, names=chapters, overwrite=overwrite, tell=tell)
    write_report(folder)
    return verdicts(results)
