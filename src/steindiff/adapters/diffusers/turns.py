"""Keeps two threads from mixing their samplings in one scheduler, which remembers one alone."""

from __future__ import annotations

import threading
from typing import Any

from torch import Tensor

from ..relaxation import Seen
from .timesteps import index_in_memory

LOCK = threading.RLock()
"""Held while a scheduler steps: of two threads that step at once, the second sees what is due."""


class Turns:
    """Whose turn it is, from `set_timesteps` on.

    A sampling may move from one thread to another, as generators of web servers do: what the other
    thread brings is then the element of `timesteps` that is due, or the very sample that was handed
    out. Anything else is a second sampling. Within one thread nothing is looked at, so that no step
    waits for the device.
    """

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._first: Any = None
        self._made = 0
        self._result = Seen()

    def check(self, scheduler: Any, timestep: Any, sample: Tensor) -> None:
        """Raises ValueError where another thread brings what is not due."""
        thread = threading.get_ident()
        if thread == self._thread:
            return
        if not self._is_due(scheduler, timestep, sample):
            raise ValueError(
                "two threads sample with one scheduler, which remembers one sampling alone: give "
                "each thread a scheduler of its own (copy.deepcopy)"
            )
        self._thread = thread

    def made(self, timestep: Any, result: Tensor) -> None:
        """After a step."""
        self._first = timestep if self._made == 0 else self._first
        self._made += 1
        self._result = Seen(result)

    def _is_due(self, scheduler: Any, timestep: Any, sample: Tensor) -> bool:
        times = scheduler.timesteps
        try:
            if self._made:
                found = index_in_memory(self._first, times)
                begin = times.tolist().index(float(self._first)) if found is None else found
            else:
                begin = getattr(scheduler, "begin_index", None) or 0
            due = begin + self._made
            if index_in_memory(timestep, times) == due:
                return True
            # Elsewhere equal values are no sign: those of another sampling may be the same.
            known = self._made == 0 or self._result(sample)
            return known and float(times[due]) == float(timestep)
        except (TypeError, ValueError, RuntimeError, IndexError):  # other levels by now, or no more
            return False
