"""The command, run in this process."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from command import Command, Outcome

from steindiff.lab.cli import main


@pytest.fixture
def steindiff(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command as the installed script does."""
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
