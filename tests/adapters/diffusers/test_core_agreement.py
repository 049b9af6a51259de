"""The relaxed schedulers against the core: same network, same levels, every state and record.

Each scheduler gets the levels of `LEVELS`, written in its own coordinates and in float64, and its
network says in its own terms what one denoiser D(x, sigma) in VE coordinates says. What it holds is
brought to VE coordinates after every call. Several schedulers cast to float32.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import steindiff as sd
from steindiff.levels import NoiseLevel, prediction_from
from steindiff.solvers import DEIS, IPNDM, DPMpp2M, DPMpp3M, Euler, Heun, Solver, UniPC
from steindiff.solvers.base import BoundDenoiser, History, Step
from steindiff.stein import Coefficient, Constant, Energy

diffusers = pytest.importorskip("diffusers")

from steindiff.adapters.diffusers import relax  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

LEVELS = (49.0, 20.0, 9.0, 4.0, 1.8, 0.8, 0.3, 0.1)
"""Below 49 = 0.98/0.02, a flow's level of 0.98."""
TO_ZERO, ABOVE_ZERO = (*LEVELS, 0.0), (*LEVELS, 0.04)
SHAPE = (3, 4, 8)
TOLERANCE = 1e-4
SIGMA_DATA = 0.5

RULES: dict[str, Coefficient] = {"constant": Constant(0.9), "energy": Energy()}


class Call(NamedTuple):
    """One call of a scheduler: VE levels of what it gets and returns; whether a step ends there."""

    sigma: float
    after: float
    ends: bool = True


def denoise(x: Tensor, sigma: float) -> Tensor:
    """D(x, sigma) of a small network, preconditioned for data of variance 1."""
    generator = torch.Generator().manual_seed(8)
    own, left, across = torch.randn(3, *SHAPE, generator=generator, dtype=x.dtype)
    scaled = x / math.sqrt(1 + sigma**2)
    mixed = own * scaled + left * scaled.roll(1, -1) + across * scaled.flip(1)
    output = torch.tanh(mixed + math.log(sigma) / 4)
    return x / (1 + sigma**2) + 0.8 * sigma / math.sqrt(1 + sigma**2) * output


def start(sigma: float) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    return sigma * torch.randn(4, *SHAPE, generator=generator, dtype=torch.float64)


FRAMES: dict[str, Callable[[float], NoiseLevel]] = {
    "ve": NoiseLevel.ve,
    "vp": NoiseLevel.vp_from_ve,
    "flow": NoiseLevel.flow_from_ve,
}
KINDS = {"epsilon": "epsilon", "v": "v_prediction", "sample": "sample", "flow": "flow_prediction"}


def says(x: Tensor, sigma: float, kind: str) -> Tensor:
    """The output of a network of this kind that means D(x, sigma)."""
    denoised = denoise(x, sigma)
    if kind == "edm":
        skip = SIGMA_DATA**2 / (sigma**2 + SIGMA_DATA**2)
        return (denoised - skip * x) / (sigma * math.sqrt(skip))
    if kind == "to_data":
        return -says(x, sigma, "flow")
    frame = FRAMES["flow" if kind == "flow" else "vp"]  # VE schedulers scale their input to VP
    level = frame(sigma)
    return prediction_from(denoised, level.from_ve(x), level, kind)


def one_call(levels: Sequence[float]) -> list[Call]:
    return [Call(sigma, after) for sigma, after in pairwise(levels)]


def two_calls(levels: Sequence[float]) -> list[Call]:
    """Heun: the second call at the end of the step, and none into zero."""
    steps = [(Call(a, b, False), Call(b, b)) for a, b in pairwise(levels[:-1])]
    return [call for step in steps for call in step] + one_call(levels[-2:])


def two_calls_at_first(levels: Sequence[float]) -> list[Call]:
    """PNDM without Runge-Kutta steps."""
    return two_calls(levels[:3])[:2] + one_call(levels[1:])


def with_sigmas(scheduler: Any, levels: Sequence[float], frame: str, calls: Any) -> Any:
    """The scheduler about to sample from levels[0]."""
    scheduler.set_timesteps(len(levels) - 1)
    native = [FRAMES["flow"](s).sigma if frame == "flow" else s for s in levels]
    sigmas = torch.tensor(native, dtype=torch.float64)
    if calls is two_calls:
        sigmas = torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])
    scheduler.sigmas = sigmas
    scheduler.set_begin_index(0)
    return scheduler


def with_inverted_sigmas(scheduler: Any, levels: Sequence[float], *more: Any) -> Any:
    """The same for a flow whose sigma is the share of the data."""
    scheduler = with_sigmas(scheduler, levels, *more)
    scheduler.sigmas = 1 - scheduler.sigmas
    return scheduler


def with_times(scheduler: Any, levels: Sequence[float], *more: Any) -> Any:
    """The same for a flow whose timesteps are the share of the data; it sets one step less."""
    scheduler = with_sigmas(scheduler, (levels[0], *levels), *more)
    scheduler.sigmas = scheduler.sigmas[1:]
    scheduler.timesteps = 1 - scheduler.sigmas[:-1]
    return scheduler


def with_alphas(scheduler: Any, levels: Sequence[float], frame: str, calls: Any) -> Any:
    """The same for a scheduler that looks its levels up by the timestep."""
    scheduler.set_timesteps(len(levels) - 1)
    squares = [1 / (1 + sigma**2) for sigma in levels]
    table = scheduler.alphas_cumprod.double()
    visited = list(dict.fromkeys(scheduler.timesteps.tolist()))
    table[visited] = torch.tensor(squares[:-1], dtype=torch.float64)
    scheduler.alphas_cumprod = table
    scheduler.final_alpha_cumprod = torch.tensor(squares[-1], dtype=torch.float64)
    return scheduler


def with_betas(scheduler: Any, levels: Sequence[float], frame: str, calls: Any) -> Any:
    """The same for IPNDM, whose `betas` are standard deviations."""
    scheduler.set_timesteps(len(levels) - 1)
    ratios = torch.tensor(levels, dtype=torch.float64)
    scheduler.alphas = 1 / (1 + ratios**2).sqrt()
    scheduler.betas = ratios * scheduler.alphas
    scheduler.set_begin_index(0)
    return scheduler


@dataclass(frozen=True)
class PLMS(IPNDM):
    """PNDM's linear multistep, whose first step is Heun's, without a predictor to fall back on."""

    order: int = 4

    def step(
        self, denoiser: BoundDenoiser, x: Tensor, sigma: float, sigma_next: float, state: History
    ) -> Step:
        if state.values:
            return super().step(denoiser, x, sigma, sigma_next, state)
        first = Heun().step(denoiser, x, sigma, sigma_next, None)
        history = state.push(sigma, (x - first.denoised) / sigma, self.order)
        return Step(first.x, first.denoised, history.advance(), x)


@dataclass(frozen=True)
class FlowHeun(Heun):
    """Heun's method on the velocity eps - x0: another mean of slopes than that of eps."""

    def step(
        self, denoiser: BoundDenoiser, x: Tensor, sigma: float, sigma_next: float, state: None
    ) -> Step:
        here, there = NoiseLevel.flow_from_ve(sigma), NoiseLevel.flow_from_ve(sigma_next)
        denoised, native = denoiser(x, sigma), here.from_ve(x)
        slope, length = (native - denoised) / here.sigma, there.sigma - here.sigma
        predictor = native + length * slope
        if sigma_next == 0:
            return Step(predictor, denoised, None, x)
        again = (predictor - denoiser(there.to_ve(predictor), sigma_next)) / there.sigma
        candidate = native + length * 0.5 * (slope + again)
        return Step(there.to_ve(candidate), denoised, None, x, there.to_ve(predictor))


@dataclass(frozen=True)
class Match:
    """A scheduler, how it is set up and fed, and the solver that it is; None where we have none."""

    scheduler: str
    solver: Solver | None
    frame: str
    kind: str = "epsilon"
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    levels: Sequence[float] = TO_ZERO
    calls: Callable[[Sequence[float]], list[Call]] = one_call
    set_up: Callable[..., Any] = with_sigmas

    def __str__(self) -> str:
        more = [f"{key}={str(value)[:5]}" for key, value in self.config.items()]
        return "-".join([self.scheduler.removesuffix("Scheduler"), self.frame, self.kind, *more])

    def make(self) -> Any:
        config = dict(self.config)
        if self.kind in KINDS and not self.scheduler.startswith(("IPNDM", "FlowMatch", "MiniMax")):
            config["prediction_type"] = KINDS[self.kind]
        if self.kind == "flow" and not self.scheduler.startswith("FlowMatch"):
            config["use_flow_sigmas"] = True
        return getattr(diffusers, self.scheduler)(**config)

    def drive(self, scheduler: Any) -> list[Tensor]:
        """States in VE coordinates at the start and at the end of every step."""
        scheduler = self.set_up(scheduler, self.levels, self.frame, self.calls)
        frame = FRAMES[self.frame]
        states = [start(self.levels[0])]
        held = frame(self.levels[0]).from_ve(states[0])
        plan = self.calls(self.levels)
        for call, timestep in zip(plan, scheduler.timesteps, strict=True):
            scheduler.is_scale_input_called = True  # the network scales its own input
            output = says(frame(call.sigma).to_ve(held), call.sigma, self.kind)
            if "variance_type" in self.config:
                output = torch.cat([output, 3 * output], dim=1)
            held = scheduler.step(output, timestep, held).prev_sample
            if call.ends:
                states.append(frame(call.after).to_ve(held.double()))
        return states


def matches() -> list[Match]:
    ddim = {"clip_sample": False}
    found = [
        *(
            Match("EulerDiscreteScheduler", Euler(), "ve", kind)
            for kind in ("epsilon", "v", "sample")
        ),
        Match("HeunDiscreteScheduler", Heun(), "ve", calls=two_calls),
        Match("HeunDiscreteScheduler", Heun(), "ve", "v", calls=two_calls),
        Match("LMSDiscreteScheduler", DEIS(4, "sigma"), "ve", levels=ABOVE_ZERO),
        Match("EDMEulerScheduler", Euler(), "ve", "edm"),
        Match("EDMDPMSolverMultistepScheduler", DPMpp2M(), "ve", "edm"),
        Match("EDMDPMSolverMultistepScheduler", DPMpp3M(), "ve", "edm", {"solver_order": 3}),
        *(
            Match(name, Euler(), "vp", kind, ddim, levels, set_up=with_alphas)
            for name in ("DDIMScheduler", "DDIMParallelScheduler", "CogVideoXDDIMScheduler")
            for kind, levels in (("epsilon", TO_ZERO), ("v", ABOVE_ZERO), ("sample", TO_ZERO))
        ),
        Match("IPNDMScheduler", IPNDM(4), "vp", "v", {}, ABOVE_ZERO, set_up=with_betas),
        Match("FlowMatchEulerDiscreteScheduler", Euler(), "flow", "flow"),
        Match(
            "FlowMatchEulerDiscreteScheduler",
            Euler(),
            "flow",
            "to_data",
            {"invert_sigmas": True},
            set_up=with_inverted_sigmas,
        ),
        Match("MiniMaxH3Scheduler", Euler(), "flow", "to_data", set_up=with_times),
        Match("FlowMatchHeunDiscreteScheduler", FlowHeun(), "flow", "flow", calls=two_calls),
    ]
    noise_form = {
        "solver_order": 1,
        "algorithm_type": "dpmsolver",
        "final_sigmas_type": "sigma_min",
    }
    for kind in ("epsilon", "v", "sample"):
        found += [
            Match("DPMSolverMultistepScheduler", Euler(), "vp", kind, noise_form, ABOVE_ZERO),
            Match("DPMSolverSinglestepScheduler", Euler(), "vp", kind, noise_form, ABOVE_ZERO),
            Match("DPMSolverSinglestepScheduler", Euler(), "vp", kind, {"solver_order": 1}),
            Match(
                "UniPCMultistepScheduler",
                Euler(),
                "vp",
                kind,
                {"solver_order": 1, "predict_x0": False, "disable_corrector": list(range(20))},
                ABOVE_ZERO,
            ),
        ]
    for name in ("DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"):
        learned = {"solver_order": 1, "variance_type": "learned"}
        found += [
            Match(name, Euler(), "vp", config=learned),
            Match(name, Euler(), "vp", config={**noise_form, **learned}, levels=ABOVE_ZERO),
        ]
    for frame, kind in (("vp", "epsilon"), ("vp", "v"), ("flow", "flow")):
        dpm = "DPMSolverMultistepScheduler"
        found += [
            Match(dpm, DPMpp2M(), frame, kind),
            Match(dpm, DPMpp3M(), frame, kind, {"solver_order": 3}),
            *(
                Match(
                    "DEISMultistepScheduler",
                    DEIS(order, "log_sigma", lower_order_final=True),
                    frame,
                    kind,
                    {"solver_order": order},
                    ABOVE_ZERO,
                )
                for order in (1, 2, 3)
            ),
        ]
        for order in (1, 2, 3):
            for variant in ("bh1", "bh2"):
                for corrector in (True, False):
                    config = {
                        "solver_order": order,
                        "solver_type": variant,
                        "disable_corrector": [] if corrector else list(range(20)),
                    }
                    solver = UniPC(order, variant, corrector)
                    levels = ABOVE_ZERO if variant == "bh1" else TO_ZERO
                    name = "UniPCMultistepScheduler"
                    found.append(Match(name, solver, frame, kind, config, levels))
    return found


PNDM = Match(
    "PNDMScheduler",
    PLMS(),
    "vp",
    config={"skip_prk_steps": True},
    levels=ABOVE_ZERO,
    calls=two_calls_at_first,
    set_up=with_alphas,
)


def in_the_core(
    solver: Solver,
    levels: Sequence[float],
    rule: Coefficient | None,
    denoiser: Callable[[Tensor, float], Tensor] = denoise,
) -> tuple[Sequence[Tensor], sd.Record]:
    result = sd.sample(
        lambda x, sigma: denoiser(x, float(sigma[0])),
        start(levels[0]),
        levels,
        solver,
        rule,
        return_trajectory=True,
        record=True,
    )
    assert result.trajectory is not None
    assert result.record is not None
    return result.trajectory, result.record


def distance(mine: Tensor, other: Tensor) -> float:
    """Largest difference, relative to the largest element."""
    return float((mine - other).abs().max() / other.abs().max())


def assert_agree(ours: Sequence[Tensor], theirs: Sequence[Tensor], at: float = TOLERANCE) -> None:
    assert len(ours) == len(theirs) > 1
    for number, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        assert distance(mine, other) < at, f"state {number}"


def assert_same_records(ours: sd.Record, theirs: sd.Record) -> None:
    torch.testing.assert_close(ours.sigmas, theirs.sigmas, rtol=1e-5, atol=0)
    for name in (entry.name for entry in fields(sd.Record) if entry.name != "sigmas"):
        mine, other = getattr(ours, name), getattr(theirs, name)
        assert mine.dtype == torch.float64
        assert torch.allclose(mine, other, rtol=1e-3, atol=1e-4), name


@pytest.mark.parametrize("match", [*matches(), PNDM], ids=str)
def test_the_plain_scheduler_is_the_plain_solver(match: Match) -> None:
    """What the comparisons below rest on."""
    assert match.solver is not None
    theirs, _ = in_the_core(match.solver, match.levels, None)
    assert_agree(match.drive(match.make()), theirs)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("match", matches(), ids=str)
def test_the_relaxed_scheduler_is_the_relaxed_solver(match: Match, rule: str) -> None:
    assert match.solver is not None
    scheduler = relax(match.make(), RULES[rule], record=True)
    theirs, record = in_the_core(match.solver, match.levels, RULES[rule])
    assert_agree(match.drive(scheduler), theirs)
    assert_same_records(scheduler.stein_record, record)
    assert (torch.minimum(record.gamma, record.correction)[1:-1] < 1).any()
    assert (scheduler.stein_record.gamma[-1] == 1).all()


ENDING = [
    Match("EulerDiscreteScheduler", Euler(), "ve"),
    Match("DPMSolverMultistepScheduler", DPMpp2M(), "vp"),
    Match("DPMSolverMultistepScheduler", DPMpp2M(), "flow", "flow"),
    Match("FlowMatchEulerDiscreteScheduler", Euler(), "flow", "flow"),
    Match("HeunDiscreteScheduler", Heun(), "ve", calls=two_calls),
    Match("UniPCMultistepScheduler", UniPC(2), "vp", config={"solver_order": 2}),
]


@pytest.mark.parametrize("end", ["auto", "linear", "mean"])
@pytest.mark.parametrize("coefficient", ["auto", "none"])
@pytest.mark.parametrize("match", ENDING, ids=str)
def test_the_end_is_the_cores(match: Match, coefficient: str, end: str) -> None:
    assert match.solver is not None
    core = sd.sample(
        lambda x, sigma: denoise(x, float(sigma[0])),
        start(match.levels[0]),
        match.levels,
        match.solver,
        coefficient,
        end=end,
        record=True,
    )
    scheduler = relax(match.make(), coefficient, end, record=True)
    states = match.drive(scheduler)
    assert distance(states[-1], core.x) < TOLERANCE
    assert core.record is not None
    assert_same_records(scheduler.stein_record, core.record)  # the last energy is that of the end
    if end != "auto":
        without = match.drive(relax(match.make(), coefficient, "none"))
        assert distance(states[-1], without[-1]) > 10 * TOLERANCE
        assert_agree(states[:-1], without[:-1], at=1e-12)


@pytest.mark.parametrize("match", [PNDM, *(m for m in matches() if m.levels[-1] > 0)], ids=str)
def test_no_end_above_zero(match: Match) -> None:
    ended, plain = relax(match.make(), "none", "linear"), match.make()
    assert all(map(torch.equal, match.drive(ended), match.drive(plain)))


@pytest.mark.parametrize("name", ["LMSDiscreteScheduler", "IPNDMScheduler"])
def test_a_last_step_of_higher_order_is_left_alone(name: str) -> None:
    set_up, frame, kind = (
        (with_sigmas, "ve", "epsilon") if name.startswith("LMS") else (with_betas, "vp", "v")
    )
    match = Match(name, None, frame, kind, set_up=set_up)
    ended = match.drive(relax(match.make(), "none", "linear"))
    assert torch.equal(ended[-1], match.drive(match.make())[-1])


@pytest.mark.parametrize(
    "rule", [Constant(0.9), Energy(corrector=False)], ids=["constant", "energy"]
)
def test_relaxed_pndm_is_relaxed_linear_multistep(rule: Coefficient) -> None:
    scheduler = relax(PNDM.make(), rule, record=True)
    theirs, record = in_the_core(PLMS(), PNDM.levels, rule)
    assert_agree(PNDM.drive(scheduler), theirs)
    assert_same_records(scheduler.stein_record, record)


def alike() -> list[tuple[Match, ...]]:
    """Schedulers that do the same in different coordinates."""

    def in_both(name: str, config: dict[str, Any], levels: Sequence[float]) -> tuple[Match, ...]:
        return (
            Match(name, None, "vp", "epsilon", config, levels),
            Match(name, None, "flow", "flow", config, levels),
        )

    edm = "EDMDPMSolverMultistepScheduler"
    groups = [
        (
            Match("EulerDiscreteScheduler", None, "ve"),
            Match("DDIMScheduler", None, "vp", config={"clip_sample": False}, set_up=with_alphas),
            Match("FlowMatchEulerDiscreteScheduler", None, "flow", "flow"),
        )
    ]
    for order in (1, 2, 3):
        config = {"solver_order": order}
        in_edm = Match(edm, None, "ve", "edm", config)
        groups += [
            (*in_both("DPMSolverMultistepScheduler", config, TO_ZERO), in_edm),
            in_both("DPMSolverSinglestepScheduler", config, TO_ZERO),
            in_both("UniPCMultistepScheduler", config, TO_ZERO),
            in_both("DEISMultistepScheduler", config, ABOVE_ZERO),
        ]
    return groups


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("group", alike(), ids=lambda group: str(group[0]))
def test_the_same_ode_in_any_coordinates_gives_the_same_samples(
    group: tuple[Match, ...], rule: str
) -> None:
    schedulers = [relax(match.make(), RULES[rule], record=True) for match in group]
    first, *others = [m.drive(s) for m, s in zip(group, schedulers, strict=True)]
    assert distance(first[-1], group[0].drive(group[0].make())[-1]) > 1e-3  # it was relaxed
    for states in others:
        assert_agree(states, first)
    for scheduler in schedulers[1:]:
        assert_same_records(scheduler.stein_record, schedulers[0].stein_record)


class Undone(UniPC):
    """UniPC whose corrector starts from what it stored before the relaxation."""

    def replace(self, state: Any, proposed: Tensor, accepted: Tensor) -> Any:
        return state


@pytest.mark.parametrize(("frame", "kind"), [("vp", "epsilon"), ("flow", "flow")])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_corrector_does_not_undo_the_relaxation(order: int, frame: str, kind: str) -> None:
    config = {"solver_order": order}
    match = Match("UniPCMultistepScheduler", UniPC(order), frame, kind, config)
    kept, _ = in_the_core(UniPC(order), match.levels, Constant(0.9))
    undone, _ = in_the_core(Undone(order), match.levels, Constant(0.9))
    ours = match.drive(relax(match.make(), "constant", value=0.9))
    assert distance(ours[-1], kept[-1]) < TOLERANCE
    assert distance(ours[-1], undone[-1]) > 100 * TOLERANCE


class Shifted(diffusers.UniPCMultistepScheduler):
    """UniPC whose correction is moved by as much as the sample that it corrects was."""

    shift: Tensor | float = 0.0

    def multistep_uni_c_bh_update(self, *args: Any, **kwargs: Any) -> Tensor:
        return super().multistep_uni_c_bh_update(*args, **kwargs) + self.shift

    def step(self, model_output: Any, timestep: Any, sample: Any, return_dict: bool = True) -> Any:
        result = super().step(model_output, timestep, sample)
        self.shift = 0.0
        if self.step_index < len(self.timesteps):
            here, there = (self._sigma_to_alpha_sigma_t(s)[0] for s in self._ends())
            relaxed = 0.1 * there / here * self.last_sample + 0.9 * result.prev_sample
            self.shift = relaxed - result.prev_sample
            result.prev_sample = relaxed
        return result

    def _ends(self) -> tuple[Tensor, Tensor]:
        return self.sigmas[self.step_index - 1], self.sigmas[self.step_index]


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize(
    ("frame", "kind", "more"),
    [
        ("vp", "epsilon", {}),
        ("vp", "v", {"predict_x0": False}),
        ("vp", "sample", {"predict_x0": False, "disable_corrector": [0, 3]}),
        ("vp", "v", {"disable_corrector": [1, 2]}),
        ("flow", "flow", {"disable_corrector": [0, 4]}),
    ],
)
def test_unipc_relaxed_by_hand(frame: str, kind: str, more: dict[str, Any], order: int) -> None:
    """Its corrector is of another form where it predicts noise."""
    config = {"solver_order": order, **more}
    match = Match("UniPCMultistepScheduler", None, frame, kind, config, ABOVE_ZERO)
    theirs = match.drive(Shifted(**match.make().config))
    assert_agree(match.drive(relax(match.make(), "constant", value=0.9)), theirs)


CLIPPED = {
    "ddim": (
        Match(
            "DDIMScheduler", Euler(), "vp", config={"clip_sample_range": 0.6}, set_up=with_alphas
        ),
        lambda denoised: denoised.clamp(-0.6, 0.6),
    ),
    "heun": (
        Match(
            "HeunDiscreteScheduler",
            Heun(),
            "ve",
            config={"clip_sample": True, "clip_sample_range": 0.6},
            calls=two_calls,
        ),
        lambda denoised: denoised.clamp(-0.6, 0.6),
    ),
    **{
        name: (
            Match(name, solver, frame, kind, {"thresholding": True, "sample_max_value": 2.0}),
            diffusers.DDIMScheduler(sample_max_value=2.0)._threshold_sample,
        )
        for name, solver, frame, kind in (
            ("DPMSolverMultistepScheduler", DPMpp2M(), "vp", "v"),
            ("EDMDPMSolverMultistepScheduler", DPMpp2M(), "ve", "edm"),
            ("UniPCMultistepScheduler", UniPC(2), "vp", "epsilon"),
        )
    },
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", CLIPPED)
def test_a_clipped_prediction_is_what_gamma_is_decided_on(
    name: str, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    match, clip = CLIPPED[name]
    assert match.solver is not None
    clipped, record = in_the_core(
        match.solver, match.levels, RULES[rule], lambda x, sigma: clip(denoise(x, sigma))
    )
    unclipped, _ = in_the_core(match.solver, match.levels, RULES[rule])
    assert distance(unclipped[-1], clipped[-1]) > 100 * TOLERANCE
    scheduler = relax(match.make(), RULES[rule], record=True)
    if name == "ddim":  # elsewhere the noise is always that of the clipped prediction
        step = scheduler.step
        monkeypatch.setattr(scheduler, "step", partial(step, use_clipped_model_output=True))
    assert_agree(match.drive(scheduler), clipped)
    assert_same_records(scheduler.stein_record, record)


FROM_PURE_NOISE = {
    "FlowMatchEulerDiscreteScheduler": {},
    "FlowMatchHeunDiscreteScheduler": {},
    "IPNDMScheduler": {},
    "UniPCMultistepScheduler": {"use_flow_sigmas": True, "prediction_type": "flow_prediction"},
    "DDIMScheduler": {
        "rescale_betas_zero_snr": True,
        "prediction_type": "v_prediction",
        "timestep_spacing": "trailing",
        "clip_sample": False,
    },
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", FROM_PURE_NOISE)
def test_pure_noise_is_not_relaxed(name: str, rule: str) -> None:
    """Its first level has no signal and no VE coordinates."""
    scheduler = getattr(diffusers, name)(**FROM_PURE_NOISE[name])
    scheduler = relax(scheduler, RULES[rule], record=True)
    scheduler.set_timesteps(6)
    state = start(1.0).float()
    for timestep in scheduler.timesteps:
        state = scheduler.step(torch.tanh(2 * state.roll(1, -1)), timestep, state).prev_sample
        assert state.isfinite().all()
    gamma = scheduler.stein_record.gamma
    assert gamma.shape == (6, 4)
    assert (gamma[[0, -1]] == 1).all()
    assert (gamma[1:-1] < 1).any()
    if rule == "constant":
        torch.testing.assert_close(gamma[1:-1], torch.full((4, 4), 0.9, dtype=torch.float64))


@pytest.mark.parametrize(("sigma", "gamma"), [(4000.0, 0.9), (4200.0, 1.0)])
@pytest.mark.parametrize("frame", ["vp", "flow"])
def test_a_level_above_4096_counts_as_pure_noise(frame: str, sigma: float, gamma: float) -> None:
    match = {
        "vp": Match("DDIMScheduler", None, "vp", config={"clip_sample": False}, set_up=with_alphas),
        "flow": Match("FlowMatchEulerDiscreteScheduler", None, "flow", "flow"),
    }[frame]
    match = dataclasses.replace(match, levels=(sigma, *LEVELS))
    scheduler = relax(match.make(), "constant", value=0.9, record=True)
    assert all(state.isfinite().all() for state in match.drive(scheduler))
    found = scheduler.stein_record.gamma[:, 0].tolist()
    assert found == pytest.approx([gamma, *[0.9] * (len(LEVELS) - 2), 1.0])
