"""The shipped network as a model of diffusers."""
# pyright: reportPrivateImportUsage=false
# (diffusers' own names are loaded on demand, which does not count as exporting them)

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor

from steindiff.models.network import NetworkConfig, UNetDenoiser

from .conventions import Convention


class FashionMNISTDenoiser(ModelMixin, ConfigMixin):
    """The shipped architecture, `UNetDenoiser`, as a model of diffusers.

    The arguments are those of `NetworkConfig`, and `sigma_min` and `sigma_max`, the VE noise
    levels that the weights were trained on. A level outside is moved to the nearest of them.
    """

    __module__ = __name__.rpartition(".")[0]  # the place that saved pipelines name

    @register_to_config
    def __init__(
        self,
        image_size: int = 28,
        channels: int = 1,
        num_classes: int = 10,
        patch: int = 2,
        widths: Sequence[int] = (64, 96),
        blocks: int = 1,
        embedding: int = 128,
        sigma_data: float = 0.7,
        sigma_min: float = 0.005,
        sigma_max: float = 100.0,
    ) -> None:
        super().__init__()
        self.network = UNetDenoiser(
            NetworkConfig(
                image_size,
                channels,
                num_classes,
                patch,
                tuple(widths),
                blocks,
                embedding,
                sigma_data,
            )
        )
        self.trained = (sigma_min, sigma_max)

    @classmethod
    def from_network(cls, network: UNetDenoiser) -> FashionMNISTDenoiser:
        """With a copy of the weights of `network`."""
        model = cls(**network.config.to_dict())
        model.network.load_state_dict(network.state_dict())
        return _channels_last(model.eval())

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As any model of diffusers; the weights are kept channels last, which is faster."""
        loaded = super().from_pretrained(*args, **kwargs)
        _channels_last(loaded[0] if isinstance(loaded, tuple) else loaded)
        return loaded

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        class_labels: Tensor,
        convention: Convention,
        return_dict: bool = True,
    ) -> UNet2DOutput | tuple[Tensor]:
        """What a scheduler of that convention expects of its network.

        Args:
            sample: (B, C, H, W), scaled as the scheduler scales its model's input.
            timestep: of the scheduler; one for all, or (B,).
            class_labels: (B,) int64, 0 .. num_classes - 1, or num_classes for "no class".
            convention: see `convention_of`.
            return_dict: whether to return a `UNet2DOutput` or a tuple.

        Returns:
            (B, C, H, W) in the dtype of `sample`; computed in float32 at least but for the
            network's layers, which have the dtype of the weights.
        """
        x = sample.to(torch.promote_types(sample.dtype, torch.float32))
        time = torch.as_tensor(timestep, dtype=x.dtype, device=x.device).expand(len(x))
        x, alpha, sigma = convention.read(x, time.reshape(-1, 1, 1, 1))
        denoised = self._denoised(x, alpha, sigma, class_labels)
        output = convention.write(denoised, x, alpha, sigma).to(sample.dtype)
        return UNet2DOutput(sample=output) if return_dict else (output,)

    def _denoised(self, x: Tensor, alpha: Tensor, sigma: Tensor, labels: Tensor) -> Tensor:
        """Beyond sigma_max x is all noise, also at alpha = 0: it is scaled to that of sigma_max."""
        low, high = self.trained
        scale = torch.maximum(alpha, sigma / high)
        return self.network(x / scale, (sigma / scale).clamp(min=low).flatten(), labels)


def _channels_last(model: FashionMNISTDenoiser) -> FashionMNISTDenoiser:
    model.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model
