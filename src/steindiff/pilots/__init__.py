"""A pilot: the few-step recipe of one's own network, from a few noises, without data."""

from .file import load_pilot, save_pilot
from .record import Finding, Pilot
from .run import SEED, evaluations, pilot

__all__ = [
    "SEED",
    "Finding",
    "Pilot",
    "evaluations",
    "load_pilot",
    "pilot",
    "save_pilot",
]
