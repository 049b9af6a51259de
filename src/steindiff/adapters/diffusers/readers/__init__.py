"""How the step of each family of diffusers' schedulers is read."""

from .alphas import DDIMReader, PNDMReader
from .base import Place, Reader, StepCall
from .discrete import DPM2Reader, EulerReader, HeunReader, LMSReader
from .flow import DataWardReader, FlowEulerReader, FlowHeunReader
from .ipndm import IPNDMReader
from .multistep import (
    DEISReader,
    EDMMultistepReader,
    MultistepReader,
    SinglestepReader,
    UniPCReader,
)

__all__ = ["READERS", "Place", "Reader", "StepCall"]

READERS: dict[str, Reader] = {
    "CogVideoXDDIMScheduler": DDIMReader(),
    "DDIMParallelScheduler": DDIMReader(),
    "DDIMScheduler": DDIMReader(),
    "DEISMultistepScheduler": DEISReader(),
    "DPMSolverMultistepScheduler": MultistepReader(),
    "DPMSolverSinglestepScheduler": SinglestepReader(),
    "EDMDPMSolverMultistepScheduler": EDMMultistepReader(),
    "EDMEulerScheduler": EulerReader(),
    "EulerDiscreteScheduler": EulerReader(),
    "FlowMatchEulerDiscreteScheduler": FlowEulerReader(),
    "FlowMatchHeunDiscreteScheduler": FlowHeunReader(),
    "HeunDiscreteScheduler": HeunReader(),
    "IPNDMScheduler": IPNDMReader(),
    "KDPM2DiscreteScheduler": DPM2Reader(),
    "LMSDiscreteScheduler": LMSReader(),
    "MiniMaxH3Scheduler": DataWardReader(),
    "PNDMScheduler": PNDMReader(),
    "UniPCMultistepScheduler": UniPCReader(),
}
"""The supported schedulers by the name of their class in diffusers."""
