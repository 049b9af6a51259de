"""Collapse of modes: measured against known modes or classes, and judged."""
