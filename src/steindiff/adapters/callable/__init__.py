"""Any other network as a denoiser, and a probe of whether its conventions were understood.

from steindiff.adapters.callable import from_function, probe, vp

denoiser = from_function(net, "epsilon", coordinates=vp(alphas_cumprod))
print(probe(denoiser, (3, 32, 32)))
"""

from __future__ import annotations

from ..coordinates import Coordinates, flow, ve, vp
from .denoiser import FunctionDenoiser, from_function
from .probe import ProbeReport, probe
from .trial import Trial

__all__ = [
    "Coordinates",
    "FunctionDenoiser",
    "ProbeReport",
    "Trial",
    "flow",
    "from_function",
    "probe",
    "ve",
    "vp",
]
