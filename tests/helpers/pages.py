"""A report's page: what it holds, and what a browser makes of it."""

from __future__ import annotations

import base64
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from waiting import BOUND

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """What a page holds; fails on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if name := found.get("id"):
            self.ids.append(name)
        self.targets += [v for k in ("href", "src") if (v := found.get(k))]
        if tag == "img":
            self.images.append(found)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["style"], ["script"]):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def every_image_has_words_and_a_size(self, largest: int = 1) -> None:
        """Words for who does not see it, and its own size, or up to `largest` times that."""
        for image in self.images:
            assert image["alt"]
            content = base64.b64decode((image["src"] or "").partition("base64,")[2])
            width, height = Image.open(io.BytesIO(content)).size
            scales = [(k * width, k * height) for k in range(1, largest + 1)]
            assert (int(image["width"] or 0), int(image["height"] or 0)) in scales


def browse(address: str, profile: Path) -> tuple[str, list[str]]:
    """The page's final DOM and what it logged."""
    assert CHROMIUM
    options = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--enable-logging=stderr", "--v=0", "--window-size=1280,900", "--dump-dom",
        "--allow-file-access-from-files", f"--user-data-dir={profile}",
    ]  # fmt: skip
    done = subprocess.run(
        [CHROMIUM, *options, address], capture_output=True, text=True, timeout=BOUND, check=True
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


class Layout(NamedTuple):
    """A page laid out: widths in pixels, how many images it has, and what it logged."""

    scroll: int
    client: int
    images: int
    logged: list[str]


MEASURE = """<body><script>
const frame = document.createElement("iframe");
frame.style = "width: WIDTHpx; height: 800px; border: 0";
frame.src = "NAME";
frame.onload = () => {
  const page = frame.contentDocument;
  for (const part of page.querySelectorAll("details")) part.open = true;
  const root = page.documentElement;
  document.body.dataset.result = [root.scrollWidth, root.clientWidth, page.images.length].join();
};
document.body.append(frame);
</script></body>"""


def lay_out(page: Path, width: int, profile: Path) -> Layout:
    """The page in a frame of that width, all that it hides unfolded."""
    measure = page.with_name("measure.html")
    measure.write_text(MEASURE.replace("WIDTH", str(width)).replace("NAME", page.name))
    dom, logged = browse(measure.as_uri(), profile)
    found = re.search(r'data-result="(\d+),(\d+),(\d+)"', dom)
    assert found
    scroll, client, images = map(int, found.groups())
    return Layout(scroll, client, images, logged)
