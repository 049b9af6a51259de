"""The page: Gradio's controls around a scene."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, fields
from typing import Any

from .scene import Scene
from .settings import CHOICES, MOST_SEEDS, MOST_STEPS, Settings, checked, read_query

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # nothing is sent from here

NAMES = [field.name for field in fields(Settings)]
ONE: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
"""Whatever is asked of the model waits for what was asked before."""
FONTS: dict[str, Any] = {
    "font": ["system-ui", "sans-serif"],
    "font_mono": ["ui-monospace", "monospace"],
}
"""The reader's own: Gradio's default theme fetches its fonts from elsewhere."""
STYLE = "td { word-break: normal !important; overflow-wrap: normal !important; }"


def build(scene: Scene, title: str, prompted: bool, guided: bool) -> Any:
    """The page of a model.

    Args:
        scene: what samples and draws.
        title: of the model.
        prompted: whether there is a prompt to write.
        guided: whether guidance can be set.

    Raises:
        ValueError: Gradio is not installed.
    """
    try:
        import gradio as gr  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{error.name} is missing, which the page needs: pip install 'steindiff[web]'"
        ) from error

    def show(*values: Any) -> tuple[Any, ...]:
        with _refusals(gr):
            settings = _read(values)
            shown = scene.show(settings)
        words = f"[Link to these settings](?{settings.query}) · relaxed by `{shown.words}`"
        button = gr.Button(
            f"Tune for {settings.steps} steps", interactive=scene.tunings.can(settings)
        )
        return shown.sheet, _table(shown.rows), shown.figure, words, shown.tuned, button

    def fit(progress: Any = gr.Progress(), *values: Any) -> str:  # noqa: B008
        with _refusals(gr):
            settings = _read(values)
            scene.tune(settings, lambda done, total: progress((done, total), unit="evaluations"))
            return scene.tunings.said(settings)

    def restore(request: gr.Request) -> tuple[Any, ...]:
        with _refusals(gr):
            return astuple(read_query(dict(request.query_params)))

    restore.__annotations__["request"] = gr.Request  # Gradio looks for it, and reads no texts

    with gr.Blocks(title="SteinDiff", analytics_enabled=False) as page:
        gr.Markdown(f"## SteinDiff: base, relaxed, tuned and fine from the same noise\n{title}")
        with gr.Row():
            with gr.Column(scale=1, min_width=280):
                controls = _controls(gr, prompted, guided)
                button = gr.Button("Sample", variant="primary")
                tune = gr.Button("Tune", interactive=False, elem_id="tune")
                tuned = gr.Markdown(elem_id="tuned", min_height=120)
            with gr.Column(scale=3, min_width=320):
                outputs = [*_outputs(gr), tuned, tune]
        page.load(restore, None, controls).then(show, controls, outputs, **ONE)
        button.click(show, controls, outputs, **ONE)
        cleared = tune.click(lambda: "&nbsp;", None, tuned)  # the progress bar takes its place
        cleared.then(fit, controls, tuned, **ONE).then(show, controls, outputs, **ONE)
        for control in controls[2 if prompted else 1 :]:
            # By the reader's hand alone: `restore` sets them too.
            happens = control.release if isinstance(control, gr.Slider) else control.input
            happens(show, controls, outputs, trigger_mode="always_last", **ONE)
    return page


def _read(values: Sequence[Any]) -> Settings:
    return checked(Settings(**dict(zip(NAMES, values, strict=True))))


@contextmanager
def _refusals(gr: Any) -> Iterator[None]:
    """Shows what is refused on the page, in a sentence."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise gr.Error(" ".join(str(error).split())) from error


def _table(rows: list[list[str]]) -> str:
    """In Markdown."""
    head = ["| | model calls | relative error to fine |", "| --- | --- | --- |"]
    return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in rows)])


def _controls(gr: Any, prompted: bool, guided: bool) -> list[Any]:
    """In the order of the fields of `Settings`."""
    default = Settings()
    prompt = gr.Textbox(default.prompt, label="prompt", visible=prompted, lines=2)
    steps = gr.Slider(1, MOST_STEPS, default.steps, step=1, label="steps", elem_id="steps")
    guidance = gr.Slider(1, 15, default.guidance, step=0.5, label="guidance", visible=guided)
    named = [
        gr.Dropdown(list(choices), value=getattr(default, name), label=name, elem_id=name)
        for name, choices in CHOICES.items()
    ]
    first = gr.Number(default.first_seed, precision=0, minimum=0, label="first seed")
    seeds = gr.Slider(1, MOST_SEEDS, default.seeds, step=1, label="seeds")
    return [prompt, steps, guidance, *named, first, seeds]


def _outputs(gr: Any) -> list[Any]:
    """What a sampling shows: its images, its figures, its curves, and how it was sampled.

    Their labels would lie over what they show where the page is narrow.
    """
    sheet = gr.Image(
        label="base, relaxed, tuned, fine", show_label=False, format="png",
        interactive=False, buttons=["download", "fullscreen"],
    )  # fmt: skip
    words, table = gr.Markdown(), gr.Markdown()
    return [sheet, table, gr.Plot(label="γ and energy of each step", show_label=False), words]


def serve(page: Any, host: str, port: int, wait: bool = True) -> Any:
    """Serves the page until Ctrl-C.

    Args:
        page: of `build`.
        host: the address to listen on.
        port: the port.
        wait: whether to return only when it ends.

    Raises:
        ValueError: an address or a port that cannot be listened on.
    """
    check_place(host, port)
    from gradio.themes import Default  # pyright: ignore[reportMissingImports]

    return page.launch(
        server_name=host, server_port=port, share=False, quiet=True, ssr_mode=False,
        footer_links=[], theme=Default(**FONTS), css=STYLE, prevent_thread_lock=not wait,
    )  # fmt: skip


def check_place(host: str, port: int) -> None:
    """Raises ValueError for an address or a port that cannot be listened on."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise ValueError(
            f"--host {host} --port {port} cannot be listened on ({error.strerror or error}); "
            "another --port, such as 7861, may be free"
        ) from error
