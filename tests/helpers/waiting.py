"""How long a test waits for what must come, on the busiest machine that is of interest."""

BOUND = 600.0
"""Seconds: far above what a loaded machine needs, so that running out means that nothing comes."""
