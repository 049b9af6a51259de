"""Tensors without values: what a program does with them, it does without waiting for the device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

READS = ("_local_scalar_dense", "is_nonzero", "nonzero", "equal")


class NoWait(TorchDispatchMode):
    """Fails where a value is read, on any device, or brought from the host to another device.

    The meta device itself fails where the host asks for a value that there is not.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert name not in READS, f"{func} waits for the device"
        out = func(*args, **(kwargs or {}))
        if name in ("_to_copy", "copy_"):
            places = {leaf.device.type for leaf in (*args, out) if isinstance(leaf, Tensor)}
            assert len(places) == 1, f"{func} copies between {sorted(places)}"
        return out


@contextmanager
def reads_counted(flags: bool = False) -> Iterator[list[torch.Size]]:
    """Yields the shapes of what was read as a whole, by `tolist`; from meta all is `flags`."""
    seen: list[torch.Size] = []
    tolist = Tensor.tolist

    def listed(tensor: Tensor) -> Any:
        seen.append(tensor.shape)
        return tolist(torch.full(tensor.shape, flags) if tensor.is_meta else tensor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tensor, "tolist", listed)
        yield seen
