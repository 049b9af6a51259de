"""What a report is made of: one page that holds everything, its look, and its figures."""

from .html import Picture, inline, inline_file, make_template, saved, written

__all__ = ["Picture", "inline", "inline_file", "make_template", "saved", "written"]
