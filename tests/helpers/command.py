"""How a command ended, for the fixture that runs one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    def refused(self, *said: str) -> None:
        """Exit code 2, and one line on standard error that says what is wrong."""
        assert self.code == 2, self
        assert "Traceback" not in self.out + self.err
        lines = [line for line in self.err.strip().splitlines() if line.startswith("Error: ")]
        assert len(lines) == 1, self.err
        for part in said:
            assert part in lines[0]


Command = Callable[..., Outcome]
