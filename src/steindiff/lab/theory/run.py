"""Runs the chapters of a diagnosis; each is saved as it ends, and the same run goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from ..._errors import unknown_name
from ..._files import digest, write_text
from ..._provenance import machine, versions
from ..folders import claim
from .chapters import CHAPTERS
from .diagnosis import Diagnosis
from .results import FORMAT, NAME, DiagnosisSetting, Part, Results, read_diagnosis
from .statement import Chapter, Tell


def run_chapters(
    diagnosis: Diagnosis,
    out: Path,
    *,
    names: Sequence[str] = (),
    command: str = "",
    overwrite: bool = False,
    tell: Tell = lambda text: None,
    done: Callable[[], object] = lambda: None,
    chapters: Mapping[str, Chapter] = CHAPTERS,
) -> Results:
    """Measures, and writes `results.json` after every chapter.

    Args:
        diagnosis: what is looked at, and how.
        out: folder; new, empty, or of a diagnosis.
        names: of the chapters; all if empty.
        command: stands in the results.
        overwrite: drop the results of another diagnosis.
        tell: is told what is being done.
        done: is called after every chapter.
        chapters: that there are.

    Returns:
        What stands in the file.

    Raises:
        ValueError: an unknown chapter, results of another diagnosis in `out`, damaged ones, a
            folder of something else (`claim`), or measurements that are not finite.
    """
    for name in names:
        if name not in chapters:
            raise unknown_name("chapter", name, chapters)
    results = _begun(diagnosis, out, command, overwrite, chapters)
    claim(out, "diagnosis", overwrite)
    for name in names or chapters:
        if name not in results["chapters"]:
            begin = time.perf_counter()
            found = chapters[name].measure(diagnosis, tell)
            seconds = time.perf_counter() - begin
            results["chapters"][name] = Part(seconds=seconds, found=found)
            write_text(out / NAME, _encoded(results, name))
        done()
    return results


def _encoded(results: Results, name: str) -> str:
    try:
        return json.dumps(results, ensure_ascii=False, allow_nan=False) + "\n"
    except ValueError:
        raise ValueError(
            f"chapter {name!r} measured numbers that are not finite; the denoiser and its "
            "derivatives have to be finite at every level of the sampling"
        ) from None


def described(diagnosis: Diagnosis) -> DiagnosisSetting:
    """What tells a diagnosis from another, as results hold it."""
    sampling, sizes = diagnosis.sampling, asdict(diagnosis.sizes)
    return DiagnosisSetting(
        model=diagnosis.subject.name,
        shape=list(diagnosis.subject.shape),
        solver=sampling.solver_text,
        coefficient=sampling.coefficient_text,
        schedule=sampling.schedule,
        steps=sampling.steps,
        sigma_min=sampling.sigma_min,
        sigma_max=sampling.sigma_max,
        first_seed=diagnosis.first_seed,
        sizes={k: list(v) if isinstance(v, tuple) else v for k, v in sizes.items()},
    )


def _begun(
    diagnosis: Diagnosis, out: Path, command: str, overwrite: bool, chapters: Mapping[str, Chapter]
) -> Results:
    """Results of the same diagnosis that are there already, or none."""
    about = described(diagnosis)
    if (out / NAME).is_file() and not overwrite:
        results = read_diagnosis(out, chapters)
        found = results["setting"]
        if digest(found) != digest(about):
            different = [key for key, value in about.items() if value != found.get(key)]
            raise ValueError(
                f"{out} holds a diagnosis with another {', '.join(different)}; choose another "
                "folder or pass --overwrite"
            )
        return results
    return Results(
        format=FORMAT,
        command=command,
        setting=about,
        versions=versions("torch", "steindiff"),
        machine=machine(torch.device(diagnosis.subject.device)),
        chapters={},
    )
