"""Steps of several calls, the memory between steps, and what a pipeline does to a scheduler."""

from __future__ import annotations

import copy
import functools
import importlib
import inspect
import json
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers_runs import IMAGE, Case, call, go_on, initial, network, noise, ready, run, same_bits
from torch import Tensor

from steindiff import Record
from steindiff._errors import NonFiniteError
from steindiff.levels import NoiseLevel, denoised_from
from steindiff.stein import Ahead, Coefficient, Constant, Coupled, Decision, Energy, Proposal

diffusers = pytest.importorskip("diffusers")

from steindiff.adapters.diffusers import (  # noqa: E402
    SUPPORTED,
    SteinScheduler,
    relax,
    relaxed_class,
    unrelax,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

MODULE = "steindiff.adapters.diffusers"

CONFIGS: dict[str, dict[str, Any]] = {
    "PNDMScheduler": {"skip_prk_steps": True},
    "DPMSolverSinglestepScheduler": {"solver_order": 3},
    "DPMSolverMultistepScheduler": {"solver_order": 3},
    "UniPCMultistepScheduler": {"solver_order": 3},
    "DEISMultistepScheduler": {"solver_order": 3},
}


@functools.cache
def prototype(name: str) -> Any:
    return getattr(diffusers, name)(**CONFIGS.get(name, {}))


def plain(name: str) -> Any:
    return copy.deepcopy(prototype(name))


every = pytest.mark.parametrize("name", sorted(SUPPORTED))


# --- steps of several calls ---------------------------------------------------------------------


@dataclass(frozen=True)
class Grouped:
    """A sampling whose steps take several calls: `groups` has the calls of each whole step."""

    case: Case
    groups: Sequence[int]
    level: str

    def __str__(self) -> str:
        return str(self.case)

    def __hash__(self) -> int:
        return hash(str(self))

    @property
    def heun(self) -> bool:
        """Whether the first of two calls proposes an Euler step, which the second corrects."""
        return "Heun" in self.case.scheduler

    @property
    def idle(self) -> int:
        """Steps at the end that remove nothing: PNDM's from time step 0 stays at its level."""
        return int(self.case.scheduler == "PNDMScheduler")


GROUPED = [
    Grouped(Case("HeunDiscreteScheduler", steps=4), [2, 2, 2, 1], "ve"),
    Grouped(Case("HeunDiscreteScheduler", steps=4, skip=1), [2, 2, 1], "ve"),
    Grouped(Case("HeunDiscreteScheduler", steps=4, skip=2, indexed=True), [2, 1], "ve"),
    Grouped(Case("KDPM2DiscreteScheduler", steps=4), [2, 2, 2, 1], "ve"),
    Grouped(Case("KDPM2DiscreteScheduler", steps=4, skip=1, indexed=True), [2, 2, 1], "ve"),
    Grouped(Case("FlowMatchHeunDiscreteScheduler", steps=4), [2, 2, 2, 1], "flow"),
    Grouped(
        Case("FlowMatchHeunDiscreteScheduler", steps=4, skip=1, indexed=True), [2, 2, 1], "flow"
    ),
    Grouped(Case("PNDMScheduler", {"skip_prk_steps": True}, steps=5), [2, 1, 1, 1, 1], "table"),
    Grouped(Case("PNDMScheduler", steps=6), [4, 4, 4, 1, 1, 1], "table"),
    *(
        Grouped(
            Case("DPMSolverSinglestepScheduler", {"solver_order": order}, 7, **more), groups, "vp"
        )
        for order, more, groups in (
            (1, {}, [1] * 7),
            (2, {}, [2, 2, 2, 1]),
            (2, {"skip": 2, "indexed": True}, [2, 2, 1]),
            (2, {"skip": 1, "indexed": True}, [1, 2, 2, 1]),
            (3, {}, [3, 3, 1]),
            (3, {"skip": 1, "indexed": True}, [2, 3, 1]),
            (3, {"skip": 2, "indexed": True}, [1, 3, 1]),
        )
    ),
    Grouped(Case("DPMSolverSinglestepScheduler", {"solver_order": 3}, 6), [3, 2, 1], "vp"),
    Grouped(Case("DPMSolverSinglestepScheduler", {"solver_order": 2}, 6), [2, 2, 1, 1], "vp"),
    Grouped(
        Case(
            "DPMSolverSinglestepScheduler",
            {
                "solver_order": 2,
                "use_flow_sigmas": True,
                "prediction_type": "flow_prediction",
                "lower_order_final": True,
            },
            7,
        ),
        [2, 2, 2, 1],
        "flow",
    ),
]


def level_at(scheduler: Any, kind: str, timesteps: Any, at: int) -> NoiseLevel:
    """Where the call number `at` begins a whole step."""
    if kind == "table":
        return NoiseLevel.vp(float(scheduler.alphas_cumprod[timesteps[at]]))
    first = len(scheduler.timesteps) - len(timesteps)
    frames = {"ve": NoiseLevel.ve, "flow": NoiseLevel.flow, "vp": NoiseLevel.vp_from_ve}
    return frames[kind](float(scheduler.sigmas[first + at]))


@functools.cache
def made(grouped: Grouped) -> Any:
    return getattr(diffusers, grouped.case.scheduler)(**grouped.case.config)


def group_of_calls(scheduler: Any, timesteps: Any, state: Tensor) -> tuple[Tensor, list[Tensor]]:
    """What the network said first, and the states after each call."""
    net, said, states = network(IMAGE), [], []

    def listened(x: Tensor, timestep: Any) -> Tensor:
        said.append(net(x, timestep))
        return said[-1]

    for timestep in timesteps:
        state = call(scheduler, listened, timestep, state).prev_sample
        states.append(state)
    return said[0], states


def by_hand(grouped: Grouped, rule: Coefficient) -> list[Tensor]:
    """The plain scheduler, its state blended wherever a whole step but the last ends."""
    scheduler = copy.deepcopy(made(grouped))
    timesteps, at, done = ready(scheduler, grouped.case), 0, []
    state = initial(scheduler)
    memory, left = rule.init(state), len(grouped.groups) - grouped.idle
    departs = sum(grouped.groups[: left - 1])
    last = float(level_at(scheduler, grouped.level, timesteps, departs).ve_sigma)
    for calls in grouped.groups:
        said, states = group_of_calls(scheduler, timesteps[at : at + calls], state)
        here = level_at(scheduler, grouped.level, timesteps, at)
        at += calls
        if left > 1 and here.alpha:
            there = level_at(scheduler, grouped.level, timesteps, at)
            kind = "flow" if grouped.level == "flow" else "epsilon"
            proposal = Proposal(
                here.to_ve(state),
                denoised_from(said, state, here, kind),
                there.to_ve(states[-1]),
                there.to_ve(states[0]) if grouped.heun and calls == 2 else None,
                float(here.ve_sigma),
                float(there.ve_sigma),
                lambda z: z,
                Ahead(left, last=last),
            )
            decision = rule(proposal, memory)
            memory = decision.state
            states[-1] = there.from_ve(blended(proposal, decision))
        done, state, left = done + states, states[-1], left - 1
    assert len(done) == len(timesteps)
    return done


def blended(proposal: Proposal, decision: Decision) -> Tensor:
    """x' = (1 - gamma) x + gamma (T1 + c (T - T1))."""
    candidate, shape = proposal.candidate, (-1, 1, 1, 1)
    if proposal.predictor is not None and decision.correction is not None:
        kept = decision.correction.reshape(shape)
        candidate = proposal.predictor + kept * (candidate - proposal.predictor)
    gamma = decision.gamma.reshape(shape)
    return ((1 - gamma) * proposal.x + gamma * candidate).float()


def relaxed(grouped: Grouped, rule: Coefficient) -> tuple[Any, list[Tensor]]:
    scheduler = relax(made(grouped), rule, "none", record=True)
    timesteps = ready(scheduler, grouped.case)
    return scheduler, go_on(scheduler, timesteps, initial(scheduler))


def from_pure_noise(grouped: Grouped) -> bool:
    """Flow matching starts at sigma = 1; the solvers of the VP family do not."""
    return grouped.case.scheduler.startswith("FlowMatch") and not grouped.case.skip


@pytest.mark.parametrize("grouped", GROUPED, ids=str)
def test_relaxes_where_a_whole_step_ends_and_nowhere_else(grouped: Grouped) -> None:
    _, ours = relaxed(grouped, Constant(0.5))
    scheduler = copy.deepcopy(made(grouped))
    timesteps, first = ready(scheduler, grouped.case), grouped.groups[0]
    untouched = go_on(scheduler, timesteps[:first], initial(scheduler))
    for mine, other in zip(ours[: first - 1], untouched, strict=False):
        assert same_bits(mine, other)
    assert same_bits(ours[first - 1], untouched[-1]) is from_pure_noise(grouped)
    for number, (mine, other) in enumerate(zip(ours, by_hand(grouped, Constant(0.5)), strict=True)):
        assert torch.allclose(mine, other, rtol=2e-5, atol=2e-5), f"call {number}"


@pytest.mark.parametrize("rule", [Energy(), Coupled("ratio")], ids=["energy", "coupled"])
@pytest.mark.parametrize("grouped", [g for g in GROUPED if not from_pure_noise(g)], ids=str)
def test_decides_on_the_whole_step(grouped: Grouped, rule: Coefficient) -> None:
    """On its start, the first prediction there, and its end; only Heun's has a predictor."""
    scheduler, ours = relaxed(grouped, rule)
    for number, (mine, other) in enumerate(zip(ours, by_hand(grouped, rule), strict=True)):
        assert torch.allclose(mine, other, rtol=1e-4, atol=1e-4), f"call {number}"
    if not grouped.heun:
        assert (scheduler.stein_record.correction == 1).all()


@pytest.mark.parametrize("grouped", GROUPED, ids=str)
def test_records_every_whole_step_once(grouped: Grouped) -> None:
    scheduler, _ = relaxed(grouped, Constant(0.5))
    record = scheduler.stein_record
    steps = len(grouped.groups)
    assert isinstance(record, Record)
    assert len(record.sigmas) == steps + 1
    assert all(a > b for a, b in pairwise(record.sigmas[:-1]))
    last = 1 + grouped.idle
    expected = [
        1.0 if from_pure_noise(grouped) else 0.5,
        *[0.5] * (steps - 1 - last),
        *[1.0] * last,
    ]
    for name in ("gamma", "correction", "energy", "energy_next", "kappa", "stein_ratio"):
        assert getattr(record, name).shape == (steps, 2)
        assert getattr(record, name).dtype == torch.float64
    assert record.gamma[:, 0].tolist() == expected


def test_a_schedule_that_goes_on_after_the_last_timestep_ends_there() -> None:
    """Euler's log-linear levels have one more than there are steps."""
    scheduler = diffusers.EulerDiscreteScheduler(interpolation_type="log_linear")
    scheduler = relax(scheduler, "constant", value=0.5, record=True)
    run(scheduler, 5)
    assert scheduler.stein_record.gamma[:, 0].tolist() == [0.5, 0.5, 0.5, 0.5, 1.0]


@dataclass(frozen=True)
class Noting(Coefficient):
    """Changes nothing, and keeps what it was told."""

    told: list[Proposal]

    def __call__(self, proposal: Proposal, state: Any) -> Decision:
        self.told.append(proposal)
        return Decision(torch.ones(len(proposal.x)))


@pytest.mark.parametrize("interpolation", ["linear", "log_linear"])
def test_a_coefficient_is_told_the_level_that_the_sampling_ends_at(interpolation: str) -> None:
    rule = Noting([])
    scheduler = diffusers.EulerDiscreteScheduler(interpolation_type=interpolation)
    scheduler = relax(scheduler, rule, record=True)
    run(scheduler, 4)
    assert [each.ahead.end for each in rule.told] == [scheduler.stein_record.sigmas[-1]] * 3


@pytest.mark.parametrize("grouped", GROUPED, ids=str)
def test_a_coefficient_is_told_how_many_steps_that_remove_noise_are_left(grouped: Grouped) -> None:
    rule, steps = Noting([]), len(grouped.groups) - grouped.idle
    relaxed(grouped, rule)
    assert [each.ahead.steps_left for each in rule.told] == [*range(steps, 1, -1)]


@pytest.mark.parametrize(
    ("name", "config", "idle"),
    [
        ("EDMEulerScheduler", {}, [3]),
        ("EDMDPMSolverMultistepScheduler", {}, [3]),
        ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}, [3]),
        ("DPMSolverMultistepScheduler", {}, []),
    ],
)
def test_a_step_to_where_it_began_is_none(
    name: str, config: dict[str, Any], idle: list[int]
) -> None:
    """What stops at the lowest level may go there twice: the step before is then the last one."""
    plain = getattr(diffusers, name)(final_sigmas_type="sigma_min", **config)
    scheduler = relax(plain, "constant", value=0.5, record=True)
    run(scheduler, 4)
    record = scheduler.stein_record
    found = [k for k in range(4) if record.sigmas[k] == pytest.approx(record.sigmas[k + 1])]
    assert found == idle
    last = 1 + len(idle)
    assert record.gamma[:, 0].tolist() == [*[0.5] * (4 - last), *[1.0] * last]


# --- memory -------------------------------------------------------------------------------------


@every
def test_set_timesteps_starts_anew(name: str) -> None:
    fresh = run(relax(plain(name)))
    scheduler = relax(plain(name), record=True)
    scheduler.set_timesteps(9)
    go_on(scheduler, scheduler.timesteps[:3], 2 * noise(3))  # left off in the middle
    again = run(scheduler)
    assert all(same_bits(*pair) for pair in zip(again, fresh, strict=True))
    run(scheduler, 4)
    steps = len(scheduler.stein_record.gamma)
    assert steps <= 4
    assert (scheduler.stein_record.gamma[-1] == 1).all()


def begun(scheduler: Any, index: int) -> Any:
    """The scheduler with nothing done, about to do the step `index`."""
    if hasattr(scheduler, "set_begin_index"):
        scheduler._step_index = None
        scheduler.set_begin_index(index)
    return scheduler


@dataclass(frozen=True)
class Counting(Coefficient):
    """gamma = 1 in the first step that it sees and 0.1 less in each of the next."""

    def init(self, x: Tensor) -> int:
        return 0

    def __call__(self, proposal: Proposal, state: int) -> Decision:
        return Decision(torch.full((len(proposal.x),), 1 - 0.1 * state), state + 1)


JUMPING = ["EulerDiscreteScheduler", "DDIMScheduler", "FlowMatchEulerDiscreteScheduler"]
"""These keep no history of their own."""


def nine(name: str) -> dict[str, Any]:
    """Arguments for nine steps. Flow matching gets levels below pure noise."""
    flow = {"sigmas": [1 - 0.1 * (k + 0.5) for k in range(9)]}
    return flow if "Flow" in name else {"num_inference_steps": 9}


def counted(name: str) -> Any:
    scheduler = relax(plain(name), Counting(), record=True)
    scheduler.set_timesteps(**nine(name))
    return scheduler


@pytest.mark.parametrize("name", JUMPING)
def test_the_memory_lasts_a_sampling(name: str) -> None:
    """Or the tests below say nothing."""
    scheduler = counted(name)
    middle = go_on(scheduler, scheduler.timesteps[:3], initial(scheduler))[-1]
    go_on(scheduler, scheduler.timesteps[3:], middle)
    found = scheduler.stein_record.gamma[:, 0].tolist()
    assert found == pytest.approx([1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 1])


@pytest.mark.parametrize(("done", "index"), [(1, 0), (3, 0), (3, 1), (3, 2)])
@pytest.mark.parametrize("name", JUMPING)
def test_a_jump_back_up_starts_the_memory_anew(name: str, done: int, index: int) -> None:
    """Back by one, the same step again, included."""
    scheduler, fresh = counted(name), counted(name)
    go_on(begun(scheduler, 0), scheduler.timesteps[:done], initial(scheduler))
    states = [
        go_on(begun(each, index), each.timesteps[index:], noise()) for each in (scheduler, fresh)
    ]
    assert all(same_bits(*pair) for pair in zip(*states, strict=True))


@pytest.mark.parametrize("name", JUMPING)
def test_set_timesteps_starts_the_memory_anew_further_down(name: str) -> None:
    """Image-to-image after a sampling that was left off at a higher level."""
    scheduler, fresh = counted(name), counted(name)
    go_on(scheduler, scheduler.timesteps[:4], initial(scheduler))
    scheduler.set_timesteps(**nine(name))
    states = [go_on(begun(each, 4), each.timesteps[4:], noise()) for each in (scheduler, fresh)]
    assert all(same_bits(*pair) for pair in zip(*states, strict=True))
    assert len(scheduler.stein_record.gamma) == 5


@pytest.mark.parametrize("name", JUMPING)
def test_another_batch_starts_the_memory_anew(name: str) -> None:
    scheduler, fresh = counted(name), counted(name)
    go_on(scheduler, scheduler.timesteps[:3], initial(scheduler))
    ours = go_on(scheduler, scheduler.timesteps[3:], noise(3))
    theirs = go_on(begun(fresh, 3), fresh.timesteps[3:], noise(3))
    assert all(same_bits(*pair) for pair in zip(ours, theirs, strict=True))
    assert scheduler.stein_record.gamma.shape == (6, 3)


@every
def test_a_new_sampling_may_have_another_batch_size(name: str) -> None:
    scheduler = relax(plain(name), record=True)
    run(scheduler)
    start = initial(scheduler, 5)
    larger = run(scheduler, state=start)
    assert scheduler.stein_record.gamma.shape[1] == 5
    expected = run(relax(plain(name)), state=start)
    assert same_bits(larger[-1], expected[-1])


@every
def test_a_sample_does_not_depend_on_its_batch(name: str) -> None:
    """Bit for bit where the plain class's do not: UniPC's depend on the processor's products."""
    start = initial(plain(name), 4)

    def pairs(scheduler: Any) -> Iterator[tuple[Tensor, Tensor]]:
        together = run(scheduler, state=start)
        for k in range(4):
            alone = run(scheduler, state=start[k : k + 1])
            yield from ((a[k : k + 1], b) for a, b in zip(together, alone, strict=True))

    exact = all(same_bits(a, b) for a, b in pairs(plain(name)))
    assert exact or name == "UniPCMultistepScheduler"
    for a, b in pairs(relax(plain(name))):
        if exact:
            assert same_bits(a, b)
        else:
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


# --- values -------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [0, 3, 6])
@pytest.mark.parametrize(
    "name", ["DDIMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler"]
)
def test_a_value_that_is_not_finite_is_named_with_its_step(name: str, step: int) -> None:
    scheduler = relax(plain(name))
    scheduler.set_timesteps(7)
    net, state = network(IMAGE), noise(3)
    for timestep in scheduler.timesteps[:step]:
        state = call(scheduler, net, timestep, state).prev_sample
    spoiled = net(state, 1.0)
    spoiled[1, 0, 2, 3] = float("nan")
    with pytest.raises(NonFiniteError, match=f"step {step}") as caught:
        call(scheduler, lambda *_: spoiled, scheduler.timesteps[step], state)
    assert caught.value.step == step
    assert caught.value.samples == [1]


@every
def test_every_class_says_that_a_network_failed(name: str) -> None:
    scheduler = relax(plain(name))
    scheduler.set_timesteps(7)
    with pytest.raises(NonFiniteError):
        go_on(scheduler, scheduler.timesteps, initial(scheduler) * float("inf"))


# --- copies -------------------------------------------------------------------------------------


def through_pickle(scheduler: Any) -> Any:
    return pickle.loads(pickle.dumps(scheduler))


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, through_pickle])
@every
def test_a_copy_goes_on_from_the_middle(name: str, duplicate: Any) -> None:
    scheduler = relax(plain(name), record=True)
    whole = run(scheduler)
    record = scheduler.stein_record
    scheduler.set_timesteps(7)
    start = initial(scheduler)
    middle = go_on(scheduler, scheduler.timesteps[:3], start)[-1]
    twin = duplicate(scheduler)
    assert type(twin) is type(scheduler)
    for each in (twin, scheduler):
        rest = go_on(each, each.timesteps[3:], middle)
        assert all(same_bits(*pair) for pair in zip(rest, whole[3:], strict=True))
        torch.testing.assert_close(each.stein_record.gamma, record.gamma, rtol=0, atol=0)


@every
def test_two_schedulers_at_once_do_not_disturb_each_other(name: str) -> None:
    first, second = relax(plain(name)), relax(plain(name), "constant", value=0.8)
    alone = [run(each) for each in (first, second)]
    net, states = network(IMAGE), [initial(first)] * 2
    for each in (first, second):
        each.set_timesteps(7)
    for number, timestep in enumerate(first.timesteps):
        for k, each in enumerate((first, second)):
            states[k] = call(each, net, timestep, states[k]).prev_sample
            assert same_bits(states[k], alone[k][number])


# --- classes and configs ------------------------------------------------------------------------


@every
def test_the_argument_is_left_as_it_is(name: str) -> None:
    scheduler, untouched = plain(name), plain(name)
    relaxed = relax(scheduler)
    assert isinstance(relaxed, type(scheduler))
    assert type(relaxed).__name__ == f"Stein{name}"
    assert type(scheduler) is type(untouched)
    assert scheduler.config == untouched.config
    run(relaxed)
    assert same_bits(run(scheduler)[-1], run(untouched)[-1])


@every
def test_neither_sampling_disturbs_the_other_after_relaxing_in_the_middle(name: str) -> None:
    """Lists of past outputs are copied with the scheduler."""
    untouched, scheduler = run(plain(name), 9), plain(name)
    scheduler.set_timesteps(9)
    middle = go_on(scheduler, scheduler.timesteps[:6], initial(scheduler))[-1]  # ends a whole step
    relaxed = relax(scheduler)
    go_on(relaxed, relaxed.timesteps[6:], 2 * middle)
    rest = go_on(scheduler, scheduler.timesteps[6:], middle)
    assert all(same_bits(*pair) for pair in zip(rest, untouched[6:], strict=True))


@every
def test_the_generated_class_is_found_by_its_name(name: str) -> None:
    generated = relaxed_class(getattr(diffusers, name))
    assert getattr(importlib.import_module(MODULE), f"Stein{name}") is generated
    assert relaxed_class(getattr(diffusers, name)) is generated
    assert type(relax(plain(name))) is generated
    assert issubclass(generated, getattr(diffusers, name))


@pytest.mark.parametrize("name", ["SteinDDPMScheduler", "SteinNothing", "EulerDiscreteScheduler"])
def test_there_is_no_generated_class_of_another_name(name: str) -> None:
    with pytest.raises(AttributeError):
        getattr(importlib.import_module(MODULE), name)


@every
def test_signatures_are_those_of_the_plain_class(name: str) -> None:
    """Pipelines look there for what they may pass."""
    base = getattr(diffusers, name)
    for method in ("__init__", "step", "set_timesteps"):
        ours = inspect.signature(getattr(relaxed_class(base), method))
        assert ours == inspect.signature(getattr(base, method))


@every
def test_compatibles_are_those_of_the_plain_class(name: str) -> None:
    assert set(relax(plain(name)).compatibles) == set(plain(name).compatibles)


def rebuilt(scheduler: Any, folder: Path) -> Iterator[Any]:
    """The scheduler made again in each way that diffusers has."""
    yield type(scheduler).from_config(scheduler.config)
    yield type(scheduler).from_config(dict(scheduler.config))
    scheduler.save_pretrained(folder)
    yield type(scheduler).from_pretrained(folder)


@every
def test_coefficient_and_options_survive_config_and_file(name: str, tmp_path: Path) -> None:
    scheduler = relax(plain(name), "constant", "linear", value=0.75, record=True)
    expected = run(scheduler)[-1]
    expected_kept = {
        "coefficient": "constant",
        "options": {"value": 0.75},
        "end": "linear",
        "record": True,
    }
    for again in rebuilt(scheduler, tmp_path):
        assert type(again) is type(scheduler)
        assert again.config["_stein"] == expected_kept
        assert same_bits(run(again)[-1], expected)
        assert again.stein_record.gamma.shape == scheduler.stein_record.gamma.shape
    saved = json.loads((tmp_path / "scheduler_config.json").read_text())
    assert saved["_class_name"] == f"Stein{name}"


@every
def test_the_plain_class_takes_the_config_and_does_not_relax(name: str, tmp_path: Path) -> None:
    scheduler = relax(plain(name), "constant", value=0.75)
    scheduler.save_pretrained(tmp_path)
    base = getattr(diffusers, name)
    expected = run(plain(name))[-1]
    for again in (base.from_config(scheduler.config), base.from_pretrained(tmp_path)):
        assert type(again) is base
        assert same_bits(run(again)[-1], expected)


def test_an_option_object_is_kept_in_the_config() -> None:
    scheduler = relax(plain("EulerDiscreteScheduler"), Energy(trust=0.3, memory=False), "linear")
    kept = scheduler.config["_stein"]
    assert kept["coefficient"] == "energy"
    assert kept["options"]["trust"] == 0.3
    assert kept["options"]["memory"] is False
    assert kept["end"] == "linear"
    json.dumps(kept)
    again = type(scheduler).from_config(scheduler.config)
    assert same_bits(run(again)[-1], run(scheduler)[-1])
    for other in ("steady", "none"):
        ended = relax(plain("EulerDiscreteScheduler"), Energy(trust=0.3, memory=False), other)
        assert not same_bits(run(again)[-1], run(ended)[-1])
    assert not same_bits(run(again)[-1], run(relax(plain("EulerDiscreteScheduler")))[-1])


def test_the_coefficient_survives_a_setting_that_set_timesteps_changes() -> None:
    """The singlestep solver registers `lower_order_final` anew for an odd number of steps."""
    scheduler = relax(diffusers.DPMSolverSinglestepScheduler(), "constant", value=0.75)
    run(scheduler, 7)
    assert scheduler.config.lower_order_final
    assert scheduler.config["_stein"]["options"] == {"value": 0.75}


@every
def test_unrelax_gives_the_plain_class_and_bits(name: str) -> None:
    relaxed = relax(plain(name))
    run(relaxed)
    for scheduler in (relaxed, plain(name)):
        back = unrelax(scheduler)
        assert back is not scheduler
        assert type(back) is getattr(diffusers, name)
        assert "_stein" not in back.config
        assert same_bits(run(back)[-1], run(plain(name))[-1])
    assert type(relaxed) is relaxed_class(getattr(diffusers, name))


@every
def test_relaxing_again_replaces_the_coefficient(name: str) -> None:
    once = relax(plain(name), "constant", value=0.6)
    twice = relax(once, "constant", value=0.8, record=True)
    assert type(twice) is type(once)
    assert twice.config["_stein"]["options"] == {"value": 0.8}
    assert same_bits(run(twice)[-1], run(relax(plain(name), "constant", value=0.8))[-1])
    assert same_bits(run(once)[-1], run(relax(plain(name), "constant", value=0.6))[-1])


def test_without_recording_there_is_no_record() -> None:
    scheduler = relax(plain("EulerDiscreteScheduler"))
    run(scheduler)
    with pytest.raises((ValueError, RuntimeError, AttributeError), match="record=True"):
        _ = scheduler.stein_record


class Pipe:
    """What has a scheduler, as every pipeline does."""

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler


def test_a_pipeline_is_relaxed_as_its_scheduler_is() -> None:
    scheduler = plain("EulerDiscreteScheduler")
    pipe = Pipe(scheduler)
    assert relax(pipe, "constant", value=0.8) is pipe
    expected = run(relax(scheduler, "constant", value=0.8))[-1]
    assert same_bits(run(pipe.scheduler)[-1], expected)
    assert type(scheduler) is diffusers.EulerDiscreteScheduler
    assert unrelax(pipe) is pipe
    assert type(pipe.scheduler) is diffusers.EulerDiscreteScheduler
    assert same_bits(run(pipe.scheduler)[-1], run(scheduler)[-1])


@pytest.mark.parametrize("word", ["none", None])
def test_none_relaxes_no_longer(word: str | None) -> None:
    scheduler = relax(relax(plain("EulerDiscreteScheduler")), word)
    assert type(scheduler) is diffusers.EulerDiscreteScheduler
    measured = relax(scheduler, word, record=True)
    assert same_bits(run(measured)[-1], run(scheduler)[-1])
    assert measured.stein_record.gamma.eq(1).all()
    ours = SteinScheduler(coefficient=word, record=True)
    assert same_bits(run(ours)[-1], run(SteinScheduler(coefficient=word))[-1])
    assert ours.stein_record.gamma.eq(1).all()
