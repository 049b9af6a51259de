"""The kinds of models that `SteinScheduler` samples from: VP, EDM and flow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...._errors import unknown_name
from ....levels import NoiseLevel, denoised_from
from ....schedules import SPACINGS, check_sigmas, from_alphas_cumprod
from ...coordinates import Preconditioning, VPTable, flow_sigma, flow_time, stand_in
from .base import Levels, ModelCall, ModelKind

MODELS = ("vp", "edm", "flow")


class VP(ModelKind):
    """Variance preserving in discrete time: sees x/sqrt(1 + sigma^2), is held in VE coordinates.

    Args:
        alphas_cumprod: (N,), of the training timesteps.
        kind: one of `levels.PREDICTIONS`.
    """

    own = "trailing"
    spacings = SPACINGS

    def __init__(self, alphas_cumprod: Tensor, kind: str) -> None:
        self.alphas_cumprod, self.kind = alphas_cumprod, kind
        self.table = VPTable(alphas_cumprod)
        self.lowest, self.highest = self.sigma(0), self.sigma(self.table.last)

    def timestep(self, sigma: float) -> float:
        return round(
            self.table.time(torch.tensor(sigma, dtype=torch.float64, device="cpu")).item(), 9
        )

    def sigma(self, timestep: float) -> float:
        return self.table.sigma(timestep)

    def input_scale(self, sigma: float) -> float:
        return 1 / math.sqrt(1 + sigma**2)

    def read(self, output: Tensor, x: Tensor, call: ModelCall) -> tuple[Tensor, Tensor]:
        level = NoiseLevel.vp_from_ve(call.sigma)
        return x, denoised_from(output, level.from_ve(x), level, self.kind)

    def scheduled(
        self, steps: int, schedule: str | None, options: Mapping[str, Any], final: str, mu: Any
    ) -> Levels:
        name = schedule or self.own
        if name not in self.spacings:
            return super().scheduled(steps, name, options, final, mu)
        return self.at(from_alphas_cumprod(self.alphas_cumprod, steps, name, final).tolist())


@dataclass(frozen=True)
class EDM(ModelKind):
    """A preconditioned network, told ln(sigma)/4."""

    own = "karras"
    lowest: float
    highest: float
    preconditioning: Preconditioning

    def timestep(self, sigma: float) -> float:
        return math.log(sigma) / 4

    def sigma(self, timestep: float) -> float:
        return math.exp(4 * timestep)

    def input_scale(self, sigma: float) -> float:
        return float(self.preconditioning.c_in(sigma))

    def training(self, count: int) -> Levels:
        return super().training(count + 1)  # both ends, as upstream

    def read(self, output: Tensor, x: Tensor, call: ModelCall) -> tuple[Tensor, Tensor]:
        return x, self.preconditioning.denoised(output, x, call.sigma)


@dataclass(frozen=True)
class Flow(ModelKind):
    """Rectified flow: x = (1 - t) x0 + t eps, and the model predicts eps - x0 at timestep T t.

    Its own times run evenly from 1 to the lowest training time, then are shifted: by `shift`, or
    with `dynamic` by the mu that is given for each sampling (`linear` or exponential); `terminal`
    stretches them to end there. The lowest training time is itself shifted by `shift` already:
    upstream shifts it twice, and so do we.

    `calls_per_step` is that of the solver, see `opening`.
    """

    own = None
    train_timesteps: int
    shift: float
    dynamic: bool
    linear: bool
    terminal: float | None
    calls_per_step: int

    def __post_init__(self) -> None:
        factor = 1.0 if self.dynamic else self.shift
        object.__setattr__(self, "lowest", factor / (self.train_timesteps - 1))
        object.__setattr__(self, "highest", factor * (self.train_timesteps - 1))

    @property
    def limits(self) -> tuple[float, float]:
        return 0.0, math.inf

    def held(self, sigma: float) -> float:
        return float(flow_time(sigma))

    def timestep(self, sigma: float) -> float:
        return self.held(sigma) * self.train_timesteps

    def sigma(self, timestep: float) -> float:
        return flow_sigma(timestep / self.train_timesteps)

    def read(self, output: Tensor, x: Tensor, call: ModelCall) -> tuple[Tensor, Tensor]:
        """The VE state is D + sigma eps, eps = x + (1 - t) u: x/(1 - t) below t = 1.

        At t = 1 there are no VE coordinates: x = eps. With any finite sigma in their place, Euler's
        step to D + (sigma'/sigma)(x_VE - D) = D + sigma' eps is the flow's own.
        """
        denoised = denoised_from(output, x, NoiseLevel(1 - call.held, call.held), "flow")
        noise = x + (1 - call.held) * output.to(x.dtype)
        return denoised + call.sigma * noise, denoised

    def write(self, x: Tensor, held: float) -> Tensor:
        return (1 - held) * x

    def scheduled(
        self, steps: int, schedule: str | None, options: Mapping[str, Any], final: str, mu: Any
    ) -> Levels:
        if schedule is not None:
            return super().scheduled(steps, schedule, options, final, mu)
        count = steps + (final == "sigma_min")
        even = torch.linspace(
            1, self.held(self.lowest), count, dtype=torch.float64, device="cpu"
        ).tolist()
        times = self.shifted(even, mu)
        return self.at_times(times if final == "sigma_min" else [*times, 0.0])

    def training(self, count: int) -> Levels:
        factor = 1.0 if self.dynamic else self.shift
        times = [_shift(t / count, factor) for t in range(count, 0, -1)]
        return self.at_times([*times, 0.0])

    def given_timesteps(self, timesteps: Sequence[float], final: str, mu: Any) -> Levels:
        """Their times are shifted like any; the model is told the timesteps as they are given."""
        return self.given_sigmas([t / self.train_timesteps for t in timesteps], timesteps, mu)

    def given_sigmas(self, sigmas: Sequence[float], timesteps: Any, mu: Any) -> Levels:
        """Custom times before they are shifted; a final 0 is added."""
        return self.at_times([*self.shifted(sigmas, mu), 0.0], timesteps)

    def shifted(self, times: Sequence[float], mu: float | None) -> list[float]:
        """Esser et al. 2024, equation 23, with exp(mu), mu or `shift` as its factor."""
        if self.dynamic and mu is None:
            raise ValueError("mu is None; use_dynamic_shifting needs the mu of this image size")
        for t in times:
            if not 0 < t <= 1:
                raise ValueError(f"sigmas holds {t:g}; a flow's times lie above 0 and up to 1")
        factor = self.shift
        if self.dynamic and mu is not None:
            factor = mu if self.linear else math.exp(mu)
        moved = [_shift(t, factor) for t in times]
        if not self.terminal:
            return moved
        if moved[-1] == 1:
            raise ValueError("num_inference_steps is 1; shift_terminal needs 2 steps or more")
        stretch = (1 - self.terminal) / (1 - moved[-1])
        return [1 - stretch * (1 - t) for t in moved]

    def at_times(self, times: Sequence[float], timesteps: Sequence[float] | None = None) -> Levels:
        """The levels of times t, the first of which may be 1."""
        sigmas = [flow_sigma(t) for t in times]
        if sigmas[0] == math.inf and len(sigmas) > 1 and sigmas[1] < math.inf:
            sigmas[0] = self.opening(times[1])
        told = [t * self.train_timesteps for t in times[:-1]] if timesteps is None else timesteps
        return Levels(check_sigmas(sigmas), tuple(times), tuple(map(float, told)))

    def opening(self, t_next: float) -> float:
        """The VE level in place of the infinite one at t = 1, for a first step to `t_next`.

        Euler's step is exact with any (`read`). With one call a step it is far above all others, as
        the true one. Heun would average two slopes over that distance; with the level midway in t
        his step is x + (t' - 1)(u + u')/2, the one that he takes in the flow's own coordinates.
        """
        if self.calls_per_step > 1:
            return (1 + t_next) / (1 - t_next)
        return stand_in(flow_sigma(t_next))


def _shift(t: float, factor: float) -> float:
    return factor * t / (1 + (factor - 1) * t)


def make_model(config: Mapping[str, Any], calls_per_step: int = 1) -> ModelKind:
    """The model that a scheduler's config describes, for a solver of so many calls a step.

    Raises:
        ValueError: an unknown name or an impossible value.
    """
    kind, prediction = config["model"], config["prediction_type"]
    if kind not in MODELS:
        raise unknown_name("model", kind, MODELS)
    known = {
        "vp": {"epsilon": "epsilon", "v_prediction": "v", "sample": "sample"},
        "edm": {"epsilon": 1.0, "v_prediction": -1.0},
        "flow": {"flow_prediction": "flow"},
    }[kind]
    if prediction not in known:
        raise unknown_name(f"prediction_type of a {kind!r} model", prediction, known)
    if kind == "vp":
        return VP(alphas_cumprod(config), str(known[prediction]))
    if kind == "edm":
        low, high, data = (config[name] for name in ("sigma_min", "sigma_max", "sigma_data"))
        if not (0 < low < high < math.inf and data > 0):
            raise ValueError(
                f"sigma_min is {low}, sigma_max {high} and sigma_data {data}; "
                "0 < sigma_min < sigma_max and 0 < sigma_data are needed"
            )
        return EDM(low, high, Preconditioning(data, float(known[prediction])))
    return _flow(config, calls_per_step)


def _flow(config: Mapping[str, Any], calls_per_step: int) -> Flow:
    if config["time_shift_type"] not in ("exponential", "linear"):
        raise unknown_name("time_shift_type", config["time_shift_type"], ("exponential", "linear"))
    if not config["shift"] > 0:
        raise ValueError(f"shift is {config['shift']}; a number > 0 is needed")
    return Flow(
        config["num_train_timesteps"],
        config["shift"],
        config["use_dynamic_shifting"],
        config["time_shift_type"] == "linear",
        config["shift_terminal"],
        calls_per_step,
    )


def alphas_cumprod(config: Mapping[str, Any]) -> Tensor:
    """(N,) products of 1 - beta; in float32, whose rounding the levels of trained models carry."""
    betas = _betas(config)
    alphas = (1 - betas).cumprod(0)
    if config["rescale_betas_zero_snr"]:
        # Lin et al. 2024, algorithm 1
        root = alphas.sqrt()
        alphas = ((root - root[-1]) * (root[0] / (root[0] - root[-1]))) ** 2
        # The last level is kept finite, and the highest: sigma = 4096 unless one before is higher.
        alphas[-1] = 2**-24 if alphas[-2] > 2**-24 else alphas[-2] / 2
    return alphas


def _betas(config: Mapping[str, Any]) -> Tensor:
    low, high, count = (config[k] for k in ("beta_start", "beta_end", "num_train_timesteps"))
    name = config["beta_schedule"]
    if config["trained_betas"] is not None:
        return torch.as_tensor(config["trained_betas"], dtype=torch.float32, device="cpu")
    if name == "linear":
        return torch.linspace(low, high, count, dtype=torch.float32, device="cpu")
    if name == "scaled_linear":
        return torch.linspace(low**0.5, high**0.5, count, dtype=torch.float32, device="cpu") ** 2
    if name == "squaredcos_cap_v2":  # Nichol & Dhariwal 2021, equation 17
        angle = (torch.arange(count + 1, dtype=torch.float64, device="cpu") / count + 0.008) / 1.008
        kept = (angle * math.pi / 2).cos() ** 2
        return (1 - kept[1:] / kept[:-1]).clamp_max(0.999).float()
    raise unknown_name("beta_schedule", name, ("linear", "scaled_linear", "squaredcos_cap_v2"))
