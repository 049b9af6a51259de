"""`steindiff lab`: a local page to try the method on a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from ..options import AnyModel, Device


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the page is served."""

    panel: ClassVar[str] = "Page"
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets anyone in the network in.")
    ] = "127.0.0.1"
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 7860


def lab(place: Place, network: AnyModel, device: Device) -> None:
    """Serve a local page: solver, schedule, steps, guidance; base, relaxed and fine side by side.

    On the shipped model, or on yours. Needs the extra: pip install 'steindiff[web]'.
    """
    from ..lab import lab

    lab(place, network, device)
