"""One thread a process, and the command, run in this process."""

from __future__ import annotations

import os
import sys
from typing import Any

# The tensors here are small: threads that wait for each other cost far more than they bring, and
# so do those of two workers on the same cores. Read when torch is imported, and by every process
# that a test starts.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import pytest
from command import Command, Outcome


@pytest.fixture
def steindiff(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command as the installed script does."""
    from steindiff.lab.cli import main  # here: tests of the core do not wait for its import

    monkeypatch.setenv("COLUMNS", "250")

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["steindiff", *map(str, arguments)])
        code: Any = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run
