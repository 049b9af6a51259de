"""The page of `steindiff lab`: its settings, what it shows, and a browser that uses it."""

from __future__ import annotations

import contextlib
import importlib.util
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import tunings
from blobs import SHAPE, Blobs
from command import Command
from devtools import Browser
from pages import CHROMIUM
from waiting import BOUND

import steindiff as sd
from steindiff.lab.metrics import rmse
from steindiff.lab.subjects import Given, Subject, make_subject
from steindiff.lab.web import tunings as page_tunings
from steindiff.lab.web.page import build, serve
from steindiff.lab.web.scene import Scene
from steindiff.lab.web.settings import Settings, read_query
from steindiff.lab.web.tunings import Tunings


def scene() -> Scene:
    return Scene(lambda prompt, guidance: make_subject("fashion-mnist", guidance))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


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
    assert shown.words == "ipndm, energy:law=one,steady=false, end stein"
    assert shown.sheet.size == (74 + 2 * 116, 20 + 3 * 116)


# -- the tuned row


def blobs(**options: Any) -> Subject:
    return Given("blobs", Blobs(), SHAPE, **options)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A tuning of the blobs for 4 and 5 steps, from 14 on."""
    tunings.tuned(model="blobs").save(tmp_path / "tuned.json")
    return tmp_path / "tuned.json"


def test_a_file_s_row_is_sampled_as_the_file_says(file: Path) -> None:
    scene = Scene(lambda prompt, guidance: blobs(), Tunings(file, blobs()))
    shown = scene.show(Settings(steps=4, seeds=2, first_seed=3))
    assert [row[0] for row in shown.rows] == ["base", "relaxed", "tuned", "fine"]
    x = sd.noise(SHAPE, 1.0, range(3, 5))
    levels = sd.schedules.karras(20, final="zero")
    fine = sd.sample(Blobs(), x * 80, levels, "heun", None).x
    tuned = sd.sample(Blobs(), x * 14, steps=tunings.tuned().recipe(4)).x
    error = rmse(tuned, fine).pooled / float(fine.double().square().mean().sqrt())
    assert shown.rows[2][1:] == ["4", f"{error:.3f}"]
    assert shown.sheet.size == (74 + 2 * 112, 20 + 4 * 112)
    assert shown.tuned.startswith(f"Tuned by {file} for 4 steps at guidance 1. Fitted: 0.50 [")
    assert not scene.tunings.can(Settings(steps=4))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(steps=6), "tuned.json is for 4, 5 steps at guidance 1. *Tune* fits a sampler"),
        (Settings(steps=4, guidance=2), "to this model for 4 steps at guidance 2, with at most"),
        (Settings(steps=2), "No tuned row: tuning is for 3 to 12 steps."),
        (Settings(steps=13), "No tuned row: tuning is for 3 to 12 steps."),
    ],
)
def test_no_tuned_row_and_a_sentence(file: Path, settings: Settings, said: str) -> None:
    found = Tunings(file, blobs())
    assert found.plan(settings) is None
    assert said in found.said(settings)
    assert found.can(settings) == (3 <= settings.steps <= 12)


def test_a_file_of_another_model(steindiff: Command, file: Path) -> None:
    with pytest.raises(ValueError, match=r"model is 'other'.*; it was tuned for 'blobs'"):
        Tunings(file, Given("other", Blobs(), SHAPE))
    steindiff("lab", "--port", free_port(), "--tuned", file).refused(
        "model is 'fashion-mnist'", "tuned for 'blobs'"
    )
    tunings.tuned(model="blobs", model_hash="def").save(file)
    with pytest.raises(ValueError, match="SHA-256 abc"):
        Tunings(file, blobs(hashes={"file": "abc"}))
    steindiff("lab", "--port", free_port(), "--tuned", file.parent / "none.json").refused(
        "a tuning file is needed"
    )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The button's budget, less."""
    monkeypatch.setattr(page_tunings, "CALLS", 4000)


def test_the_button_tunes_for_the_steps_and_the_guidance(quick: None) -> None:
    scene, told = Scene(lambda prompt, guidance: blobs()), []
    settings = Settings(steps=3, seeds=2)
    assert [row[0] for row in scene.show(settings).rows] == ["base", "relaxed", "fine"]
    assert "No tuned row yet: *Tune* fits" in scene.tunings.said(settings)
    scene.tune(settings, lambda done, total: told.append((done, total)))
    counts = [done for done, _ in told]
    assert counts == sorted(counts)
    assert {total for _, total in told} == {4000}
    shown = scene.show(settings)
    assert [row[0] for row in shown.rows] == ["base", "relaxed", "tuned", "fine"]
    assert shown.tuned.startswith("Tuned here for 3 steps at guidance 1. ")
    plan = scene.tunings.plan(settings)
    assert plan is not None
    assert (len(plan.sigmas), plan.sigmas[0]) == (4, 80.0)
    for other in (Settings(steps=4), Settings(steps=3, guidance=2), Settings("a cat", steps=3)):
        assert scene.tunings.plan(other) is None
    with pytest.raises(ValueError, match="steps is 2; 3 to 12 are tuned for here"):
        scene.tune(Settings(steps=2), lambda done, total: None)


# -- what is refused


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
    steindiff("lab", "--port", free_port(), "--guidance", 2).refused("are set on the page")


# -- in a browser


def needs_a_browser() -> str:
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("Gradio is not installed: pip install 'steindiff[web]'")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    return CHROMIUM


@contextlib.contextmanager
def served(shown: Scene, title: str) -> Iterator[str]:
    """The address of a page."""
    page, port = build(shown, title, False, True), free_port()
    serve(page, "127.0.0.1", port, wait=False)
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        page.close()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A page that is served, for the tests of this module."""
    needs_a_browser()
    with served(scene(), "fashion-mnist") as address:
        yield address


def _typed(place: str, text: str) -> str:
    """Types a text into the field that a selector finds, as a person does."""
    return f"""(() => {{
  const field = document.querySelector('{place}');
  const kind = Object.getPrototypeOf(field);
  Object.getOwnPropertyDescriptor(kind, "value").set.call(field, "{text}");
  field.dispatchEvent(new Event("input", {{bubbles: true}}));
}})()"""


FIRST_SEED = _typed('input[aria-label="first seed"]', "3")
CELLS = "[...document.querySelectorAll('td')].map(c => c.innerText)"
ROWS = "[...document.querySelectorAll('td:first-child')].map(c => c.innerText)"
LINKS = "[...document.querySelectorAll('a')].map(a => a.getAttribute('href')).join(' ')"


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_in_a_browser(address: str, tmp_path: Path, width: int) -> None:
    """A link is opened and restores its settings; a control is changed, and the images with it."""
    with Browser(needs_a_browser(), tmp_path) as browser:
        browser.open(f"{address}?steps=3&solver=euler&seeds=4", width)
        source = browser.until("document.querySelector('img')?.src || ''")
        cells = browser.until(CELLS)
        assert cells[:2] == ["base", "3"]
        assert cells[6:8] == ["fine", "39"]
        assert browser.run("document.querySelector('input[aria-label=solver]').value") == "euler"
        assert browser.run("document.documentElement.scrollWidth") <= width
        browser.run(FIRST_SEED)
        browser.until(f"document.querySelector('img').src !== '{source}'")
        assert "?steps=3&solver=euler&first_seed=3&seeds=4" in browser.until(LINKS)
        assert browser.errors == []


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_the_button_in_a_browser(quick: None, tmp_path: Path, width: int) -> None:
    """It is pressed, and there is another row; for two steps it cannot be, and is said why."""
    chromium = needs_a_browser()
    shown = Scene(lambda prompt, guidance: blobs())
    said, button = (f"document.querySelector('#{name}')" for name in ("tuned", "tune"))
    with served(shown, "blobs") as address, Browser(chromium, tmp_path) as browser:
        browser.open(f"{address}?steps=3&seeds=2", width)
        browser.until(f"{ROWS}.join() === 'base,relaxed,fine'")
        browser.until(f"{button}.innerText === 'Tune for 3 steps' && !{button}.disabled")
        assert "No tuned row yet" in browser.run(f"{said}.innerText")
        browser.run(f"{button}.click()")
        browser.until(f"{ROWS}.join() === 'base,relaxed,tuned,fine'")
        browser.until(f"{said}.innerText.startsWith('Tuned here for 3 steps') && {button}.disabled")
        assert browser.run("document.documentElement.scrollWidth") <= width
        browser.open(f"{address}?steps=2&seeds=2", width)
        browser.until(f"{ROWS}.join() === 'base,relaxed,fine'")
        browser.until(f"{said}.innerText === 'No tuned row: tuning is for 3 to 12 steps.'")
        assert browser.run(f"{button}.disabled")
        assert browser.errors == []


@pytest.mark.slow
def test_the_command_on_a_pipeline_in_a_browser(tmp_path: Path) -> None:
    """As started by hand: a prompt box, whose prompt the columns are called by."""
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    from tiny_prompted import stable_diffusion

    chromium, port = needs_a_browser(), free_port()
    stable_diffusion().save_pretrained(tmp_path / "pipe")
    command = [sys.executable, "-m", "steindiff", "lab", "--diffusers", str(tmp_path / "pipe")]
    with subprocess.Popen(
        [*command, "--port", str(port)],
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:  # a job in the background of a shell would ignore the interrupt
        try:
            end = time.monotonic() + BOUND
            while not _answers(port):
                assert process.poll() is None
                assert time.monotonic() < end
                time.sleep(0.5)
            with Browser(chromium, tmp_path / "profile") as browser:
                browser.open(
                    f"http://127.0.0.1:{port}/?prompt=a+b&steps=2&seeds=1&guidance=3", 1280
                )
                source = browser.until("document.querySelector('img')?.src || ''")
                assert browser.run("document.querySelector('textarea').value") == "a b"
                browser.run(PROMPT)
                browser.run(SAMPLE)
                browser.until(f"document.querySelector('img').src !== '{source}'")
                assert "?prompt=b+c&steps=2&guidance=3&seeds=1" in browser.until(LINKS)
                assert browser.errors == []
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(BOUND)
    assert process.returncode == 0


PROMPT = _typed("textarea", "b c")
SAMPLE = "[...document.querySelectorAll('button')].find(b => b.innerText === 'Sample').click()"


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


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
