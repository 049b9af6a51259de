"""`SteinScheduler`: steindiff's solvers behind the interface of a diffusers scheduler."""

from .scheduler import SteinScheduler, SteinSchedulerOutput

__all__ = ["SteinScheduler", "SteinSchedulerOutput"]
