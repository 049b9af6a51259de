"""What the API pages do to docstrings: inner products are no HTML."""

from __future__ import annotations

import re
from typing import Any

import griffe

PRODUCT = re.compile(r"<([^<>`]*,[^<>`]*)>")


class InnerProducts(griffe.Extension):
    """Writes <a, b> as ⟨a, b⟩, which Markdown would take for a tag and drop."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for every object with or without a docstring."""
        if obj.docstring is not None:
            obj.docstring.value = PRODUCT.sub(r"⟨\1⟩", obj.docstring.value)
