import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steindiff.levels import PREDICTIONS, NoiseLevel, denoised_from, prediction_from

LEVELS = {
    "ve": NoiseLevel.ve(3.0),
    "vp": NoiseLevel.vp(0.3),
    "vp_from_ve": NoiseLevel.vp_from_ve(0.7),
    "flow": NoiseLevel.flow(0.4),
    "flow_from_ve": NoiseLevel.flow_from_ve(12.0),
    "any": NoiseLevel(0.8, 2.5),
    "per sample": NoiseLevel(torch.tensor([0.5, 0.9]), torch.tensor([0.1, 4.0])),
}


def pair(dtype=torch.float64):
    torch.manual_seed(0)
    return torch.randn(2, 3, 4, 4, dtype=dtype), torch.randn(2, 3, 4, 4, dtype=dtype)


def image(value):
    return value.double()[:, None, None, None] if isinstance(value, torch.Tensor) else value


@pytest.mark.parametrize("level", LEVELS.values(), ids=LEVELS)
def test_every_kind_gives_back_the_clean_sample(level):
    clean, noise = pair()
    alpha, sigma = image(level.alpha), image(level.sigma)
    x = alpha * clean + sigma * noise
    outputs = {
        "epsilon": noise,
        "v": alpha * noise - sigma * clean,
        "sample": clean,
        "flow": noise - clean,
    }
    assert set(outputs) == set(PREDICTIONS)
    for kind, output in outputs.items():
        torch.testing.assert_close(denoised_from(output, x, level, kind), clean)
        torch.testing.assert_close(prediction_from(clean, x, level, kind), output)


@settings(max_examples=40, deadline=None)
@given(
    st.floats(0.01, 1),
    st.floats(0.01, 100),
    st.sampled_from(PREDICTIONS),
)
def test_round_trip(alpha, sigma, kind):
    output, x = pair()
    level = NoiseLevel(alpha, sigma)
    back = prediction_from(denoised_from(output, x, level, kind), x, level, kind)
    torch.testing.assert_close(back, output, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("sigma", [1e-3, 0.5, 1.0, 80.0, torch.tensor([0.2, 9.0])])
def test_the_same_sample_in_all_coordinates(sigma):
    clean, noise = pair()
    ve, vp, flow = (
        NoiseLevel.ve(sigma),
        NoiseLevel.vp_from_ve(sigma),
        NoiseLevel.flow_from_ve(sigma),
    )
    x = clean + image(sigma) * noise
    x_vp = vp.from_ve(ve.to_ve(x))
    torch.testing.assert_close(x_vp, image(vp.alpha) * clean + image(vp.sigma) * noise)
    x_flow = flow.from_ve(vp.to_ve(x_vp))
    torch.testing.assert_close(x_flow, image(flow.alpha) * clean + image(flow.sigma) * noise)
    torch.testing.assert_close(ve.from_ve(flow.to_ve(x_flow)), x)
    expected = 2 * torch.as_tensor(1 / torch.as_tensor(sigma)).log().double()
    for level in (ve, vp, flow):
        torch.testing.assert_close(
            torch.as_tensor(level.ve_sigma).double(), torch.as_tensor(sigma).double()
        )
        torch.testing.assert_close(torch.as_tensor(level.log_snr).double(), expected)


def test_vp_and_flow_meet_their_definitions():
    vp, flow = NoiseLevel.vp(0.36), NoiseLevel.flow(0.25)
    assert (vp.alpha, vp.sigma) == pytest.approx((0.6, 0.8))
    assert (flow.alpha, flow.sigma) == (0.75, 0.25)


def test_pure_signal_and_pure_noise():
    assert NoiseLevel.flow(1.0).ve_sigma == math.inf
    assert NoiseLevel.flow(1.0).log_snr == -math.inf
    assert NoiseLevel.ve(0.0).log_snr == math.inf
    clean, noise = pair()
    start = NoiseLevel.flow(1.0)
    torch.testing.assert_close(denoised_from(noise - clean, noise, start, "flow"), clean)
    torch.testing.assert_close(denoised_from(-clean, noise, NoiseLevel.vp(0.0), "v"), clean)


@pytest.mark.parametrize(
    ("kind", "theirs"),
    [("epsilon", "epsilon"), ("v", "v_prediction"), ("sample", "sample")],
)
def test_agreement_with_ddim(kind, theirs):
    scheduler = pytest.importorskip("diffusers").DDIMScheduler(
        prediction_type=theirs, clip_sample=False
    )
    scheduler.set_timesteps(10)
    output, x = pair()
    expected = scheduler.step(output, 500, x, return_dict=False)[1]
    level = NoiseLevel.vp(scheduler.alphas_cumprod[500].double())
    torch.testing.assert_close(
        denoised_from(output, x, level, kind), expected, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    ("kind", "theirs"),
    [
        ("epsilon", "epsilon"),
        ("v", "v_prediction"),
        ("sample", "sample"),
        ("flow", "flow_prediction"),
    ],
)
def test_agreement_with_dpm_solver(kind, theirs):
    flow = kind == "flow"
    scheduler = pytest.importorskip("diffusers").DPMSolverMultistepScheduler(
        prediction_type=theirs, use_flow_sigmas=flow
    )
    scheduler.set_timesteps(10)
    scheduler._init_step_index(scheduler.timesteps[4])
    output, x = pair()
    expected = scheduler.convert_model_output(output, sample=x)
    sigma = scheduler.sigmas[4].double()
    level = NoiseLevel.flow(sigma) if flow else NoiseLevel.vp_from_ve(sigma)
    torch.testing.assert_close(
        denoised_from(output, x, level, kind), expected, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_is_kept(dtype):
    output, x = pair(dtype)
    level = NoiseLevel.vp(torch.tensor([0.2, 0.6], dtype=torch.float64))
    for kind in PREDICTIONS:
        assert denoised_from(output, x, level, kind).dtype == dtype
        assert prediction_from(output, x, level, kind).dtype == dtype
    assert level.to_ve(x).dtype == level.from_ve(x).dtype == dtype


def test_errors():
    x = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="Did you mean 'epsilon'"):
        denoised_from(x, x, NoiseLevel.ve(1.0), "epsilom")
    with pytest.raises(ValueError, match="same shape"):
        denoised_from(x[:1], x, NoiseLevel.ve(1.0), "v")
    with pytest.raises(ValueError, match=r"alpha is 0\.0"):
        denoised_from(x, x, NoiseLevel.flow(1.0), "epsilon")
    with pytest.raises(ValueError, match="alpha is tensor"):
        denoised_from(x, x, NoiseLevel.flow(torch.tensor([0.5, 1.0])), "epsilon")
    with pytest.raises(ValueError, match=r"sigma is 0\.0"):
        prediction_from(x, x, NoiseLevel.ve(0.0), "v")
    with pytest.raises(ValueError, match="no VE coordinates"):
        NoiseLevel.flow(1.0).to_ve(x)
    with pytest.raises(ValueError, match="no VE coordinates"):
        NoiseLevel.vp(0.0).from_ve(x)
    with pytest.raises(ValueError, match=r"the level has shape \(3,\)"):
        NoiseLevel.ve(torch.ones(3)).to_ve(x)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: NoiseLevel.ve(-1.0), "sigma is -1.0"),
        (lambda: NoiseLevel.ve(math.nan), "sigma is nan"),
        (lambda: NoiseLevel.ve(torch.tensor([1.0, math.inf])), "sigma is tensor"),
        (lambda: NoiseLevel(-0.1, 1.0), "alpha is -0.1"),
        (lambda: NoiseLevel(0.0, 0.0), "both 0"),
        (lambda: NoiseLevel.vp(1.2), "alpha_cumprod is 1.2; finite values from 0 to 1"),
        (lambda: NoiseLevel.flow(1.01), "t is 1.01"),
        (lambda: NoiseLevel.vp_from_ve(-2.0), "sigma_ve is -2.0"),
        (lambda: NoiseLevel.flow_from_ve(math.inf), "sigma_ve is inf"),
    ],
)
def test_impossible_levels(build, message):
    with pytest.raises(ValueError, match=message):
        build()
