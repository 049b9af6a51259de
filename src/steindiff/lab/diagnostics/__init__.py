"""The theory behind the relaxation, made measurable on any denoiser.

from steindiff.lab.diagnostics import certify, open_steps

for step in open_steps(denoiser, x, sigmas, solver, coefficient):
    print(step.sigma, certify(step).step.constant)

`steindiff diagnose` runs all of it on a model and writes a report (`steindiff.lab.diagnosis`).
"""

from .animation import Paths, animate, ring, still, trace_paths
from .certificate import Certificate, Weights, certify, step_weights
from .coefficient import (
    ComparedStep,
    Projection,
    Residual,
    RuleAtStep,
    compare_rules,
    project,
    residual_of,
)
from .decay import Propagation, propagate_errors, rms_error
from .discrepancy import (
    CoefficientError,
    coefficient_error,
    fisher_discrepancy,
    kernel_stein_discrepancy,
)
from .energy import LawError, energy, euler_deficit, law_error, spectrum, variance
from .identity import Identity, stein_identity
from .lipschitz import Lipschitz, local_lipschitz
from .modes import Collapse, class_collapse, mixture_collapse
from .preconditioning import (
    SKIPS,
    Preconditioning,
    c_skip,
    gaussian_variance,
    least_squares_skip,
    precondition,
    stein_skip,
)
from .probes import ProbeStudy, asymmetry, study_probes
from .steps import OpenStep, open_steps

__all__ = [
    "SKIPS",
    "Certificate",
    "CoefficientError",
    "Collapse",
    "ComparedStep",
    "Identity",
    "LawError",
    "Lipschitz",
    "OpenStep",
    "Paths",
    "Preconditioning",
    "ProbeStudy",
    "Projection",
    "Propagation",
    "Residual",
    "RuleAtStep",
    "Weights",
    "animate",
    "asymmetry",
    "c_skip",
    "certify",
    "class_collapse",
    "coefficient_error",
    "compare_rules",
    "energy",
    "euler_deficit",
    "fisher_discrepancy",
    "gaussian_variance",
    "kernel_stein_discrepancy",
    "law_error",
    "least_squares_skip",
    "local_lipschitz",
    "mixture_collapse",
    "open_steps",
    "precondition",
    "project",
    "propagate_errors",
    "residual_of",
    "ring",
    "rms_error",
    "spectrum",
    "stein_identity",
    "stein_skip",
    "step_weights",
    "still",
    "study_probes",
    "trace_paths",
    "variance",
]
