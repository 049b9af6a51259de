"""A stand-in for the parts of ComfyUI that the nodes touch, and a way to put the real one in.

Written from ComfyUI's interface (comfy/samplers.py, model_sampling.py, model_management.py and
k_diffusion/sampling.py of version 0.29.0, and cfgpp_ud10_ab of 0.35), none of it copied: same
names, arguments and meaning, nothing else. Samplers that the nodes know by name only do not sample
here. `Model` and `Guider` are the tests' own and take the place of BaseModel and CFGGuider,
whichever `comfy` is in use.

With STEINDIFF_COMFYUI=/path/to/ComfyUI in the environment, and what ComfyUI needs installed, the
same tests run against that ComfyUI.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import math
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

PACKAGE = Path(__file__).parents[2] / "comfyui"

_NAMES = """
    euler euler_cfg_pp euler_ancestral euler_ancestral_cfg_pp heun heunpp2 exp_heun_2_x0
    exp_heun_2_x0_sde dpm_2 dpm_2_ancestral lms dpm_fast dpm_adaptive dpmpp_2s_ancestral
    dpmpp_2s_ancestral_cfg_pp dpmpp_sde dpmpp_sde_gpu dpmpp_2m dpmpp_2m_cfg_pp dpmpp_2m_sde
    dpmpp_2m_sde_gpu dpmpp_2m_sde_heun dpmpp_2m_sde_heun_gpu dpmpp_3m_sde dpmpp_3m_sde_gpu ddpm
    lcm ipndm ipndm_v deis cfgpp_ud10_ab res_multistep res_multistep_cfg_pp
    res_multistep_ancestral res_multistep_ancestral_cfg_pp gradient_estimation
    gradient_estimation_cfg_pp er_sde seeds_2 seeds_3 sa_solver sa_solver_pece ddim uni_pc
    uni_pc_bh2
"""
SAMPLER_NAMES = _NAMES.split()
"""Those of KSamplerSelect in 0.35; 0.29 has no cfgpp_ud10_ab."""


@contextlib.contextmanager
def installed() -> Iterator[Any]:
    """ComfyUI in sys.modules for as long as it lasts; yields its modules as attributes."""
    before = {name: module for name, module in sys.modules.items() if _is_comfy(name)}
    for name in before:
        del sys.modules[name]
    real = os.environ.get("STEINDIFF_COMFYUI")
    try:
        if real:
            _install_real(real)
        else:
            sys.modules.update(_modules())
        yield importlib.import_module("comfy")
    finally:
        for name in [name for name in sys.modules if _is_comfy(name)]:
            del sys.modules[name]
        sys.modules.update(before)
        if real:
            sys.path.remove(real)


def load_package(folder: Path = PACKAGE) -> Any:
    """The node package, imported as ComfyUI does: by its path, under its path as its name."""
    name = str(folder).replace(".", "_x_")
    spec = importlib.util.spec_from_file_location(name, folder / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


class Model:
    """BaseModel with a network made of a known D, in the parametrisation of its model_sampling.

    Args:
        sampling: an instance of a model_sampling class.
        denoise: D(x, sigma (B,)), in the coordinates of the sampling.
    """

    def __init__(self, sampling: Any, denoise: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.model_sampling, self.denoise = sampling, denoise

    def apply_model(self, x: Tensor, sigma: Tensor) -> Tensor:
        """From the network's output to the denoised image, by ComfyUI's formulas."""
        kind, sampling = type(self.model_sampling).__mro__[1].__name__, self.model_sampling
        sampling.calculate_input(sigma, x)  # what the network would be given
        level = sigma.reshape(-1, *[1] * (x.ndim - 1))
        clean = self.denoise(x, sigma)
        if kind == "V_PREDICTION":
            output = (x / (1 + level**2) - clean) * (1 + level**2).sqrt() / level
        else:
            output = (x - clean) / level
        return sampling.calculate_denoised(sigma, output, x)

    def scale_latent_inpaint(
        self, sigma: Tensor, noise: Tensor, latent_image: Tensor, **_: Any
    ) -> Tensor:
        """The known image with the noise of `sigma` on it."""
        level = sigma.reshape(-1, *[1] * (noise.ndim - 1))
        return self.model_sampling.noise_scaling(level, noise, latent_image)


class Guider:
    """CFGGuider without guidance: what KSAMPLER gets as model_wrap. Notes its calls' levels."""

    cfg = 1.0

    def __init__(self, model: Model) -> None:
        self.inner_model = model
        self.model_patcher = Patcher(model)  # newer versions log the model's class
        self.levels: list[float] = []

    def __call__(
        self, x: Tensor, sigma: Tensor, model_options: Any = None, seed: int | None = None
    ) -> Tensor:
        self.levels.append(float(sigma[0]))
        return self.inner_model.apply_model(x, sigma)


def model_sampling(comfy: Any, kind: str, sigma_max: float) -> Any:
    """A model_sampling of that kind, put together from two classes as ComfyUI does."""

    class Levels(torch.nn.Module):
        sigma_data = 1.0

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("sigma_max", torch.tensor(sigma_max))
            self.register_buffer("sigma_min", torch.tensor(0.03))

        def percent_to_sigma(self, percent: float) -> float:
            return sigma_max * (1 - percent)

    return type("ModelSampling", (getattr(comfy.model_sampling, kind), Levels), {})()


class Patcher:
    """MODEL: what nodes hand on."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def get_model_object(self, name: str) -> Any:
        """A part of the model by name."""
        return getattr(self.model, name)


def _is_comfy(name: str) -> bool:
    return name == "comfy" or name.startswith("comfy.")


def _install_real(path: str) -> None:
    sys.path.insert(0, path)
    importlib.import_module("comfy.cli_args").args.cpu = True
    for name in ("samplers", "model_sampling", "model_management"):
        importlib.import_module(f"comfy.{name}")


def _modules() -> dict[str, ModuleType]:
    modules = {
        "comfy": {},
        "comfy.samplers": {
            "Sampler": Sampler,
            "KSAMPLER": KSAMPLER,
            "KSamplerX0Inpaint": KSamplerX0Inpaint,
            "sampler_object": sampler_object,
            "ksampler": ksampler,
            "SAMPLER_NAMES": SAMPLER_NAMES,
        },
        "comfy.k_diffusion": {},
        "comfy.k_diffusion.sampling": {"offset_first_sigma_for_snr": offset_first_sigma_for_snr},
        "comfy.model_sampling": {"EPS": EPS, "V_PREDICTION": V_PREDICTION, "CONST": CONST},
        "comfy.model_management": _interrupts(),
    }
    found = {name: ModuleType(name) for name in modules}
    for name, content in modules.items():
        vars(found[name]).update(content)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(found[parent], child, found[name])
    found["comfy"].__path__ = []
    return found


def _levels(sigma: Tensor, dimensions: int) -> Tensor:
    return sigma.reshape(()) if sigma.numel() == 1 else sigma.reshape(-1, *[1] * (dimensions - 1))


class EPS:
    """The network predicts noise; states are x0 + sigma eps."""

    sigma_data: float

    def calculate_input(self, sigma: Tensor, noise: Tensor) -> Tensor:
        return noise / torch.hypot(
            _levels(sigma, noise.ndim), torch.as_tensor(self.sigma_data, dtype=noise.dtype)
        )

    def calculate_denoised(
        self, sigma: Tensor, model_output: Tensor, model_input: Tensor
    ) -> Tensor:
        return model_input - _levels(sigma, model_input.ndim) * model_output

    def noise_scaling(
        self, sigma: Tensor, noise: Tensor, latent_image: Tensor, max_denoise: bool = False
    ) -> Tensor:
        level = _levels(sigma, noise.ndim)
        return latent_image + noise * ((1 + level**2).sqrt() if max_denoise else level)

    def inverse_noise_scaling(self, sigma: Tensor, latent: Tensor) -> Tensor:
        return latent


class V_PREDICTION(EPS):  # noqa: N801
    """The network predicts v."""

    def calculate_denoised(
        self, sigma: Tensor, model_output: Tensor, model_input: Tensor
    ) -> Tensor:
        level, data = _levels(sigma, model_input.ndim), self.sigma_data
        total = level**2 + data**2
        return model_input * data**2 / total - model_output * level * data / total.sqrt()


class CONST:
    """The network predicts the velocity; states are (1 - sigma) x0 + sigma eps."""

    def calculate_input(self, sigma: Tensor, noise: Tensor) -> Tensor:
        return noise

    def calculate_denoised(
        self, sigma: Tensor, model_output: Tensor, model_input: Tensor
    ) -> Tensor:
        return model_input - _levels(sigma, model_input.ndim) * model_output

    def noise_scaling(
        self, sigma: Tensor, noise: Tensor, latent_image: Tensor, max_denoise: bool = False
    ) -> Tensor:
        level = _levels(sigma, noise.ndim)
        return level * noise + (1 - level) * latent_image

    def inverse_noise_scaling(self, sigma: Tensor, latent: Tensor) -> Tensor:
        return latent / (1 - _levels(sigma, latent.ndim))


class KSamplerX0Inpaint:
    """The model that a sampler function gets: writes what is known into input and output."""

    latent_image: Tensor
    noise: Tensor

    def __init__(self, model: Any, sigmas: Tensor) -> None:
        self.inner_model, self.sigmas = model, sigmas

    def __call__(
        self,
        x: Tensor,
        sigma: Tensor,
        denoise_mask: Tensor | None,
        model_options: Any = None,
        seed: int | None = None,
    ) -> Tensor:
        options = model_options or {}
        if denoise_mask is None:
            return self.inner_model(x, sigma, model_options=options, seed=seed)
        if "denoise_mask_function" in options:
            told = {"model": self.inner_model, "sigmas": self.sigmas}
            denoise_mask = options["denoise_mask_function"](sigma, denoise_mask, extra_options=told)
            assert denoise_mask is not None
        known = self.inner_model.inner_model.scale_latent_inpaint(
            x=x, sigma=sigma, noise=self.noise, latent_image=self.latent_image
        )
        mixed = denoise_mask * x + (1 - denoise_mask) * known
        denoised = self.inner_model(mixed, sigma, model_options=options, seed=seed)
        return denoise_mask * denoised + (1 - denoise_mask) * self.latent_image


class Sampler:
    """The base of all samplers."""

    def max_denoise(self, model_wrap: Any, sigmas: Tensor) -> bool:
        top, first = float(model_wrap.inner_model.model_sampling.sigma_max), float(sigmas[0])
        return first > top or math.isclose(first, top, rel_tol=1e-5)


class KSAMPLER(Sampler):
    """A SAMPLER: scales the noise, wraps the model, calls the function, undoes the scale."""

    def __init__(
        self, sampler_function: Any, extra_options: Any = None, inpaint_options: Any = None
    ) -> None:
        self.sampler_function = sampler_function
        self.extra_options, self.inpaint_options = extra_options or {}, inpaint_options or {}

    def sample(
        self,
        model_wrap: Any,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Callable[[int, Tensor, Tensor, int], None] | None,
        noise: Tensor,
        latent_image: Tensor,
        denoise_mask: Tensor | None = None,
        disable_pbar: bool = False,
    ) -> Tensor:
        extra_args["denoise_mask"] = denoise_mask
        model = KSamplerX0Inpaint(model_wrap, sigmas)
        model.latent_image, model.noise = latent_image, noise
        if self.inpaint_options.get("random"):
            generator = torch.manual_seed(extra_args.get("seed", 41) + 1)
            model.noise = torch.randn(noise.shape, generator=generator).to(noise)
        sampling, steps = model_wrap.inner_model.model_sampling, len(sigmas) - 1
        start = sampling.noise_scaling(
            sigmas[0], noise, latent_image, self.max_denoise(model_wrap, sigmas)
        )

        def tell(step: dict[str, Any]) -> None:
            if callback is not None:
                callback(step["i"], step["denoised"], step["x"], steps)

        samples = self.sampler_function(
            model,
            start,
            sigmas,
            extra_args=extra_args,
            callback=tell,
            disable=disable_pbar,
            **self.extra_options,
        )
        return sampling.inverse_noise_scaling(sigmas[-1], samples)


def sampler_object(name: str) -> KSAMPLER:
    """The SAMPLER of a name in KSamplerSelect."""
    if name == "ddim":
        return KSAMPLER(_function("sample_euler"), {}, {"random": True})
    other = {
        "uni_pc": ("sample_unipc", "comfy.extra_samplers.uni_pc"),
        "uni_pc_bh2": ("sample_unipc_bh2", "comfy.extra_samplers.uni_pc"),
        "dpm_fast": ("dpm_fast_function", "comfy.samplers"),
        "dpm_adaptive": ("dpm_adaptive_function", "comfy.samplers"),
    }
    return KSAMPLER(_function(*other.get(name, (f"sample_{name}",))))


def ksampler(name: str, extra_options: Any = None, inpaint_options: Any = None) -> KSAMPLER:
    """The SAMPLER of a name, with options of its function."""
    return KSAMPLER(_function(f"sample_{name}"), extra_options, inpaint_options)


def offset_first_sigma_for_snr(sigmas: Tensor, model_sampling: Any) -> Tensor:
    """A flow's levels, of which the first has a log-SNR."""
    percent_to_sigma = model_sampling.percent_to_sigma
    if not isinstance(model_sampling, CONST) or sigmas[0] < 1:
        return sigmas
    first = torch.as_tensor(percent_to_sigma(1e-4)).to(sigmas)
    return torch.cat([first.reshape(1), sigmas[1:]])


def _function(name: str, module: str = "comfy.k_diffusion.sampling") -> Any:
    """A sampler function under its name and its module's."""
    rule = _RULES.get(name)

    def sample(
        model: Any,
        x: Tensor,
        sigmas: Tensor,
        extra_args: Any = None,
        callback: Any = None,
        disable: Any = None,
        **options: Any,
    ) -> Tensor:
        if name == "sample_er_sde":
            return _er_sde(model, x, sigmas, extra_args or {}, callback, **options)
        if rule is None:
            raise NotImplementedError(f"{name} is a name only in this stand-in")
        return _run(partial(rule, **options), model, x, sigmas, extra_args or {}, callback)

    sample.__name__, sample.__module__ = name, module
    return sample


def _run(
    rule: Any, model: Any, x: Tensor, sigmas: Tensor, extra_args: Any, callback: Any
) -> Tensor:
    past: list[tuple[float, Tensor, Tensor]] = []
    ones = x.new_ones(len(x))
    for i, (sigma, after) in enumerate(zip(sigmas.tolist(), sigmas[1:].tolist(), strict=False)):

        def denoise(z: Tensor, level: float) -> Tensor:
            return model(z, level * ones, **extra_args)

        denoised = denoise(x, sigma)
        if callback is not None:
            callback({"x": x, "i": i, "denoised": denoised, "sigma": sigma, "sigma_hat": sigma})
        past.insert(0, (sigma, denoised, (x - denoised) / sigma))
        x = denoised if after == 0 else rule(denoise, x, past, after)
    return x


def _er_sde(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: Any,
    callback: Any,
    s_noise: float,
    noise_scaler: Any,
    max_stage: int,
) -> Tensor:
    """ER-SDE with the noise scaler of its ODE, in sigma/alpha, whose noise is of no strength."""
    sampling = model.inner_model.model_patcher.get_model_object("model_sampling")
    sigmas = offset_first_sigma_for_snr(sigmas, sampling)
    flow = isinstance(sampling, CONST)
    ve = (sigmas / (1 - sigmas) if flow else sigmas).tolist()
    past: list[Tensor] = []
    slopes: list[Tensor] = []
    for i, sigma in enumerate(sigmas[:-1]):
        denoised = model(x, sigma * x.new_ones(len(x)), **extra_args)
        if callback is not None:
            callback({"x": x, "i": i, "denoised": denoised, "sigma": sigma, "sigma_hat": sigma})
        past.insert(0, denoised)
        if sigmas[i + 1] == 0:
            return denoised
        here, there, alpha = ve[i], ve[i + 1], float(sigmas[i + 1]) / ve[i + 1]
        r = noise_scaler(there) / noise_scaler(here)
        x = alpha * ve[i] / float(sigma) * r * x + alpha * (1 - r) * denoised
        points = there + (here - there) / 200 * torch.arange(200.0)
        weights = noise_scaler(there) * (here - there) / 200 / noise_scaler(points)
        if min(max_stage, i + 1) >= 2:
            slopes.insert(0, (past[0] - past[1]) / (here - ve[i - 1]))
            x = x + alpha * (there - here + float(weights.sum())) * slopes[0]
        if min(max_stage, i + 1) >= 3:
            bend = (slopes[0] - slopes[1]) / ((here - ve[i - 2]) / 2)
            moved = float((weights * (points - here)).sum())
            x = x + alpha * ((there - here) ** 2 / 2 + moved) * bend
    return x


def _euler(denoise: Any, x: Tensor, past: Any, after: float) -> Tensor:
    sigma, _, slope = past[0]
    return x + (after - sigma) * slope


def _heun(denoise: Any, x: Tensor, past: Any, after: float) -> Tensor:
    sigma, _, slope = past[0]
    ahead = x + (after - sigma) * slope
    return x + (after - sigma) * (slope + (ahead - denoise(ahead, after)) / after) / 2


def _dpmpp_2m(denoise: Any, x: Tensor, past: Any, after: float) -> Tensor:
    sigma, target, _ = past[0]
    if len(past) > 1:
        share = math.log(sigma / after) / math.log(past[1][0] / sigma) / 2
        target = (1 + share) * target - share * past[1][1]
    return target + after / sigma * (x - target)


def _ipndm(denoise: Any, x: Tensor, past: Any, after: float, max_order: int = 4) -> Tensor:
    order = min(len(past), max_order)
    weights = ((1,), (3, -1), (23, -16, 5), (55, -59, 37, -9))[order - 1]
    slope = sum(weight * entry[2] for weight, entry in zip(weights, past, strict=False))
    return x + (after - past[0][0]) * slope / sum(weights)


def _res_multistep(denoise: Any, x: Tensor, past: Any, after: float) -> Tensor:
    sigma, denoised, _ = past[0]
    if len(past) == 1:
        return _euler(denoise, x, past, after)
    h = math.log(sigma / after)
    phi_1 = -math.expm1(-h) / h
    weight = (phi_1 - 1) / -h / (-math.log(past[1][0] / sigma) / h)
    mixed = (phi_1 - weight) * denoised + weight * past[1][1]
    return math.exp(-h) * x + h * mixed


def _gradient_estimation(
    denoise: Any, x: Tensor, past: Any, after: float, ge_gamma: float = 2.0
) -> Tensor:
    sigma, _, slope = past[0]
    if len(past) > 1:
        slope = slope + (ge_gamma - 1) * (slope - past[1][2])
    return x + (after - sigma) * slope


def _lms(denoise: Any, x: Tensor, past: Any, after: float, order: int = 4) -> Tensor:
    """The polynomial through the last slopes, integrated exactly."""
    known = past[:order]
    powers = torch.arange(len(known), dtype=torch.float64)
    levels = torch.tensor([entry[0] for entry in known], dtype=torch.float64)
    rises = (after ** (powers + 1) - levels[0] ** (powers + 1)) / (powers + 1)
    weights = torch.linalg.solve(levels[None] ** powers[:, None], rises).tolist()
    return x + sum(weight * entry[2] for weight, entry in zip(weights, known, strict=True))


_RULES: dict[str, Any] = {
    "sample_euler": _euler,
    "sample_heun": _heun,
    "sample_dpmpp_2m": _dpmpp_2m,
    "sample_ipndm": _ipndm,
    "sample_lms": _lms,
    "sample_res_multistep": _res_multistep,
    "sample_gradient_estimation": _gradient_estimation,
}


def _interrupts() -> dict[str, Any]:
    """A flag that stops the sampling at the next look, and is taken down by it."""
    wanted = [False]

    class InterruptProcessingException(Exception):  # noqa: N818
        pass

    def interrupt_current_processing(value: bool = True) -> None:
        wanted[0] = value

    def throw_exception_if_processing_interrupted() -> None:
        if wanted[0]:
            wanted[0] = False
            raise InterruptProcessingException

    return {
        "InterruptProcessingException": InterruptProcessingException,
        "interrupt_current_processing": interrupt_current_processing,
        "throw_exception_if_processing_interrupted": throw_exception_if_processing_interrupted,
    }
