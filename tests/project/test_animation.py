"""The picture: its paths are those of the samplers, and its frames come out."""

from __future__ import annotations

import copy
import io
import json
import math
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import plane
import pytest
import torch
from animation import Paths, animate, ring, still, trace_paths
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from PIL import Image

import steindiff as sd
from steindiff.denoisers import GaussianMixture
from steindiff.lab.theory import Diagnosis, Grade, make_diagnosis, mixture_collapse
from steindiff.solvers import Euler, Solver, resolve_solver
from steindiff.stein import Energy

STEPS = np.geomspace(8.0, 0.1, 5).tolist()
COUNT, FRAMES = 20, 9  # every second frame is at a level of the steps
MIXTURE = ring(8, 2.0, 0.15)
TITLES = ("base", "relaxed", "exact")


def traced(solver: Solver | None = None, **options: Any) -> Paths:
    options = {"count": COUNT, "frames": FRAMES} | options
    return trace_paths(MIXTURE, solver or Euler(), Energy(trust=0.5), STEPS, **options)


def start(seed: int = 0) -> torch.Tensor:
    return sd.noise((2,), STEPS[0], range(seed, seed + COUNT), dtype=torch.float64)


@pytest.mark.parametrize("solver", ["euler", "ipndm", "heun"])
def test_the_samplers_paths(solver: str) -> None:
    """At the levels of its steps a path is the trajectory of `sample`."""
    paths = traced(resolve_solver(solver))
    for found, rule in ((paths.base, None), (paths.relaxed, Energy(trust=0.5))):
        path = sd.sample(MIXTURE, start(), STEPS, solver, rule, return_trajectory=True).trajectory
        assert path is not None
        np.testing.assert_allclose(found[::2], torch.stack(path).numpy(), rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(found[-1], path[-1].numpy())
    assert np.abs(paths.base[-1] - paths.relaxed[-1]).max() > 1e-3
    assert paths.base.shape == paths.relaxed.shape == paths.exact.shape == (FRAMES, COUNT, 2)


def test_between_its_steps_a_path_is_straight_in_sigma() -> None:
    paths = traced()
    for k in (1, 3, 5, 7):
        before, after = paths.levels[k - 1], paths.levels[k + 1]
        share = (before - paths.levels[k]) / (before - after)
        assert 0.6 < share < 0.8
        expected = (1 - share) * paths.base[k - 1] + share * paths.base[k + 1]
        np.testing.assert_allclose(paths.base[k], expected, rtol=1e-9, atol=1e-12)


def test_the_exact_path() -> None:
    """What a fine Heun sampling gives at each level, from the same noise."""
    paths = traced()
    for level, found in zip(paths.levels[1:], paths.exact[1:], strict=True):
        levels = sd.schedules.karras(200, float(level), STEPS[0])
        fine = sd.sample(MIXTURE, start(), levels, "heun", None).x.numpy()
        assert np.abs(found - fine).max() < 0.02
        assert np.abs(found - fine).mean() < 2e-3


def test_levels_noise_and_data() -> None:
    paths = traced(seed=3)
    np.testing.assert_allclose(paths.levels, np.geomspace(STEPS[0], STEPS[-1], FRAMES))
    assert (paths.levels[0], paths.levels[-1]) == (STEPS[0], STEPS[-1])
    assert paths.steps == tuple(STEPS)
    for states in (paths.base, paths.relaxed, paths.exact):
        np.testing.assert_array_equal(states[0], start(3).numpy())
    data = torch.from_numpy(paths.data)
    assert data.shape == (2000, 2)
    assert data.square().sum(dim=1).mean().item() == pytest.approx(4 + 2 * 0.15**2, abs=0.03)


@pytest.mark.parametrize(("modes", "radius", "spread"), [(8, 2.0, 0.15), (3, 5.0, 0.4)])
def test_the_ring(modes: int, radius: float, spread: float) -> None:
    """Equal modes at equal angles, of the spread that was asked for."""
    angles = [2 * math.pi * k / modes for k in range(modes)]
    means = radius * torch.tensor([[math.cos(a), math.sin(a)] for a in angles]).double()
    mixture = ring(modes, radius, spread)
    torch.testing.assert_close(mixture.means, means, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(mixture.variances, torch.full_like(means, spread**2))
    torch.testing.assert_close(mixture.weights, torch.full_like(means[:, 0], 1 / modes))
    samples = mixture.sample(8000, torch.Generator().manual_seed(0))
    found = mixture_collapse(samples, mixture.means, mixture.variances)
    assert found.within == pytest.approx(1, abs=0.05)
    assert found.coverage.covered == modes


def test_the_animation() -> None:
    """A GIF of as many frames as there are levels, all unlike, the last one held."""
    content = animate(traced(), TITLES, hold=5)
    image = Image.open(io.BytesIO(content))
    assert image.format == "GIF"
    assert getattr(image, "n_frames", 1) == FRAMES
    shown, durations = [], []
    for k in range(FRAMES):
        image.seek(k)
        shown.append(np.asarray(image.convert("RGB")).astype(int))
        durations.append(image.info["duration"])
    assert durations == [90] * (FRAMES - 1) + [450]
    assert image.info["loop"] == 0
    assert {frame.shape for frame in shown} == {(256, 672, 3)}
    for before, after in pairwise(shown):
        assert (np.abs(before - after).max(axis=2) > 30).sum() > 50


@pytest.mark.slow
def test_a_gif_of_its_own_defaults_is_small() -> None:
    """Of 48 frames with 200 samples each."""
    paths = trace_paths(ring(), Euler(), Energy(), STEPS)
    assert paths.base.shape == (48, 200, 2)
    assert 50_000 < len(animate(paths, TITLES)) < 1_000_000


def test_the_still() -> None:
    """Three panels with the last states, divided by sqrt(1 + sigma^2)."""
    paths = traced()
    figure = still(paths, TITLES)
    assert [axes.get_title() for axes in figure.axes] == list(TITLES)
    scale = 1 / math.sqrt(1 + STEPS[-1] ** 2)
    for axes, states in zip(figure.axes, (paths.base, paths.relaxed, paths.exact), strict=True):
        drawn = axes.collections[-1].get_offsets()
        np.testing.assert_allclose(np.asarray(drawn), states[-1] * scale, rtol=1e-12)
        assert len(axes.lines) == COUNT
        first = np.asarray(axes.lines[0].get_xdata())
        expected = states[:, 0, 0] / np.sqrt(1 + paths.levels**2)
        np.testing.assert_allclose(first, expected, rtol=1e-12)
    with pytest.raises(ValueError, match="shorter"):
        still(paths, TITLES[:2])


@pytest.mark.parametrize(
    ("trace", "message"),
    [
        (
            lambda: trace_paths(GaussianMixture(torch.zeros(2, 3), 1.0), Euler(), Energy(), STEPS),
            r"samples of shape \(3,\); \(2,\) is needed",
        ),
        (lambda: trace_paths(ring(), Euler(), Energy(), [2.0, 1.0, 0.0]), "sigma_min is 0"),
    ],
)
def test_what_has_no_picture(trace: Callable[[], Paths], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trace()


# -- the chapter and its script -------------------------------------------------------------------


def diagnosis(solver: str = "dpmpp_2m") -> Diagnosis:
    return make_diagnosis(ring(), (2,), solver=solver, steps=4)


@pytest.fixture(scope="module")
def found() -> plane.Plane:
    return plane.measure(diagnosis("euler"), lambda text: None, frames=3)


def test_what_is_measured(found: plane.Plane) -> None:
    """As JSON holds it, of as many frames as were asked for, and the same again."""
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert len(found["paths"]["levels"]) == 3
    assert plane.measure(diagnosis("euler"), lambda text: None, frames=3) == found


@pytest.mark.parametrize(
    ("within", "rmse", "grade"),
    [
        (1.4, 0.4, Grade.HOLDS),
        (0.4, 0.4, Grade.CONDITIONS),
        (0.6, 0.6, Grade.CONDITIONS),
        (0.4, 0.6, Grade.FAILS),
        (1.6, 0.6, Grade.FAILS),
    ],
)
def test_numbers_decide(found: plane.Plane, within: float, rmse: float, grade: Grade) -> None:
    changed = copy.deepcopy(found)
    changed["within"] = {"base": 0.5, "relaxed": within, "exact": 1.0}
    changed["rmse"] = {"base": 0.5, "relaxed": rmse}
    (verdict,) = plane.judge(changed)
    assert verdict.grade is grade, verdict.found


@pytest.mark.parametrize("solver", ["dpmpp_2m", "unipc:order=2,variant=bh1"])
def test_titles_have_room(solver: str) -> None:
    """None beyond the figure, none over another: also for a solver with options."""
    (drawing,) = plane.draw(plane.measure(diagnosis(solver), lambda text: None, frames=3))
    figure = drawing.figure
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [axes.title.get_window_extent(canvas.get_renderer()) for axes in figure.axes]
    assert len(boxes) == 3
    for k, box in enumerate(boxes):
        assert figure.bbox.x0 < box.x0
        assert box.x1 < figure.bbox.x1
        assert box.y1 < figure.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[:k])


def test_the_legend_names_every_mark() -> None:
    """In the colours that the marks have."""
    figure = still(traced(), TITLES)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "samples now",
        "their paths",
        "data",
    ]
    data = figure.axes[0].collections[0].get_facecolor()
    handle: Any = legend.legend_handles[-1]
    np.testing.assert_allclose(to_rgba(handle.get_color()), np.asarray(data)[0])


def test_no_frame_is_cut(found: plane.Plane) -> None:
    """No ink on the border of any frame."""
    image = Image.open(io.BytesIO(plane.animated(found)))
    assert getattr(image, "n_frames", 1) == 3
    for k in range(3):
        image.seek(k)
        ink = np.asarray(image.convert("L")) < 250
        assert ink.any()
        assert not np.concatenate([ink[0], ink[-1], ink[:, 0], ink[:, -1]]).any()


@pytest.mark.slow
def test_the_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Into a new folder, and with the sampling of a diagnosis into the folder of that."""
    monkeypatch.setattr(sys, "argv", ["plane.py", str(tmp_path / "a"), "--steps", "4"])
    plane.main()
    results = plane.read_diagnosis(tmp_path / "a", plane.ALL)
    assert results["setting"]["solver"] == "euler"
    assert results["command"].startswith("python docs/figures/plane.py ")
    assert {path.name for path in (tmp_path / "a" / "figures").iterdir()} == {
        "plane.png", "trajectories.gif",
    }  # fmt: skip
    plane.run_chapters(diagnosis(), tmp_path / "b", names=["modes"])
    found = plane.run(tmp_path / "b")
    assert found["solver"] == "dpmpp_2m"
    again = plane.read_diagnosis(tmp_path / "b", plane.ALL)["chapters"]
    assert list(again) == ["modes", "plane"]
    assert again["plane"]["found"] == found
