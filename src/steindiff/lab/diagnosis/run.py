"""Runs the chapters on a setting; each is saved as it ends, and the same run goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ..._errors import unknown_name
from ..._files import digest, write_text
from ..._provenance import machine, versions
from .chapters import CHAPTERS, Found, Tell
from .setting import Setting

FORMAT = 1
NAME = "results.json"


def run_chapters(
    setting: Setting,
    out: Path,
    *,
    names: Sequence[str] = (),
    command: str = "",
    overwrite: bool = False,
    tell: Tell = lambda text: None,
    done: Callable[[], object] = lambda: None,
) -> Found:
    """Measures, and writes `results.json` after every chapter.

    Args:
        setting: what is diagnosed.
        out: folder; made if it is not there.
        names: of the chapters; all if empty.
        command: stands in the results.
        overwrite: drop the results of another setting.
        tell: is told what is being done. done: is called after every chapter.

    Returns:
        What stands in the file.

    Raises:
        ValueError: an unknown chapter, results of another setting in `out`, or damaged ones.
    """
    for name in names:
        if name not in CHAPTERS:
            raise unknown_name("chapter", name, CHAPTERS)
    out.mkdir(parents=True, exist_ok=True)
    results = _begun(setting, out, command, overwrite)
    for name in names or CHAPTERS:
        if name not in results["chapters"]:
            begin = time.perf_counter()
            found = CHAPTERS[name].measure(setting, tell)
            results["chapters"][name] = {"seconds": time.perf_counter() - begin, "found": found}
            write_text(out / NAME, json.dumps(results, ensure_ascii=False) + "\n")
        done()
    return results


def read_diagnosis(folder: Path) -> Found:
    """What `run_chapters` wrote.

    Raises:
        FileNotFoundError: nothing is there. ValueError: damaged, or of another format.
    """
    path = folder / NAME
    try:
        results = json.loads(path.read_text())
    except ValueError as error:  # no JSON, or no text
        raise ValueError(f"{path} is damaged: {error}; remove it to start anew") from error
    ours = isinstance(results, dict) and {"setting", "chapters"} <= results.keys()
    if not ours or results.get("format") != FORMAT:
        raise ValueError(f"{path} is not a diagnosis of format {FORMAT}")
    return results


def described(setting: Setting) -> dict[str, Any]:
    """What tells a setting from another, as results hold it."""
    return {
        "model": setting.name,
        "shape": list(setting.shape),
        "solver": setting.solver_text,
        "coefficient": setting.coefficient_text,
        "schedule": setting.schedule,
        "steps": setting.steps,
        "sigma_min": setting.sigma_min,
        "sigma_max": setting.sigma_max,
        "first_seed": setting.first_seed,
        "sizes": {
            k: list(v) if isinstance(v, tuple) else v for k, v in asdict(setting.sizes).items()
        },
    }


def _begun(setting: Setting, out: Path, command: str, overwrite: bool) -> Found:
    """Results of the same setting that are there already, or none."""
    about = described(setting)
    if (out / NAME).exists() and not overwrite:
        found = read_diagnosis(out)
        if digest(found["setting"]) != digest(about):
            different = [k for k in about if about[k] != found["setting"].get(k)]
            raise ValueError(
                f"{out} holds a diagnosis with another {', '.join(different)}; choose another "
                "folder or pass --overwrite"
            )
        return found
    return {
        "format": FORMAT,
        "command": command,
        "setting": about,
        "versions": versions("torch", "steindiff"),
        "machine": machine(torch.device(setting.device)),
        "chapters": {},
    }
