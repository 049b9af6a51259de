"""Follows a sampler through its model calls, and says why one cannot be followed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_OURS = {
    "euler": "sample_stein_euler",
    "heun": "sample_stein_heun",
    "dpm_2": "sample_stein_heun",
    "3m": "sample_stein_dpmpp_3m",
    "dpm": "sample_stein_dpmpp_2m",
    "ipndm": "sample_stein_ipndm",
    "deis": "sample_stein_deis",
    "lms": "sample_stein_deis",
    "unipc": "sample_stein_unipc",
    "uni_pc": "sample_stein_unipc",
    "res_multistep": "sample_stein_res_multistep",
    "res_2m": "sample_stein_res_multistep",
    "res_2s": "sample_stein_res_2s",
    "gradient_estimation": "sample_stein_gradient_estimation",
}
"""What is in a sampler's name -> what to use instead; the first that fits."""

_ONCE = "and a step can be told only where it is once at each level, in their order"


def refusal(name: str, reason: str) -> ValueError:
    """The error for a sampler whose steps cannot be told from its model calls."""
    fitting = (ours for part, ours in _OURS.items() if part in name.lower())
    instead = next(fitting, "one of the sample_stein_ functions")
    return ValueError(
        f"{name} cannot be relaxed: it {reason}. Use {instead} of steindiff.adapters.k_diffusion."
    )


class ModelCalls(ABC):
    """Stands in for the model of a sampler that calls it once a level, in their order.

    What else a sampler asks of the model is the model's own.

    Args:
        name: of the sampler, for errors.
        model: the model stood in for.
        shape: of the state, which the sampler has to keep.
        levels: sigmas of the sampling.
        wait: whether a call may read the device to check its level; else `finish` does.
    """

    def __init__(
        self, name: str, model: Any, shape: torch.Size, levels: Sequence[float], wait: bool
    ) -> None:
        self.name, self.model, self.wait = name, model, wait
        self.shape, self.levels = shape, levels
        self.calls = 0
        self._strayed: list[tuple[int, Tensor]] = []

    def __getattr__(self, attribute: str) -> Any:
        if attribute == "model":  # of an object that is being copied
            raise AttributeError(attribute)
        return getattr(self.model, attribute)

    def __call__(self, x: Tensor, sigma: Any, **kwargs: Any) -> Tensor:
        if self.calls >= self.steps:
            self._raise_strayed()
            raise refusal(self.name, f"calls the model more than {self.steps} times, {_ONCE}")
        self._check_shape(x)
        self._check_level(sigma)
        self.calls += 1
        return self.respond(x, sigma, kwargs)

    @property
    def steps(self) -> int:
        """How many there are, and how often the model is to be called."""
        return len(self.levels) - 1

    @abstractmethod
    def respond(self, x: Tensor, sigma: Any, kwargs: dict[str, Any]) -> Tensor:
        """The answer to call number `self.calls` - 1 at that level."""

    def finish(self, end: Tensor) -> None:
        """After the run, with its result: raises ValueError where it was not as it has to be."""
        self._check_shape(end)
        self._raise_strayed()
        if self.calls < self.steps:
            raise refusal(self.name, f"calls the model {self.calls} times, {_ONCE}")

    def _check_shape(self, x: Tensor) -> None:
        if x.shape != self.shape:
            self._raise_strayed()
            raise refusal(
                self.name, f"changes the state's shape {tuple(self.shape)} to {tuple(x.shape)}"
            )

    def _check_level(self, sigma: Any) -> None:
        found = sigma if isinstance(sigma, Tensor) else torch.as_tensor(sigma)
        tolerance = 4 * torch.finfo(found.dtype).eps if found.dtype.is_floating_point else 0.0
        due = self.levels[self.calls]
        strayed = ((found - due).abs() > tolerance * due).any()
        self._strayed.append((self.calls, strayed))
        if self.wait:
            self._raise_strayed()

    def _raise_strayed(self) -> None:
        """Reads what was noted from the device, at once."""
        if not self._strayed:
            return
        found = torch.stack([strayed for _, strayed in self._strayed]).tolist()
        for (index, _), strayed in zip(self._strayed, found, strict=True):
            if strayed:
                raise refusal(
                    self.name,
                    f"calls the model at another level than sigmas[{index}] = "
                    f"{self.levels[index]:.6g}, {_ONCE}",
                )
        self._strayed.clear()
