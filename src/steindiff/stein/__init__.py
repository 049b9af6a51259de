"""Stein relaxation: divergence estimators, coefficients, and the solver that applies them."""

from . import divergence, law
from .base import Ahead, Coefficient, Decision, Proposal
from .constant import Constant
from .coupled import Coupled
from .end import ENDS, Ended, check_end, stein_weight, step_into_zero
from .energy import Energy
from .names import COEFFICIENTS, relax, resolve_coefficient
from .oracle import Oracle
from .published import Published
from .record import Record, StepRecord, stack_records
from .relax import Relaxed

__all__ = [
    "COEFFICIENTS",
    "ENDS",
    "Ahead",
    "Coefficient",
    "Constant",
    "Coupled",
    "Decision",
    "Ended",
    "Energy",
    "Oracle",
    "Proposal",
    "Published",
    "Record",
    "Relaxed",
    "StepRecord",
    "check_end",
    "divergence",
    "law",
    "relax",
    "resolve_coefficient",
    "stack_records",
    "stein_weight",
    "step_into_zero",
]
