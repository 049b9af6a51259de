"""Elements of a scheduler's `timesteps`, found without reading a value."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def index_in_memory(timestep: Any, timesteps: Tensor) -> int | None:
    """Index of `timestep` if it is an element of `timesteps` itself, by its place in memory.

    Pipelines hand out elements of `timesteps`; to compare their values would wait for the device.
    """
    if not (isinstance(timestep, Tensor) and timestep.ndim == 0):
        return None
    if timestep.dtype != timesteps.dtype or _storage(timestep) != _storage(timesteps):
        return None
    return (timestep.storage_offset() - timesteps.storage_offset()) // timesteps.stride(0)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
