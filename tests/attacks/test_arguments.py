"""Every argument of the public functions, given what it cannot be.

Each attack ends in one of two ways: a ValueError or a TypeError in our words, which names the
argument; or, where the value is one that makes sense, in the value that the row says.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import tunings
from torch import Tensor

import steindiff as sd
from steindiff import levels, schedules
from steindiff.adapters.callable import flow, from_function, probe, vp
from steindiff.adapters.edm.network import EDMDenoiser
from steindiff.adapters.k_diffusion import (
    SAMPLERS,
    sample_stein_tuned,
    tuned_recipe,
    tuned_sigmas,
)
from steindiff.adapters.k_diffusion import relax as relax_sampler
from steindiff.calibrated import Calibrated
from steindiff.denoisers import (
    ClassifierFreeGuidance,
    Empirical,
    Gaussian,
    GaussianMixture,
    Perturbed,
)
from steindiff.levels import NoiseLevel
from steindiff.solvers import SOLVERS
from steindiff.stein import (
    COEFFICIENTS,
    Constant,
    Ended,
    Energy,
    Published,
    Relaxed,
    divergence,
    step_into_zero,
)
from steindiff.stein.names import relax

pytestmark = pytest.mark.slow

BAD: dict[str, Any] = {
    "nan": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "-1": -1,
    "0": 0,
    "denormal": 5e-324,
    "True": True,
    "text": "3",
    "None": None,
    "complex": 1j,
    "huge": 10**400,
    "endless": 10**5000,
    "list": [],
    "nan-tensor": torch.tensor(math.nan),
    "empty": torch.zeros(0),
    "meta": torch.tensor(1.0, device="meta"),
    "2-D": torch.ones(2, 2),
}
SIGMAS = [10.0, 4.0, 1.0, 0.2]
X = sd.noise((2, 3), SIGMAS[0], range(4))
LEVEL = NoiseLevel.vp(0.5)
GAUSSIAN = Gaussian(variance=0.25, shape=(2, 3))
MIXTURE = GaussianMixture(torch.ones(2, 2, 3), 0.1)

Check = Callable[[Any, Any], bool]
"""Whether the result is right for that value."""


def denoise(x: Tensor, sigma: Tensor, /, **conditioning: Any) -> Tensor:
    return x / (1 + sigma.reshape(-1, *[1] * (x.ndim - 1)) ** 2)


def same(z: Tensor) -> Tensor:
    return z


def kept(name: str) -> Check:
    """The value is what the object holds."""
    return lambda made, value: getattr(made, name) == value


def equal(expected: Callable[[Any], Any]) -> Check:
    """The result is, to rounding, what a plain computation says."""
    return lambda found, value: torch.allclose(
        torch.as_tensor(found, dtype=torch.float64),
        torch.as_tensor(expected(value), dtype=torch.float64),
        rtol=1e-5,
        equal_nan=True,
    )


def falls_to(found: Tensor, value: float) -> bool:
    """Levels that decrease from 80 to the value itself."""
    return bool(found[0] == 80 and found[-1] == value and (found.diff() < 0).all())


def falls(found: Tensor, value: float) -> bool:
    return falls_to(found, 0.002)


@dataclass(frozen=True)
class Row:
    """One argument: who takes it, and which of the values make sense there, with what is right."""

    name: str
    argument: str
    call: Callable[[Any], Any]
    fine: dict[str, Check] = field(default_factory=dict)
    also: str = ""  # another word that the message may call the argument
    leave: tuple[str, ...] = ()  # values that are not tried

    def __str__(self) -> str:
        return f"{self.name}-{self.argument}"


def schedule(name: str, argument: str, **fine: Check) -> Row:
    maker = schedules.SCHEDULES[name]
    return Row(name, argument, lambda v: maker(**{"steps": 3, argument: v}), fine, also="sigmas")


def few(**options: Any) -> Calibrated:
    given = {"denoiser": GAUSSIAN, "noises": 1, "held_out": 1, "fine_steps": 3, **options}
    return sd.calibrate(sigmas=SIGMAS, **given)


def tuned(**options: Any) -> sd.Tuned:
    given = {
        "denoiser": GAUSSIAN, "steps": 3, "noises": 4, "held_out": 16, "fresh": 16, "fine_steps": 4,
        "fit": False, **options,
    }  # fmt: skip
    return sd.tune(given.pop("denoiser"), given.pop("steps"), **given)


def is_tuned(found: sd.Tuned, value: Any) -> bool:
    return len(found.recipe(3).sigmas) == 4


def is_sampled(result: Any, value: Any) -> bool:
    return bool(torch.isfinite(result.x).all())


def as_default(**options: Any) -> Check:
    """The result is that of the argument left out."""
    return lambda result, value: torch.equal(result.x, sd.sample(denoise, X, SIGMAS, **options).x)


def guided(found: Any, value: float) -> bool:
    """No guidance is another recipe than any other."""
    return found.sigmas == sd.recipe(5, 3.0).sigmas


def is_plan(found: sd.Recipe, value: Any) -> bool:
    return found == TUNED.recipe(4)


TUNED = tunings.tuned()
ANY_SIGN = {"-1", "0", "denormal"}
recipe_guidance = dict.fromkeys(ANY_SIGN, guided)
alpha_of = equal(lambda v: v)
LAZY = ("empty", "meta", "2-D", "nan-tensor")  # looked at when used: a level may be on a device

ROWS = [
    schedule("karras", "steps"),
    schedule("karras", "sigma_min", denormal=falls_to),
    schedule("karras", "sigma_max"),
    schedule("karras", "rho"),
    schedule("karras", "final"),
    schedule("log_snr", "sigma_min", denormal=falls_to),
    schedule("linear", "sigma_max"),
    schedule("flow_shift", "shift"),
    schedule("vp_time", "beta_min", denormal=falls),
    schedule("vp_time", "beta_max"),
    schedule("vp_time", "rho"),
    schedule("kl_optimal", "sigma_max"),
    schedule("simple", "shift"),
    schedule("sgm_uniform", "sigma_min", denormal=falls_to),
    schedule("beta", "alpha"),
    schedule("beta", "beta"),
    schedule("linear_quadratic", "threshold", denormal=falls),
    schedule("bong_tangent", "steps"),
    Row("alphas", "alphas_cumprod", lambda v: schedules.from_alphas_cumprod(v, 3)),
    Row("check", "sigmas", schedules.check_sigmas),
    Row("recipe", "steps", sd.recipe),
    Row("recipe", "guidance", lambda v: sd.recipe(5, v), recipe_guidance),
    Row("recipe", "sigma_max", lambda v: sd.recipe(5, 1.0, v)),
    Row("noise", "shape", sd.noise, {"list": lambda r, v: r.shape == (1,),
                                     "empty": lambda r, v: r.shape == (1,)}),
    Row("noise", "sigma", lambda v: sd.noise((2,), v),
        {"denormal": equal(lambda v: torch.zeros(1, 2))}),
    Row("noise", "seeds", lambda v: sd.noise((2,), 1.0, v)),
    Row("noise", "dtype", lambda v: sd.noise((2,), 1.0, dtype=v)),
    Row("sample", "denoiser", lambda v: sd.sample(v, X, SIGMAS)),
    Row("sample", "x", lambda v: sd.sample(denoise, v, SIGMAS), {"2-D": is_sampled}),
    Row("sample", "sigmas", lambda v: sd.sample(denoise, X, v)),
    Row("sample", "solver", lambda v: sd.sample(denoise, X, SIGMAS, v)),
    Row("sample", "coefficient", lambda v: sd.sample(denoise, X, SIGMAS, coefficient=v),
        {"None": as_default(coefficient="none")}),
    Row("sample", "end", lambda v: sd.sample(denoise, X, SIGMAS, end=v)),
    Row("sample", "steps", lambda v: sd.sample(denoise, 8 * X, steps=v)),
    Row("sample", "guidance", lambda v: sd.sample(denoise, 8 * X, steps=3, guidance=v),
        {name: is_sampled for name in (*ANY_SIGN, "None")}),
    Row("sample", "sigma_max", lambda v: sd.sample(denoise, 8 * X, steps=3, sigma_max=v)),
    Row("sample", "conditioning", lambda v: sd.sample(denoise, X, SIGMAS, conditioning=v),
        {"None": as_default()}),
    Row("sample", "callback", lambda v: sd.sample(denoise, X, SIGMAS, callback=v),
        {"None": as_default()}),
    Row("Constant", "value", Constant, {"denormal": kept("value")}),
    Row("Energy", "trust", lambda v: Energy(trust=v),
        {name: kept("trust") for name in ("0", "denormal", "inf")}),
    Row("Energy", "gift", lambda v: Energy(gift=v),
        {name: kept("gift") for name in ("0", "denormal", "inf", "None")}),
    Row("Published", "estimator", lambda v: Published(estimator=v)),
    Row("Published", "probes", lambda v: Published(probes=v)),
    Row("Published", "mean", lambda v: Published(mean=v)),
    Row("Published", "seed", lambda v: Published(seed=v), {n: kept("seed") for n in ("-1", "0")}),
    Row("Published", "gamma_min", lambda v: Published(gamma_min=v),
        {name: kept("gamma_min") for name in (*ANY_SIGN, "-inf", "None")}),
    Row("Published", "gamma_max", lambda v: Published(gamma_max=v),
        {name: kept("gamma_max") for name in ("0", "denormal", "inf", "None")}),
    Row("IPNDM", "order", lambda v: sd.IPNDM(order=v)),
    Row("IPNDM", "variable", lambda v: sd.IPNDM(variable=v)),
    Row("GradientEstimation", "gamma", lambda v: sd.GradientEstimation(gamma=v),
        {name: kept("gamma") for name in ANY_SIGN}),
    Row("GradientEstimation", "variable", lambda v: sd.GradientEstimation(variable=v)),
    Row("DEIS", "order", lambda v: sd.DEIS(order=v)),
    Row("DEIS", "variable", lambda v: sd.DEIS(variable=v)),
    Row("UniPC", "order", lambda v: sd.UniPC(order=v)),
    Row("UniPC", "variant", lambda v: sd.UniPC(variant=v)),
    Row("Relaxed", "solver", lambda v: Relaxed(v, Energy())),
    Row("Relaxed", "coefficient", lambda v: Relaxed(sd.Euler(), v)),
    Row("Ended", "solver", Ended),
    Row("Ended", "end", lambda v: Ended(sd.Euler(), v)),
    Row("relax", "solver", relax),
    Row("relax", "coefficient", lambda v: relax("euler", v)),
    Row("guidance", "denoiser", lambda v: ClassifierFreeGuidance(v, 2.0, {"y": 0})),
    Row("guidance", "scale", lambda v: ClassifierFreeGuidance(denoise, v, {"y": 0}),
        {name: kept("scale") for name in ANY_SIGN}),
    Row("guidance", "unconditional", lambda v: ClassifierFreeGuidance(denoise, 2.0, v)),
    Row("guidance", "interval", lambda v: ClassifierFreeGuidance(denoise, 2.0, {"y": 0}, v),
        {"None": kept("interval")}),
    Row("Gaussian", "mean", lambda v: Gaussian(mean=v)(X, 1.0),
        {name: equal(lambda v: (X + v) / 2) for name in ANY_SIGN}, leave=("2-D",)),
    Row("Gaussian", "variance", lambda v: Gaussian(variance=v)(X, 1.0),
        {name: equal(lambda v: X * v) for name in ("0", "denormal")}, leave=("2-D",)),
    Row("Gaussian", "covariance", lambda v: Gaussian(covariance=v).sample_shape,
        {"None": lambda found, v: found is None, "2-D": lambda found, v: found == (2,)}),
    Row("Gaussian", "shape", lambda v: Gaussian(shape=v).sample_shape,
        {"None": lambda found, v: found is None, "list": lambda found, v: found == (),
         "empty": lambda found, v: found == ()}),
    Row("Gaussian.call", "x", lambda v: GAUSSIAN(v, 1.0)),
    Row("Gaussian.call", "sigma", lambda v: GAUSSIAN(X, v),
        {"denormal": equal(lambda v: X), "nan-tensor": equal(lambda v: X * math.nan)}),
    Row("Gaussian.transport", "sigma_next", lambda v: GAUSSIAN.transport(X, 1.0, v),
        {name: equal(lambda v: X * 0.2**0.5) for name in ("0", "denormal")},
        leave=("nan-tensor",)),
    Row("Gaussian.sample", "count", lambda v: GAUSSIAN.sample(v, torch.Generator())),
    Row("Gaussian.divergence", "sigma", lambda v: GAUSSIAN.divergence(X, v),
        {"denormal": equal(lambda v: torch.full((4,), 6.0)),
         "nan-tensor": equal(lambda v: torch.full((4,), math.nan))}),
    Row("Mixture", "means", lambda v: GaussianMixture(v, 0.1).sample_shape,
        {"2-D": lambda found, v: found == (2,)}),
    Row("Mixture", "variances", lambda v: GaussianMixture(torch.zeros(3, 2), v)(X[0, :, :2], 1.0),
        {name: equal(lambda v: X[0, :, :2] * v) for name in ("0", "denormal")}),
    Row("Mixture", "weights", lambda v: GaussianMixture(torch.zeros(3, 2), 0.1, v).weights,
        {"None": equal(lambda v: torch.full((3,), 1 / 3))}),
    Row("Mixture.call", "sigma", lambda v: MIXTURE(X, v),
        {"denormal": equal(lambda v: X), "nan-tensor": equal(lambda v: X * math.nan)}),
    Row("Mixture.sample", "count", lambda v: MIXTURE.sample(v, torch.Generator())),
    Row("Empirical", "points", lambda v: Empirical(v)(2 * v, 1.0),
        {"2-D": equal(lambda v: v)}),
    Row("Perturbed", "denoiser", lambda v: Perturbed(v, 6, 0.1)),
    Row("Perturbed", "size", lambda v: Perturbed(denoise, v, 0.1)),
    Row("Perturbed", "error", lambda v: Perturbed(denoise, 6, v),
        {name: kept("error") for name in ("0", "denormal")}),
    Row("Perturbed", "sigma_data", lambda v: Perturbed(denoise, 6, 0.1, v),
        {"denormal": kept("sigma_data")}),
    Row("Perturbed", "hidden", lambda v: Perturbed(denoise, 6, 0.1, hidden=v)),
    Row("Perturbed", "seed", lambda v: Perturbed(denoise, 6, 0.1, seed=v).inner,
        {name: lambda found, v: bool(torch.isfinite(found).all()) for name in ("-1", "0")}),
    Row("NoiseLevel", "alpha", lambda v: NoiseLevel(v, 1.0),
        {name: kept("alpha") for name in ("0", "denormal")}, leave=LAZY[:3]),
    Row("NoiseLevel", "sigma", lambda v: NoiseLevel(1.0, v),
        {name: kept("sigma") for name in ("0", "denormal")}, leave=LAZY[:3]),
    Row("NoiseLevel.vp", "alpha_cumprod", lambda v: NoiseLevel.vp(v).alpha,
        {name: equal(math.sqrt) for name in ("0", "denormal")}, leave=LAZY[:3]),
    Row("NoiseLevel.vp_from_ve", "sigma_ve", lambda v: NoiseLevel.vp_from_ve(v).sigma,
        {name: alpha_of for name in ("0", "denormal")}, leave=LAZY[:3]),
    Row("NoiseLevel.flow", "t", lambda v: NoiseLevel.flow(v).sigma,
        {name: alpha_of for name in ("0", "denormal")}, leave=LAZY[:3]),
    Row("NoiseLevel.flow_from_ve", "sigma_ve", lambda v: NoiseLevel.flow_from_ve(v).sigma,
        {name: alpha_of for name in ("0", "denormal")}, leave=LAZY[:3]),
    Row("denoised_from", "prediction", lambda v: levels.denoised_from(v, X, LEVEL, "v"),
        also="output"),
    Row("denoised_from", "kind", lambda v: levels.denoised_from(X, X, LEVEL, v)),
    Row("prediction_from", "denoised", lambda v: levels.prediction_from(v, X, LEVEL, "v"),
        also="output"),
    Row("Calibrated", "levels", lambda v: Calibrated(v, ((0.1,),)), also="sigmas"),
    Row("Calibrated", "scalars", lambda v: Calibrated((2.0, 1.0), v)),
    Row("ratio", "x", lambda v: divergence.ratio(v, X)),
    Row("ratio", "denoised", lambda v: divergence.ratio(X, v)),
    Row("residual_ratio", "u", lambda v: divergence.residual_ratio(v, X, X / 2, 1.0)),
    Row("residual_ratio", "sigma", lambda v: divergence.residual_ratio(X, X, X / 2, v),
        {"denormal": equal(lambda v: torch.full((4,), math.inf)),
         "nan-tensor": equal(lambda v: torch.full((4,), math.nan))}, leave=("meta",)),
    Row("finite_difference", "f", lambda v: divergence.finite_difference(v, X)),
    Row("finite_difference", "probes", lambda v: divergence.finite_difference(same, X, probes=v)),
    Row("finite_difference", "relative_step",
        lambda v: divergence.finite_difference(same, X, relative_step=v),
        {"denormal": equal(lambda v: torch.zeros(4))}),
    Row("hutchinson", "x", lambda v: divergence.hutchinson(same, v, kind="rademacher"),
        {"2-D": equal(lambda v: torch.full((2,), 2.0))}),
    Row("hutchinson", "f", lambda v: divergence.hutchinson(v, X)),
    Row("hutchinson", "kind", lambda v: divergence.hutchinson(same, X, kind=v)),
    Row("hutchinson", "generator",
        lambda v: divergence.hutchinson(same, X, kind="rademacher", generator=v),
        {"None": equal(lambda v: torch.full((4,), 6.0))}),
    Row("exact", "f", lambda v: divergence.exact(v, X)),
    Row("calibrate", "denoiser", lambda v: few(denoiser=v, shape=(2,))),
    Row("calibrate", "noises", lambda v: few(noises=v)),
    Row("calibrate", "held_out", lambda v: few(held_out=v)),
    Row("calibrate", "fine_steps", lambda v: few(fine_steps=v)),
    Row("calibrate", "batch", lambda v: few(batch=v)),
    Row("calibrate", "shape", lambda v: few(denoiser=denoise, shape=v),
        {}, leave=("list", "empty")),
    Row("calibrate", "seed", lambda v: few(seed=v).calibration,
        {name: kept("seed") for name in ("-1", "0")}),
    Row("calibrate", "ridge", lambda v: few(ridge=v).calibration,
        {name: kept("ridge") for name in ("0", "denormal")}),
    Row("calibrate", "prior", lambda v: few(prior=v), also="scalars"),
    Row("tune", "denoiser", lambda v: tuned(denoiser=v, shape=(2,))),
    Row("tune", "steps", lambda v: tuned(steps=v)),
    Row("tune", "guidance", lambda v: tuned(guidance=v), leave=("None", *ANY_SIGN)),
    Row("tune", "noises", lambda v: tuned(noises=v)),
    Row("tune", "held_out", lambda v: tuned(held_out=v)),
    Row("tune", "fresh", lambda v: tuned(fresh=v)),
    Row("tune", "fine_steps", lambda v: tuned(fine_steps=v)),
    Row("tune", "batch", lambda v: tuned(batch=v), {"None": is_tuned}),
    Row("tune", "seed", lambda v: tuned(seed=v), leave=("-1", "0")),
    Row("tune", "sigma_max", lambda v: tuned(sigma_max=v), {"None": is_tuned}),
    Row("tune", "sigma_min", lambda v: tuned(sigma_min=v), leave=("denormal",)),
    Row("tune", "calls", lambda v: tuned(calls=v), {"None": is_tuned}),
    Row("tune", "minutes", lambda v: tuned(minutes=v), leave=("None", "denormal")),
    Row("tune", "features", lambda v: tuned(features=v), leave=("None",)),
    Row("tune", "conditioning", lambda v: tuned(conditioning=v), leave=("None",)),
    Row("tune", "shape", lambda v: tuned(denoiser=denoise, shape=v), leave=("list", "empty")),
    Row("Tuned.recipe", "steps", TUNED.recipe),
    Row("Tuned.check_use", "guidance", lambda v: TUNED.check_use("", "", v)),
    Row("tuned_recipe", "tuned", tuned_recipe, leave=("text",)),
    Row("tuned_recipe", "guidance", lambda v: tuned_recipe(TUNED, 4, v), {"None": is_plan}),
    Row("tuned_sigmas", "plan", tuned_sigmas),
    Row("sample_stein_tuned", "sigmas",
        lambda v: sample_stein_tuned(denoise, X, v, disable=True, tuned=TUNED.recipe(4)),
        {"None": lambda found, v: bool(torch.isfinite(found).all())}),
    Row("sample by a recipe", "guidance",
        lambda v: sd.sample(denoise, X, steps=TUNED.recipe(5), guidance=v), {"None": is_sampled}),
    Row("from_function", "f", lambda v: from_function(v, coordinates="ve")),
    Row("from_function", "prediction", lambda v: from_function(denoise, v, coordinates="ve")),
    Row("from_function", "coordinates", lambda v: from_function(denoise, coordinates=v)),
    Row("vp", "alphas_cumprod", vp),
    Row("flow", "scale", flow, {"denormal": lambda found, v: "e-324" in found.name}),
    Row("probe", "shape", lambda v: probe(denoise, v, alternatives=False),
        leave=("list", "empty")),
    Row("probe", "sigmas", lambda v: probe(denoise, (2, 3), sigmas=v, alternatives=False),
        {"None": lambda found, v: len(found.measured.sigmas) == 10}),
    Row("step_into_zero", "end", lambda v: step_into_zero(v, X, X, 1.0, ())),
]  # fmt: skip

ATTACKS = [
    pytest.param(row, name, id=f"{row}-{name}")
    for row in ROWS
    for name in BAD
    if name not in row.leave
]


def test_there_are_enough() -> None:
    assert len(ATTACKS) >= 300
    tried = {row.name.partition(".")[0] for row in ROWS}
    assert {"sample", "noise", "recipe", "relax", "calibrate", "Energy", "IPNDM"} <= tried


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("row", "name"), ATTACKS)
def test_an_argument(row: Row, name: str) -> None:
    value = BAD[name]
    if name in row.fine:
        assert row.fine[name](row.call(value), value)
        return
    with pytest.raises((ValueError, TypeError)) as caught:
        row.call(value)
    assert type(caught.value) in (ValueError, TypeError, sd.NonFiniteError)
    named = f"{row.argument}|{row.also}" if row.also else row.argument
    assert re.search(rf"\b({named})\b", str(caught.value)), str(caught.value)
    assert len(str(caught.value)) < 700


# -- tensors of the meta device, which have a shape and no values -------------------------------

META = torch.ones(4, 2, 3, device="meta")
LEVELS: Any = torch.ones(4, device="meta")
NETWORK = sd.load_model("fashion-mnist")
IMAGES = sd.noise(NETWORK.sample_shape, SIGMAS[0], range(4))
LABELS = torch.zeros(4, dtype=torch.int64)
GUIDED = ClassifierFreeGuidance(lambda x, sigma, y: denoise(x, sigma), 2.0, {"y": 0}, (1.0, 5.0))
EXACT = {
    "Gaussian": GAUSSIAN,
    "mixture": MIXTURE,
    "empirical": Empirical(torch.ones(5, 2, 3)),
}


def plain_euler(model, x, sigmas, extra_args=None, callback=None, disable=None):
    for i in range(len(sigmas) - 1):
        denoised = model(x, sigmas[i] * x.new_ones(len(x)))
        x = denoised + (x - denoised) * (sigmas[i + 1] / sigmas[i])
    return x


WITHOUT_VALUES: dict[str, tuple[str, Callable[[], Any]]] = {
    "x, calibrate": ("x", lambda: sd.calibrate(GAUSSIAN, SIGMAS, device="meta")),
    "x, tune": ("x", lambda: tuned(device="meta")),
    "sigmas": ("sigmas", lambda: sd.sample(denoise, X, LEVELS)),
    "sigmas, check": ("sigmas", lambda: schedules.check_sigmas(LEVELS)),
    "sigma_max": ("sigma_max", lambda: sd.sample(denoise, 8 * X, steps=3, sigma_max=LEVELS[0])),
    "class_labels": (
        "class_labels",
        lambda: sd.sample(
            NETWORK, IMAGES, SIGMAS, conditioning={"class_labels": LABELS.to("meta")}
        ),
    ),
    "network": ("sigma", lambda: NETWORK(IMAGES, LEVELS, LABELS)),
    "guided": ("sigma", lambda: GUIDED(X, LEVELS, y=LABELS)),
    "perturbed": ("sigma", lambda: Perturbed(denoise, 6, 0.1)(X, LEVELS)),
    "function": ("sigma", lambda: from_function(denoise, coordinates="ve")(X, LEVELS)),
    "EDM": ("sigma", lambda: EDMDenoiser(denoise, None, 1.0)(X, LEVELS)),
    "means": ("means", lambda: GaussianMixture(META, 0.1)),
    "points": ("points", lambda: Empirical(META)),
    "mean": ("mean", lambda: Gaussian(META[0], 0.1)),
    "weights": ("weights", lambda: GaussianMixture(torch.ones(4, 3), 0.1, LEVELS)),
    "prediction": ("output", lambda: levels.denoised_from(META, X, LEVEL, "v")),
    "denoised": ("output", lambda: levels.prediction_from(META, X, LEVEL, "v")),
    "a level": ("level", lambda: levels.denoised_from(X, X, NoiseLevel.vp(LEVELS), "v")),
    "alphas_cumprod": ("alphas_cumprod", lambda: schedules.from_alphas_cumprod(LEVELS, 3)),
    "noise": ("sigma", lambda: sd.noise((2,), LEVELS[0])),
    "x, relaxed": ("x", lambda: relax_sampler(plain_euler, "energy")(denoise, META, SIGMAS)),
    "sigmas, relaxed": ("sigmas", lambda: relax_sampler(plain_euler, "energy")(denoise, X, LEVELS)),
    **{f"sigma, {name}": ("sigma", lambda one=one: one(X, LEVELS)) for name, one in EXACT.items()},
    **{
        f"divergence, {name}": ("sigma", lambda one=one: one.divergence(X, LEVELS))
        for name, one in EXACT.items()
    },
    **{
        f"{name}-sigmas": ("sigmas", lambda one=one: one(denoise, X, LEVELS, disable=True))
        for name, one in SAMPLERS.items()
    },
    **{
        f"{name}-sigma_max": ("sigma_max", lambda make=make: make(3, 0.1, LEVELS[0]))
        for name, make in schedules.SCHEDULES.items()
    },
}


@pytest.mark.parametrize(("argument", "call"), WITHOUT_VALUES.values(), ids=WITHOUT_VALUES)
def test_a_tensor_without_values(argument: str, call: Callable[[], Any]) -> None:
    with pytest.raises(
        (ValueError, TypeError), match=rf"\b{argument} is .*(on the meta device|is needed)"
    ):
        call()


@pytest.mark.parametrize(
    "denoiser", [*EXACT.values(), Perturbed(denoise, 6, 0.1)], ids=[*EXACT, "perturbed"]
)
def test_shapes_pass_through_a_denoiser(denoiser: Any) -> None:
    """State and level both without values: the shape of the result is found."""
    for sigma in (LEVELS, 1.0):
        found = denoiser(META, sigma)
        assert (found.shape, found.device.type) == (META.shape, "meta")


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("coefficient", [None, *COEFFICIENTS])
def test_shapes_pass_through_a_sampling(solver: str, coefficient: str | None) -> None:
    """Nothing looks at the values of a state while it is sampled, or waits for them."""
    options: dict[str, Any] = {
        "callback": lambda progress: None,
        "record": True,
        "return_trajectory": True,
    }
    every: list[dict[str, Any]] = [{}, options, {"grad": True}, {"strict": False}]
    for more in every:
        found = sd.sample(denoise, META, [*SIGMAS, 0.0], solver, coefficient, **more)
        assert (found.x.shape, found.x.device.type) == (META.shape, "meta")
    assert sd.sample(denoise, META, steps=5).x.is_meta


def test_shapes_pass_through_a_sampler() -> None:
    for sampler in SAMPLERS.values():
        found = sampler(denoise, META, torch.tensor(SIGMAS), disable=True)
        assert (found.shape, found.device.type) == (META.shape, "meta")
