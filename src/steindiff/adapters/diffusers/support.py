"""Which of diffusers' schedulers can be relaxed, which cannot, and why."""

from __future__ import annotations

from diffusers.schedulers.scheduling_utils import SchedulerMixin

from .readers import READERS, Reader

_NOISE = "adds noise at every step on purpose, which a relaxation would take for error"
_JUMPS = "is for networks distilled to jump along the trajectory: no ODE step that loses energy"
_DISCRETE = "samples discrete tokens: there is no noise level and no energy"
_INVERSE = (
    "goes from data to noise; the energy law is derived for steps that remove noise, and an "
    "inversion has to undo the very steps of the plain sampler"
)

REFUSED: dict[str, str] = {
    "AmusedScheduler": f"{_DISCRETE}.",
    "BlockRefinementScheduler": f"{_DISCRETE}.",
    "CMStochasticIterativeScheduler": f"{_JUMPS}; with 1 to 4 steps it needs no help.",
    "CogVideoXDPMScheduler": f"{_NOISE}; use CogVideoXDDIMScheduler.",
    "ConsistencyDecoderScheduler": f"{_JUMPS}; nothing takes its place.",
    "CosineDPMSolverMultistepScheduler": f"{_NOISE}; use EDMDPMSolverMultistepScheduler.",
    "DDIMInverseScheduler": f"{_INVERSE}; relax the sampler that comes after, not the inversion.",
    "DDPMParallelScheduler": f"{_NOISE}; use DDIMParallelScheduler.",
    "DDPMScheduler": f"{_NOISE}; use DDIMScheduler or DPMSolverMultistepScheduler.",
    "DDPMWuerstchenScheduler": f"{_NOISE}; nothing deterministic takes its place.",
    "DPMSolverMultistepInverseScheduler": (
        f"{_INVERSE}; relax the sampler that comes after, not the inversion."
    ),
    "DPMSolverSDEScheduler": f"{_NOISE}; use DPMSolverMultistepScheduler.",
    "DiscreteDDIMScheduler": f"{_DISCRETE}.",
    "EntropyBoundScheduler": f"{_DISCRETE}.",
    "EulerAncestralDiscreteScheduler": f"{_NOISE}; use EulerDiscreteScheduler.",
    "FlowMapEulerDiscreteScheduler": f"{_JUMPS}; use FlowMatchEulerDiscreteScheduler.",
    "FlowMatchLCMScheduler": f"{_JUMPS}, and adds noise; use FlowMatchEulerDiscreteScheduler.",
    "HeliosDMDScheduler": f"{_JUMPS}; nothing takes its place.",
    "HeliosScheduler": (
        "samples in stages of growing resolution with new noise between them, so that no step's "
        "energy follows from the one before; nothing takes its place."
    ),
    "KDPM2AncestralDiscreteScheduler": f"{_NOISE}; use KDPM2DiscreteScheduler.",
    "KarrasVeScheduler": f"{_NOISE}; use HeunDiscreteScheduler.",
    "LCMScheduler": f"{_JUMPS}, and adds noise; for the undistilled network use DDIMScheduler.",
    "LTXEulerAncestralRFScheduler": f"{_NOISE}; use FlowMatchEulerDiscreteScheduler.",
    "PiflowScheduler": (
        "integrates a policy that the network predicts, many substeps a call, instead of the "
        "network's own ODE; for the undistilled network use FlowMatchEulerDiscreteScheduler."
    ),
    "RFD4ProteinaScheduler": f"{_NOISE}; nothing deterministic takes its place.",
    "RePaintScheduler": f"{_NOISE}, and goes back up in noise; use an inpainting pipeline.",
    "SASolverScheduler": f"{_NOISE}; use UniPCMultistepScheduler.",
    "SCMScheduler": f"{_JUMPS}, and adds noise; use the undistilled network.",
    "ScoreSdeVeScheduler": f"{_NOISE}; use EulerDiscreteScheduler.",
    "ScoreSdeVpScheduler": f"{_NOISE}; use DDIMScheduler.",
    "TCDScheduler": f"{_JUMPS}, and adds noise; for the undistilled network use DDIMScheduler.",
    "UnCLIPScheduler": f"{_NOISE}; use DDIMScheduler.",
    "VQDiffusionScheduler": f"{_DISCRETE}.",
}
"""Class name -> why its steps are not relaxed, and what to use instead."""

SUPPORTED: dict[str, str] = {
    name: f"{reader.coordinates}: {(type(reader).__doc__ or '').partition('.')[0]}."
    for name, reader in READERS.items()
}
"""Class name -> coordinates of its state, and what one of its steps is."""


def reader_for(cls: type) -> Reader:
    """The reader of a scheduler class, or of the nearest of its parents that is known.

    Raises:
        TypeError: no scheduler of diffusers.
        ValueError: a class whose steps cannot be relaxed, with the reason, or one that nobody
            knows, with the list of those that are.
    """
    if not (isinstance(cls, type) and issubclass(cls, SchedulerMixin)):
        raise TypeError(f"cls is {cls!r}; a scheduler class of diffusers is needed")
    if getattr(cls, "relaxes_itself", False):
        raise ValueError(f"a {cls.__name__} relaxes its own steps; set its coefficient instead")
    for parent in cls.__mro__:
        if not parent.__module__.startswith("diffusers."):
            continue
        if parent.__name__ in REFUSED:
            raise ValueError(f"{cls.__name__} cannot be relaxed: it {REFUSED[parent.__name__]}")
        if parent.__name__ in READERS:
            return READERS[parent.__name__]
    raise ValueError(
        f"scheduler is a {cls.__name__}, whose steps are not known here; supported are "
        f"{', '.join(sorted(READERS))}, and subclasses of them"
    )
