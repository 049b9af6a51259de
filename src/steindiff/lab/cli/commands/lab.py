"""`steindiff lab`: a local page to try the method on a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from ..options import AnyModel, Device, option


@dataclass(frozen=True, kw_only=True)
class Page:
    """Where the page is served, and what it shows beside base, relaxed and fine."""

    panel: ClassVar[str] = "Page"
    host: Annotated[str, option("Address to listen on; 0.0.0.0 lets anyone in the network in.")] = (
        "127.0.0.1"
    )
    port: Annotated[int, option("Port to listen on.", min=1, max=65535)] = 7860
    tuned: Annotated[
        Path | None,
        option("A file of steindiff tune for this model: its row.", "none; a button tunes"),
    ] = None


def lab(page: Page, network: AnyModel, device: Device) -> None:
    """Serve a local page: base, relaxed, tuned and fine side by side, from the same noise.

    On the shipped model, or on yours. Needs the extra: pip install 'steindiff[web]'.
    """
    from ..lab import lab

    lab(page, network, device)
