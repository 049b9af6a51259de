"""What the adapters' tests are held to, and which of them `make test` leaves out.

Of a matrix of cases it keeps a part in which every value of every option stands at least once: with
each class of scheduler, where the cases are schedulers, or with each solver and each coefficient.
Of matrices of three options and more it keeps every pair.
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
    "test_agrees_with_sample",
    "test_ddim_takes_the_steps_of_euler_guided_or_not",
    "test_euler_is_euler_discrete",
    "test_image_to_image",
    "test_no_step_waits_for_the_device",
    "test_nothing_waits_for_the_device",
    "test_round_trip_samples_the_same_bits",
    "test_the_end_is_the_cores",
    "test_the_relaxed_scheduler_is_the_relaxed_solver",
)
COARSE = "test_the_default_coefficient_works_there_too"
"""Shows every option with each class, and every value of it with some class: what it holds to is
less than what the test of the bits does, which shows every value with each class."""


def values(parameters: dict[str, Any], coarse: bool = False) -> Iterator[Hashable]:
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
            if coarse:
                yield case.scheduler, field.name, name
                yield field.name, name, as_text(option)
            else:
                yield case.scheduler, field.name, name, as_text(option)


@pytest.hookimpl(tryfirst=True)  # before pytest selects by markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    matrices: dict[tuple[Path, str], list[pytest.Function]] = defaultdict(list)
    for item in items:
        if HERE not in item.path.parents or not isinstance(item, pytest.Function):
            continue
        if item.path.parent.name == "diffusers" or item.path.name.startswith("test_k_diffusion"):
            item.add_marker("upstream")
        if item.originalname in (*MATRICES, COARSE) and hasattr(item, "callspec"):
            matrices[item.path, item.originalname].append(item)
    for (_, test), cases in matrices.items():
        kept = covering((item, values(item.callspec.params, test == COARSE)) for item in cases)
        for item in cases:
            if item not in kept:
                item.add_marker("slow")
