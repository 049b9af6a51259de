"""The command line: `commands` declares what can be asked for, the other modules do it.

Nothing that `commands` imports needs PyTorch, NumPy or matplotlib: help answers at once, and a
command imports the module that does its work when it runs.
"""

from __future__ import annotations

import sys

LAB_PACKAGES = (
    "typer", "rich", "PIL", "matplotlib", "jinja2", "markupsafe", "filelock", "msgspec",
)  # fmt: skip
"""What the extra `lab` brings, by the names that it is imported by."""


def main() -> None:
    """Entry point: what the user got wrong is one sentence and exit code 2, never a traceback."""
    try:
        from .commands import app

        app()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in LAB_PACKAGES:
            raise
        _fail(f"{error.name} is missing, which the commands need: pip install 'steindiff[lab]'")
    except OSError as error:
        own = error.filename is None or not error.strerror  # our sentence, not Python's
        _fail(str(error) if own else f"{error.filename}: {error.strerror}")
    except (ValueError, TypeError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _interrupted()
    except SystemExit as end:
        if end.code == 130:  # what typer makes of Ctrl-C inside a command
            _interrupted()
        raise


def _fail(sentence: str) -> None:
    print(f"Error: {' '.join(sentence.split())}", file=sys.stderr)
    sys.exit(2)


def _interrupted() -> None:
    print("Interrupted; no half-written file is left.", file=sys.stderr)
    sys.exit(130)
