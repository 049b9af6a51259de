"""The nodes sample as SteinDiff does, in ComfyUI's coordinates, masks and callbacks."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import comfyui_standin as standin
import pytest
import torch
import tunings
from torch import Tensor

import steindiff as sd
from steindiff.adapters.callable import from_function
from steindiff.adapters.coordinates import PURE_NOISE
from steindiff.calibrated import Calibrated
from steindiff.denoisers import GaussianMixture
from steindiff.recipes import COEFFICIENT
from steindiff.solvers import (
    DEIS,
    IPNDM,
    SOLVERS,
    DPMpp2M,
    Euler,
    GradientEstimation,
    Heun,
    Res2S,
    ResMultistep,
    Solver,
    UniPC,
    resolve_solver,
)
from steindiff.solvers.adams import EvenSteps
from steindiff.stein import ENDS, Energy
from steindiff.tuning.network import weights_of
from steindiff.tuning.trials import PURE_NOISE as TOP

REAL = pytest.mark.skipif(
    "STEINDIFF_COMFYUI" not in os.environ, reason="needs a ComfyUI (STEINDIFF_COMFYUI=its path)"
)
SHAPE = (2, 4, 6)
DEFAULTS = {"coefficient": "auto", "trust": 0.1, "value": 0.98, "record": False}
VE = torch.tensor([14.6, 6.0, 2.5, 1.0, 0.3, 0.0])
FLOW = torch.tensor([1.0, 0.9, 0.7, 0.45, 0.2, 0.0])

Denoise = Callable[[Tensor, Tensor], Tensor]


@pytest.fixture(scope="module")
def comfy() -> Iterator[Any]:
    with standin.installed() as module:
        yield module


@pytest.fixture(scope="module")
def nodes(comfy: Any) -> Any:
    return standin.load_package().NODE_CLASS_MAPPINGS


@pytest.fixture(scope="module")
def fashion() -> Denoise:
    """The shipped network at class 3."""
    net = sd.load_model("fashion-mnist")

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        with torch.no_grad():
            return net(x, sigma, class_labels=torch.full((len(x),), 3))

    return denoise


def mixture(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> GaussianMixture:
    means = torch.randn(5, *shape, generator=torch.Generator().manual_seed(seed))
    return GaussianMixture(means, 0.2)


def noise(batch: int = 3, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return sd.noise(shape, 1.0, range(batch))


def in_flow(denoise: Denoise) -> Denoise:
    """A denoiser in VE coordinates, in those of a flow; at 1 as at a very large level."""

    def flow(x: Tensor, t: Tensor) -> Tensor:
        ve = (t / (1 - t)).clamp_max(1e4)
        return denoise(x * (1 + ve).reshape(-1, *[1] * (x.ndim - 1)), ve)

    return flow


def guider(comfy: Any, kind: str, denoise: Denoise) -> standin.Guider:
    top = 1.0 if kind == "CONST" else float(VE[0])
    return standin.Guider(standin.Model(standin.model_sampling(comfy, kind, top), denoise))


def stein(nodes: Any, solver: str, order: int = 0, **inputs: Any) -> Any:
    """What Stein Sampler gives."""
    (sampler,) = nodes["SteinSampler"]().make(solver, order, **{**DEFAULTS, **inputs})
    return sampler


def relaxed(nodes: Any, sampler: Any, **inputs: Any) -> Any:
    """What Stein Relaxation gives."""
    return nodes["SteinRelaxation"]().relax(sampler, **{**DEFAULTS, **inputs})[0]


def run(sampler: Any, guide: Any, sigmas: Tensor, start: Tensor, **options: Any) -> Tensor:
    """As CFGGuider calls a sampler: on noise, from an empty latent unless there is one."""
    latent = options.pop("latent", torch.zeros_like(start))
    callback, mask = options.pop("callback", None), options.pop("mask", None)
    extra = {"model_options": options.pop("model_options", {}), "seed": 0}
    assert not options
    return sampler.sample(guide, sigmas.clone(), extra, callback, start.clone(), latent, mask, True)


def in_core(denoise: Denoise, noise: Tensor, sigmas: Tensor, **options: Any) -> sd.SampleResult:
    """SteinDiff's own sampling of the same; ComfyUI starts at sqrt(1 + sigma^2)."""
    return sd.sample(denoise, noise * (1 + sigmas[0] ** 2).sqrt(), sigmas, **options)


def in_core_flow(flow: Denoise, noise: Tensor, sigmas: Tensor, **options: Any) -> sd.SampleResult:
    """The same of a flow that starts at 1, computed in VE coordinates.

    VE knows no pure noise: it starts at a large level, at a state whose Euler step is the flow's
    exact first step, D + level * noise, of which D is known. In float64, which holds both.
    """
    opening, top = flow(noise, noise.new_ones(len(noise))).double(), PURE_NOISE
    ve = [top, *(sigmas[1:].double() / (1 - sigmas[1:].double())).tolist()]

    def denoise(z: Tensor, level: Tensor) -> Tensor:
        if float(level[0]) == top:
            return opening
        native = z / (1 + level).reshape(-1, *[1] * (z.ndim - 1))
        return flow(native.float(), (level / (1 + level)).float()).double()

    return sd.sample(denoise, opening + top * noise, ve, **options)


def assert_close(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    """Relative to the largest element."""
    scale = expected.abs().max().clamp_min(1)
    assert float((found - expected).abs().max() / scale) < tolerance


# --- the same samples as the core


@pytest.mark.parametrize("solver", SOLVERS)
def test_eps_gives_the_core_s_samples(comfy: Any, nodes: Any, fashion: Denoise, solver: str):
    start = noise(2, (1, 28, 28))
    found = run(stein(nodes, solver), guider(comfy, "EPS", fashion), VE, start)
    expected = in_core(fashion, start, VE, solver=solver)
    plain = in_core(fashion, start, VE, solver=solver, coefficient=None)
    assert_close(found, expected.x)
    assert float((found - plain.x).abs().max()) > 1e-2  # relaxing did something


@pytest.mark.parametrize("solver", [n for n, c in SOLVERS.items() if c().calls_per_step == 1])
def test_const_gives_the_core_s_samples(comfy: Any, nodes: Any, fashion: Denoise, solver: str):
    start, flow = noise(2, (1, 28, 28)), in_flow(fashion)
    found = run(stein(nodes, solver), guider(comfy, "CONST", flow), FLOW, start)
    even = {"variable": "flow"} if issubclass(SOLVERS[solver], EvenSteps) else {}
    own = resolve_solver(solver, **even)
    assert_close(found, in_core_flow(flow, start, FLOW, solver=own).x)


def test_const_from_an_image(comfy: Any, nodes: Any) -> None:
    """Image to image starts below 1, where VE coordinates exist: Heun too, and the end above 0."""
    flow, start, latent = in_flow(mixture()), noise(), noise(3) * 0.5
    sigmas = FLOW[1:-1]
    found = run(stein(nodes, "heun"), guider(comfy, "CONST", flow), sigmas, start, latent=latent)
    ve = (sigmas / (1 - sigmas)).double()
    expected = sd.sample(mixture(), latent + ve[0].float() * start, ve, solver="heun").x
    assert_close(found, expected)  # KSAMPLER divides by 1 - sigma at the end, as VE does


@pytest.mark.parametrize("solver", ["dpmpp_2m", "unipc"])
def test_v_prediction_gives_what_eps_gives(comfy: Any, nodes: Any, solver: str) -> None:
    found = [
        run(stein(nodes, solver), guider(comfy, kind, mixture()), VE, noise())
        for kind in ("V_PREDICTION", "EPS")
    ]
    assert_close(found[0], found[1])
    assert_close(found[0], in_core(mixture(), noise(), VE, solver=solver).x)


@pytest.mark.parametrize(
    ("inputs", "coefficient"),
    [
        ({"coefficient": "energy", "trust": 0.02}, Energy(trust=0.02)),
        ({"coefficient": "constant", "value": 0.9}, sd.stein.Constant(0.9)),
        ({"coefficient": "none"}, None),
    ],
)
def test_the_coefficient_is_the_one_of_the_inputs(
    comfy: Any, nodes: Any, inputs: dict[str, Any], coefficient: Any
) -> None:
    expected = in_core(mixture(), noise(), VE, solver="euler", coefficient=coefficient).x
    found = run(stein(nodes, "euler", **inputs), guider(comfy, "EPS", mixture()), VE, noise())
    assert_close(found, expected)
    default = run(stein(nodes, "euler"), guider(comfy, "EPS", mixture()), VE, noise())
    assert float((found - default).abs().max()) > 1e-3


@pytest.mark.parametrize("end", ["auto", *ENDS])
@pytest.mark.parametrize("coefficient", ["auto", pytest.param("none", marks=pytest.mark.slow)])
def test_the_end_is_the_one_of_the_input(
    comfy: Any, nodes: Any, fashion: Denoise, coefficient: str, end: str
) -> None:
    """Sampler and relaxation; where the sigmas end above 0 there is none."""
    start = noise(2, (1, 28, 28))
    inputs: dict[str, Any] = {"coefficient": coefficient, "end": end}
    plain = in_core(fashion, start, VE, solver="euler", coefficient=coefficient, end="none").x
    core = in_core(fashion, start, VE, solver="euler", coefficient=coefficient, end=end).x
    guide = guider(comfy, "EPS", fashion)
    for sampler in (
        stein(nodes, "euler", **inputs),
        relaxed(nodes, comfy.samplers.sampler_object("euler"), **inputs),
    ):
        assert_close(run(sampler, guide, VE, start), core)
        above = in_core(fashion, start, VE[:-1], solver="euler", coefficient=coefficient).x
        assert_close(run(sampler, guide, VE[:-1], start), above)
    moved = float((core - plain).abs().max())
    if end == "none" or (end == "auto" and coefficient == "none"):
        assert moved == 0
    elif coefficient == "auto" or end in ("linear", "mean"):  # Euler alone lacks no energy here
        assert moved > 1e-2


def test_an_unknown_end_is_refused(nodes: Any) -> None:
    with pytest.raises(ValueError, match="Did you mean 'steady'"):
        stein(nodes, "euler", end="stedy")


# --- Stein Recipe


def recipe(comfy: Any, nodes: Any, kind: str, denoise: Denoise, *asked: Any) -> tuple[Any, Any]:
    """What the node gives for a model of that kind, and the guider to sample it with."""
    guide = guider(comfy, kind, denoise)
    model = standin.Patcher(guide.inner_model)
    return nodes["SteinRecipe"]().choose(model, *asked, False), guide


@pytest.mark.parametrize("kind", ["EPS", "V_PREDICTION"])
@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("steps", [1, 5, 8])
def test_the_recipe_is_the_core_s(
    comfy: Any, nodes: Any, fashion: Denoise, kind: str, guidance: float, steps: int
) -> None:
    top = float(VE[0])
    (sampler, sigmas), guide = recipe(comfy, nodes, kind, fashion, steps, guidance)
    expected = sd.recipe(steps, guidance, top)
    assert sigmas.dtype == torch.float32
    assert sigmas.tolist() == pytest.approx(expected.sigmas, rel=1e-6)
    start = noise(2, (1, 28, 28))
    found = run(sampler, guide, sigmas, start)
    x = start * (1 + top**2) ** 0.5
    core = sd.sample(fashion, x, steps=steps, guidance=guidance, sigma_max=top).x
    assert_close(found, core, 1e-4 if kind == "V_PREDICTION" else 1e-5)


def test_the_recipe_of_a_flow(comfy: Any, nodes: Any, fashion: Denoise) -> None:
    """From pure noise, through the recipe's levels as a flow writes them."""
    (sampler, sigmas), guide = recipe(comfy, nodes, "CONST", in_flow(fashion), 6, 1.0)
    ve = torch.tensor(sd.recipe(6).sigmas)[1:]
    assert sigmas[0] == 1
    torch.testing.assert_close(sigmas[1:], ve / (1 + ve))
    start = noise(2, (1, 28, 28))
    plan = sd.recipe(6)
    chosen = {"solver": plan.solver, "coefficient": plan.coefficient, "end": plan.end}
    core = in_core_flow(in_flow(fashion), start, sigmas, **chosen).x
    assert_close(run(sampler, guide, sigmas, start), core)


@pytest.mark.parametrize("kind", ["EPS", "CONST"])
@pytest.mark.parametrize("steps", [4, 20, 50])
def test_the_recipe_asks_for_no_level_that_the_model_does_not_know(
    comfy: Any, nodes: Any, kind: str, steps: int
) -> None:
    (_, sigmas), guide = recipe(comfy, nodes, kind, mixture(), steps, 1.0)
    sampling = guide.inner_model.model_sampling
    assert len(sigmas) == steps + 1
    assert bool((sigmas.diff() < 0).all())
    assert sigmas[-1] == 0
    assert float(sigmas[-2]) >= float(sampling.sigma_min) * (1 - 1e-6)
    assert float(sigmas[0]) == float(sampling.sigma_max)


def test_what_is_no_model_is_refused(nodes: Any) -> None:
    with pytest.raises(TypeError, match="a MODEL of ComfyUI is needed"):
        nodes["SteinRecipe"]().choose(lambda x: x, 5, 1.0, False)


# --- Stein Tuned Sampler


@pytest.mark.parametrize("kind", ["EPS", "CONST"])
@pytest.mark.parametrize("steps", [4, 5])
def test_a_tuning_is_the_core_s(
    comfy: Any, nodes: Any, tmp_path: Path, kind: str, steps: int
) -> None:
    tunings.tuned().save(tmp_path / "tuned.json")
    plan = tunings.tuned().recipe(steps)
    denoise = mixture()
    guide = guider(comfy, kind, in_flow(denoise) if kind == "CONST" else denoise)
    model, path = standin.Patcher(guide.inner_model), str(tmp_path / "tuned.json")
    sampler, sigmas = nodes["SteinTuned"]().load(model, path, steps, 1.0, True)
    start = noise()
    core = sd.sample(denoise, start * 14.0, steps=plan).x  # below the model's highest level
    assert_close(run(sampler, guide, sigmas, start), core)
    assert len(sampler.sampler_function.journal.gamma) == steps


def test_a_tuning_of_something_else_is_refused(comfy: Any, nodes: Any, tmp_path: Path) -> None:
    tunings.tuned().save(tmp_path / "tuned.json")
    path, load = str(tmp_path / "tuned.json"), nodes["SteinTuned"]().load
    model = standin.Patcher(guider(comfy, "EPS", mixture()).inner_model)
    with pytest.raises(ValueError, match="guidance is 8; the recipe was tuned for 1"):
        load(model, path, 4, 8.0, False)
    with pytest.raises(ValueError, match="steps is 6; this network was tuned for 4, 5"):
        load(model, path, 6, 1.0, False)
    with pytest.raises(FileNotFoundError, match="a tuning file is needed"):
        load(model, str(tmp_path / "none.json"), 4, 1.0, False)
    with pytest.raises(TypeError, match="a MODEL of ComfyUI is needed"):
        load(lambda x: x, path, 4, 1.0, False)
    low = standin.Model(standin.model_sampling(comfy, "EPS", 10.0), mixture())
    with pytest.raises(ValueError, match=r"levels from 14 to 0\.6; this model knows 10 to 0\.03"):
        load(standin.Patcher(low), path, 4, 1.0, False)


def from_pure_noise() -> sd.Tuned:
    """A tuning of four steps that starts at t = 1: fitted scalars, a relaxation and an end."""
    levels = (TOP, 6.0, 2.0, 0.6, 0.0)
    fitted = Calibrated(levels, ((-1e-9,), (0.2, 0.002), (0.6, -0.2, -0.01), ()))
    plan = sd.Recipe(levels, fitted, replace(COEFFICIENT, law="two"), "stein", "")
    found = tunings.tuned()
    return replace(found, sigma_max=TOP, choices={4: replace(found.choices[4], recipe=plan)})


def test_a_tuning_from_pure_noise_is_the_core_s(comfy: Any, nodes: Any, tmp_path: Path) -> None:
    """A flow's sigmas begin at 1 exactly; its network there gives noise less the mean."""
    found, exact = from_pure_noise(), mixture()
    found.save(tmp_path / "tuned.json")

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        at = t.reshape(-1, *[1] * (x.ndim - 1))
        ve = (t.double() / (1 - t.double())).clamp_max(1e6)
        denoised = exact(x.double() * (1 + ve).reshape(at.shape), ve)
        mean = exact.means.mean(dim=0).double()
        return ((x - torch.where(at == 1, mean, denoised)) / at).to(x.dtype)

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        return x - t.reshape(-1, *[1] * (x.ndim - 1)) * velocity(x, t)

    guide = guider(comfy, "CONST", denoise)
    model, path = standin.Patcher(guide.inner_model), str(tmp_path / "tuned.json")
    sampler, sigmas = nodes["SteinTuned"]().load(model, path, 4, 1.0, True)
    assert sigmas[0] == 1
    net = from_function(velocity, "flow", coordinates="flow")
    eps = noise()
    core = sd.sample(net, eps * TOP, steps=found.recipe(4)).x
    assert_close(run(sampler, guide, sigmas, eps), core)
    assert len(sampler.sampler_function.journal.gamma) == 4


def test_a_tuning_of_another_network_or_guidance_is_refused(
    comfy: Any, nodes: Any, tmp_path: Path
) -> None:
    """The network where the node runs, the guidance of the guider where it samples."""
    torch.manual_seed(0)
    mine, other = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
    tunings.tuned(1.0, "mine", "", weights_of(mine)).save(tmp_path / "tuned.json")
    path, load = str(tmp_path / "tuned.json"), nodes["SteinTuned"]().load
    guide = guider(comfy, "EPS", mixture())
    model: Any = standin.Patcher(guide.inner_model)
    model.model.diffusion_model = mine
    sampler, sigmas = load(model, path, 4, 1.0, False)
    assert run(sampler, guide, sigmas, noise()).isfinite().all()
    guide.cfg = 7.0
    with pytest.raises(ValueError, match="cfg of the guider is 7; the file was tuned for 1: set"):
        run(sampler, guide, sigmas, noise())
    model.model.diffusion_model = other
    with pytest.raises(ValueError, match=r"network has 20 weights .* tuned for mine, of 20"):
        load(model, path, 4, 1.0, False)
    with pytest.warns(UserWarning, match="network has 20 weights"):
        load(model, path, 4, 1.0, False, True)


def test_the_order_is_the_one_of_the_input(comfy: Any, nodes: Any) -> None:
    solvers = {"ipndm": IPNDM(order=2), "deis": DEIS(order=4), "unipc": UniPC(order=1)}
    for name, solver in solvers.items():
        sampler = stein(nodes, name, solver.order)
        found = run(sampler, guider(comfy, "EPS", mixture()), VE, noise())
        assert_close(found, in_core(mixture(), noise(), VE, solver=solver).x)


@pytest.mark.parametrize(
    ("solver", "order", "message"), [("unipc", 4, "orders 1 to 3"), ("euler", 2, "'order'")]
)
def test_an_order_that_a_solver_lacks_is_refused(nodes, solver, order, message) -> None:
    with pytest.raises(ValueError, match=message):
        stein(nodes, solver, order)


def test_no_steps_return_the_latent(comfy: Any, nodes: Any) -> None:
    guide = guider(comfy, "EPS", mixture())
    expected = noise() * 2.5
    for mask in (None, left_mask()):
        found = run(stein(nodes, "dpmpp_2m"), guide, VE[2:3], noise(), mask=mask)
        assert torch.equal(found, expected)
    assert not guide.levels


def test_levels_that_rise_are_refused(comfy: Any, nodes: Any) -> None:
    with pytest.raises(
        ValueError, match=r"rise from 0\.3 to 1, as FlipSigmas.*ComfyUI's own euler"
    ):
        run(stein(nodes, "euler"), guider(comfy, "EPS", mixture()), VE[:-1].flip(0), noise())


@pytest.mark.parametrize(
    ("kind", "sigmas", "message"),
    [
        ("CONST", VE, r"begin at 14\.6, but this flow model's go from 1 to 0"),
        ("EPS", torch.tensor([80.0, 1.0, 0.0]), r"begin at 80, but this .* trained up to 14\.6"),
    ],
)
def test_sigmas_of_another_model_are_refused(comfy: Any, nodes: Any, kind, sigmas, message) -> None:
    guide = guider(comfy, kind, mixture())
    with pytest.raises(ValueError, match=f"{message}.*BasicScheduler"):
        run(stein(nodes, "euler"), guide, sigmas, noise())
    assert not guide.levels


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", ["EPS", "CONST"])
def test_a_level_that_is_repeated_is_no_step(
    comfy: Any, nodes: Any, kind: str, solver: str
) -> None:
    """As LaplaceScheduler gives the highest, and LTXV with a terminal of 0 the last."""
    denoise, sigmas = (mixture(), VE) if kind == "EPS" else (in_flow(mixture()), FLOW)
    repeated = torch.cat([sigmas[:1], sigmas[:3], sigmas[2:], sigmas[-1:]])
    guide = guider(comfy, kind, denoise)
    found = run(stein(nodes, solver), guide, repeated, noise())
    assert torch.equal(found, run(stein(nodes, solver), guide, sigmas, noise()))


def test_a_mask_of_another_size_is_refused(comfy: Any, nodes: Any) -> None:
    guide, mask = guider(comfy, "EPS", mixture()), torch.ones(1, 1, 8, 8)
    with pytest.raises(
        ValueError, match=r"mask has shape \(1, 1, 8, 8\) and the latent \(3, 2, 4, 6\)"
    ):
        run(stein(nodes, "euler"), guide, VE, noise(), mask=mask)


# --- what is on the model, and around the sampler


def patch(name: str) -> Any:
    """A function that a node of ComfyUI's nodes_eps puts on a model."""

    def weaken(args: Any) -> Any: ...

    weaken.__name__, weaken.__module__ = name, "comfy_extras.nodes_eps"
    return weaken


@pytest.mark.parametrize(
    ("function", "node"),
    [
        ("epsilon_scaling_function", "Epsilon Scaling"),
        ("temporal_score_rescaling", "TSR - Temporal Score Rescaling"),
    ],
)
def test_a_model_that_is_weakened_already_is_refused_by_the_node_s_name(
    comfy: Any, nodes: Any, function: str, node: str
) -> None:
    guide = guider(comfy, "EPS", mixture())
    options = {"sampler_post_cfg_function": [patch("other"), patch(function)]}
    with pytest.raises(ValueError, match=f"the node {node} on it"):
        run(stein(nodes, "euler"), guide, VE, noise(), model_options=dict(options))
    assert not guide.levels
    plain = stein(nodes, "euler", coefficient="none")
    run(plain, guide, VE, noise(), model_options=dict(options))
    options["sampler_post_cfg_function"].pop()
    run(stein(nodes, "euler"), guide, VE, noise(), model_options=dict(options))


@REAL
def test_comfyui_s_own_nodes_put_these_functions_on_a_model(comfy: Any, nodes: Any) -> None:
    eps = importlib.import_module("comfy_extras.nodes_eps")

    class Model:
        def clone(self) -> Any:
            return self

        def set_model_sampler_post_cfg_function(self, function: Any) -> None:
            self.function = function

    for node, inputs in [(eps.EpsilonScaling, (1.005,)), (eps.TemporalScoreRescaling, (0.95, 1.0))]:
        model = Model()
        node.execute(model, *inputs)
        options = {"sampler_post_cfg_function": [model.function]}
        with pytest.raises(ValueError, match="makes every step weaker"):
            run(
                stein(nodes, "euler"),
                guider(comfy, "EPS", mixture()),
                VE,
                noise(),
                model_options=options,
            )


def detail_daemon(comfy: Any, inside: Any) -> Any:
    """A sampler around another, as Detail Daemon makes it: the model hears of less noise."""

    def detail_daemon_sampler(
        model: Any, x: Tensor, sigmas: Tensor, *, wrapped: Any, amount: float, **kwargs: Any
    ) -> Tensor:
        def less(x: Tensor, sigma: Tensor, **extra_args: Any) -> Tensor:
            return model(x, sigma * (1 - amount), **extra_args)

        less.inner_model = model.inner_model
        return wrapped.sampler_function(less, x, sigmas, **kwargs, **wrapped.extra_options)

    detail_daemon_sampler.__module__ = "/ComfyUI/custom_nodes/ComfyUI-Detail-Daemon.detail_daemon"
    return comfy.samplers.KSAMPLER(detail_daemon_sampler, {"wrapped": inside, "amount": 0.1}, {})


def test_detail_daemon_goes_around_a_stein_sampler(comfy: Any, nodes: Any) -> None:
    guide = guider(comfy, "EPS", mixture())
    found = run(detail_daemon(comfy, stein(nodes, "dpmpp_2m")), guide, VE, noise())

    def less(x: Tensor, sigma: Tensor) -> Tensor:
        return mixture()(x, 0.9 * sigma)

    assert_close(found, in_core(less, noise(), VE, solver="dpmpp_2m").x)
    with pytest.raises(ValueError, match="put it around a Stein sampler"):
        relaxed(nodes, detail_daemon(comfy, comfy.samplers.sampler_object("euler")))


# --- parts of a sampling


@pytest.mark.parametrize("kind", ["EPS", "CONST"])
@pytest.mark.parametrize("solver", ["euler", "dpmpp_2m", "res_multistep"])
def test_an_image_is_sampled_on_from_the_middle(
    comfy: Any, nodes: Any, fashion: Denoise, kind: str, solver: str
) -> None:
    """Denoise below 1: from an image with the noise of a level that VE knows."""
    start, latent = noise(2, (1, 28, 28)), noise(2, (1, 28, 28)).flip(-1) * 0.5
    ve, sigmas = VE[2:], VE[2:]
    denoise = fashion
    if kind == "CONST":
        denoise, sigmas = in_flow(fashion), ve / (1 + ve)
    found = run(stein(nodes, solver), guider(comfy, kind, denoise), sigmas, start, latent=latent)
    expected = sd.sample(fashion, latent + ve[0] * start, ve, solver=solver).x
    assert_close(found, expected)


@pytest.mark.parametrize("kind", ["EPS", "CONST"])
def test_split_sigmas_go_on_where_they_were(comfy: Any, nodes: Any, fashion: Denoise, kind: str):
    """Base and refiner: SplitSigmas, the second sampler without noise of its own."""
    start = noise(2, (1, 28, 28))
    denoise, sigmas = (fashion, VE) if kind == "EPS" else (in_flow(fashion), FLOW)
    guide, sampler = guider(comfy, kind, denoise), stein(nodes, "euler", end="none")
    middle = run(sampler, guide, sigmas[:4], start)
    found = run(sampler, guide, sigmas[3:], torch.zeros_like(start), latent=middle)
    first = in_core if kind == "EPS" else in_core_flow
    above = first(denoise, start, sigmas[:4], solver="euler", end="none").x
    ve = sigmas[3:] if kind == "EPS" else sigmas[3:] / (1 - sigmas[3:])
    assert_close(found, sd.sample(fashion, above, ve, solver="euler", end="none").x, 1e-4)


def test_a_model_that_hides_its_sampling_is_refused(nodes: Any) -> None:
    function = stein(nodes, "euler").sampler_function
    with pytest.raises(TypeError, match="model_sampling"):
        function(lambda x, sigma: x, noise(), VE, {})


# --- Stein Relaxation


@pytest.mark.parametrize(
    "name",
    [
        "euler",
        "heun",
        "dpmpp_2m",
        "ipndm",
        "lms",
        "res_multistep",
        "gradient_estimation",
    ],
)
@pytest.mark.parametrize("sigmas", [VE, VE[:-1]], ids=["to zero", "above zero"])
def test_without_relaxing_it_is_comfyui_s_sampler(
    comfy: Any, nodes: Any, name: str, sigmas: Tensor
) -> None:
    theirs = comfy.samplers.sampler_object(name)
    ours = relaxed(nodes, theirs, trust=0.0, coefficient="none")
    found, expected = (
        run(sampler, guider(comfy, "EPS", mixture()), sigmas, noise()) for sampler in (ours, theirs)
    )
    assert_close(found, expected)


@pytest.mark.parametrize("name", ["euler", "ipndm", "gradient_estimation"])
def test_solvers_in_a_flow_s_own_time_are_comfyui_s(comfy: Any, nodes: Any, name: str) -> None:
    theirs = comfy.samplers.sampler_object(name)
    ours = relaxed(nodes, theirs, coefficient="none")
    guide = guider(comfy, "CONST", in_flow(mixture()))
    assert_close(run(ours, guide, FLOW, noise()), run(theirs, guide, FLOW, noise()))


@REAL
@pytest.mark.parametrize("name", ["uni_pc", "uni_pc_bh2"])
@pytest.mark.parametrize("steps", [3, 4, 5])
def test_unipc_is_comfyui_s_up_to_its_end(comfy: Any, nodes: Any, name: str, steps: int) -> None:
    """ComfyUI ends at 0.001 instead of 0; above zero the two are the same."""
    theirs = comfy.samplers.sampler_object(name)
    ours = relaxed(nodes, theirs, coefficient="none")
    guide = guider(comfy, "EPS", mixture())
    above = [run(s, guide, VE[:steps], noise()) for s in (ours, theirs)]
    assert_close(above[0], above[1])
    ended = [run(s, guide, VE[-steps:], noise()) for s in (ours, theirs)]
    assert_close(ended[0], ended[1], 1e-2)


@REAL
def test_deis_is_comfyui_s_with_exact_polynomials(comfy: Any, nodes: Any) -> None:
    theirs = comfy.samplers.ksampler("deis", {"max_order": 2})
    ours = relaxed(nodes, theirs, coefficient="none")
    guide = guider(comfy, "EPS", mixture())
    fine = VE[0] * torch.linspace(1, 0.05, 60) ** 3
    assert_close(run(ours, guide, fine, noise()), run(theirs, guide, fine, noise()), 2e-2)


@pytest.mark.parametrize(
    ("name", "solver"),
    [
        ("euler", Euler()),
        ("heun", Heun()),
        ("dpmpp_2m", DPMpp2M(lower_order_final=False)),
        ("ipndm", IPNDM(order=4)),
        ("deis", DEIS(order=3)),
        ("lms", DEIS(order=4)),
        ("res_multistep", ResMultistep()),
        ("gradient_estimation", GradientEstimation(2.0)),
        ("uni_pc", UniPC(order=3, variant="bh1")),
        ("uni_pc_bh2", UniPC(order=3, variant="bh2")),
    ],
)
def test_relaxing_a_sampler_relaxes_its_steps(
    comfy: Any, nodes: Any, name: str, solver: Solver
) -> None:
    sampler, sigmas = relaxed(nodes, comfy.samplers.sampler_object(name)), VE[:-1]
    found = run(sampler, guider(comfy, "EPS", mixture()), sigmas, noise())
    assert_close(found, in_core(mixture(), noise(), sigmas, solver=solver).x)


def test_every_sampler_of_comfyui_is_relaxed_or_refused_with_its_reason(
    comfy: Any, nodes: Any
) -> None:
    done, refused = [], {}
    for name in comfy.samplers.SAMPLER_NAMES:
        try:
            relaxed(nodes, comfy.samplers.sampler_object(name))
            done.append(name)
        except ValueError as refusal:
            refused[name] = str(refusal)
    assert [name for name, why in refused.items() if "relaxed: it" not in why] == []
    assert [name for name, why in refused.items() if "Use " not in why] == []
    assert " ".join(done) == (
        "euler heun lms dpmpp_2m ipndm deis res_multistep gradient_estimation ddim uni_pc "
        "uni_pc_bh2"
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("euler_ancestral", "adds noise"),
        ("dpmpp_3m_sde", "Stein Sampler with dpmpp_3m"),
        ("euler_cfg_pp", "unconditional"),
        ("euler_ancestral_cfg_pp", "unconditional"),
        ("dpmpp_2m_cfg_pp", "unconditional"),
        ("res_multistep_cfg_pp", "unconditional"),
        ("gradient_estimation_cfg_pp", "unconditional"),
        ("dpmpp_2s_ancestral_cfg_pp", "unconditional"),
        ("res_multistep_ancestral_cfg_pp", "unconditional"),
        ("res_multistep_ancestral", "adds noise"),
        ("er_sde", "unless its solver_type is ODE.*SamplerER_SDE with ODE"),
        ("seeds_2", "adds noise"),
        ("sa_solver", "adds noise"),
        ("lcm", "distilled models"),
        ("exp_heun_2_x0", "Stein Sampler with res_2s"),
        ("dpm_2", "Stein Sampler with res_2s"),
        ("dpm_adaptive", "its own steps"),
        ("ipndm_v", "do not add up to 1 .* Use deis"),
        ("heunpp2", "changes its formula"),
    ],
)
def test_refusals_say_why(comfy: Any, nodes: Any, name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        relaxed(nodes, comfy.samplers.sampler_object(name))


def test_the_newest_cfgpp_is_refused_with_its_reason(comfy: Any, nodes: Any) -> None:
    def sample_cfgpp_ud10_ab() -> None: ...

    sample_cfgpp_ud10_ab.__module__ = "comfy.k_diffusion.sampling"  # of 0.35, newer than some
    with pytest.raises(ValueError, match="unconditional"):
        relaxed(nodes, comfy.samplers.KSAMPLER(sample_cfgpp_ud10_ab, {}, {}))


def er_sde_ode(comfy: Any, max_stage: int = 3) -> Any:
    """What SamplerER_SDE gives for solver_type ODE."""
    options = {"s_noise": 0, "noise_scaler": lambda x: x ** (0 + 1), "max_stage": max_stage}
    return comfy.samplers.ksampler("er_sde", options)


@pytest.mark.parametrize("kind", ["EPS", "CONST"])
def test_er_sde_is_relaxed_at_its_deterministic_end(comfy: Any, nodes: Any, kind: str) -> None:
    """Of one stage it is Euler; of three, unrelaxed, ComfyUI's own."""
    denoise, sigmas = (mixture(), VE) if kind == "EPS" else (in_flow(mixture()), FLOW)
    guide, x = guider(comfy, kind, denoise), noise()
    found = run(relaxed(nodes, er_sde_ode(comfy, 1)), guide, sigmas, x)
    expected = run(stein(nodes, "euler"), guide, sigmas, x)
    assert_close(found, expected, 1e-5 if kind == "EPS" else 1e-3)  # it begins just below t = 1
    plain = run(relaxed(nodes, er_sde_ode(comfy), coefficient="none"), guide, sigmas, x)
    assert_close(plain, run(er_sde_ode(comfy), guide, sigmas, x))
    three = run(relaxed(nodes, er_sde_ode(comfy)), guide, sigmas, x)
    assert float((three - plain).abs().max()) > 1e-2
    sde = {"s_noise": 1.0, "noise_scaler": lambda x: x**2, "max_stage": 3}
    with pytest.raises(ValueError, match="solver_type is ODE"):
        relaxed(nodes, comfy.samplers.ksampler("er_sde", sde))


def test_what_is_relaxed_as_it_is_records_masks_and_shows(comfy: Any, nodes: Any) -> None:
    """ER-SDE of one stage is Euler."""
    theirs = relaxed(nodes, er_sde_ode(comfy, 1), record=True)
    twin = stein(nodes, "euler", record=True)
    seen: list[list[Any]] = [[], []]
    guide, latent = guider(comfy, "EPS", halves(mixture(LEFT))), 2 * noise(3)
    pair = theirs, twin
    found, expected = (
        run(
            one, guide, VE[1:], noise(), latent=latent, mask=left_mask(),
            callback=lambda i, clean, x, steps, told=told: told.append((clean, x)),
        )
        for one, told in zip(pair, seen, strict=True)
    )  # fmt: skip
    assert_close(found, expected)
    shown = [torch.stack([clean for clean, _ in told]) for told in seen]
    assert_close(shown[0], shown[1])
    for clean, _ in seen[0]:
        assert_close(clean[..., 3:], latent[..., 3:])
    journals = [one.sampler_function.journal for one in pair]
    for name in ("gamma", "kappa"):
        found, expected = (torch.stack(getattr(journal, name)).double() for journal in journals)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def res4lyf(comfy: Any, name: str) -> Any:
    """A sampler that the package RES4LYF registers."""

    def sample() -> None: ...

    sample.__name__ = f"sample_{name}"
    sample.__module__ = "/home/me/ComfyUI/custom_nodes/RES4LYF.beta"
    return comfy.samplers.KSAMPLER(sample, {}, {})


def test_res_2s_of_res4lyf_is_relaxed_without_its_noise(comfy: Any, nodes: Any) -> None:
    found = run(
        relaxed(nodes, res4lyf(comfy, "res_2s_ode")), guider(comfy, "EPS", mixture()), VE, noise()
    )
    assert_close(found, in_core(mixture(), noise(), VE, solver=Res2S()).x)
    for name, reason in {
        "res_2s": "its eta is 0.5",
        "res_2m": "its eta is 0.5",
        "res_6s": "its eta is 0.5",
        "deis_3m": "its eta is 0.5",
        "res_2m_ode": "several model calls",
        "res_5s_ode": "several model calls",
        "rk_beta": "one of many methods",
    }.items():
        with pytest.raises(ValueError, match=f"sample_{name} cannot be relaxed: it .*{reason}"):
            relaxed(nodes, res4lyf(comfy, name))


def with_options(comfy: Any, name: str, **options: Any) -> Any:
    sampler = comfy.samplers.sampler_object(name)
    return comfy.samplers.KSAMPLER(sampler.sampler_function, options, {})


def test_options_that_change_the_method_are_refused(comfy: Any, nodes: Any) -> None:
    with pytest.raises(ValueError, match=r"s_churn is 0\.5"):
        relaxed(nodes, with_options(comfy, "heun", s_churn=0.5))
    with pytest.raises(ValueError, match="cleverness"):
        relaxed(nodes, with_options(comfy, "euler", cleverness=2))
    relaxed(nodes, with_options(comfy, "euler", s_churn=0.0, s_noise=1.1))


def test_options_that_have_a_twin_are_taken_over(comfy: Any, nodes: Any) -> None:
    sampler = relaxed(nodes, with_options(comfy, "ipndm", max_order=2))
    found = run(sampler, guider(comfy, "EPS", mixture()), VE, noise())
    assert_close(found, in_core(mixture(), noise(), VE, solver=IPNDM(order=2)).x)
    for name, option, solver in [
        ("lms", {"order": 2}, DEIS(order=2)),
        ("gradient_estimation", {"ge_gamma": 1.5}, GradientEstimation(1.5)),
        ("res_multistep", {"s_noise": 1.0}, ResMultistep()),
    ]:
        other = relaxed(nodes, with_options(comfy, name, **option))
        found = run(other, guider(comfy, "EPS", mixture()), VE, noise())
        assert_close(found, in_core(mixture(), noise(), VE, solver=solver).x)
    variant = relaxed(nodes, with_options(comfy, "uni_pc", variant="bh2"))
    assert variant.sampler_function.options["variant"] == "bh2"


def test_samplers_of_others_are_refused(comfy: Any, nodes: Any) -> None:
    def sample_euler(model: Any, x: Tensor, sigmas: Tensor) -> Tensor:
        raise AssertionError

    class Own(comfy.samplers.KSAMPLER):
        pass

    theirs = comfy.samplers.sampler_object("euler").sampler_function
    for sampler, reason in [
        (comfy.samplers.KSAMPLER(sample_euler), "not from ComfyUI"),
        (Own(theirs), "sampling of its own"),
        (stein(nodes, "euler"), "relaxed already"),
        (theirs, "KSAMPLER"),
    ]:
        with pytest.raises(ValueError, match=reason):
            relaxed(nodes, sampler)


def test_ddim_keeps_its_own_noise_for_masks(comfy: Any, nodes: Any) -> None:
    sampler = relaxed(nodes, comfy.samplers.sampler_object("ddim"))
    assert sampler.inpaint_options == {"random": True}
    assert relaxed(nodes, comfy.samplers.sampler_object("euler")).inpaint_options == {}


# --- masks

LEFT = (2, 4, 3)


def halves(denoise_left: Denoise) -> Denoise:
    """A denoiser whose left half depends on the left half only."""

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return torch.cat([denoise_left(x[..., :3], sigma), 0.3 * x[..., 3:]], dim=-1)

    return denoise


def left_mask(batch: int = 1) -> Tensor:
    mask = torch.zeros(batch, 1, *SHAPE[1:])
    mask[..., :3] = 1
    return mask


@pytest.mark.parametrize("solver", ["euler", "heun", "ipndm", "unipc"])
@pytest.mark.parametrize("kind", ["EPS", "CONST"])
def test_the_free_region_is_relaxed_as_if_it_were_alone(
    comfy: Any, nodes: Any, solver: str, kind: str
) -> None:
    """Bit by bit the same decisions: what is known neither counts nor takes part."""
    left, latent, start = mixture(LEFT, seed=1), 2 * noise(3), noise() + 0.1
    denoise, sigmas = left, VE[1:]
    if kind == "CONST":
        denoise, sigmas = in_flow(left), FLOW[1:]
    guide = guider(comfy, kind, halves(denoise))
    found = run(stein(nodes, solver), guide, sigmas, start, latent=latent, mask=left_mask())
    alone = guider(comfy, kind, denoise)
    expected = run(
        stein(nodes, solver), alone, sigmas, start[..., :3], latent=latent[..., :3].contiguous()
    )
    assert_close(found[..., :3], expected)
    assert torch.equal(found[..., 3:], latent[..., 3:])
    other = run(stein(nodes, solver), guide, sigmas, start, latent=latent)
    assert float((other[..., :3] - expected).abs().max()) > 1e-4  # counted, it would matter


@pytest.mark.parametrize("kind", ["EPS", "CONST"])
def test_above_zero_the_known_region_keeps_its_noise(comfy: Any, nodes: Any, kind: str) -> None:
    """What a second sampler goes on from is at its level, no more noisy."""
    sigmas, start, latent = (VE if kind == "EPS" else FLOW)[1:-1], noise(), 2 * noise(3)
    denoise = mixture(LEFT) if kind == "EPS" else in_flow(mixture(LEFT))
    guide = guider(comfy, kind, halves(denoise))
    found = run(stein(nodes, "euler"), guide, sigmas, start, latent=latent, mask=left_mask())
    end = float(sigmas[-1])
    # KSAMPLER undoes alpha.
    expected = latent + end / (1 - end if kind == "CONST" else 1) * start
    assert_close(found[..., 3:], expected[..., 3:])


def test_previews_show_the_whole_image(comfy: Any, nodes: Any) -> None:
    seen, start, latent = [], noise(), 2 * noise(3)
    run(
        stein(nodes, "heun"),
        guider(comfy, "EPS", halves(mixture(LEFT))),
        VE[1:],
        start,
        latent=latent,
        mask=left_mask(),
        callback=lambda i, clean, x, steps: seen.append((i, clean, x, steps)),
    )
    for i, clean, x, _ in seen:
        assert_close(clean[..., 3:], latent[..., 3:])
        assert_close(x[..., 3:], (latent + VE[1 + i] * start)[..., 3:])
    assert len(seen) == 4


def test_one_mask_a_sample(comfy: Any, nodes: Any) -> None:
    """Free, masked and known samples of one batch do not touch each other."""
    mask = torch.cat([torch.ones_like(left_mask()), left_mask(), torch.zeros_like(left_mask())])
    guide, latent = guider(comfy, "EPS", halves(mixture(LEFT))), 2 * noise(3)
    found = run(stein(nodes, "ipndm"), guide, VE[1:], noise(), latent=latent, mask=mask)
    for k in range(3):
        one = slice(k, k + 1)
        alone = run(
            stein(nodes, "ipndm"), guide, VE[1:], noise()[one], latent=latent[one], mask=mask[one]
        )
        assert_close(found[one], alone)
    assert torch.equal(found[2], latent[2])


def test_soft_masks_are_comfyui_s(comfy: Any, nodes: Any) -> None:
    theirs = comfy.samplers.sampler_object("ipndm")
    ours = relaxed(nodes, theirs, coefficient="none")
    mask = left_mask() * 0.6
    latent, guide = noise(3), guider(comfy, "EPS", mixture())
    found, expected = (
        run(sampler, guide, VE[1:], noise(), latent=latent, mask=mask) for sampler in (ours, theirs)
    )
    assert_close(found, expected)


def test_a_mask_that_changes_is_refused_but_where_nothing_is_relaxed(
    comfy: Any, nodes: Any
) -> None:
    def later(sigma: Tensor, mask: Tensor, extra_options: Any) -> Tensor:
        return (mask >= (float(sigma[0]) / 6)).to(mask)

    latent, guide = noise(3), guider(comfy, "EPS", mixture())
    ramp = torch.linspace(0, 1, SHAPE[-1]).expand(1, 1, *SHAPE[1:])
    options = {"latent": latent, "mask": ramp, "model_options": {"denoise_mask_function": later}}
    with pytest.raises(ValueError, match="Differential Diffusion"):
        run(stein(nodes, "euler"), guide, VE[1:], noise(), **options)
    assert not guide.levels
    plain = stein(nodes, "euler", coefficient="none")
    found = run(plain, guide, VE[1:], noise(), **dict(options))
    theirs = run(comfy.samplers.sampler_object("euler"), guide, VE[1:], noise(), **options)
    assert_close(found, theirs)


# --- previews and interrupts


def test_previews_come_once_a_step_with_the_denoised_image(comfy: Any, nodes: Any) -> None:
    seen = []
    run(
        stein(nodes, "dpmpp_2m"),
        guider(comfy, "EPS", mixture()),
        VE,
        noise(),
        callback=lambda i, clean, x, steps: seen.append((i, clean, x, steps)),
    )
    assert [(i, steps) for i, _, _, steps in seen] == [(i, 5) for i in range(5)]
    for i, clean, x, _ in seen:
        assert_close(clean, mixture()(x, VE[i]))


def test_an_error_in_the_preview_passes(comfy: Any, nodes: Any) -> None:
    class Stop(Exception):  # noqa: N818
        pass

    def callback(i: int, *_: Any) -> None:
        if i == 2:
            raise Stop

    sampler, guide = stein(nodes, "euler", record=True), guider(comfy, "EPS", mixture())
    run(sampler, guide, VE, noise())
    guide.levels.clear()
    with pytest.raises(Stop):
        run(sampler, guide, VE, noise(), callback=callback)
    assert len(guide.levels) == 3
    with pytest.raises(ValueError, match="nothing was sampled"):
        nodes["SteinReport"]().report(sampler, {})


def test_an_interrupt_stops_before_the_next_model_call(comfy: Any, nodes: Any) -> None:
    management, guide = comfy.model_management, guider(comfy, "EPS", mixture())

    def callback(i: int, *_: Any) -> None:
        if i == 1:
            management.interrupt_current_processing()

    with pytest.raises(management.InterruptProcessingException):
        run(stein(nodes, "heun"), guide, VE, noise(), callback=callback)
    assert len(guide.levels) == 4
    run(stein(nodes, "heun"), guide, VE, noise())  # the flag was taken down


def test_it_samples_in_inference_mode(comfy: Any, nodes: Any) -> None:
    """As ComfyUI runs its nodes, masks and records included."""
    sampler, guide = stein(nodes, "ipndm", record=True), guider(comfy, "EPS", mixture())
    expected = run(sampler, guide, VE[1:], noise(), latent=noise(), mask=left_mask())
    with torch.inference_mode():
        found = run(sampler, guide, VE[1:], noise(), latent=noise(), mask=left_mask())
        nodes["SteinReport"]().report(sampler, {})
    assert torch.equal(found, expected)


def test_a_sampler_remembers_nothing(comfy: Any, nodes: Any) -> None:
    sampler, guide = stein(nodes, "unipc"), guider(comfy, "EPS", mixture())
    first = run(sampler, guide, VE, noise())
    run(sampler, guide, VE[1:], noise(5))
    assert torch.equal(run(sampler, guide, VE, noise()), first)


def test_an_image_that_is_not_finite_costs_no_other(comfy: Any, nodes: Any) -> None:
    exact = mixture()

    def spoilt(x: Tensor, sigma: Tensor) -> Tensor:
        denoised = exact(x, sigma)
        denoised[1] = float("nan") if float(sigma[0]) < 2 else denoised[1]
        return denoised

    sampler = stein(nodes, "dpmpp_2m", record=True)
    expected = run(sampler, guider(comfy, "EPS", exact), VE, noise())
    with pytest.warns(RuntimeWarning, match="in samples 1; the others go on"):
        found = run(sampler, guider(comfy, "EPS", spoilt), VE, noise())
    assert torch.equal(found[[0, 2]], expected[[0, 2]])
    picture, _ = nodes["SteinReport"]().report(sampler, {})
    assert torch.isfinite(picture).all()


# --- Stein Report


@pytest.mark.parametrize("kind", ["EPS", "CONST"])
def test_the_journal_holds_what_the_core_records(comfy: Any, nodes: Any, kind: str) -> None:
    sampler = stein(nodes, "dpmpp_2m", record=True, coefficient="energy")
    told: dict[str, Any] = {"solver": "dpmpp_2m", "coefficient": "energy", "record": True}
    if kind == "EPS":
        run(sampler, guider(comfy, kind, mixture()), VE, noise())
        record = in_core(mixture(), noise(), VE, **told).record
    else:
        flow = in_flow(mixture())
        run(sampler, guider(comfy, kind, flow), FLOW, noise())
        record = in_core_flow(flow, noise(), FLOW, **told).record
    assert record is not None
    journal = sampler.sampler_function.journal
    torch.testing.assert_close(torch.stack(journal.gamma), record.gamma, atol=1e-4, rtol=0)
    assert float(record.gamma.min()) < 0.99
    # The core reads pure noise as D + noise, the journal as it is: the same but for 1/level.
    torch.testing.assert_close(torch.stack(journal.kappa), record.kappa, atol=1e-3, rtol=0)


def test_kappa_is_that_of_the_free_region(comfy: Any, nodes: Any) -> None:
    sampler = stein(nodes, "euler", record=True)
    guide, latent = guider(comfy, "EPS", halves(mixture(LEFT))), 2 * noise(3)
    run(sampler, guide, VE[1:], noise(), latent=latent, mask=left_mask())
    alone = stein(nodes, "euler", record=True)
    left = (noise()[..., :3].contiguous(), latent[..., :3].contiguous())
    run(alone, guider(comfy, "EPS", mixture(LEFT)), VE[1:], left[0], latent=left[1])
    found, expected = (torch.stack(s.sampler_function.journal.kappa) for s in (sampler, alone))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_the_report_is_an_image_of_the_last_sampling(comfy: Any, nodes: Any) -> None:
    sampler = stein(nodes, "euler", record=True)
    pictures = []
    for sigmas in (VE, VE, VE[1:]):
        run(sampler, guider(comfy, "EPS", mixture()), sigmas, noise())
        latent = {"samples": torch.zeros(1)}
        picture, passed = nodes["SteinReport"]().report(sampler, latent)
        assert passed is latent
        pictures.append(picture)
    assert pictures[0].dtype == torch.float32
    assert pictures[0].ndim == 4
    assert pictures[0].shape[0] == 1
    assert pictures[0].shape[3] == 3
    assert float(pictures[0].min()) >= 0
    assert float(pictures[0].max()) == 1
    assert torch.equal(pictures[0], pictures[1])
    assert not torch.equal(pictures[0], pictures[2])


def test_the_report_draws_gamma_and_kappa(comfy: Any, nodes: Any) -> None:
    """Another journal, another picture: each of the two is in it."""
    sampler = stein(nodes, "euler", record=True)
    run(sampler, guider(comfy, "EPS", mixture()), VE, noise())
    report, journal = nodes["SteinReport"]().report, sampler.sampler_function.journal
    before = report(sampler, {})[0]
    for measured in (journal.gamma, journal.kappa):
        measured[1] = measured[1] - 0.5
        after = report(sampler, {})[0]
        assert not torch.equal(before, after)
        before = after


def test_there_is_no_report_without_a_record(comfy: Any, nodes: Any) -> None:
    silent, fresh = stein(nodes, "euler"), stein(nodes, "euler", record=True)
    run(silent, guider(comfy, "EPS", mixture()), VE, noise())
    for sampler, reason in [
        (silent, "record is off"),
        (fresh, "nothing was sampled"),
        (comfy.samplers.sampler_object("euler"), "sample_euler"),
    ]:
        with pytest.raises(ValueError, match=reason):
            nodes["SteinReport"]().report(sampler, {})


@pytest.mark.parametrize("scales", [{"cfg": 7.0}, {"cfg1": 3.0, "cfg2": 1.0}, {"cfg": 1.0}])
def test_kappa_s_axis_is_logarithmic_where_the_model_is_guided(
    comfy: Any, nodes: Any, scales: dict[str, float]
) -> None:
    guide, sampler = guider(comfy, "EPS", mixture()), stein(nodes, "euler", record=True)
    vars(guide).update(scales)
    run(sampler, guide, VE, noise())
    function = sampler.sampler_function
    package = sys.modules[type(function).__module__.rpartition(".")[0]]
    health = importlib.import_module(".report", package.__name__).plot(function.journal).axes[1]
    assert health.get_yscale() == ("linear" if scales == {"cfg": 1.0} else "log")


def test_many_steps_and_a_large_batch_are_drawn(comfy: Any, nodes: Any) -> None:
    sampler = stein(nodes, "euler", record=True)
    sigmas = torch.linspace(14, 0, 41)
    run(sampler, guider(comfy, "EPS", mixture()), sigmas, noise(20))
    assert nodes["SteinReport"]().report(sampler, {})[0].shape[0] == 1
