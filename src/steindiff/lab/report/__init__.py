"""What a report is made of: one page that holds everything, its look, and its figures."""

from .html import Picture, inline, make_template, saved, written

__all__ = ["Picture", "inline", "make_template", "saved", "written"]
