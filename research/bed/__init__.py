"""The bed: unlike networks, each with noises, a fine solution and two sets of features.

`Bed` judges any sampling on one network; `rotation` keeps a choice from being judged on a network
that it was made on. See research/README.md.
"""

from .harness import Bed
from .networks import NETWORKS, Network, load_network
from .results import ResultFile, parser
from .rotation import LeftOut, least_mean, rotation, summary

__all__ = [
    "NETWORKS",
    "Bed",
    "LeftOut",
    "Network",
    "ResultFile",
    "least_mean",
    "load_network",
    "parser",
    "rotation",
    "summary",
]
