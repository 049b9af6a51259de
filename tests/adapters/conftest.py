"""What the adapters' tests are held to, and which of them `make test` leaves out.

Of a matrix of cases it keeps a part in which every value of every option stands at least once: with
each class of scheduler, where the cases are schedulers, or with each pipeline and each scheduler.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import fields
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
)


def values(parameters: dict[str, Any]) -> Iterator[Hashable]:
    """The values that a case shows."""
    if set(parameters) != {"case"}:
        yield from ((name, as_text(value)) for name, value in parameters.items())
        return
    case = parameters["case"]
    for field in fields(case):
        value = getattr(case, field.name)
        options = value.items() if isinstance(value, dict) else [("", value)]
        for name, option in options:
            yield case.scheduler, field.name, name, as_text(option)


@pytest.hookimpl(tryfirst=True)  # before pytest selects by markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    matrices: dict[str, list[pytest.Function]] = defaultdict(list)
    for item in items:
        if HERE not in item.path.parents or not isinstance(item, pytest.Function):
            continue
        if item.path.parent.name == "diffusers" or item.path.name.startswith("test_k_diffusion"):
            item.add_marker("upstream")
        if item.originalname in MATRICES:
            matrices[item.originalname].append(item)
    for cases in matrices.values():
        kept = covering((item, values(item.callspec.params)) for item in cases)
        for item in cases:
            if item not in kept:
                item.add_marker("slow")
