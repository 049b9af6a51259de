"""How schedulers of diffusers talk to their networks: what they feed, and what they expect back.

They disagree on both. `convention_of` reads from a scheduler how it wants to be spoken to; a
`Convention` translates to and from x = alpha x0 + sigma eps and the estimate of x0. Written from
the definition of each convention, apart from the adapter's readers, whose counterpart it is.
"""
# pyright: reportPrivateImportUsage=false
# (diffusers' own names are loaded on demand, which does not count as exporting them)

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from diffusers import (
    EDMDPMSolverMultistepScheduler,
    EDMEulerScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    IPNDMScheduler,
    MiniMaxH3Scheduler,
    SchedulerMixin,
)
from torch import Tensor

from steindiff._errors import unknown_name
from steindiff.adapters.diffusers import SteinScheduler

_FLOW = (FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler)
_EDM = (EDMEulerScheduler, EDMDPMSolverMultistepScheduler)
_SMALLEST_ALPHA_CUMPROD = 2.0**-24  # stands for 0, where the log-SNR is infinite

Level = Callable[[Tensor], tuple[Tensor, Tensor]]
"""A timestep -> alpha and sigma of x = alpha x0 + sigma eps."""


class Convention(Protocol):
    """How a scheduler talks to its network. Tensors: (B, C, H, W); levels: (B, 1, 1, 1)."""

    def read(self, sample: Tensor, timestep: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The network's input as x = alpha x0 + sigma eps: x, alpha and sigma."""
        ...

    def write(self, denoised: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The network's output that means the estimate `denoised` of x0."""
        ...


@dataclass(frozen=True)
class Direct(Convention):
    """The sample is fed as it is; the answer is one of the four usual predictions.

    epsilon: eps; v_prediction: alpha eps - sigma x0 (Salimans & Ho 2022, appendix D); sample: x0;
    flow_prediction: eps - x0; data_ward: x0 - eps.
    """

    level: Level
    prediction: str

    def __post_init__(self) -> None:
        if self.prediction not in _PREDICTIONS:
            raise unknown_name("prediction_type", self.prediction, _PREDICTIONS)

    def read(self, sample: Tensor, timestep: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return sample, *self.level(timestep)

    def write(self, denoised: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        eps = (x - alpha * denoised) / sigma
        return _PREDICTIONS[self.prediction](denoised, eps, alpha, sigma)


_PREDICTIONS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "epsilon": lambda clean, eps, alpha, sigma: eps,
    "v_prediction": lambda clean, eps, alpha, sigma: alpha * eps - sigma * clean,
    "sample": lambda clean, eps, alpha, sigma: clean,
    "flow_prediction": lambda clean, eps, alpha, sigma: eps - clean,
    "data_ward": lambda clean, eps, alpha, sigma: clean - eps,
}


@dataclass(frozen=True)
class Preconditioned(Convention):
    """Karras et al. 2022, table 1: fed c_in x and ln(sigma)/4; D = c_skip x + c_out F, F answered.

    `sign` is that of c_out: -1 where the scheduler calls F a v_prediction.
    """

    sigma_data: float
    sign: int = 1

    def read(self, sample: Tensor, timestep: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sigma = torch.exp(4 * timestep)
        return sample * torch.sqrt(sigma**2 + self.sigma_data**2), torch.ones_like(sigma), sigma

    def write(self, denoised: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        total = sigma**2 + self.sigma_data**2
        c_skip = self.sigma_data**2 / total
        c_out = self.sign * sigma * self.sigma_data / total.sqrt()
        return (denoised - c_skip * x) / c_out


def convention_of(scheduler: SchedulerMixin) -> Convention:
    """How `scheduler` talks to its network.

    Args:
        scheduler: one of diffusers; also a subclass, such as a relaxed scheduler.

    Returns:
        EDM schedulers: `Preconditioned`. Others: `Direct`, at levels of a beta schedule (also
        between its timesteps), of rectified flow (MiniMaxH3: with its time reversed), or, for
        IPNDM, of cos and sin.

    Raises:
        ValueError: a scheduler or a prediction type that is none of these.
    """
    config: Any = scheduler.config  # type: ignore[attr-defined]
    prediction = config.get("prediction_type", "epsilon")
    if isinstance(scheduler, IPNDMScheduler):
        return Direct(_angle_level, "v_prediction")
    if isinstance(scheduler, MiniMaxH3Scheduler):
        return Direct(_data_ward_level, "data_ward")
    kind = config.get("model") if isinstance(scheduler, SteinScheduler) else None
    if isinstance(scheduler, _EDM) or kind == "edm":
        return Preconditioned(config.sigma_data, -1 if prediction == "v_prediction" else 1)
    if isinstance(scheduler, _FLOW):
        prediction = "flow_prediction"
    if isinstance(scheduler, _FLOW) or config.get("use_flow_sigmas") or kind == "flow":
        return Direct(partial(_flow_level, steps=config.num_train_timesteps), prediction)
    if config.get("timestep_type") == "continuous" and prediction == "v_prediction":
        return Direct(lambda timestep: _vp(4 * timestep), prediction)  # of EulerDiscrete
    alphas_cumprod = getattr(scheduler, "alphas_cumprod", None)
    if not isinstance(alphas_cumprod, Tensor):
        raise ValueError(
            f"scheduler is a {type(scheduler).__name__}; one with a beta schedule "
            "(alphas_cumprod), an EDM, a flow-matching or the IPNDM scheduler is needed"
        )
    return Direct(partial(_beta_level, log_sigmas=_log_sigmas(alphas_cumprod)), prediction)


def _log_sigmas(alphas_cumprod: Tensor) -> Tensor:
    """ln(sigma/alpha) of every training timestep."""
    kept = alphas_cumprod.double().clamp(min=_SMALLEST_ALPHA_CUMPROD)
    return ((1 - kept) / kept).log() / 2


def _beta_level(timestep: Tensor, log_sigmas: Tensor) -> tuple[Tensor, Tensor]:
    """Between training timesteps ln(sigma/alpha) is linear, as schedulers take it to be."""
    table = log_sigmas.to(timestep)
    position = timestep.clamp(0, len(table) - 1)
    below = position.floor().clamp(max=len(table) - 2).long()
    return _vp(torch.lerp(table[below], table[below + 1], position - below))


def _vp(log_sigma: Tensor) -> tuple[Tensor, Tensor]:
    """alpha^2 + sigma^2 = 1 and ln(sigma/alpha) = log_sigma."""
    return torch.sigmoid(-2 * log_sigma).sqrt(), torch.sigmoid(2 * log_sigma).sqrt()


def _angle_level(timestep: Tensor) -> tuple[Tensor, Tensor]:
    angle = timestep * (math.pi / 2)
    return angle.cos(), angle.sin()


def _flow_level(timestep: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    sigma = timestep / steps
    return 1 - sigma, sigma


def _data_ward_level(timestep: Tensor) -> tuple[Tensor, Tensor]:
    return timestep, 1 - timestep
