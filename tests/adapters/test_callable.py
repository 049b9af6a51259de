"""Any network as a denoiser: the same samples, and a probe that tells what is misunderstood."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from matrices import quick, slow
from native_networks import ALPHAS_CUMPROD, highest, native
from torch import Tensor

import steindiff as sd
from steindiff.adapters.callable import (
    Coordinates,
    FunctionDenoiser,
    flow,
    from_function,
    probe,
    ve,
    vp,
)

COORDINATES: dict[str, Coordinates] = {
    "vp": vp(ALPHAS_CUMPROD),
    "ve": ve(),
    "flow": flow(),
    "flow1000": flow(1000),
}
SHAPE, LABELS = (1, 28, 28), {"class_labels": torch.tensor([3, 8])}


@pytest.fixture(scope="module")
def shipped() -> Any:
    return sd.load_model("fashion-mnist")


# -- from_function --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "prediction"),
    [
        *(("vp", prediction) for prediction in ("epsilon", "v", "sample")),
        *(("ve", prediction) for prediction in ("epsilon", "sample")),
        *(("flow", prediction) for prediction in ("flow", "epsilon")),
        ("flow1000", "flow"),
    ],
)
def test_the_same_samples_through_every_convention(
    shipped: Any, kind: str, prediction: str
) -> None:
    denoiser = from_function(
        native(shipped, kind, prediction), prediction, coordinates=COORDINATES[kind]
    )
    top = highest(kind)
    x, levels = sd.noise(SHAPE, top, range(2)), sd.schedules.karras(3, 0.05, top)
    ours, theirs = (sd.sample(net, x, levels, conditioning=LABELS).x for net in (shipped, denoiser))
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-4)


def test_own_coordinates_and_what_the_function_is_asked() -> None:
    asked: list[tuple[Tensor, Tensor, dict[str, Any]]] = []

    def f(x: Tensor, time: Tensor, **conditioning: Any) -> Tensor:
        asked.append((x, time, conditioning))
        return torch.full_like(x, 0.25)

    own = Coordinates(lambda s: 3 / (1 + s), lambda s: 3 * s / (1 + s), lambda s: -s.log())
    x, sigma = torch.randn(2, 5), torch.tensor([0.5, 4.0])
    denoised = from_function(f, "epsilon", coordinates=own)(x, sigma, prompt="a")
    torch.testing.assert_close(asked[0][0], x * (3 / (1 + sigma))[:, None])
    torch.testing.assert_close(asked[0][1], -sigma.log())
    assert asked[0][2] == {"prompt": "a"}
    torch.testing.assert_close(denoised, x - 0.25 * sigma[:, None])
    assert from_function(f, "sample", coordinates="flow")(x.half(), 2.0).dtype == torch.float16
    torch.testing.assert_close(asked[1][1], torch.full((2,), 2 / 3))


def test_times_of_vp() -> None:
    table = torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64)
    sigmas = ((1 - table) / table).sqrt()
    coordinates = vp(table)
    torch.testing.assert_close(coordinates.time(sigmas), torch.arange(3.0).double())
    between = (sigmas[:2] * sigmas[1:]).sqrt()  # halfway in ln sigma
    torch.testing.assert_close(coordinates.time(between), torch.tensor([0.5, 1.5]).double())
    outside = torch.tensor([1e-3, 1e3])
    assert coordinates.time(outside).tolist() == [0, 2]
    assert coordinates.sigma_max == pytest.approx(3.0)
    level = coordinates.level(sigmas)
    torch.testing.assert_close(torch.as_tensor(level.alpha) ** 2, table)


def test_bad_arguments() -> None:
    def f(x: Tensor, time: Tensor) -> Tensor:
        return x

    for arguments, kind, said in [
        ((None, "v", "ve"), TypeError, "f is a NoneType"),
        ((f, "noise", "ve"), ValueError, "'noise' is unknown"),
        ((f, "epsilon", "vp"), ValueError, r"pass vp\(alphas_cumprod\)"),
        ((f, "epsilon", "flows"), ValueError, "Did you mean 'flow'"),
        ((f, "epsilon", 3), TypeError, "coordinates is a int"),
    ]:
        with pytest.raises(kind, match=said):
            from_function(arguments[0], arguments[1], coordinates=arguments[2])  # type: ignore[arg-type]
    for table in ([0.9], [0.1, 0.9], [1.0, 0.5], [0.5, 0.0], [[0.9, 0.1]]):
        with pytest.raises(ValueError, match="alphas_cumprod"):
            vp(torch.tensor(table))
    with pytest.raises(ValueError, match="scale is 0"):
        flow(0)
    with pytest.raises(TypeError, match=r"f returned a dict.*\.sample"):
        from_function(lambda x, t: {}, coordinates="ve")(torch.ones(1, 2), 1.0)  # type: ignore[arg-type,return-value]


# -- the probe ------------------------------------------------------------------------------------


def probed(shipped: Any, truth: tuple[str, str], declared: tuple[str, Coordinates]) -> Any:
    f = native(shipped, *truth)
    denoiser = from_function(f, declared[0], coordinates=declared[1])
    top = min(80.0, denoiser.sigma_max)
    levels = torch.logspace(math.log10(top), math.log10(0.2), 8).tolist()  # fewer, to be quick
    return probe(denoiser, SHAPE, LABELS, seeds=range(2), sigmas=levels)


@pytest.mark.parametrize(("kind", "prediction"), [("vp", "epsilon"), slow("ve", "epsilon")])
def test_right_conventions_get_a_clean_bill(shipped: Any, kind: str, prediction: str) -> None:
    report = probed(shipped, (kind, prediction), (prediction, COORDINATES[kind]))
    assert report.ok, report
    assert report.suggestions == {}
    assert max(abs(k - 1) for k in report.measured.kappa) < 0.2


MISTAKES = {
    "v read as epsilon": (("vp", "v"), ("epsilon", COORDINATES["vp"]), "v, vp"),
    "input not scaled": (
        ("vp", "epsilon"),
        ("epsilon", Coordinates(ve().alpha, ve().sigma, COORDINATES["vp"].time)),
        "epsilon, vp",
    ),
    "sigma given as timestep": (("vp", "epsilon"), ("epsilon", ve()), "epsilon, vp"),
    "timestep given as sigma": (("ve", "epsilon"), ("epsilon", COORDINATES["vp"]), "epsilon, ve"),
    "timesteps a thousandfold": (("flow", "flow"), ("flow", flow(1000)), "flow, flow"),
    "time reversed": (
        ("reversed", "backwards"), ("flow", flow()), "x0 - eps, flow reversed, time 1 - t",
    ),
    "noise read as velocity": (("ve", "epsilon"), ("flow", ve()), "epsilon, ve"),
}  # fmt: skip


@pytest.mark.parametrize(
    "mistake", quick(MISTAKES, ["v read as epsilon", "noise read as velocity"])
)
def test_a_mistake_is_named(shipped: Any, mistake: str) -> None:
    truth, declared, expected = MISTAKES[mistake]
    report = probed(shipped, truth, declared)
    assert report.status == ("doubtful" if mistake == "noise read as velocity" else "wrong")
    assert next(iter(report.suggestions)) == expected, report
    assert expected in str(report)
    corrected = report.suggestions[expected]
    x, labels = torch.randn(2, *SHAPE), LABELS
    torch.testing.assert_close(corrected(x, 1.0, **labels), shipped(x, 1.0, **labels), **CLOSE)


CLOSE = {"rtol": 0, "atol": 1e-4}


def test_the_reading_of_the_probe_on_an_exact_denoiser() -> None:
    data = sd.denoisers.Gaussian(variance=0.5, shape=(400,))
    report = probe(data, (400,), seeds=range(8))
    assert report.ok
    assert report.alternatives == ()
    # An exact law: |D| and |x - D| of a Gaussian are known at the first level.
    assert report.measured.residual[0] == pytest.approx(80**2 / (80**2 + 0.5), rel=0.05)


@pytest.mark.parametrize(
    ("denoiser", "said"),
    [
        (lambda x, sigma: x * 0.9, "D follows x at high noise"),
        (lambda x, sigma: x * 0, "D holds less signal than noise"),
        (lambda x, sigma: x * float("nan"), "kappa is inf"),
        (
            lambda x, sigma: torch.where(sigma[:, None] < 1, x + 3 * sigma[:, None], 0 * x),
            "further from x",
        ),
    ],
    ids=["identity", "zero", "nan", "away"],
)
def test_symptoms_of_any_denoiser(denoiser: Any, said: str) -> None:
    report = probe(denoiser, (100,))
    assert not report.ok
    assert said in report.verdict, report


def test_what_cannot_be_told_is_said(shipped: Any) -> None:
    """A network that predicts x0 and is told VP times reads nearly the same from a flow."""
    report = probed(shipped, ("vp", "sample"), ("sample", COORDINATES["vp"]))
    assert report.ok
    assert "cannot be told from it: sample, flow(1000)" in report.verdict


def test_bad_levels_and_no_alternatives() -> None:
    f: Any = lambda x, t: x  # noqa: E731
    denoiser = from_function(f, coordinates="ve")
    assert isinstance(denoiser, FunctionDenoiser)
    for sigmas in ([1.0], [1.0, 2.0], [1.0, 0.0]):
        with pytest.raises(ValueError, match="sigmas is"):
            probe(denoiser, (4,), sigmas=sigmas)
    report = probe(denoiser, (4,), alternatives=False)
    assert report.alternatives == ()
    assert report.status == "wrong"


@pytest.mark.parametrize("guided", [False, True])
def test_a_network_is_not_asked_above_what_it_was_trained_on(guided: bool) -> None:
    """Its time would be that of its highest level, whatever the state holds."""
    known = from_function(lambda x, t, **given: x, "epsilon", coordinates=vp([0.9, 0.5, 0.1]))
    given: dict[str, Any] = {"conditioning": {"y": torch.zeros(2)}} if guided else {}
    denoiser: Any = sd.ClassifierFreeGuidance(known, 2.0, {"y": 1.0}) if guided else known
    said = "starts at sigma = 80, and the denoiser knows levels up to 3: pass sigma_max=3"
    for where in ({"steps": 4}, {"sigmas": [80.0, 1.0, 0.0]}):
        with pytest.raises(ValueError, match=said):
            sd.sample(denoiser, sd.noise((2, 3), 80.0, range(2)), **where, **given)
    x = sd.noise((2, 3), 3.0, range(2))
    assert sd.sample(denoiser, x, steps=4, sigma_max=3.0, **given).nfe == 4
    assert sd.sample(denoiser, x, [3.002, 1.0, 0.5], **given).nfe == 2  # a rounded level
    flow_known = from_function(lambda x, t: x, "flow", coordinates="flow")
    assert sd.sample(flow_known, x, [1e6, 1.0, 0.0]).nfe == 2
