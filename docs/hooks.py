"""What the site's build does to a page besides Markdown.

Formulas become MathML, which browsers draw themselves: no script, no font, nothing fetched. Links
to files of the repository that are not part of the site lead to the repository.
"""

from __future__ import annotations

import html
import posixpath
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

ROOT = Path(__file__).parents[1]
FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<latex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL
)
BAR = '<mo stretchy="false">&#x0007C;</mo>'
PRIME = re.compile(r"<msup>(<mi>[^<]*</mi>)<mi>&#x02032;</mi></msup>")
CELL = re.compile(r"<td>(.*?)</td>", re.DOTALL)
SHORT, LONG = 12, 60
"""Characters of a cell that is a name, at most, and of one that is a text, at least."""
LINK = re.compile(r"(?<=\]\()(?P<target>[^)#\s:]+)(?P<anchor>#[^)\s]*)?(?=\))")


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Relative links to what the site does not have go to the repository."""
    here = posixpath.dirname(page.file.src_uri)

    def outside(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", here, link["target"]))
        inside = files.get_file_from_path(posixpath.relpath(path, "docs"))
        in_the_site = inside is not None and not inside.inclusion.is_excluded()
        if in_the_site or not (ROOT / path).exists():  # MkDocs itself warns of what is nowhere
            return link[0]
        return f"{config.extra['repository']}/blob/main/{path}{link['anchor'] or ''}"

    return LINK.sub(outside, markdown)


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """LaTeX, as pymdownx.arithmatex marks it, to MathML; cells as wide as what they hold wants."""
    return CELL.sub(_wide, FORMULA.sub(_mathml, html))


def _wide(cell: re.Match[str]) -> str:
    """Numbers and short names stay on one line, texts do not become columns of single words."""
    text = re.sub(r"<[^>]+>|\s", "", html.unescape(cell[1]))
    letters = sum(character.isalpha() for character in text)
    if text and (letters < len(text) / 4 or len(text) <= SHORT):
        return f'<td class="whole">{cell[1]}</td>'
    if len(text) > LONG:
        return f'<td class="prose">{cell[1]}</td>'
    if "<" not in cell[1] and " " not in cell[1]:  # a spec, which may be broken at its commas
        return f"<td>{cell[1].replace(',', ',<wbr>')}</td>"
    return cell[0]


def _mathml(found: re.Match[str]) -> str:
    latex = html.unescape(found["latex"]).strip()
    formula = convert(latex, display="block" if found["tag"] == "div" else "inline")
    if "\\" in formula:
        raise PluginError(f"a formula that latex2mathml cannot convert: {latex}")
    # Bars are a norm here, never "such that": as fences they have no space around them.
    formula = formula.replace(BAR, '<mo stretchy="false" lspace="0" rspace="0">|</mo>')
    # A prime as a superscript is too small to be seen in most fonts, which have it raised already.
    return PRIME.sub(r'<mrow>\1<mo lspace="0" rspace="0">&#x02032;</mo></mrow>', formula)
