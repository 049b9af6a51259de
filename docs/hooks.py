"""What the site's build does to a page besides Markdown.

Formulas become MathML, which browsers draw themselves: no script, no font, nothing fetched. Links
to files of the repository that are not part of the site lead to the repository.
"""

from __future__ import annotations

import html
import posixpath
import re
from typing import Any

from latex2mathml.converter import convert

FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<latex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL
)
LINK = re.compile(r"(?<=\]\()(?P<target>[^)#\s:]+)(?P<anchor>#[^)\s]*)?(?=\))")


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Relative links to what the site does not have go to the repository."""
    here = posixpath.dirname(page.file.src_uri)

    def outside(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", here, link["target"]))
        inside = files.get_file_from_path(posixpath.relpath(path, "docs"))
        if inside is not None and not inside.inclusion.is_excluded():
            return link[0]
        return f"{config.extra['repository']}/blob/main/{path}{link['anchor'] or ''}"

    return LINK.sub(outside, markdown)


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """LaTeX, as pymdownx.arithmatex marks it, to MathML."""
    return FORMULA.sub(_mathml, html)


def _mathml(found: re.Match[str]) -> str:
    shown = "block" if found["tag"] == "div" else "inline"
    return convert(html.unescape(found["latex"]).strip(), display=shown)
