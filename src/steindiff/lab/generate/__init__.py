"""Generates large sets of images: on many processes, resumable, the same bytes every time."""

from .folder import Setting, read_setting
from .processes import Processes, processes
from .run import Summary, generate
from .sampler import Sampler

__all__ = ["Processes", "Sampler", "Setting", "Summary", "generate", "processes", "read_setting"]
