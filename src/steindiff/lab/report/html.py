"""Pages that need no other file and no network: templates, style, and pictures inside."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from ..._files import write_whole


@dataclass(frozen=True)
class Picture:
    """An image inside the page; sizes in pixels of the screen."""

    uri: str
    alt: str
    width: int
    height: int


def make_template(package: str, name: str) -> Any:
    """The template `templates/name` of a package, with the common style and script.

    Templates may import the macros of `page.html`.
    """
    own = PackageLoader("steindiff.lab.report", ".")
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, "templates"), own]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    template = environment.get_template(name)
    for key, file in (("style", "page.css"), ("script", "page.js")):
        # Ours, and not to be escaped: neither is made of what a result holds.
        template.globals[key] = Markup(own.get_source(environment, file)[0])
    return template


def saved(path: Path, figure: Figure, alt: str) -> Picture:
    """Writes a figure as a PNG file, and returns it for the page."""
    stream = io.BytesIO()
    figure.savefig(stream, format="rgba")
    size = figure.canvas.get_width_height()
    picture = Image.frombytes("RGBA", size, stream.getvalue()).convert("RGB")
    # A palette: a quarter of the size, and no colour of a plot is lost that matters.
    picture = picture.quantize(128, dither=Image.Dither.NONE)
    content = _encoded(picture)
    write_whole(path, lambda file: file.write(content))
    return _inline(content, picture, alt)


def written(path: Path, picture: Image.Image) -> None:
    """Writes a picture as a PNG file, whole or not at all."""
    write_whole(path, lambda file: picture.save(file, format="png"))


def inline_file(path: Path) -> str:
    """A PNG file as an <img> that needs no other file."""
    uri = base64.b64encode(path.read_bytes()).decode()
    return f'<img src="data:image/png;base64,{uri}" alt="{path.stem}" style="max-width: 100%">'


def inline(picture: Image.Image, alt: str, scale: int = 1) -> Picture:
    """A picture for the page, shown `scale` times as large."""
    return _inline(_encoded(picture), picture, alt, scale)


def _encoded(picture: Image.Image) -> bytes:
    """As PNG."""
    stream = io.BytesIO()
    picture.save(stream, format="png", optimize=True)
    return stream.getvalue()


def _inline(content: bytes, picture: Image.Image, alt: str, scale: int = 1) -> Picture:
    uri = "data:image/png;base64," + base64.b64encode(content).decode()
    return Picture(uri, alt, picture.width * scale, picture.height * scale)
