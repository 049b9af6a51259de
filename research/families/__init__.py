"""Small trained networks unlike the shipped one, for judging the rule on: see research/README.md.

They differ from it and from each other in architecture, data and parameterisation.
"""

from .build import RECIPES
from .weights import Family, load_family

FAMILIES = tuple(RECIPES)
"""Names that `load_family` takes."""

__all__ = ["FAMILIES", "Family", "load_family"]
