"""`SteinScheduler` against diffusers' schedulers and against `steindiff.sample`."""

from __future__ import annotations

import copy
import json
import math
import pickle
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import steindiff as sd
from steindiff.denoisers import GaussianMixture

diffusers = pytest.importorskip("diffusers")

from steindiff.adapters.diffusers import relax, unrelax  # noqa: E402
from steindiff.adapters.diffusers.stein_scheduler import SteinScheduler  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # numpy's, in diffusers

SHAPE = (2, 4, 4)
SIZE = math.prod(SHAPE)
Network = Callable[[Tensor, Tensor], Tensor]


@pytest.fixture(scope="module")
def network() -> Network:
    """What a pipeline calls: a small random network of the scaled input and the timestep."""
    generator = torch.Generator().manual_seed(3)
    first = torch.randn(SIZE + 4, 48, generator=generator) / 4
    second = torch.randn(48, SIZE, generator=generator) / 4
    rates = torch.tensor([0.7, 0.05, 0.004, 0.001])

    def call(x: Tensor, timestep: Tensor) -> Tensor:
        told = (torch.as_tensor(timestep).float() * rates).cos().expand(len(x), 4)
        hidden = torch.cat([x.flatten(1).float(), told], dim=1) @ first
        return (torch.tanh(hidden) @ second).reshape(x.shape).to(x.dtype)

    return call


def normal(batch: int = 3) -> Tensor:
    return torch.randn(batch, *SHAPE, generator=torch.Generator().manual_seed(4))


def drive(scheduler: Any, network: Network, x: Tensor, begin: int = 0) -> list[Tensor]:
    """What a pipeline does: the latents after every model call."""
    states = []
    for timestep in scheduler.timesteps[begin:]:
        seen = x
        if hasattr(scheduler, "scale_model_input"):
            seen = scheduler.scale_model_input(x, timestep)
        x = scheduler.step(network(seen, timestep), timestep, x, return_dict=False)[0]
        states.append(x)
    return states


def assert_agree(ours: list[Tensor], theirs: list[Tensor], tolerance: float = 1e-5) -> None:
    assert len(ours) == len(theirs) > 0
    for call, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        difference = float((mine - other).abs().max() / other.abs().max())
        assert difference < tolerance, f"call {call}: {difference}"


def plain(upstream: Any, solver: str, **options: Any) -> SteinScheduler:
    return SteinScheduler.from_scheduler(upstream, solver=solver, coefficient=None, **options)


def to_ve(states: list[Tensor], sigmas: Tensor) -> list[Tensor]:
    """Variance-preserving latents, one after each step, in VE coordinates."""
    return [
        x * math.sqrt(1 + float(s) ** 2) for x, s in zip(states, sigmas.tolist()[1:], strict=True)
    ]


# Against diffusers


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("betas", ["linear", "scaled_linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace"])
def test_euler_is_euler_discrete(
    network: Network, spacing: str, betas: str, prediction: str
) -> None:
    options = {"beta_schedule": betas, "prediction_type": prediction}
    theirs = diffusers.EulerDiscreteScheduler(timestep_spacing=spacing, **options)
    ours = plain(theirs, "euler", schedule=spacing)
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(10)  # linspace: upstream does not round; 999/9 is whole
    torch.testing.assert_close(ours.timesteps, theirs.timesteps)
    torch.testing.assert_close(ours.sigmas, theirs.sigmas)
    assert ours.init_noise_sigma == pytest.approx(float(theirs.init_noise_sigma), rel=1e-6)
    x = normal() * ours.init_noise_sigma
    # The cosine schedule starts near sigma = 20,000; upstream takes x' as a difference from it.
    tolerance = 1e-5 if float(ours.sigmas[0]) < 1000 or prediction == "epsilon" else 1e-3
    assert_agree(drive(ours, network, x), drive(theirs, network, x), tolerance)


def test_zero_terminal_snr_is_euler_discrete(network: Network) -> None:
    options = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
    options |= {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    theirs = diffusers.EulerDiscreteScheduler(timestep_spacing="trailing", **options)
    ours = plain(theirs, "euler")
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(8)
    assert float(ours.sigmas[0]) == pytest.approx(4096, rel=1e-6)
    x = normal() * ours.init_noise_sigma
    assert_agree(drive(ours, network, x), drive(theirs, network, x), 1e-3)  # as above


def test_zero_terminal_snr_keeps_the_last_level_highest() -> None:
    """2^-24, which upstream puts last, is above the level before it with these betas."""
    linear = SteinScheduler(rescale_betas_zero_snr=True, prediction_type="v_prediction")
    linear.set_timesteps(1000)
    assert bool((linear.sigmas.diff() < 0).all())
    assert bool(linear.sigmas.isfinite().all())


@pytest.mark.parametrize(("flag", "schedule"), [("karras", "karras"), ("exponential", "log_snr")])
def test_levels_between_training_steps(network: Network, flag: str, schedule: str) -> None:
    options = {"num_train_timesteps": 50, "beta_start": 0.002, "beta_end": 0.4}  # far apart
    theirs = diffusers.EulerDiscreteScheduler(**options, **{f"use_{flag}_sigmas": True})
    ours = plain(theirs, "euler", schedule=schedule)
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(7)
    torch.testing.assert_close(ours.timesteps, theirs.timesteps, rtol=1e-4, atol=1e-3)
    assert not torch.equal(ours.timesteps, ours.timesteps.round())
    torch.testing.assert_close(ours.sigmas, theirs.sigmas, rtol=1e-5, atol=1e-6)


def trailing(cls: Any, **options: Any) -> Any:
    return cls(timestep_spacing="trailing", prediction_type="v_prediction", **options)


@pytest.mark.parametrize(
    ("upstream", "solver", "options"),
    [
        (trailing(diffusers.DDIMScheduler, clip_sample=False), "euler", {}),
        (trailing(diffusers.DPMSolverMultistepScheduler), "dpmpp_2m", {}),
        (trailing(diffusers.DPMSolverMultistepScheduler, solver_order=3), "dpmpp_3m", {}),
        (trailing(diffusers.UniPCMultistepScheduler), "unipc", {"order": 2}),
        (trailing(diffusers.UniPCMultistepScheduler, solver_order=3), "unipc", {"order": 3}),
    ],
    ids=["ddim", "dpmpp_2m", "dpmpp_3m", "unipc_2", "unipc_3"],
)
def test_solvers_of_variance_preserving_coordinates(
    network: Network, upstream: Any, solver: str, options: dict[str, Any]
) -> None:
    ours = plain(upstream, solver, solver_options=options)
    for scheduler in (ours, upstream):
        scheduler.set_timesteps(10)
    assert ours.timesteps.tolist() == upstream.timesteps.tolist()
    x = normal()
    theirs = to_ve(drive(upstream, network, x), ours.sigmas)
    x = x * math.sqrt(1 + float(ours.sigmas[0]) ** 2)
    assert_agree(drive(ours, network, x), theirs, 2e-5 if solver == "dpmpp_3m" else 1e-5)


def test_heun_is_heun_discrete(network: Network) -> None:
    theirs = trailing(diffusers.HeunDiscreteScheduler)
    ours = plain(theirs, "heun")
    assert ours.order == 2
    assert SteinScheduler().order == 1
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(6)
    assert len(ours.timesteps) == 11
    assert ours.timesteps.tolist() == theirs.timesteps.tolist()
    torch.testing.assert_close(ours.sigmas, theirs.sigmas)
    x = normal() * ours.init_noise_sigma
    assert_agree(drive(ours, network, x), drive(theirs, network, x))


@pytest.mark.parametrize("schedule", ["karras", "exponential"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_euler_is_edm_euler(network: Network, prediction: str, schedule: str) -> None:
    theirs = diffusers.EDMEulerScheduler(
        sigma_min=0.01, sigma_max=30.0, sigma_data=0.7, rho=5.0, prediction_type=prediction,
        sigma_schedule=schedule,
    )  # fmt: skip
    ours = plain(theirs, "euler")
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(8)
    torch.testing.assert_close(ours.timesteps, theirs.timesteps)
    assert ours.init_noise_sigma == pytest.approx(theirs.init_noise_sigma)
    x = normal() * ours.init_noise_sigma
    assert_agree(drive(ours, network, x), drive(theirs, network, x))


DYNAMIC = {"use_dynamic_shifting": True}


@pytest.mark.parametrize(
    ("config", "mu"),
    [
        ({}, None),
        ({"shift": 3.0}, None),
        (DYNAMIC, 0.8),
        ({**DYNAMIC, "time_shift_type": "linear"}, 1.7),
        ({**DYNAMIC, "shift_terminal": 0.1}, 0.8),
    ],
    ids=["plain", "shift", "exponential", "linear", "terminal"],
)
@pytest.mark.parametrize("solver", ["euler", "ipndm"])
def test_flow_is_flow_match_euler(
    network: Network, config: dict[str, Any], mu: float | None, solver: str
) -> None:
    """It starts at t = 1, where the variance-exploding level is infinite."""
    theirs = diffusers.FlowMatchEulerDiscreteScheduler(**config)
    ours = plain(theirs, solver, solver_options={"order": 1} if solver == "ipndm" else None)
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(7, mu=mu)
    assert float(ours.sigmas[0]) == 1
    torch.testing.assert_close(ours.timesteps, theirs.timesteps)
    torch.testing.assert_close(ours.sigmas, theirs.sigmas)
    x = normal() * ours.init_noise_sigma
    assert_agree(drive(ours, network, x), drive(theirs, network, x))


@pytest.mark.parametrize("given", ["sigmas", "timesteps", "both"])
def test_custom_times_of_a_flow(network: Network, given: str) -> None:
    times = [1.0, 0.7, 0.45, 0.1]
    told = [1000.0, 650.0, 500.0, 90.0]
    custom: dict[str, Any] = {"sigmas": {"sigmas": times}, "timesteps": {"timesteps": told}}
    custom["both"] = {**custom["sigmas"], **custom["timesteps"]}
    theirs = diffusers.FlowMatchEulerDiscreteScheduler(shift=2.0)
    ours = plain(theirs, "euler")
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(**custom[given])
    torch.testing.assert_close(ours.timesteps, theirs.timesteps)
    x = normal()
    assert_agree(drive(ours, network, x), drive(theirs, network, x))


def test_heun_of_a_flow_is_its_own_at_pure_noise(network: Network) -> None:
    """The first step: x + (t' - 1)(u + u')/2, written in flow coordinates."""
    scheduler = SteinScheduler(model="flow", solver="heun", coefficient=None)
    scheduler.set_timesteps(5)
    x, t = normal(), float(scheduler.sigmas[1])
    first, second = drive(scheduler, network, x)[:2]
    slope = network(x, torch.tensor(1000.0))
    torch.testing.assert_close(first, x + (t - 1) * slope, rtol=1e-5, atol=1e-6)
    slope_next = network(first, torch.tensor(1000 * t))
    expected = x + (t - 1) * (slope + slope_next) / 2
    torch.testing.assert_close(second, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cls", [diffusers.EulerDiscreteScheduler, diffusers.HeunDiscreteScheduler])
def test_custom_timesteps(network: Network, cls: Any) -> None:
    theirs = cls()
    ours = plain(theirs, "heun" if "Heun" in cls.__name__ else "euler")
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(timesteps=[960, 700, 333, 50, 8])
    x = normal() * ours.init_noise_sigma
    assert_agree(drive(ours, network, x), drive(theirs, network, x))


def test_custom_sigmas(network: Network) -> None:
    sigmas = [14.615, 6.475, 3.861, 2.697, 1.886, 0.0]
    theirs = diffusers.EulerDiscreteScheduler(beta_schedule="scaled_linear")
    ours = plain(theirs, "euler")
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(sigmas=sigmas)
    torch.testing.assert_close(ours.timesteps, theirs.timesteps, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(ours.sigmas, torch.tensor(sigmas))
    x = normal() * 14.6
    assert_agree(drive(ours, network, x), drive(theirs, network, x), 1e-4)  # rounded timesteps


# Against steindiff.sample

COEFFICIENTS = [None, "energy", "auto"]
SOLVERS = ["euler", "heun", "dpmpp_2m", "dpmpp_3m", "ipndm", "deis", "unipc"]


def denoiser_of(scheduler: Any, network: Network) -> Callable[[Tensor, Tensor], Tensor]:
    """D(x, sigma) in VE coordinates, from each kind of model's own definition."""
    kind, config = scheduler.config["model"], scheduler.config

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        s = float(sigma[0])
        if kind == "flow":
            t = s / (1 + s)
            return (1 - t) * x - t * network((1 - t) * x, torch.tensor(1000 * t))
        if kind == "edm":
            total = s**2 + config["sigma_data"] ** 2
            output = network(x / math.sqrt(total), torch.tensor(math.log(s) / 4))
            scale = s * config["sigma_data"] / math.sqrt(total)
            return config["sigma_data"] ** 2 / total * x + scale * output
        index = [round(float(v), 4) for v in scheduler.sigmas].index(round(s, 4))
        if index == len(scheduler.timesteps):  # Heun's second call
            index -= 1
        return x - s * network(x / math.sqrt(1 + s**2), scheduler.timesteps[index])

    return denoise


def prepared(
    kind: str, solver: str, coefficient: str | None, steps: int = 6, end: str = "auto"
) -> SteinScheduler:
    scheduler = SteinScheduler(
        model=kind, solver=solver, coefficient=coefficient, end=end, record=True
    )
    if kind == "flow":
        scheduler.set_timesteps(sigmas=[0.98, 0.85, 0.6, 0.4, 0.2, 0.05])
    else:
        scheduler.set_timesteps(steps)
    return scheduler


@pytest.mark.parametrize("end", ["auto", "linear"])
@pytest.mark.parametrize("coefficient", COEFFICIENTS)
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", ["vp", "edm", "flow"])
def test_agrees_with_sample(
    network: Network, kind: str, solver: str, coefficient: str | None, end: str
) -> None:
    scheduler = prepared(kind, solver, coefficient, end=end)
    levels = scheduler.sigmas.double()[:: scheduler.order]
    if scheduler.order == 2:
        levels = torch.cat([levels, scheduler.sigmas[-1:]])
    ve = levels / (1 - levels) if kind == "flow" else levels
    x = normal() * (float(levels[0]) if kind == "flow" else scheduler.init_noise_sigma)
    start = x / (1 - levels[0].float()) if kind == "flow" else x
    found = drive(scheduler, network, x)[-1]
    wanted = sd.sample(
        denoiser_of(scheduler, network), start, ve, solver, coefficient, end=end, record=True
    )
    assert_agree([found], [wanted.x], 1e-4)
    record = scheduler.stein_record
    assert record.gamma.shape == (6, 3)
    assert wanted.record is not None
    for name in ("gamma", "correction", "energy", "kappa"):
        ours, core = getattr(record, name), getattr(wanted.record, name)
        torch.testing.assert_close(ours, core, rtol=2e-3, atol=2e-3, msg=name)
    torch.testing.assert_close(torch.tensor(record.sigmas), ve.float(), rtol=1e-5, atol=1e-6)


def test_energy_relaxes(network: Network) -> None:
    """Without this the comparison above could be one of plain solvers."""
    for kind in ("vp", "edm", "flow"):
        scheduler = prepared(kind, "euler", "energy")
        drive(scheduler, network, normal() * scheduler.init_noise_sigma)
        gamma = scheduler.stein_record.gamma
        assert bool((gamma[1:-1] < 0.999).any()), kind
        assert bool((gamma[-1] == 1).all())


@pytest.mark.parametrize("solver", SOLVERS)
def test_flow_from_pure_noise_is_finite_and_near_its_neighbour(
    network: Network, solver: str
) -> None:
    """t = 1 has no VE level; the result must be that of a start a little below, in the limit."""
    ends = []
    for first in (1.0, 1 - 1e-5):
        scheduler = SteinScheduler(model="flow", solver=solver, coefficient="energy")
        scheduler.set_timesteps(sigmas=[first, 0.9, 0.6, 0.3, 0.1])
        ends.append(drive(scheduler, network, normal())[-1])
    if solver != "heun":  # whose first step from a finite level is not the flow's own
        assert_agree(ends[:1], ends[1:], 2e-2)
    assert bool(ends[0].isfinite().all())


# A calibrated solver

POINTS = torch.randn(5, SIZE, generator=torch.Generator().manual_seed(0))
MIXTURE = GaussianMixture(POINTS, 0.2)
LEVELS = sd.schedules.karras(5, 0.02, 40.0)


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    solver = sd.calibrate(MIXTURE, LEVELS, shape=(SIZE,), noises=8, held_out=4, fine_steps=8)
    path = tmp_path_factory.mktemp("calibration") / "calibration.json"
    sd.save_calibration(path, solver)
    return path


def exact_edm(x: Tensor, timestep: Tensor) -> Tensor:
    """The mixture's posterior mean as the output of an EDM network with sigma_data 0.5."""
    sigma = math.exp(4 * float(timestep))
    total = sigma**2 + 0.25
    state = x * math.sqrt(total)
    flat = state.flatten(1)
    denoised = MIXTURE(flat, torch.full((len(x),), sigma)).reshape(x.shape)
    return (denoised - 0.25 / total * state) * math.sqrt(total) / (sigma * 0.5)


def exact_flow(x: Tensor, timestep: Tensor) -> Tensor:
    t = float(timestep) / 1000
    flat = (x / (1 - t)).flatten(1)
    denoised = MIXTURE(flat, torch.full((len(x),), t / (1 - t))).reshape(x.shape)
    return (x - denoised) / t


EDM = diffusers.EDMEulerScheduler(sigma_min=0.01, sigma_max=80.0)


@pytest.mark.parametrize("coefficient", COEFFICIENTS)
def test_calibrated(calibration: Path, coefficient: str | None, tmp_path: Path) -> None:
    made = SteinScheduler.from_calibration(calibration, EDM, coefficient=coefficient)
    made.save_pretrained(tmp_path)
    x = normal() * 40
    wanted = sd.sample(MIXTURE, x.flatten(1), LEVELS, sd.load_calibration(calibration), coefficient)
    flow = SteinScheduler.from_calibration(
        calibration, diffusers.FlowMatchEulerDiscreteScheduler(), coefficient=coefficient
    )
    euler = sd.sample(MIXTURE, x.flatten(1), LEVELS, "euler", None).x
    assert float((wanted.x - euler).abs().max()) > 0.1
    cases: list[Any] = [
        (made, exact_edm, x),
        (SteinScheduler.from_pretrained(tmp_path), exact_edm, x),
        (flow, exact_flow, x / 41),
    ]
    for scheduler, network, start in cases:
        scheduler.set_timesteps(5)
        found = drive(scheduler, network, start)[-1]
        if scheduler is flow:
            found = found / (1 - float(scheduler.sigmas[-1]))
        assert_agree([found.flatten(1)], [wanted.x], 2e-4)


def test_calibration_is_not_relaxed_unless_asked(calibration: Path) -> None:
    assert SteinScheduler.from_calibration(calibration, EDM).config["coefficient"] is None


def test_calibration_keeps_to_its_levels(calibration: Path) -> None:
    scheduler = SteinScheduler.from_calibration(calibration, EDM)
    with pytest.raises(ValueError, match="num_inference_steps is 7; it was fitted for 5 steps"):
        scheduler.set_timesteps(7)
    with pytest.raises(ValueError, match="levels of its own"):
        scheduler.set_timesteps(sigmas=[40.0, 1.0, 0.0])
    with pytest.raises(ValueError, match=r"from sigma = 40 to 0\.02; the model knows 0\.029"):
        SteinScheduler.from_calibration(
            calibration, diffusers.DDIMScheduler(beta_start=0.00085, beta_end=0.012)
        )
    scheduler.set_timesteps(5)
    scheduler.set_begin_index(2)
    with pytest.raises(ValueError, match="this solver was calibrated for"):
        drive(scheduler, exact_edm, normal(), begin=2)


def test_prior_by_name() -> None:
    options = {"solver": "prior", "coefficient": None}
    scheduler = SteinScheduler.from_scheduler(diffusers.EDMEulerScheduler(), **options)
    scheduler.register_to_config(final_sigmas_type="sigma_min")
    scheduler = SteinScheduler.from_scheduler(scheduler)
    scheduler.set_timesteps(5)
    x = normal() * 80
    wanted = sd.sample(MIXTURE, x.flatten(1), sd.schedules.karras(5), "prior", None).x
    assert_agree([drive(scheduler, exact_edm, x)[-1].flatten(1)], [wanted], 1e-3)


# Protocol


def example(**options: Any) -> SteinScheduler:
    options = {"model": "vp", "solver": "unipc", "solver_options": {"order": 2}, **options}
    return SteinScheduler(
        coefficient_options={"trust": 0.2}, schedule="karras", schedule_options={"rho": 5.0},
        record=True, **options,
    )  # fmt: skip


def by_file(scheduler: SteinScheduler, folder: Path) -> Any:
    scheduler.save_pretrained(folder)
    return SteinScheduler.from_pretrained(folder)


@pytest.mark.parametrize(
    "again",
    [
        by_file,
        lambda scheduler, _: SteinScheduler.from_config(scheduler.config),
        lambda scheduler, _: SteinScheduler.from_scheduler(scheduler),
        lambda scheduler, _: copy.deepcopy(scheduler),
        lambda scheduler, _: pickle.loads(pickle.dumps(scheduler)),
    ],
    ids=["save_pretrained", "from_config", "from_scheduler", "deepcopy", "pickle"],
)
@pytest.mark.parametrize("kind", ["vp", "edm", "flow"])
def test_round_trip_samples_the_same_bits(
    network: Network, again: Any, kind: str, tmp_path: Path
) -> None:
    first = example(model=kind, prediction_type=None)
    second = again(first, tmp_path)
    json.dumps(dict(first.config))
    ends = []
    for scheduler in (first, second):
        scheduler.set_timesteps(5)
        ends.append(drive(scheduler, network, normal() * scheduler.init_noise_sigma)[-1])
    assert torch.equal(*ends)
    default = SteinScheduler(model=kind)
    default.set_timesteps(5)
    assert not torch.equal(
        drive(default, network, normal() * default.init_noise_sigma)[-1], ends[0]
    )


@pytest.mark.parametrize("solver", ["euler", "heun", "unipc"])
def test_copies_and_pickles_in_mid_sampling(network: Network, solver: str) -> None:
    scheduler = SteinScheduler(solver=solver)
    scheduler.set_timesteps(5)
    x = normal() * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps[:3]:
        seen = scheduler.scale_model_input(x, timestep)
        x = scheduler.step(network(seen, timestep), timestep, x, return_dict=False)[0]
    others = [
        copy.copy(scheduler), copy.deepcopy(scheduler), pickle.loads(pickle.dumps(scheduler))
    ]  # fmt: skip
    expected = drive(copy.copy(scheduler), network, x, begin=3)[-1]
    for other in (*others, scheduler):
        assert torch.equal(drive(other, network, x, begin=3)[-1], expected)


def test_saving_says_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    diffusers.utils.logging.enable_propagation()
    example(model="flow", prediction_type=None).save_pretrained(tmp_path)
    SteinScheduler.from_pretrained(tmp_path)
    diffusers.utils.logging.disable_propagation()
    assert not caplog.records


@pytest.mark.parametrize("by", ["begin_index", "timestep", "value"])
@pytest.mark.parametrize("solver", ["euler", "heun", "dpmpp_2m", "unipc"])
@pytest.mark.parametrize("kind", ["vp", "edm", "flow"])
def test_image_to_image(network: Network, kind: str, solver: str, by: str) -> None:
    """From step 2 on: a sampling of its own over the remaining levels."""
    scheduler = prepared(kind, solver, "energy")
    begin = 2 * scheduler.order
    clean = normal(3) / 2
    level = float(scheduler.sigmas[begin])
    ve = torch.cat([scheduler.sigmas[begin :: scheduler.order], scheduler.sigmas[-1:]]).double()
    ve = ve if scheduler.order == 2 else ve[:-1]
    timesteps = scheduler.timesteps[begin:]
    if by == "begin_index":
        scheduler.set_begin_index(begin)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(9))
    x = scheduler.add_noise(clean, noise, timesteps[:1].repeat(3))
    assert torch.equal(x, scheduler.scale_noise(clean, timesteps[:1].repeat(3), noise))
    share = 1 - level if kind == "flow" else 1
    torch.testing.assert_close(x, share * clean + level * noise)
    start, end = x, x
    for timestep in timesteps:
        told = float(timestep) if by == "value" else timestep
        seen = scheduler.scale_model_input(end, told)
        end = scheduler.step(network(seen, timestep), told, end, return_dict=False)[0]
    if kind == "flow":
        start, ve = x / (1 - level), ve / (1 - ve)
    wanted = sd.sample(denoiser_of(scheduler, network), start, ve, solver, "energy")
    assert_agree([end], [wanted.x], 1e-4)
    record = scheduler.stein_record
    assert len(record.gamma) == 4
    torch.testing.assert_close(torch.tensor(record.sigmas), ve.float(), rtol=1e-5, atol=1e-6)
    assert scheduler.step_index == len(scheduler.timesteps)


def test_noise_in_the_middle_of_a_sampling(network: Network) -> None:
    """Inpainting: the level that comes next, whatever timestep is told, once a begin is set."""
    scheduler = prepared("vp", "euler", None)
    scheduler.set_begin_index(0)
    x, timestep = normal() * scheduler.init_noise_sigma, scheduler.timesteps[0]
    scheduler.step(network(scheduler.scale_model_input(x, timestep), timestep), timestep, x)
    noised = scheduler.add_noise(torch.zeros(1, 2), torch.ones(1, 2), torch.tensor([3.0]))
    torch.testing.assert_close(noised, scheduler.sigmas[1].expand(1, 2))


@pytest.mark.parametrize(
    ("theirs", "kind"),
    [
        (diffusers.EulerDiscreteScheduler(), "vp"),
        (diffusers.EDMEulerScheduler(), "edm"),
        (diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0), "flow"),
        (diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True), "flow"),
    ],
)
def test_training_levels_before_set_timesteps(theirs: Any, kind: str) -> None:
    scheduler = SteinScheduler.from_scheduler(theirs)
    clean, noise = normal(2), normal(2).flip(1)
    at = scheduler.timesteps[[3, 700]]
    ours = scheduler.add_noise(clean, noise, at)
    if kind == "flow":
        wanted = theirs.scale_noise(clean, at, noise)
    else:
        index = [int((theirs.timesteps - t).abs().argmin()) for t in at]
        level = theirs.sigmas[index].reshape(2, 1, 1, 1)
        wanted = clean + level * noise
    torch.testing.assert_close(ours, wanted, rtol=1e-5, atol=1e-5)
    assert len(scheduler) == 1000


@pytest.mark.parametrize("kind", ["vp", "edm", "flow"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes(network: Network, kind: str, dtype: torch.dtype) -> None:
    ends = []
    for kept in (dtype, torch.float32):
        scheduler = prepared(kind, "dpmpp_2m", "energy")
        states = drive(scheduler, network, (normal() * scheduler.init_noise_sigma).to(kept))
        assert all(state.dtype == kept for state in states)
        ends.append(states[-1].float())
    size = float(ends[1].abs().max())
    torch.testing.assert_close(*ends, rtol=0, atol=(0.1 if dtype != torch.float64 else 1e-4) * size)


@pytest.mark.parametrize("kind", ["vp", "edm", "flow"])
def test_half_precision_is_rounded_once(kind: str) -> None:
    ends = []
    x = normal().to(torch.bfloat16)
    for kept in (torch.bfloat16, torch.float32):
        scheduler = prepared(kind, "euler", None)
        timestep = scheduler.timesteps[0]
        pair = scheduler.step((x / 2).to(kept), timestep, x.to(kept), return_dict=False)
        ends.append(pair[0].to(torch.bfloat16))
        assert pair[1].dtype == torch.float32
    assert torch.equal(*ends)


def test_pipelines_are_told_when_a_flow_has_a_schedule_of_its_own() -> None:
    """Those of the Flux family pass their own sigmas unless the config says use_flow_sigmas."""
    assert "use_flow_sigmas" not in SteinScheduler(model="flow").config
    assert SteinScheduler(model="flow", schedule="karras").config["use_flow_sigmas"] is True


def test_what_step_returns(network: Network) -> None:
    scheduler = prepared("vp", "euler", None)
    x, timestep = normal(), scheduler.timesteps[0]
    output = network(scheduler.scale_model_input(x, timestep), timestep)
    pair = copy.deepcopy(scheduler).step(output, timestep, x, return_dict=False)
    named: Any = scheduler.step(output, timestep, x)
    assert torch.equal(pair[0], named.prev_sample)
    assert torch.equal(pair[1], named.pred_original_sample)
    expected = x - scheduler.sigmas[0] * output
    torch.testing.assert_close(named.pred_original_sample, expected, rtol=1e-5, atol=1e-5)


def test_a_sample_does_not_depend_on_its_batch() -> None:
    whole, alone = prepared("vp", "unipc", "energy"), prepared("vp", "unipc", "energy")

    def network(x: Tensor, timestep: Tensor) -> Tensor:
        return torch.tanh(x * 1.3 + timestep / 1000)

    x = normal() * whole.init_noise_sigma
    assert torch.equal(drive(whole, network, x)[-1][1:2], drive(alone, network, x[1:2])[-1])


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", ["vp", "edm", "flow"])
def test_nothing_waits_for_the_device(kind: str, solver: str) -> None:
    """A meta tensor has no values: whoever asks for one gets an error."""
    scheduler = SteinScheduler(model=kind, solver=solver, record=True)
    scheduler.set_timesteps(5, device="meta")
    x = torch.empty(2, *SHAPE, device="meta")
    with pytest.raises(RuntimeError):
        x.sum().item()
    assert drive(scheduler, lambda x, timestep: x * timestep, x)[-1].device.type == "meta"
    assert scheduler.stein_record.gamma.shape == (5, 2)


def test_set_timesteps_forgets(network: Network) -> None:
    scheduler = prepared("edm", "heun", "energy")
    x = normal() * scheduler.init_noise_sigma
    expected = drive(scheduler, network, x)[-1]
    scheduler.set_timesteps(4)
    y = normal(2) * 80
    scheduler.step(network(y, scheduler.timesteps[0]), scheduler.timesteps[0], y)  # and break off
    scheduler.set_timesteps(6)
    assert torch.equal(drive(scheduler, network, x)[-1], expected)


def test_final_sigma_min(network: Network) -> None:
    scheduler = SteinScheduler(solver="heun", final_sigmas_type="sigma_min", coefficient=None)
    scheduler.set_timesteps(4)
    lowest = float(diffusers.EulerDiscreteScheduler().sigmas[-2])
    assert len(scheduler.timesteps) == 8
    assert float(scheduler.timesteps[-1]) == 0
    assert float(scheduler.sigmas[-1]) == pytest.approx(lowest, rel=1e-5)
    end = drive(scheduler, network, normal() * scheduler.init_noise_sigma)[-1]
    assert bool(end.isfinite().all())
    flow = SteinScheduler(model="flow", final_sigmas_type="sigma_min")
    flow.set_timesteps(4)
    torch.testing.assert_close(flow.sigmas, torch.linspace(1, 0.001, 5))


# Other schedulers' models


def test_from_scheduler_takes_the_betas() -> None:
    cog = diffusers.CogVideoXDDIMScheduler(prediction_type="v_prediction")  # shifts alphas_cumprod
    ours = SteinScheduler.from_scheduler(cog)
    assert ours.config["prediction_type"] == "v_prediction"
    levels = ((1 - cog.alphas_cumprod) / cog.alphas_cumprod).sqrt().flip(0).float()
    torch.testing.assert_close(ours.sigmas[1:-1], levels[1:], rtol=1e-3, atol=1e-5)
    ddpm = diffusers.DDPMScheduler(50, trained_betas=torch.linspace(0.01, 0.2, 50).numpy())
    ours = SteinScheduler.from_scheduler(ddpm)
    json.dumps(dict(ours.config))
    levels = ((1 - ddpm.alphas_cumprod) / ddpm.alphas_cumprod).sqrt().flip(0)
    torch.testing.assert_close(ours.sigmas[:-1], levels)


def test_from_scheduler_of_flow_sigmas() -> None:
    theirs = diffusers.DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0
    )
    ours = SteinScheduler.from_scheduler(theirs)
    assert (ours.config["model"], ours.config["shift"]) == ("flow", 5.0)


def test_from_scheduler_that_is_relaxed() -> None:
    from steindiff.adapters.diffusers import relax

    relaxed = relax(diffusers.DDIMScheduler(beta_end=0.015), "constant", value=0.9)
    ours = SteinScheduler.from_scheduler(relaxed)
    assert ours.config["coefficient"] == "constant"
    assert ours.config["coefficient_options"] == {"value": 0.9}
    assert ours.config["beta_end"] == 0.015


def test_from_scheduler_drops_what_belonged_to_another_choice(calibration: Path) -> None:
    first = SteinScheduler.from_calibration(calibration, example(model="edm"))
    assert first.config["coefficient_options"] is None
    ours = SteinScheduler.from_scheduler(first, solver="euler", coefficient="energy")
    assert ours.config["calibration"] is None
    assert ours.config["model"] == "edm"
    ours = SteinScheduler.from_scheduler(EDM, schedule="log_snr")  # without rho
    assert ours.config["schedule_options"] is None


def test_from_config_of_another_scheduler_is_refused() -> None:
    """It would be taken for a VP model."""
    with pytest.raises(ValueError, match=r"use SteinScheduler\.from_scheduler"):
        SteinScheduler.from_config(diffusers.FlowMatchEulerDiscreteScheduler().config)


@pytest.mark.parametrize(
    ("scheduler", "error", "match"),
    [
        (diffusers.IPNDMScheduler(), ValueError, "IPNDMScheduler: it is of another kind"),
        (diffusers.LCMScheduler(), ValueError, "LCMScheduler: it is of another kind"),
        (diffusers.ScoreSdeVeScheduler(), ValueError, "another kind of model"),
        (diffusers.FlowMatchEulerDiscreteScheduler(invert_sigmas=True), ValueError, "invert_sig"),
        (
            diffusers.EulerDiscreteScheduler(
                timestep_type="continuous", prediction_type="v_prediction"
            ),
            ValueError,
            "timestep_type 'continuous'",
        ),
        (None, TypeError, "scheduler is a NoneType"),
        ("ddim", TypeError, "scheduler is a str"),
    ],
)
def test_from_scheduler_refuses(scheduler: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        SteinScheduler.from_scheduler(scheduler)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"model": "ve"}, ValueError, "model 've' is unknown"),
        ({"prediction_type": "flow_prediction"}, ValueError, "prediction_type of a 'vp' model"),
        ({"model": "edm", "prediction_type": "sample"}, ValueError, "of a 'edm' model 'sample'"),
        ({"model": "edm", "sigma_min": 90.0}, ValueError, "sigma_min is 90"),
        ({"model": "flow", "shift": 0.0}, ValueError, "shift is 0"),
        ({"model": "flow", "time_shift_type": "cubic"}, ValueError, "time_shift_type 'cubic'"),
        ({"beta_schedule": "quadratic"}, ValueError, "beta_schedule 'quadratic' is unknown"),
        ({"solver": "rk45"}, ValueError, "solver 'rk45' is unknown"),
        ({"solver": sd.solvers.Euler()}, TypeError, "solver is Euler"),
        ({"solver_options": {"oder": 2}}, ValueError, "'oder' does not exist"),
        ({"solver_options": {"order": 9}}, ValueError, "order is 9"),
        ({"solver": "calibrated"}, ValueError, "calibration is None"),
        ({"calibration": {}}, ValueError, "calibration is not None"),
        ({"solver": "calibrated", "calibration": {"a": 1}}, ValueError, "format None"),
        ({"coefficient": "enrgy"}, ValueError, "Did you mean 'energy'"),
        ({"coefficient": sd.stein.Energy()}, TypeError, "coefficient is Energy"),
        ({"coefficient": "published"}, ValueError, "needs 1 model calls"),
        ({"coefficient_options": {"trust": -1.0}}, ValueError, "trust is -1"),
        ({"schedule": "karas"}, ValueError, "schedule 'karas' is unknown"),
        ({"schedule": "leading", "model": "flow"}, ValueError, "schedule 'leading' is unknown"),
        ({"schedule_options": {"rho": 3.0}}, ValueError, "'rho' is unknown"),
        ({"final_sigmas_type": "none"}, ValueError, "final_sigmas_type 'none'"),
    ],
)
def test_config_refused(options: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        SteinScheduler(**options)


@pytest.mark.parametrize(
    ("config", "arguments", "match"),
    [
        ({}, {}, "num_inference_steps, timesteps and sigmas are all None"),
        ({}, {"num_inference_steps": 0}, "num_inference_steps is 0"),
        ({}, {"num_inference_steps": 2.5}, "num_inference_steps is 2.5"),
        ({}, {"num_inference_steps": 3, "timesteps": [9, 5]}, "3; the levels given make 2"),
        ({}, {"timesteps": [5, 900]}, "must strictly decrease"),
        ({}, {"timesteps": [1200, 900]}, "timesteps holds 1200"),
        ({}, {"sigmas": [3.0, 0.0, 0.0]}, r"sigmas\[1\] is 0"),
        ({}, {"sigmas": [3.0, 0.0], "timesteps": [500]}, "both given"),
        ({}, {"num_inference_steps": 3, "mu": 1.0}, "mu is 1.0"),
        ({"schedule": "karras", "schedule_options": {"sigma_max": 500.0}},
         {"num_inference_steps": 3}, "the model knows"),
        ({"model": "flow"}, {"sigmas": [1.5, 0.5]}, "sigmas holds 1.5"),
        ({"model": "flow", **DYNAMIC}, {"num_inference_steps": 3}, "mu is None"),
        ({"model": "flow", "shift_terminal": 0.1}, {"num_inference_steps": 1}, "2 steps or more"),
    ],
)  # fmt: skip
def test_set_timesteps_refuses(config: dict[str, Any], arguments: Any, match: str) -> None:
    scheduler = SteinScheduler(**config)
    with pytest.raises(ValueError, match=match):
        scheduler.set_timesteps(**arguments)


def test_step_refuses(network: Network) -> None:
    x = normal()
    with pytest.raises(ValueError, match="call set_timesteps first"):
        SteinScheduler().step(x, 999, x)
    scheduler = prepared("vp", "heun", None, 3)
    with pytest.raises(ValueError, match="timestep is 5; steps open at"):
        scheduler.step(x, 5, x)
    with pytest.raises(ValueError, match="both need the same shape"):
        scheduler.step(torch.cat([x, x], dim=1), scheduler.timesteps[0], x)
    scheduler.set_timesteps(3)
    scheduler.set_begin_index(3)
    with pytest.raises(ValueError, match="begins inside step 1"):
        scheduler.step(x, scheduler.timesteps[3], x)
    scheduler.set_timesteps(3)
    drive(scheduler, network, x)
    with pytest.raises(ValueError, match="step 5 is due, of 5"):
        scheduler.step(x, scheduler.timesteps[0], x)
    scheduler.set_timesteps(3)
    with pytest.raises(sd.NonFiniteError, match="not finite at step 0"):
        scheduler.step(x / 0, scheduler.timesteps[0], x)


def test_record_refuses() -> None:
    with pytest.raises(ValueError, match="record is False"):
        _ = SteinScheduler().stein_record
    with pytest.raises(ValueError, match="no step is done"):
        _ = SteinScheduler(record=True).stein_record


def test_damaged_calibration(calibration: Path, tmp_path: Path) -> None:
    content = json.loads(calibration.read_text())
    del content["scalars"]
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="is damaged: 'scalars' is missing"):
        SteinScheduler.from_calibration(broken, EDM)
    with pytest.raises(ValueError, match="calibration is damaged: 'scalars' is missing"):
        SteinScheduler(model="edm", solver="calibrated", calibration=content)
    with pytest.raises(FileNotFoundError):
        SteinScheduler.from_calibration(tmp_path / "none.json", EDM)


def test_levels_decrease_everywhere() -> None:
    for kind in ("vp", "edm", "flow"):
        for schedule in sd.schedules.SCHEDULES:
            scheduler = SteinScheduler(model=kind, schedule=schedule)
            scheduler.set_timesteps(8)
            assert all(a > b for a, b in pairwise(scheduler.timesteps.tolist()))


def test_relax_puts_it_in_a_scheduler_s_place() -> None:
    """By name or "auto"; relax and unrelax go on from the scheduler that was there."""
    plain = diffusers.DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012
    )
    auto = relax(plain, "energy", solver="auto", trust=0.2)
    assert isinstance(auto, SteinScheduler)
    assert (auto.config["solver"], auto.config["schedule"]) == ("unipc", "log_snr")
    assert auto.config["coefficient_options"]["trust"] == 0.2
    assert type(unrelax(auto)) is diffusers.DDIMScheduler
    assert type(relax(auto)).__name__ == "SteinDDIMScheduler"
    assert relax(auto, solver="ipndm").config.solver == "ipndm"
    assert relax(plain, None, solver="deis").config.coefficient is None
    with pytest.raises(ValueError, match="Did you mean 'unipc'"):
        relax(plain, solver="unipk")
