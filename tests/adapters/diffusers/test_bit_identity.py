"""With gamma = 1 every generated class gives the bits of its plain class, call by call.

Left out, because diffusers itself fails or divides by zero there:
- PNDM with Runge-Kutta steps below 4 steps (shapes that do not match);
- UniPC with bh1 or with noise prediction into sigma = 0 (infinity times zero);
- DDIM with zero terminal SNR and noise prediction (division by alpha = 0);
- noise prediction ("dpmsolver") of the singlestep solver with thresholding (an index of None);
- noise prediction in UniPC and DPM-Solver for flows, which they refuse;
- dynamic shifting of DPM-Solver and DEIS, which write into their frozen config;
- sigmas of UniPC as a list, which it multiplies by a number;
- EDM's DPM-Solver of order 3 with its last step, of no length, at full order (zero by zero);
- EDM networks that predict the sample, which their preconditioning does not know.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from diffusers_runs import Case, play, same_bits

diffusers = pytest.importorskip("diffusers")

from steindiff.adapters.diffusers import SUPPORTED, relax  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

THREE = ("epsilon", "sample", "v_prediction")
NOISE = ("epsilon", "v_prediction")
GRIDS = [{}, *({f"use_{kind}_sigmas": True} for kind in ("karras", "exponential", "beta"))]
SPACINGS = [{"timestep_spacing": s, "steps_offset": 1} for s in ("linspace", "leading", "trailing")]
FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 2.0}
CLIPPED = {"thresholding": True, "sample_max_value": 1.5}
NO_ZERO = {"final_sigmas_type": "sigma_min"}

Config = dict[str, Any]


def crossed(*axes: list[Config]) -> list[Config]:
    """Every choice of one entry from each axis, merged."""
    merged: list[Config] = [{}]
    for axis in axes:
        merged = [{**one, **other} for one in merged for other in axis]
    return merged


def predicting(*kinds: str) -> list[Config]:
    return [{"prediction_type": kind} for kind in kinds]


DDIM = [
    *crossed(predicting(*THREE), [{}, {"clip_sample": False}]),
    *SPACINGS,
    {"clip_sample_range": 0.5, "beta_schedule": "scaled_linear"},
    {"set_alpha_to_one": False, "beta_schedule": "squaredcos_cap_v2"},
    *crossed(
        predicting("sample", "v_prediction"),
        [{"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "clip_sample": False}],
    ),
]
MULTISTEP = [
    *crossed([{"solver_order": k} for k in (1, 2, 3)], predicting(*THREE)),
    *crossed([{"solver_order": 3}], GRIDS[1:]),
    *crossed([{"solver_order": k} for k in (2, 3)], [FLOW]),
    CLIPPED,
]
DPM = [
    *MULTISTEP,
    *crossed(
        [{"solver_order": k} for k in (1, 2, 3)],
        [{"solver_type": kind} for kind in ("midpoint", "heun")],
        [{"algorithm_type": "dpmsolver", **NO_ZERO}, NO_ZERO],
    ),
    *crossed([{"algorithm_type": "dpmsolver", **NO_ZERO}], predicting("sample", "v_prediction")),
    *crossed(
        [{"variance_type": kind} for kind in ("learned", "learned_range")],
        [{}, {"algorithm_type": "dpmsolver", **NO_ZERO}],
    ),
    {"lambda_min_clipped": -2.0},
]
ZERO_SNR = crossed(predicting(*NOISE), [{"rescale_betas_zero_snr": True}])

CONFIGS: dict[str, list[Config]] = {
    "DDIMScheduler": [*DDIM, CLIPPED],
    "DDIMParallelScheduler": [*DDIM, CLIPPED],
    "CogVideoXDDIMScheduler": [*DDIM, {"snr_shift_scale": 1.0}],
    "PNDMScheduler": [
        *crossed(
            [{"skip_prk_steps": skip} for skip in (True, False)],
            [*predicting(*NOISE), *SPACINGS, {"set_alpha_to_one": True}],
        )
    ],
    "EulerDiscreteScheduler": [
        *crossed(predicting(*THREE), GRIDS),
        *SPACINGS,
        *ZERO_SNR,
        NO_ZERO,
        {"interpolation_type": "log_linear"},
        {"timestep_type": "continuous", "prediction_type": "v_prediction"},
        {"sigma_min": 0.05, "sigma_max": 20.0, "use_karras_sigmas": True},
    ],
    "HeunDiscreteScheduler": [
        *crossed(predicting(*THREE), GRIDS),
        *SPACINGS,
        {"clip_sample": True, "clip_sample_range": 0.5},
    ],
    "LMSDiscreteScheduler": [*crossed(predicting(*THREE), [{}, GRIDS[1]]), *GRIDS[2:], *SPACINGS],
    "KDPM2DiscreteScheduler": [*crossed(predicting(*NOISE), GRIDS[:2]), *GRIDS[2:], *SPACINGS],
    "EDMEulerScheduler": crossed(
        predicting(*NOISE),
        [{"sigma_schedule": kind} for kind in ("karras", "exponential")],
        [{}, NO_ZERO],
    ),
    "DPMSolverMultistepScheduler": [
        *DPM,
        *crossed([{"solver_order": 3}], SPACINGS),
        *crossed([{"solver_order": 3}, {}], [{"lower_order_final": False}, NO_ZERO]),
        {"solver_order": 3, "euler_at_final": True, "lower_order_final": False, **NO_ZERO},
        {"use_lu_lambdas": True},
        *ZERO_SNR,
        {"algorithm_type": "dpmsolver", **CLIPPED, **NO_ZERO},
    ],
    "DPMSolverSinglestepScheduler": [
        *DPM,
        *crossed([{"solver_order": k} for k in (2, 3)], [{"lower_order_final": True}]),
    ],
    "DEISMultistepScheduler": [
        *MULTISTEP,
        *SPACINGS,
        {"solver_order": 3, "lower_order_final": False},
    ],
    "UniPCMultistepScheduler": [
        *MULTISTEP,
        *crossed(
            [{"solver_order": k, **NO_ZERO} for k in (1, 2, 3)],
            [{"solver_type": kind} for kind in ("bh1", "bh2")],
            [{}, {"predict_x0": False}],
        ),
        *crossed([{"predict_x0": False, **NO_ZERO}], predicting("sample", "v_prediction")),
        *crossed(
            [{"solver_order": k} for k in (2, 3)],
            [{"disable_corrector": list(range(20))}, {"disable_corrector": [0, 3]}],
        ),
        {"solver_order": 3, "lower_order_final": False, **NO_ZERO},
        {**FLOW, "use_karras_sigmas": True},
        {**FLOW, "shift_terminal": 0.02},
        *SPACINGS,
        *ZERO_SNR,
    ],
    "EDMDPMSolverMultistepScheduler": [
        *crossed(
            [{"solver_order": k} for k in (1, 2, 3)],
            [{"solver_type": kind} for kind in ("midpoint", "heun")],
            predicting(*NOISE),
        ),
        {"sigma_schedule": "exponential", **NO_ZERO},
        {"solver_order": 3, "lower_order_final": False},
        {"euler_at_final": True},
        CLIPPED,
    ],
    "IPNDMScheduler": [{"trained_betas": [0.9, 0.8, 0.65, 0.5, 0.4, 0.25, 0.1, 0.05]}],
    "FlowMatchEulerDiscreteScheduler": [
        *crossed([{"shift": shift} for shift in (1.0, 3.0)], GRIDS),
        {"shift_terminal": 0.02},
        {"invert_sigmas": True},
    ],
    "MiniMaxH3Scheduler": [{"shift": 5.0}],
    "FlowMatchHeunDiscreteScheduler": [{"shift": 3.0}],
}

OTHER: list[Case] = [
    *(Case("LMSDiscreteScheduler", arguments={"order": order}) for order in (1, 2, 3)),
    *(
        Case(name, arguments={"use_clipped_model_output": True})
        for name in ("DDIMScheduler", "DDIMParallelScheduler")
    ),
    *(
        Case(name, steps=None, schedule={"timesteps": [900, 600, 420, 100, 20]})
        for name in (
            "EulerDiscreteScheduler",
            "HeunDiscreteScheduler",
            "DPMSolverMultistepScheduler",
            "DPMSolverSinglestepScheduler",
        )
    ),
    Case("EulerDiscreteScheduler", steps=None, schedule={"sigmas": [14.0, 6.0, 2.0, 0.5, 0.0]}),
    Case("EDMEulerScheduler", schedule={"sigmas": torch.linspace(0, 0.9, 7)}),
    Case("UniPCMultistepScheduler", FLOW, None, {"sigmas": np.array([1.0, 0.8, 0.5, 0.2])}),
    Case("UniPCMultistepScheduler", {**FLOW, "use_dynamic_shifting": True}, schedule={"mu": 0.7}),
    Case("FlowMatchEulerDiscreteScheduler", steps=None, schedule={"sigmas": [1.0, 0.7, 0.4, 0.1]}),
    *(
        Case(
            "FlowMatchEulerDiscreteScheduler",
            {"use_dynamic_shifting": True, "time_shift_type": kind},
            schedule={"mu": 0.7},
        )
        for kind in ("exponential", "linear")
    ),
]

FIRST: dict[str, Config] = {
    "UniPCMultistepScheduler": {"solver_order": 3},
    "DPMSolverMultistepScheduler": {"solver_order": 3},
    "DPMSolverSinglestepScheduler": {"solver_order": 3},
    "DEISMultistepScheduler": {"solver_order": 3},
    "PNDMScheduler": {"skip_prk_steps": True},
}
"""The config that is tried in all dtypes, lengths and starts."""


def cases() -> Iterator[Case]:
    for name, configs in CONFIGS.items():
        yield from (Case(name, config, return_dict=k % 2 == 0) for k, config in enumerate(configs))
        first = FIRST.get(name, {})
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            for steps in (1, 2, 4, 7, 16):
                yield Case(name, first, steps, dtype=dtype, return_dict=steps % 2 == 0)
        for skip in (1, 2, 3):
            for indexed in (False, True):
                yield Case(name, first, 6, skip=skip, indexed=indexed)
    for steps in (4, 16):
        for dtype in (torch.float16, torch.bfloat16):
            yield Case("PNDMScheduler", {"skip_prk_steps": False}, steps, dtype=dtype)
    yield from OTHER


def possible(case: Case) -> bool:
    """Some schedulers look up the time step and have no begin index; one makes no single step."""
    indexed = hasattr(getattr(diffusers, case.scheduler), "set_begin_index")
    return (indexed or not case.indexed) and (case.scheduler, case.steps) != (
        "MiniMaxH3Scheduler",
        1,
    )


CASES = list(filter(possible, cases()))


@functools.cache
def prototype(name: str, config: tuple[tuple[str, Any], ...]) -> Any:
    """Some constructors take a third of a second."""
    return getattr(diffusers, name)(
        **{k: list(v) if isinstance(v, tuple) else v for k, v in config}
    )


def plain(case: Case) -> Any:
    frozen = {k: tuple(v) if isinstance(v, list) else v for k, v in case.config.items()}
    return copy.deepcopy(prototype(case.scheduler, tuple(sorted(frozen.items()))))


def test_there_are_enough_cases() -> None:
    assert len(set(map(str, CASES))) == len(CASES) >= 300
    assert {case.scheduler for case in CASES} == set(SUPPORTED)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gamma_of_one_gives_the_bits_of_the_plain_class(case: Case) -> None:
    ours, theirs = relax(plain(case), "constant", "none", value=1.0), plain(case)
    assert type(ours) is not type(theirs)
    assert isinstance(ours, type(theirs))
    expected = play(theirs, case)
    for number, (mine, other) in enumerate(zip(play(ours, case), expected, strict=True)):
        assert len(mine) == len(other)
        for a, b in zip(mine, other, strict=True):
            assert same_bits(a, b), f"call {number}"
    assert expected[-1][0].isfinite().all()  # or the comparison says little
    assert torch.equal(ours.timesteps, theirs.timesteps)


@pytest.mark.parametrize("case", [case for case in CASES if case.dtype == torch.float32], ids=str)
def test_the_default_coefficient_works_there_too(case: Case) -> None:
    scheduler = relax(plain(case), record=True)
    assert all(outputs[0].isfinite().all() for outputs in play(scheduler, case))
    gamma = scheduler.stein_record.gamma
    assert ((gamma > 0) & (gamma <= 1)).all()
    assert (gamma[-1] == 1).all()


@pytest.mark.parametrize("name", CONFIGS)
def test_another_gamma_changes_the_bits(name: str) -> None:
    """So that what is compared above would show a relaxation."""
    case = Case(name, FIRST.get(name, {}))
    ours, theirs = relax(plain(case), "constant", value=0.9), plain(case)
    assert not same_bits(play(ours, case)[-1][0], play(theirs, case)[-1][0])
