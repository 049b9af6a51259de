"""One tuning on many processes: all do the same, but for evaluations, which they share out.

Every process counts, fits and chooses for itself, from the same numbers, and so comes to the same
tuning as one process would. What a network makes of a batch of noises travels, a batch being the
least that is shared: other batches could have other bits. Whoever starts the processes has joined
them: the command line does, and `accelerate.Accelerator()` or `dist.init_process_group()`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from ..calibrated.path import Rows
from ..denoisers import Denoiser
from .batch import Batch

T = TypeVar("T")


def place() -> tuple[int, int]:
    """The number of this process, from 0, and how many there are."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def by_first(make: Callable[[], T]) -> T:
    """What `make` gives in process 0, in all of them; all must call it.

    Raises:
        OSError: it failed in process 0, in the others; there it is the error itself.
    """
    rank, size = place()
    return make() if size == 1 else _exchanged(make if rank == 0 else lambda: None)[0]


def _exchanged(make: Callable[[], Any]) -> list[Any]:
    """What `make` gives in each process, by number; where it fails in one, it fails in all."""
    value, failure = None, None
    try:
        value = make()
    except Exception as error:
        failure = error
    told: list[Any] = [None] * place()[1]
    try:
        dist.all_gather_object(told, (value, None if failure is None else str(failure)))
    except RuntimeError as lost:
        raise failure or OSError(f"another process of this tuning has ended: {lost}") from None
    if failure is not None:
        raise failure
    for number, (_, text) in enumerate(told):
        if text is not None:
            raise OSError(f"process {number} of this tuning failed: {text}")
    return [one for one, _ in told]


class SharedRows(Rows):
    """`Rows` whose batches are shared out among the processes.

    Args:
        denoiser: as `Rows` has it.
        conditioning: as `Rows` has it.
        size: noises at a time; halved where the device has no room for them, in all processes.
        told: as `Rows` has it.
    """

    def __init__(
        self, denoiser: Denoiser, conditioning: Mapping[str, Any], size: Batch,
        told: Callable[[int], object],
    ) -> None:  # fmt: skip
        super().__init__(denoiser, conditioning, size.count, told)
        self.size = size

    def each(self, x: Tensor, make: Callable[[slice], Tensor]) -> Tensor:
        while True:
            self.batch = self.size.count
            found = self._shared(x, make)
            if found is not None:
                return found
            self.size.halve()

    def _shared(self, x: Tensor, make: Callable[[slice], Tensor]) -> Tensor | None:
        """As `each`; None where one of the processes has no room."""
        rank, size = place()
        parts = self.parts(len(x))

        def mine() -> list[Tensor] | None:
            found = []
            try:
                for part in parts[rank::size]:
                    one = make(part)
                    found.append(one if size == 1 else one.cpu())
                    if size == 1:
                        self.told(len(one))
            except torch.OutOfMemoryError:
                return None
            return found

        told = [mine()] if size == 1 else _exchanged(mine)
        made = [one for one in told if one is not None]
        if len(made) < size:
            return None
        if size > 1:
            self.told(len(x))
        return torch.cat([made[k % size][k // size] for k in range(len(parts))]).to(x.device)
