import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steindiff.schedules import (
    FINALS,
    SCHEDULES,
    beta,
    check_sigmas,
    flow_shift,
    from_alphas_cumprod,
    karras,
    kl_optimal,
    linear,
    linear_quadratic,
    log_snr,
    sgm_uniform,
    simple,
    vp_time,
    without_penultimate,
)

TO_THE_LOWEST = ("karras", "log_snr", "linear", "kl_optimal", "vp_time", "flow_shift")
"""Schedules whose `steps` levels above 0 end at sigma_min."""


def upstream(name, **config):
    """A scheduler of diffusers; the core is tested where there is none, too."""
    return getattr(pytest.importorskip("diffusers"), name)(**config)


def alphas(count=1000):
    """Of the linear betas that DDIM has by default."""
    return (1 - torch.linspace(1e-4, 0.02, count)).cumprod(0)


def sigmas_at(times):
    values = alphas().double()[torch.tensor(times)]
    return ((1 - values) / values).sqrt()


@pytest.mark.parametrize("final", FINALS)
@pytest.mark.parametrize("name", SCHEDULES)
@settings(max_examples=20, deadline=None)
@given(steps=st.integers(1, 60), low=st.floats(1e-4, 0.5), factor=st.floats(2, 1e4))
def test_every_schedule_has_exact_ends(name, final, steps, low, factor):
    levels = SCHEDULES[name](steps, low, low * factor, final=final)
    assert levels.dtype == torch.float64
    assert levels.shape == (steps + 1,)
    assert levels[0] == low * factor
    assert levels[-1] == (0 if final == "zero" else low)
    if final == "zero" and steps > 1 and name in TO_THE_LOWEST:
        assert levels[-2] == low
    assert check_sigmas(levels) == tuple(levels.tolist())


def test_five_euler_evaluations():
    levels = karras(5, 0.01, 80.0)
    assert len(levels) == 6
    assert levels[0] == 80
    assert levels[-1] == 0.01
    assert karras(1, final="zero").tolist() == [80.0, 0.0]
    assert karras(1).tolist() == [80.0, 0.002]


@pytest.mark.parametrize("rho", [1.0, 7.0])
def test_karras_is_equation_5(rho):
    steps, low, high = 9, 0.002, 80.0
    ramp = np.linspace(0, 1, steps)
    expected = (high ** (1 / rho) + ramp * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    levels = karras(steps, low, high, rho, final="zero")
    np.testing.assert_allclose(levels.numpy(), [*expected, 0], rtol=1e-10)


def test_karras_agrees_with_diffusers():
    scheduler = upstream("EulerDiscreteScheduler", use_karras_sigmas=True)
    scheduler.set_timesteps(8)
    theirs = scheduler.sigmas
    ours = karras(8, theirs[-2].item(), theirs[0].item(), final="zero")
    torch.testing.assert_close(ours.float(), theirs, rtol=1e-5, atol=0)


def test_log_snr_and_linear_are_uniform():
    ratios = log_snr(6, 0.01, 50.0).log().diff()
    torch.testing.assert_close(ratios, ratios[:1].expand(6))
    gaps = linear(6, 0.01, 50.0).diff()
    torch.testing.assert_close(gaps, gaps[:1].expand(6))


def test_a_shift_of_one_is_uniform_in_flow_time():
    levels = flow_shift(6, 0.01, 50.0, shift=1.0)
    gaps = (levels / (1 + levels)).diff()
    torch.testing.assert_close(gaps, gaps[:1].expand(6))


def test_flow_shift_agrees_with_diffusers():
    shift, steps = 3.0, 7
    scheduler = upstream("FlowMatchEulerDiscreteScheduler", shift=shift)
    scheduler.set_timesteps(sigmas=np.linspace(0.95, 0.05, steps).tolist())
    times = torch.as_tensor(scheduler.sigmas)[:-1].double()
    theirs = times / (1 - times)
    ours = flow_shift(steps - 1, theirs[-1].item(), theirs[0].item(), shift)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=0)


@pytest.mark.parametrize("spacing", ["trailing", "linspace", "leading"])
@pytest.mark.parametrize("steps", [2, 5, 7, 50])
def test_spacings_agree_with_ddim(spacing, steps):
    scheduler = upstream("DDIMScheduler", timestep_spacing=spacing)
    scheduler.set_timesteps(steps)
    levels = from_alphas_cumprod(alphas(), steps, spacing, final="zero")
    assert len(levels) == steps + 1
    assert levels[-1] == 0
    torch.testing.assert_close(levels[:-1], sigmas_at(scheduler.timesteps.tolist()))


@pytest.mark.parametrize("spacing", ["trailing", "linspace", "leading"])
@pytest.mark.parametrize("steps", [2, 5, 7, 50])
def test_ending_on_sigma_min_agrees_with_dpm_solver(spacing, steps):
    scheduler = upstream(
        "DPMSolverMultistepScheduler", timestep_spacing=spacing, final_sigmas_type="sigma_min"
    )
    scheduler.set_timesteps(steps)
    levels = from_alphas_cumprod(alphas(), steps, spacing)
    torch.testing.assert_close(levels.float(), scheduler.sigmas, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("spacing", ["trailing", "linspace", "leading", "simple", "sgm_uniform"])
@pytest.mark.parametrize("final", FINALS)
def test_any_possible_number_of_steps(spacing, final):
    most = 12 - (final == "sigma_min")
    dense = spacing == "trailing" and final == "sigma_min"
    for steps in range(1, 9 if dense else most + 1):
        levels = from_alphas_cumprod(alphas(12), steps, spacing, final)
        assert len(check_sigmas(levels)) == steps + 1
    if dense:
        with pytest.raises(ValueError, match="so dense"):
            from_alphas_cumprod(alphas(12), most, spacing, final)
    with pytest.raises(ValueError, match=f"at most {most}"):
        from_alphas_cumprod(alphas(12), most + 1, spacing, final)


def test_a_single_linspace_step_starts_at_the_top():
    assert from_alphas_cumprod(alphas(), 1, "linspace", "zero")[0] == sigmas_at([999])[0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0], "1 level"),
        ([], "0 level"),
        ([2.0, math.nan], r"sigmas\[1\] is nan"),
        ([math.inf, 1.0], r"sigmas\[0\] is inf"),
        ([2.0, 1.0, -1.0], r"sigmas\[2\] is -1.0"),
        ([2.0, 0.0, -1.0], r"sigmas\[1\] is 0; only the last"),
        ([3.0, 1.0, 2.0], r"sigmas\[1\] is 1.0 and sigmas\[2\] is 2.0"),
        ([3.0, 3.0], r"sigmas\[0\] is 3.0 and sigmas\[1\] is 3.0"),
        ("no", "sequence of numbers"),
        (5.0, "sequence of numbers"),
    ],
)
def test_check_sigmas_refuses(values, message):
    with pytest.raises(ValueError, match=message):
        check_sigmas(values)


def test_check_sigmas_takes_tensors_and_sequences():
    assert check_sigmas([3, 1, 0]) == (3.0, 1.0, 0.0)
    assert check_sigmas(torch.tensor([2.0, 0.5])) == (2.0, 0.5)
    assert check_sigmas(np.array([2.0, 0.5]).tolist()) == (2.0, 0.5)
    assert all(type(level) is float for level in check_sigmas(torch.tensor([2, 1])))
    with pytest.raises(ValueError, match=r"shape \(1, 2\)"):
        check_sigmas(torch.tensor([[2.0, 1.0]]))


@pytest.mark.parametrize("rho", [1.0, 2.0])
def test_vp_time_is_uniform_in_the_time_of_the_sde(rho):
    """alpha_t of the SDE is exp(-integral of beta / 2): integrated here by the trapezoidal rule."""
    levels = vp_time(7, 0.01, 40.0, rho=rho)
    t = torch.linspace(0, 1, 200_001, dtype=torch.float64)
    beta = 0.1 + 19.9 * t
    integral = torch.cat([t.new_zeros(1), torch.cumulative_trapezoid(beta, t)])
    sigma = (integral.exp() - 1).sqrt()
    times = torch.tensor(np.interp(levels.numpy(), sigma.numpy(), t.numpy()))
    gaps = (times ** (1 / rho)).diff()
    torch.testing.assert_close(gaps, gaps.mean().expand(7), rtol=2e-4, atol=0)


def test_vp_time_refuses_rates_that_do_not_grow():
    with pytest.raises(ValueError, match=r"beta_min is 20.0 and beta_max 20.0"):
        vp_time(5, beta_min=20.0)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"steps": 0}, ValueError, "steps is 0"),
        ({"steps": 5.0}, TypeError, "steps is 5.0"),
        ({"steps": True}, TypeError, "steps is True"),
        ({"steps": 5, "sigma_min": 0.0}, ValueError, "sigma_min is 0.0"),
        ({"steps": 5, "sigma_min": -1.0}, ValueError, "sigma_min is -1.0"),
        ({"steps": 5, "sigma_max": math.nan}, ValueError, "sigma_max is nan"),
        ({"steps": 5, "sigma_min": 2.0, "sigma_max": 1.0}, ValueError, "must be the lower"),
        ({"steps": 5, "final": "zer"}, ValueError, "Did you mean 'zero'"),
    ],
)
def test_schedules_refuse(name, options, error, message):
    with pytest.raises(error, match=message):
        SCHEDULES[name](**options)


def test_other_errors():
    with pytest.raises(ValueError, match="rho is 0"):
        karras(5, rho=0)
    with pytest.raises(ValueError, match="shift is -1"):
        flow_shift(5, shift=-1)
    with pytest.raises(ValueError, match="strictly decrease"):
        karras(10, 1.0, 1.0 + 4e-16)
    with pytest.raises(ValueError, match="Did you mean 'trailing'"):
        from_alphas_cumprod(alphas(), 5, "trailin")
    with pytest.raises(ValueError, match="zero terminal SNR"):
        from_alphas_cumprod(torch.tensor([0.9, 0.5, 0.0]), 2)
    with pytest.raises(ValueError, match=r"alphas_cumprod\[1\] is 0.5"):
        from_alphas_cumprod(torch.tensor([0.9, 0.5, 0.6]), 2)
    with pytest.raises(ValueError, match="one dimension"):
        from_alphas_cumprod(torch.rand(3, 3), 2)


# --- the schedules of ComfyUI and RES4LYF
#
# Their own code (ComfyUI 0.29.0, comfy/samplers.py; RES4LYF 1.1.0, sigmas.py) was run once for the
# values below: SD is ModelSamplingDiscrete(), FLOW is ModelSamplingDiscreteFlow() of shift 3.

SD = {
    "simple": [14.6146412, 5.0877633, 2.2764630, 1.1605784, 0.5692849],
    "sgm_uniform": [14.6146402, 5.0924082, 2.2797306, 1.1628646, 0.5711889],
    "beta": [14.6146412, 7.3718443, 2.6152358, 1.0273293, 0.3955097],
}
FLOW = {
    ("simple", 5): [1.0, 0.923076928, 0.818181813, 0.666666687, 0.428571433, 0.0],
    ("sgm_uniform", 6): [
        1.0, 0.937710524, 0.857692361, 0.751121104, 0.602150559, 0.379194617, 0.0,
    ],
    ("linear_quadratic", 6): [
        1.0, 0.991666675, 0.983333349, 0.975, 0.861111104, 0.536111116, 0.0,
    ],
    ("bong_tangent", 6): [
        1.0, 0.928970098, 0.797685921, 0.5, 0.185600728, 0.056802183, 0.0,
    ],
}  # fmt: skip
BETA_INDICES = [999, 876, 637, 362, 123]
"""Of "beta" in 5 steps, in a table of 1000 levels."""


@pytest.mark.parametrize("spacing", SD)
def test_spacings_are_comfyuis(spacing):
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    levels = from_alphas_cumprod((1 - betas).cumprod(0), 5, spacing, final="zero")
    torch.testing.assert_close(levels, torch.tensor([*SD[spacing], 0]).double(), rtol=1e-5, atol=0)


@pytest.mark.parametrize(("name", "steps"), FLOW)
def test_flow_schedules_are_comfyuis(name, steps):
    """A flow from t = 1 to 0, in VE coordinates and back."""
    lowest = 3 / 1002  # of its table, shifted; sgm_uniform shifts it again
    shift = {"shift": 3.0} if name in ("simple", "sgm_uniform") else {}
    ve = SCHEDULES[name](steps, 3 * lowest / (1 - lowest), 1e12, final="zero", **shift)
    theirs = torch.tensor(FLOW[name, steps], dtype=torch.float64)
    torch.testing.assert_close(ve / (1 + ve), theirs, rtol=0, atol=1e-6)


def test_beta_is_comfyuis_before_it_is_rounded():
    ve = beta(5, 0.01, 1e12, shift=3.0, final="zero")
    before = ve / (3 + ve)
    assert (before[:-1] * 999).round().tolist() == BETA_INDICES


def test_kl_optimal_is_comfyuis():
    """Its formula in float32 for the levels of SD in 5 steps."""
    levels = kl_optimal(5, 0.0291671582, 14.6146411896, final="zero")
    theirs = torch.tensor([14.6146326, 2.1427414, 0.9615880, 0.4198362, 0.0291672, 0]).double()
    torch.testing.assert_close(levels, theirs, rtol=1e-5, atol=0)
    twice = kl_optimal(5, 2 * 0.0291671582, 2 * 14.6146411896, sigma_data=2.0, final="zero")
    torch.testing.assert_close(twice, 2 * levels)


def test_beta_quantiles_are_those_of_the_distribution():
    """The distribution function, by the trapezoidal rule after x = sin(v)^2, at the quantiles."""
    v = torch.linspace(0, math.pi / 2, 2_000_001, dtype=torch.float64)
    density = 2 * v.sin() ** (2 * 0.5 - 1) * v.cos() ** (2 * 0.7 - 1)
    mass = torch.cat([v.new_zeros(1), torch.cumulative_trapezoid(density, v)])
    ve = beta(8, 0.01, 1e12, alpha=0.5, beta=0.7, final="zero")
    x = (ve / (1 + ve))[1:-1]
    found = np.interp(x.sqrt().asin().numpy(), v.numpy(), (mass / mass[-1]).numpy())
    np.testing.assert_allclose(found, [7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8], atol=1e-5)


def test_the_end_is_one_of_simples_levels():
    assert torch.equal(simple(7, final="sigma_min"), simple(7))
    torch.testing.assert_close(simple(7, shift=3.0), flow_shift(7, shift=3.0))
    times = simple(4, 0.002, 1e12, final="zero")
    torch.testing.assert_close(times / (1 + times), torch.tensor([1, 0.75, 0.5, 0.25, 0]).double())


def test_without_scipy_the_beta_schedule_says_what_it_needs(monkeypatch):
    for module in ("scipy", "scipy.special"):
        monkeypatch.setitem(sys.modules, module, None)
    for call in (lambda: beta(5), lambda: from_alphas_cumprod(alphas(), 5, "beta")):
        with pytest.raises(ImportError, match="beta schedule needs scipy: pip install scipy"):
            call()


def test_too_dense_spacings_are_refused():
    with pytest.raises(ValueError, match="beta spacing of 100 time steps is then so dense"):
        from_alphas_cumprod(alphas(100), 60, "beta", "zero")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: linear_quadratic(5, threshold=0.9), r"threshold is 0\.9"),
        (lambda: linear_quadratic(5, threshold=0.0), r"threshold is 0\.0"),
        (lambda: beta(5, alpha=0.0), r"alpha is 0\.0"),
        (lambda: beta(5, beta=-1.0), r"beta is -1\.0"),
        (lambda: simple(5, shift=0.0), r"shift is 0\.0"),
        (lambda: sgm_uniform(5, shift=math.inf), r"shift is inf"),
        (lambda: kl_optimal(5, sigma_data=0.0), r"sigma_data is 0\.0"),
    ],
)
def test_options_out_of_range_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_level_before_the_last_can_be_left_out() -> None:
    whole = karras(6, 0.1, 10.0, final="zero")
    short = without_penultimate(whole)
    assert short.tolist() == [*whole[:5].tolist(), 0.0]
    assert short.dtype == torch.float64
    assert without_penultimate([3.0, 2.0, 1.0]).tolist() == [3.0, 1.0]
    with pytest.raises(ValueError, match="sigmas has 2 levels; three or more"):
        without_penultimate([3.0, 1.0])
    with pytest.raises(ValueError, match="strictly decrease"):
        without_penultimate([1.0, 2.0, 3.0])
