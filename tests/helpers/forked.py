"""Code in new processes that do not wait for PyTorch: forked from one that has imported it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

_SERVER = """
import json, os, sys, traceback
import numpy, safetensors, torch

assert "steindiff" not in sys.modules

def child(job):
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(os.path.join(job["said"], name), os.O_WRONLY | os.O_CREAT), number)
    os.chdir(job["cwd"])
    os.environ.update(job["environment"])
    sys.path.insert(0, job["path"])
    sys.argv[:] = ["-c"]
    for name in job["blocked"]:
        sys.modules[name] = None
    code = 0
    try:
        exec(compile(job["code"], "<forked>", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(code)

for line in sys.stdin:
    job = json.loads(line)
    pid = os.fork() or child(job)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Forked:
    """Starts processes that have PyTorch, NumPy and safetensors, and nothing of steindiff yet."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(
        self, code: str, *, path: Path, cwd: Path, blocked: Sequence[str] = (), **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs `code` as `python -c` does.

        Args:
            code: of a whole script.
            path: folder or archive that is looked into first for modules.
            cwd: where it runs.
            blocked: modules that cannot be imported there.
            environment: variables beside those of this process.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with TemporaryDirectory() as said:
            job = {
                "code": code, "path": str(path), "cwd": str(cwd), "blocked": blocked,
                "environment": environment, "said": said,
            }  # fmt: skip
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
            ended = int(self._process.stdout.readline())
            out, err = ((Path(said) / name).read_text() for name in ("out", "err"))
        return subprocess.CompletedProcess(["-c"], ended, out, err)

    def close(self) -> None:
        """Ends the process that the others are forked from."""
        self._process.communicate()
