"""Does `steindiff lab`: serves the page of a model."""

from __future__ import annotations

from dataclasses import replace

import typer

from ..devices import check_device
from ..subjects import Subject, of_pipeline
from ..web.page import build, check_place, serve
from ..web.scene import MakeSubject, Scene
from ..web.tunings import Tunings
from .commands.lab import Page
from .models import model_of
from .options import AnyModel, Device


def lab(page: Page, network: AnyModel, device: Device) -> None:
    """Opens the model once, and serves until Ctrl-C."""
    check_place(page.host, page.port)
    where = str(check_device(device.device))
    if network.prompts is not None or network.prompt or network.guidance != 1:
        raise ValueError("--prompt, --prompts and --guidance are set on the page; leave them out")
    first = model_of(network, where)
    make, prompted, guided = maker_of(network, first, where)
    built = build(
        Scene(make, Tunings(page.tuned, first)), f"{first.name}. {first.note}", prompted, guided
    )
    typer.echo(f"http://{page.host}:{page.port} (Ctrl-C ends it)")
    serve(built, page.host, page.port)


def maker_of(network: AnyModel, first: Subject, device: str) -> tuple[MakeSubject, bool, bool]:
    """The model of a prompt and a guidance; whether it takes either."""
    if network.diffusers is not None:
        from ...adapters.diffusers.folder import open_pipeline, takes_prompt

        pipeline = open_pipeline(network.diffusers, device)
        prompted = takes_prompt(pipeline)

        def of_prompt(prompt: str, guidance: float) -> Subject:
            return of_pipeline(pipeline, [prompt] if prompted else (), guidance)

        return of_prompt, prompted, True
    if network.edm is not None or network.function is not None:
        return lambda prompt, guidance: first, False, False

    def of_guidance(prompt: str, guidance: float) -> Subject:
        return model_of(replace(network, guidance=guidance), device)

    return of_guidance, False, True
