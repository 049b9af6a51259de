"""What the adapter does not take: which classes, settings and arguments, and when it says so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from diffusers_runs import IMAGE, call, network, noise, run, same_bits

import steindiff as sd
from steindiff.stein import Coupled, Energy, Published

diffusers = pytest.importorskip("diffusers")

from diffusers.configuration_utils import ConfigMixin, register_to_config  # noqa: E402
from diffusers.schedulers.scheduling_utils import SchedulerMixin  # noqa: E402

from steindiff.adapters.diffusers import REFUSED, SUPPORTED, relax, relaxed_class  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

NEEDED: dict[str, dict[str, Any]] = {
    "AmusedScheduler": {"mask_token_id": 1},
    "RFD4ProteinaScheduler": {
        "schedule_mode": "log",
        "noise_mode": "tan",
        "tsr_k": 1.0,
        "tsr_sigma": 1.0,
    },
    "VQDiffusionScheduler": {"num_vec_classes": 4},
}
"""Arguments that constructors insist on."""

ABSENT = {
    "CosineDPMSolverMultistepScheduler": "needs torchsde",
    "DPMSolverSDEScheduler": "needs torchsde",
}
"""Refused classes of which the test cannot make an object."""


def make(name: str, **config: Any) -> Any:
    found = getattr(diffusers, name, None) or getattr(diffusers.schedulers, name)
    return found(**NEEDED.get(name, {}), **config)


class Unheard(SchedulerMixin, ConfigMixin):  # pyright: ignore[reportGeneralTypeIssues]
    """A scheduler that diffusers does not have."""

    order = 1

    @register_to_config
    def __init__(self, num_train_timesteps: int = 1000) -> None:
        self.timesteps = torch.arange(num_train_timesteps)

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        self.timesteps = torch.arange(num_inference_steps)

    def step(self, model_output: Any, timestep: Any, sample: Any, return_dict: bool = True) -> Any:
        return (sample,)


def test_every_class_of_diffusers_is_either_supported_or_refused() -> None:
    """A new version of diffusers with a new scheduler fails here."""
    known = {name for name in dir(diffusers) if name.endswith("Scheduler")}
    assert len(known) > 40
    assert known - set(SUPPORTED) - set(REFUSED) == set()
    assert set(SUPPORTED) & set(REFUSED) == set()
    assert set(SUPPORTED) <= known


TWINS = {
    "CogVideoXDPMScheduler": "CogVideoXDDIMScheduler",
    "CosineDPMSolverMultistepScheduler": "EDMDPMSolverMultistepScheduler",
    "DDPMParallelScheduler": "DDIMParallelScheduler",
    "DDPMScheduler": "DDIMScheduler",
    "DPMSolverSDEScheduler": "DPMSolverMultistepScheduler",
    "EulerAncestralDiscreteScheduler": "EulerDiscreteScheduler",
    "FlowMatchLCMScheduler": "FlowMatchEulerDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler": "KDPM2DiscreteScheduler",
    "LTXEulerAncestralRFScheduler": "FlowMatchEulerDiscreteScheduler",
    "SASolverScheduler": "UniPCMultistepScheduler",
}
"""Refused classes that have a deterministic counterpart for the same networks."""


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_reason_points_to_what_can_be_used(name: str) -> None:
    named = set(re.findall(r"\w+Scheduler", REFUSED[name]))
    assert named <= set(SUPPORTED)
    assert {TWINS[name]} <= named if name in TWINS else len(REFUSED[name].split()) > 5


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_refused_class_is_refused_with_its_reason(name: str) -> None:
    if name in ABSENT:
        pytest.skip(ABSENT[name])
    scheduler = make(name)
    for attempt in (lambda: relax(scheduler), lambda: relaxed_class(type(scheduler))):
        with pytest.raises((ValueError, TypeError)) as caught:
            attempt()
        assert name in str(caught.value)
        assert REFUSED[name] in str(caught.value)


def test_objects_are_made_of_all_refused_classes_but_a_few() -> None:
    assert set(ABSENT) <= set(REFUSED)
    for name in ABSENT:
        with pytest.raises(ImportError):
            make(name)


def test_an_unknown_class_is_refused_with_the_list_of_supported_ones() -> None:
    for attempt in (lambda: relax(Unheard()), lambda: relaxed_class(Unheard)):
        with pytest.raises((ValueError, TypeError)) as caught:
            attempt()
        assert "Unheard" in str(caught.value)
        for name in SUPPORTED:
            assert name.removesuffix("Scheduler") in str(caught.value)


@pytest.mark.parametrize("thing", [None, "euler", 3, torch.nn.Linear(2, 2), object()])
def test_what_is_no_scheduler_is_a_type_error(thing: object) -> None:
    with pytest.raises(TypeError, match="scheduler"):
        relax(thing)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("thing", [int, torch.nn.Linear])
def test_a_class_of_something_else_is_a_type_error(thing: type) -> None:
    with pytest.raises(TypeError):
        relaxed_class(thing)


def test_a_subclass_of_a_supported_class_is_relaxed_like_it() -> None:
    class Mine(diffusers.EulerDiscreteScheduler):
        pass

    scheduler = relax(Mine(), "constant", value=0.9)
    assert isinstance(scheduler, Mine)
    parent = relax(diffusers.EulerDiscreteScheduler(), "constant", value=0.9)
    assert same_bits(run(scheduler)[-1], run(parent)[-1])
    assert not same_bits(run(scheduler)[-1], run(Mine())[-1])


def test_a_subclass_of_a_refused_class_is_refused() -> None:
    class Mine(diffusers.EulerAncestralDiscreteScheduler):
        pass

    with pytest.raises(ValueError, match="EulerDiscrete"):
        relax(Mine())


@pytest.mark.parametrize(
    ("coefficient", "options", "message"),
    [
        ("enregy", {}, "energy"),
        ("energy", {"trsut": 0.1}, "trsut"),
        ("energy", {"trust": -1.0}, "trust"),
        ("constant", {"value": 3.0}, "value"),
        (Energy(), {"trust": 0.2}, "trust"),
        ("published", {"estimator": "hutchinson"}, "model"),
        ("coupled", {"estimator": "exact"}, "model"),
        (Published(estimator="finite_difference"), {}, "model"),
    ],
)
def test_a_bad_coefficient_is_a_value_error(
    coefficient: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        relax(diffusers.EulerDiscreteScheduler(), coefficient, **options)


def test_a_coefficient_of_another_type_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="coefficient"):
        relax(diffusers.EulerDiscreteScheduler(), 0.9)  # pyright: ignore[reportArgumentType]


def test_coefficients_without_model_calls_are_taken() -> None:
    relaxed = relax(diffusers.EulerDiscreteScheduler(), Coupled(estimator="ratio"))
    assert all(state.isfinite().all() for state in run(relaxed))


STOCHASTIC: list[tuple[str, dict[str, Any]]] = [
    ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "sde-dpmsolver", "final_sigmas_type": "sigma_min"},
    ),
    ("DPMSolverSinglestepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    ("EDMDPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    ("FlowMatchEulerDiscreteScheduler", {"stochastic_sampling": True}),
]


@pytest.mark.parametrize(("name", "config"), STOCHASTIC, ids=lambda value: str(value)[:40])
def test_a_stochastic_config_is_refused_at_once(name: str, config: dict[str, Any]) -> None:
    (setting,) = set(config) - {"final_sigmas_type"}
    with pytest.raises(ValueError, match=setting):
        relax(make(name, **config))


@pytest.mark.parametrize(("name", "config"), STOCHASTIC, ids=lambda value: str(value)[:40])
def test_a_config_that_became_stochastic_is_refused_by_set_timesteps(
    name: str, config: dict[str, Any]
) -> None:
    scheduler = relax(make(name))
    scheduler.register_to_config(**config)
    (setting,) = set(config) - {"final_sigmas_type"}
    with pytest.raises(ValueError, match=setting):
        scheduler.set_timesteps(4)


def stochastic_arguments() -> Iterator[tuple[str, str, Any]]:
    for name in ("DDIMScheduler", "DDIMParallelScheduler", "CogVideoXDDIMScheduler"):
        yield name, "eta", 0.5
    for name in (
        "EulerDiscreteScheduler",
        "EDMEulerScheduler",
        "FlowMatchHeunDiscreteScheduler",  # FlowMatchEulerDiscrete has s_churn and ignores it
    ):
        yield name, "s_churn", 2.0
    yield "FlowMatchEulerDiscreteScheduler", "per_token_timesteps", torch.full((2, 8), 500.0)


SETTINGS = list(stochastic_arguments())
TOKENS = (8, 12)
"""Shape of a sample: tokens and channels."""


@pytest.mark.parametrize(("name", "argument", "value"), SETTINGS, ids=lambda value: str(value)[:40])
def test_a_stochastic_argument_is_refused_and_changes_nothing(
    name: str, argument: str, value: Any
) -> None:
    shape = TOKENS if argument == "per_token_timesteps" else IMAGE
    net, states = network(shape), []
    for refuses in (False, True):
        scheduler = relax(make(name), "constant", value=0.9)
        scheduler.set_timesteps(4)
        state = noise(shape=shape)
        for timestep in scheduler.timesteps:
            if refuses:
                with pytest.raises(ValueError, match=argument):
                    call(scheduler, net, timestep, state, **{argument: value})
            state = call(scheduler, net, timestep, state).prev_sample
        states.append(state)
    assert same_bits(*states)


@pytest.mark.parametrize("name", ["DDIMScheduler", "EulerDiscreteScheduler", "EDMEulerScheduler"])
def test_a_stochastic_argument_is_seen_in_its_place_too(name: str) -> None:
    """The fourth argument of `step` is eta or s_churn."""
    scheduler = relax(make(name))
    scheduler.set_timesteps(4)
    timestep = scheduler.timesteps[0]
    with pytest.raises(ValueError, match=r"eta|s_churn"):
        scheduler.step(noise(), timestep, noise(), 1.0)


@pytest.mark.parametrize(("name", "argument", "value"), SETTINGS[:6], ids=lambda v: str(v)[:40])
def test_the_argument_at_zero_is_taken(name: str, argument: str, value: Any) -> None:
    scheduler = relax(make(name))
    scheduler.set_timesteps(4)
    timestep = scheduler.timesteps[0]
    result = call(scheduler, network(IMAGE), timestep, noise(), **{argument: 0.0})
    assert result.prev_sample.isfinite().all()


def test_the_error_of_a_wrong_name_is_ours_and_lists_what_there_is() -> None:
    with pytest.raises(ValueError) as caught:
        relax(diffusers.DDIMScheduler(), "nothing")
    for name in (*sd.stein.COEFFICIENTS, "none"):
        assert name in str(caught.value)
