"""What the exact denoisers share: checks, flattening, precision, and their parameters."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..._errors import check_batch, check_number, check_values
from ..._reductions import accumulator_dtype


class Exact(ABC):
    """What the exact denoisers share: checks, flattening, precision."""

    sample_shape: tuple[int, ...] | None

    def __repr__(self) -> str:
        parts = {"sample_shape": self.sample_shape, **self._described()}
        return f"{type(self).__name__}({', '.join(f'{k}={v}' for k, v in parts.items())})"

    def _described(self) -> dict[str, object]:
        """What else tells it from others of its kind, for its representation."""
        return {}

    def __call__(self, x: Tensor, sigma: Tensor | float, /, **conditioning: Any) -> Tensor:
        """Posterior mean E[x0 | x].

        Args:
            x: (B, *shape), the noisy samples x0 + sigma * eps.
            sigma: > 0, a number, a 0-dim tensor, or (B,).
            **conditioning: none is known; there so that any denoiser can be called alike.

        Returns:
            (B, *shape), in the dtype of `x`.

        Raises:
            TypeError: `x` is not a real floating-point tensor.
            ValueError: wrong sample shape, `sigma` of the wrong shape or a number <= 0, or any
                conditioning.
        """
        if conditioning:
            raise ValueError(
                f"conditioning has {sorted(conditioning)}; an exact denoiser takes none"
            )
        flat, variance = self._flatten(x), self._variance(x, sigma)
        return self._denoise(flat, variance).reshape(x.shape).to(x.dtype)

    def divergence(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """Exact div_x D(x, sigma), which is tr Cov[x0 | x] / sigma^2.

        Args and errors as for the call.

        Returns:
            (B,) float64 (float32 on mps), >= 0.
        """
        return self._divergence(self._flatten(x), self._variance(x, sigma))

    @abstractmethod
    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """`count` clean samples, (count, *shape), in the dtype of the parameters."""

    @abstractmethod
    def _denoise(self, x: Tensor, variance: Tensor) -> Tensor:
        """(B, d) from x (B, d) and sigma^2 (B, 1)."""

    @abstractmethod
    def _divergence(self, x: Tensor, variance: Tensor) -> Tensor:
        """(B,) from x (B, d) and sigma^2 (B, 1)."""

    def _flatten(self, x: Tensor) -> Tensor:
        shape = tuple(check_batch(x).shape[1:])
        if self.sample_shape is not None and shape != self.sample_shape:
            raise ValueError(
                f"x has samples of shape {shape}; this distribution has {self.sample_shape}"
            )
        return x.reshape(len(x), -1).to(accumulator_dtype(x.device))

    def _variance(self, x: Tensor, sigma: Tensor | float, name: str = "sigma") -> Tensor:
        """sigma^2 as (B, 1), in the accumulator's dtype, on the device of `x`."""
        dtype = accumulator_dtype(x.device)
        if not isinstance(sigma, Tensor):
            if not (math.isfinite(check_number(name, sigma)) and sigma > 0):
                raise ValueError(f"{name} is {sigma}; a finite number > 0 is needed")
            return torch.full((len(x), 1), sigma, dtype=dtype, device=x.device).square()
        if sigma.ndim and sigma.shape != x.shape[:1]:
            raise ValueError(
                f"{name} has shape {tuple(sigma.shape)}; a number or ({len(x)},) is needed"
            )
        return check_values(name, sigma, x).to(x.device, dtype).expand(len(x))[:, None].square()


def parameter(name: str, value: float | Tensor) -> Tensor:
    """`value` as a finite tensor in the accumulator's dtype, on the device it is on."""
    number = value if isinstance(value, Tensor) else check_number(name, value)
    tensor = number if isinstance(number, Tensor) else torch.tensor(number, dtype=torch.float64)
    if not tensor.dtype.is_floating_point:
        raise TypeError(f"{name} has dtype {tensor.dtype}; a real floating-point dtype is needed")
    if tensor.numel() == 0:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}: it is empty")
    tensor = check_values(name, tensor).detach().to(accumulator_dtype(tensor.device))
    check_finite(name, tensor)
    return tensor


def check_finite(name: str, value: Tensor) -> None:
    """Raises ValueError where `value` holds a NaN or an infinity."""
    if not bool(torch.isfinite(value).all()):
        count = int((~torch.isfinite(value)).sum())
        raise ValueError(f"{name} holds {count} NaN or infinite value(s); finite ones are needed")


def check_non_negative(name: str, value: Tensor) -> None:
    """Raises ValueError where `value` holds a negative number."""
    if bool((value < 0).any()):
        raise ValueError(f"{name} holds {value.min():g}; values >= 0 are needed")


def common_dtype(tensors: Sequence[Tensor]) -> torch.dtype:
    """What the dtypes of the tensors promote to; the default dtype without tensors."""
    dtype = tensors[0].dtype if tensors else torch.get_default_dtype()
    for tensor in tensors[1:]:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def draw_noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Standard normal numbers, on the device of the generator, in the accumulator's dtype."""
    device = generator.device
    return torch.randn(shape, generator=generator, device=device, dtype=accumulator_dtype(device))
