"""How a command ended, for the fixture that runs one, and what its help says."""

from __future__ import annotations

import re
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


def check_help(arguments: list[str], said: list[str]) -> None:
    """The command's help holds these parts."""
    from typer.testing import CliRunner  # here: tests of the core do not wait for these imports

    from steindiff.lab.cli.commands import app

    result = CliRunner().invoke(app, [*arguments, "--help"], env={"COLUMNS": "160"})
    assert result.exit_code == 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", result.output)
    assert all(part in plain for part in ["Usage:", *said])
