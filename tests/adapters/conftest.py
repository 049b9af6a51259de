"""What the adapters' tests are held to, and which of them `make test` leaves out.

Of a matrix of cases it keeps a part in which every value of every option stands at least once: with
each class of scheduler, where the cases are schedulers; with each pipeline and each scheduler; or
with each solver and each coefficient. Of matrices of three options and more it keeps every pair.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import fields
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from matrices import as_text, covering

HERE = Path(__file__).parent
MATRICES = (
    "test_gamma_of_one_gives_the_bits_of_the_plain_class",
    "test_the_default_coefficient_works_there_too",
    "test_gamma_of_one_keeps_the_bits",
    "test_energy_moves_the_image_a_little",
    "test_record_of_a_sampling",
    "test_agrees_with_sample",
    "test_the_relaxed_scheduler_is_the_relaxed_solver",
    "test_the_end_is_the_cores",
    "test_euler_is_euler_discrete",
)


def values(parameters: dict[str, Any]) -> Iterator[Hashable]:
    """The values that a case shows."""
    if set(parameters) != {"case"}:
        named = ((name, as_text(value)) for name, value in parameters.items())
        yield from combinations(named, 2 if len(parameters) > 2 else 1)
        return
    case = parameters["case"]
    for field in fields(case):
        value = getattr(case, field.name)
        options = value.items() if isinstance(value, dict) else [("", value)]
        for name, option in options:
            yield case.scheduler, field.name, name, as_text(option)


@pytest.hookimpl(tryfirst=True)  # before pytest selects by markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    matrices: dict[tuple[Path, str], list[pytest.Function]] = defaultdict(list)
    for item in items:
        if HERE not in item.path.parents or not isinstance(item, pytest.Function):
            continue
        if item.path.parent.name == "diffusers" or item.path.name.startswith("test_k_diffusion"):
            item.add_marker("upstream")
        if item.originalname in MATRICES:
            matrices[item.path, item.originalname].append(item)
    for cases in matrices.values():
        kept = covering((item, values(item.callspec.params)) for item in cases)
        for item in cases:
            if item not in kept:
                item.add_marker("slow")
