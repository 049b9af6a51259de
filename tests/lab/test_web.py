"""The page of `steindiff lab`: its settings, what it shows, and a browser that uses it."""

from __future__ import annotations

import importlib.util
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from command import Command
from devtools import Browser
from pages import CHROMIUM

import steindiff as sd
from steindiff.lab.metrics import rmse
from steindiff.lab.subjects import Given, Subject, make_subject
from steindiff.lab.web.page import build, serve
from steindiff.lab.web.scene import Scene
from steindiff.lab.web.settings import Settings, read_query


def scene() -> Scene:
    return Scene(lambda prompt, guidance: make_subject("fashion-mnist", guidance))


def test_a_link_restores_the_settings() -> None:
    settings = Settings(prompt="a cat & a dog", steps=7, guidance=2.5, solver="euler", seeds=3)
    pairs = [part.split("=") for part in settings.query.split("&")]
    assert [name for name, _ in pairs] == ["prompt", "steps", "guidance", "solver", "seeds"]
    from urllib.parse import parse_qsl

    assert read_query({**dict(parse_qsl(settings.query)), "theme": "dark"}) == settings
    assert Settings().query == ""
    assert read_query({}) == Settings()


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"steps": "many"}, "steps is 'many' in the link"),
        ({"steps": "51"}, "steps is 51; 1 to 50"),
        ({"solver": "oiler"}, "solver is 'oiler'; one of auto, "),
        ({"guidance": "nan"}, "guidance is nan"),
        ({"first_seed": "-1"}, "first_seed is -1"),
    ],
)
def test_links_that_no_control_could_have_made(query: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_query(query)


def test_what_is_shown_is_what_was_sampled() -> None:
    shown = scene().show(Settings(steps=3, seeds=2, first_seed=4))
    net, x = sd.load_model("fashion-mnist"), sd.noise((1, 28, 28), 80.0, range(4, 6))
    labels = {"class_labels": torch.tensor([4, 5])}
    fine = sd.sample(
        net, x, sd.schedules.karras(20, final="zero"), "heun", None, conditioning=labels
    ).x
    size = float(fine.square().mean().sqrt())
    for row, coefficient in zip(shown.rows, (None, "auto"), strict=False):
        result = sd.sample(net, x, steps=3, coefficient=coefficient, conditioning=labels)
        assert row[1:] == ["3", f"{rmse(result.x, fine).pooled / size:.3f}"]
    assert shown.rows[2][:2] == ["fine", "39"]
    assert shown.words == "ipndm, energy:two_levels=false,gift=0.2, end stein"
    assert shown.sheet.size == (74 + 2 * 116, 20 + 3 * 116)


def test_samples_that_are_no_images() -> None:
    subject: Subject = Given("points", lambda x, sigma: x / 2, (5,))
    with pytest.raises(ValueError, match="points samples no images"):
        Scene(lambda prompt, guidance: subject).show(Settings())


def test_a_port_that_is_taken(steindiff: Command) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        steindiff("lab", "--port", port).refused(f"--port {port} cannot be listened on", "7861")


def test_without_gradio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ValueError, match=r"pip install 'steindiff\[web\]'"):
        build(scene(), "", False, True)


def test_options_that_are_controls(steindiff: Command) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    steindiff("lab", "--port", port, "--guidance", 2).refused("are set on the page")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A page that is served, for the tests of this module."""
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("Gradio is not installed: pip install 'steindiff[web]'")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    page = build(scene(), "fashion-mnist", False, True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve(page, "127.0.0.1", port, wait=False)
    yield f"http://127.0.0.1:{port}/"
    page.close()


FIRST_SEED = """(() => {
  const input = document.querySelector('input[aria-label="first seed"]');
  const setter = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set;
  setter.call(input, "3");
  input.dispatchEvent(new Event("input", {bubbles: true}));
})()"""
LINKS = "[...document.querySelectorAll('a')].map(a => a.getAttribute('href')).join(' ')"


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_in_a_browser(address: str, tmp_path: Path, width: int) -> None:
    """A link is opened and restores its settings; a control is changed, and the images with it."""
    assert CHROMIUM is not None
    with Browser(CHROMIUM, tmp_path) as browser:
        browser.open(f"{address}?steps=3&solver=euler&seeds=4", width)
        source = browser.until("document.querySelector('img')?.src || ''")
        cells = browser.until("[...document.querySelectorAll('td')].map(c => c.innerText)")
        assert cells[:2] == ["base", "3"]
        assert cells[6:8] == ["fine", "39"]
        assert browser.run("document.querySelector('input[aria-label=solver]').value") == "euler"
        assert browser.run("document.documentElement.scrollWidth") <= width
        browser.run(FIRST_SEED)
        browser.until(f"document.querySelector('img').src !== '{source}'")
        assert "?steps=3&solver=euler&first_seed=3&seeds=4" in browser.until(LINKS)
        assert browser.errors == []


def test_a_pipeline_is_asked_by_its_prompt(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    from tiny_prompted import stable_diffusion

    from steindiff.lab.cli.lab import maker_of
    from steindiff.lab.cli.options import AnyModel

    stable_diffusion().save_pretrained(tmp_path)
    asked = AnyModel(diffusers=tmp_path)
    make, prompted, guided = maker_of(asked, make_subject("mixture:dim=4", 1.0), "cpu")
    assert (prompted, guided) == (True, True)
    shown = Scene(make).show(Settings(prompt="a b", guidance=3, steps=2, seeds=1))
    assert shown.sheet.size == (74 + 116, 20 + 3 * 116)
    assert make("a b", 3.0).guidance == 3
    assert make("a b", 1.0).column(0) == "a b"
