"""The package's layers: the method below, the laboratory above, and no circle anywhere."""

from __future__ import annotations

import graphlib
from collections import defaultdict

import grimp
import pytest

MOST = 80
"""Pairs of units, one of which imports the other."""


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """Every import of the package's modules by each other, those inside functions too."""
    return grimp.build_graph("steindiff", cache_dir=None)


def pairs(graph: grimp.ImportGraph, *opened: str) -> set[tuple[str, str]]:
    """(importer, imported) for units: a folder or file at the top; in `opened` ones, one below."""

    def unit(module: str) -> str:
        parts = module.split(".")
        return ".".join(parts[1 : 3 if parts[1:2] and parts[1] in opened else 2])

    found = {
        (unit(module), unit(imported))
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
    }
    return {(importer, imported) for importer, imported in found if importer != imported}


def test_nothing_outside_the_laboratory_imports_it(graph: grimp.ImportGraph) -> None:
    """But the file that `python -m steindiff` runs, by name."""
    importers = {importer for importer, imported in pairs(graph) if imported == "lab"}
    assert importers == set()


def test_no_circles_between_folders_and_files(graph: grimp.ImportGraph) -> None:
    """At the top, and between the laboratory's and the adapters' own."""
    found: dict[str, set[str]] = defaultdict(set)
    for importer, imported in pairs(graph, "lab", "adapters"):
        found[importer].add(imported)
    graphlib.TopologicalSorter(found).prepare()  # raises CycleError, which names the circle


def test_imports_between_units_are_few(graph: grimp.ImportGraph) -> None:
    """A unit is what `ls src/steindiff` shows: the adapters are one, and so is the laboratory.

    So the count says what the method's parts know of each other, and how much of the method the
    two wings need. The face of the package is left out, which names every part on purpose. Before
    the laboratory was one, there were 160 between 30 units.
    """
    found = {(importer, imported) for importer, imported in pairs(graph) if importer}
    assert len(found) < MOST, sorted(found)
