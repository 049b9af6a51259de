"""`SteinScheduler`: our own solvers as a scheduler of diffusers."""

from __future__ import annotations

import copy
import inspect
import json
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers, SchedulerMixin
from diffusers.utils.outputs import BaseOutput
from torch import Tensor

from ...._errors import check_batch, non_finite_samples, require_finite
from ....calibrated import Calibrated, load_calibration
from ....composition import AUTO, compose
from ....solvers import Euler, Solver
from ....stein import Record
from ....tuning import load_tuned, read_recipe, write_recipe
from ..timesteps import index_in_memory
from ..turns import LOCK, Turns
from .base import Levels, ModelCall, check_schedule, plan
from .models import VP, make_model
from .replay import Replay, make_solver, relaxed_solver
from .source import options_of
from .tuned import Guided, network_of

_BELONGING = {
    "solver": ("solver_options", "calibration"),
    "coefficient": ("coefficient_options", "end"),
    "schedule": ("schedule_options",),
}
"""What means nothing beside another solver, coefficient or schedule."""


@dataclass
class SteinSchedulerOutput(BaseOutput):
    """What `SteinScheduler.step` returns; both (B, *shape).

    Attributes:
        prev_sample: the latents that the model is to see next.
        pred_original_sample: D, the model's estimate of the clean latents.
    """

    prev_sample: Tensor
    pred_original_sample: Tensor | None = None


class SteinScheduler(SchedulerMixin, ConfigMixin):
    """Samples with a solver of `steindiff.solvers`, relaxed by a coefficient of `steindiff.stein`.

    A pipeline calls the model and hands its output to `step`; a solver calls its denoiser. The two
    meet by replay: `step` runs the solver's step on the outputs that it was given since the step
    opened. Where the solver asks for one more, `step` hands out the state that it is asked at.

    "vp" and "edm" models are held in VE coordinates, as `EulerDiscreteScheduler` does; "flow"
    models in their own, x = (1 - t) x0 + t eps. Any dtype: a step computes in float32 at least.

    Args:
        model: "vp", "edm" or "flow".
        num_train_timesteps: of a vp or flow model.
        beta_start: of a vp model, as `EulerDiscreteScheduler` has it.
        beta_end: of a vp model, as `EulerDiscreteScheduler` has it.
        beta_schedule: of a vp model, as `EulerDiscreteScheduler` has it.
        trained_betas: of a vp model, as `EulerDiscreteScheduler` has it.
        rescale_betas_zero_snr: of a vp model, as `EulerDiscreteScheduler` has it.
        prediction_type: "epsilon", "v_prediction" or "sample" (vp); "epsilon" or "v_prediction"
            (edm); "flow_prediction" (flow). None is the first of them.
        sigma_min: of an edm model, as `EDMEulerScheduler` has it.
        sigma_max: of an edm model, as `EDMEulerScheduler` has it.
        sigma_data: of an edm model, as `EDMEulerScheduler` has it.
        shift: of a flow model, as `FlowMatchEulerDiscreteScheduler` has it.
        use_dynamic_shifting: of a flow model, as `FlowMatchEulerDiscreteScheduler` has it.
        base_shift: of a flow model, as `FlowMatchEulerDiscreteScheduler` has it.
        max_shift: of a flow model, as `FlowMatchEulerDiscreteScheduler` has it.
        base_image_seq_len: of a flow model, as `FlowMatchEulerDiscreteScheduler` has it.
        max_image_seq_len: of a flow model, as `FlowMatchEulerDiscreteScheduler` has it.
        shift_terminal: of a flow model, as `FlowMatchEulerDiscreteScheduler` has it.
        time_shift_type: of a flow model, as `FlowMatchEulerDiscreteScheduler` has it.
        solver: a name of `SOLVERS`, "prior", or "calibrated", which takes `calibration`.
        solver_options: of the solver, such as {"order": 2}.
        coefficient: a name of `COEFFICIENTS` that needs no model call, "auto" for
            `steindiff.recipes.COEFFICIENT`, or "none" (None).
        coefficient_options: of the coefficient.
        end: the step into sigma = 0, one of `steindiff.stein.ENDS`; "auto" is
            `steindiff.recipes.END`, and "none" where there is no coefficient.
        schedule: None for the model's own ("trailing", "karras", or the flow's shifted times), or a
            name of `SCHEDULES`, run over the model's range; vp also "leading" and "linspace".
        schedule_options: of a schedule of `SCHEDULES`, such as {"rho": 5.0, "sigma_max": 40.0}.
        final_sigmas_type: "zero", or "sigma_min" to stop at the model's lowest level.
        calibration: the content of a file of `steindiff calibrate`; its levels are the schedule.
        recipe: one of a file of `steindiff tune`, see `from_tuned`: levels, solver, coefficient and
            end are its own.
        record: whether `stein_record` is kept.

    Raises:
        ValueError: an unknown name, an option that there is not, a value that is refused.
        TypeError: an object in place of a name: a config holds what JSON can.
    """

    __module__ = __name__.partition(".stein_scheduler")[0]  # the place that saved pipelines name
    relaxes_itself = True
    _compatibles = [e.name for e in KarrasDiffusionSchedulers]  # noqa: RUF012  (diffusers' own way)
    order = 1

    @register_to_config
    def __init__(
        self,
        model: str = "vp",
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: list[float] | None = None,
        rescale_betas_zero_snr: bool = False,
        prediction_type: str | None = None,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        sigma_data: float = 0.5,
        shift: float = 1.0,
        use_dynamic_shifting: bool = False,
        base_shift: float = 0.5,
        max_shift: float = 1.15,
        base_image_seq_len: int = 256,
        max_image_seq_len: int = 4096,
        shift_terminal: float | None = None,
        time_shift_type: str = "exponential",
        solver: str = "ipndm",
        solver_options: dict[str, Any] | None = None,
        coefficient: str | None = AUTO,
        coefficient_options: dict[str, Any] | None = None,
        end: str = AUTO,
        schedule: str | None = None,
        schedule_options: dict[str, Any] | None = None,
        final_sigmas_type: str = "zero",
        calibration: dict[str, Any] | None = None,
        recipe: dict[str, Any] | None = None,
        record: bool = False,
    ) -> None:
        if prediction_type is None:
            found = "flow_prediction" if model == "flow" else "epsilon"
            self.register_to_config(prediction_type=found)
        self._fixed: tuple[float, ...] | None = None
        self._guided = Guided()
        if recipe is None:
            self._solver = make_solver(solver, solver_options or {}, calibration)
            self._method = relaxed_solver(
                self._solver, coefficient, coefficient_options or {}, end, record
            )
        else:
            plan = read_recipe(recipe)
            self._solver, self._fixed = plan.solver, plan.sigmas
            self._method = compose(plan.solver, plan.coefficient, plan.end, record)
        self.order = self._solver.calls_per_step
        self._model = make_model(self.config, self.order)
        if isinstance(self._model, VP):
            self.alphas_cumprod = self._model.alphas_cumprod  # read by some pipelines
        check_schedule(self._model, schedule, schedule_options or {}, final_sigmas_type)
        if isinstance(self._solver, Calibrated):
            self._fixed = self._solver.levels
        if self._fixed is not None:
            if schedule is not None:
                raise ValueError(f"schedule is {schedule!r}; what was fitted has levels of its own")
            self._model.check(self._fixed)
        if model == "flow" and (schedule is not None or self._fixed is not None):
            # Read by pipelines of the Flux family, which else pass levels of their own.
            self.register_to_config(use_flow_sigmas=True)
        self.num_inference_steps: int | None = None
        self._install(self._model.training(num_train_timesteps), Euler(), None)

    @classmethod
    def from_scheduler(cls, scheduler: Any, **options: Any) -> SteinScheduler:
        """A scheduler for the model that another scheduler is of.

        Taken over are the model (betas, preconditioning, shift, prediction type), the spacing of
        EDM and flow models, and the coefficient and end of a relaxed scheduler. Not taken over are
        the solver, the spacing of a vp model, and clipping or thresholding of the predictions.

        Args:
            scheduler: one of diffusers, relaxed or not, or a `SteinScheduler`.
            **options: arguments of `SteinScheduler`; they go before what is taken over.

        Raises:
            TypeError: no scheduler.
            ValueError: a scheduler of another kind of model; says which there are.
        """
        if isinstance(scheduler, SteinScheduler):
            names = inspect.signature(SteinScheduler).parameters
            found = {name: scheduler.config[name] for name in names}
        else:
            found = options_of(scheduler)
        for name, belongs in _BELONGING.items():
            if name in options:
                found = {key: value for key, value in found.items() if key not in belongs}
        return cls(**{**found, **options})

    @classmethod
    def from_config(
        cls, config: Any = None, return_unused_kwargs: bool = False, **kwargs: Any
    ) -> Any:
        """A scheduler of a `SteinScheduler`'s config; arguments beside it go before it.

        Raises:
            ValueError: the config of another scheduler, which does not say what its model is.
        """
        if isinstance(config, dict) and "model" not in {*config, *kwargs}:
            raise ValueError(
                "config is not that of a SteinScheduler: it has no 'model'. For the model of "
                "another scheduler, use SteinScheduler.from_scheduler(scheduler)"
            )
        return super().from_config(config, return_unused_kwargs, **kwargs)

    @classmethod
    def from_calibration(cls, path: str | Path, scheduler: Any, **options: Any) -> SteinScheduler:
        """The solver of a file of `steindiff calibrate`, for the model of `scheduler`.

        Its levels are the schedule. `coefficient` is None unless given: the fitted scalars do the
        work of the relaxation already (docs/tune.md).

        Raises:
            FileNotFoundError: no such file.
            ValueError: a damaged file, levels that the model does not know, or as `from_scheduler`.
        """
        load_calibration(path)  # checks the whole file
        fixed = {
            "solver": "calibrated",
            "schedule": None,
            "calibration": json.loads(Path(path).read_text(encoding="utf-8")),
        }
        return cls.from_scheduler(scheduler, **{"coefficient": None, **fixed, **options})

    @classmethod
    def from_tuned(
        cls, path: str | Path, scheduler: Any, steps: int | None = None, *,
        guidance: float | None = None, any_model: bool = False, **options: Any,
    ) -> SteinScheduler:  # fmt: skip
        """What `steindiff tune` found, for the model of `scheduler`: `from_tuned(path, pipe)`.

        Of a pipeline, its network is checked here, and its guidance when it samples; a scheduler
        alone shows neither.

        Args:
            path: file of `steindiff tune`.
            scheduler: one of diffusers, or a pipeline, whose scheduler is taken.
            steps: which of the file's numbers of steps; left out, the one that there is.
            guidance: that the pipeline will be called with, where it is known already.
            any_model: whether another network is let pass, with a warning.
            **options: of the model, as for `from_scheduler`.

        Raises:
            TypeError: no path, or a guidance that is no number.
            FileNotFoundError: no such file.
            ValueError: a damaged file, one of another number of steps, guidance or network, levels
                that the model does not know, or as `from_scheduler`.
        """
        plan = load_tuned(path).recipe(steps, any_model)
        plan.check_guidance(guidance)
        own = getattr(scheduler, "scheduler", scheduler)
        plan.check_network(network_of(scheduler))
        fixed = {"recipe": write_recipe(plan), "schedule": None, "calibration": None}
        made = cls.from_scheduler(own, **fixed, **options)
        if own is not scheduler:
            made._guided = Guided(scheduler, plan)
        return made

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
        mu: float | None = None,
    ) -> None:
        """Prepares a sampling: sets `timesteps` and `sigmas`, and forgets the sampling before.

        A solver of two calls a step (Heun) has a timestep for each call; index 2k opens step k.

        Args:
            num_inference_steps: solver steps.
            device: where `timesteps` are to be; the levels stay on the CPU.
            timesteps: custom timesteps, one a step; the final level is added.
            sigmas: custom levels. vp and edm: VE levels, the last included, of which only it may be
                0. flow: times in (0, 1] that are then shifted, one a step; the final 0 is added.
            mu: of a flow model with dynamic shifting: the shift for this image size.

        Raises:
            ValueError: not one way to say the levels, levels that do not decrease, or levels that
                the solver or the model do not know.
        """
        levels = self._levels(_count(num_inference_steps), _floats(timesteps), _floats(sigmas), mu)
        self._guided.check()
        self.num_inference_steps = len(levels.sigmas) - 1
        with LOCK:
            self._install(levels, self._solver, device)

    def _levels(self, steps: int | None, timesteps: Any, sigmas: Any, mu: float | None) -> Levels:
        config: Any = self.config
        given = sigmas if timesteps is None else timesteps
        if mu is not None and config["model"] != "flow":
            raise ValueError(f"mu is {mu}; a {config['model']!r} model has no shift")
        if self._fixed is not None:
            return self._fixed_levels(self._fixed, steps, given)
        final = config["final_sigmas_type"]
        if given is None:
            if steps is None:
                raise ValueError("num_inference_steps, timesteps and sigmas are all None")
            options = config["schedule_options"] or {}
            return self._model.scheduled(steps, config["schedule"], options, final, mu)
        if sigmas is None:
            levels = self._model.given_timesteps(given, final, mu)
        else:
            levels = self._model.given_sigmas(sigmas, timesteps, mu)
        if steps is not None and steps != len(levels.sigmas) - 1:
            raise ValueError(
                f"num_inference_steps is {steps}; the levels given make {len(levels.sigmas) - 1}"
            )
        return levels

    def _fixed_levels(self, fixed: tuple[float, ...], steps: int | None, given: Any) -> Levels:
        count = len(fixed) - 1
        if given is not None:
            raise ValueError("timesteps or sigmas are given; what was fitted has levels of its own")
        if steps not in (None, count):
            raise ValueError(f"num_inference_steps is {steps}; it was fitted for {count} steps")
        return self._model.at(fixed)

    def _install(self, levels: Levels, solver: Solver, device: Any) -> None:
        self._calls = plan(self._model, solver, levels)
        self._replay = Replay(self._method, levels.sigmas)
        self._held = [*(call.held for call in self._calls), levels.held[-1]]
        self.sigmas = torch.tensor(self._held, dtype=torch.float32, device="cpu")
        times = [call.timestep for call in self._calls]
        told = torch.tensor(times, dtype=torch.float32, device="cpu")
        self.timesteps, self._told = told.to(device), told.tolist()
        self._step_index: int | None = None
        self._begin_index: int | None = None
        self._turns = Turns()

    @property
    def init_noise_sigma(self) -> float:
        """What standard normal noise is multiplied by to make the first latents."""
        if self.config["model"] == "flow":
            return 1.0
        sigma = self._calls[0].sigma
        # As upstream: what starts below the highest level holds some of the data's variance.
        whole = self.config["model"] == "vp" and self.config["schedule"] != "leading"
        return sigma if whole else (sigma**2 + 1) ** 0.5

    @property
    def step_index(self) -> int | None:
        """Index of the coming model call in `timesteps`; None before the first."""
        return self._step_index

    @property
    def begin_index(self) -> int | None:
        """Index that the sampling is to begin at, where a pipeline has set it."""
        return self._begin_index

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Sets the index in `timesteps` that the sampling is to begin at."""
        self._begin_index = begin_index

    def index_for_timestep(self, timestep: float | Tensor) -> int:
        """Index of the step that opens at `timestep`.

        An element of `timesteps` itself is known by its place in memory, so that no value has to be
        waited for.

        Raises:
            ValueError: no step opens there.
        """
        known = index_in_memory(timestep, self.timesteps)
        if known is not None:
            return known
        value = float(np.float32(float(timestep)))
        for index, (call, told) in enumerate(zip(self._calls, self._told, strict=True)):
            if call.opens and told == value:
                return index
        raise ValueError(f"timestep is {value:g}; steps open at the values in scheduler.timesteps")

    def _call(self, timestep: float | Tensor, sample: Tensor) -> ModelCall:
        """The model call that is due. Raises ValueError where two threads sample with one."""
        self._turns.check(self, timestep, sample)
        if self._step_index is None:
            begin = self._begin_index
            self._step_index = self.index_for_timestep(timestep) if begin is None else begin
        if not 0 <= self._step_index < len(self._calls):
            raise ValueError(
                f"step {self._step_index} is due, of {len(self._calls)}; call set_timesteps first"
            )
        return self._calls[self._step_index]

    def scale_model_input(self, sample: Tensor, timestep: float | Tensor) -> Tensor:
        """The latents (B, *shape) as the model is to see them."""
        with LOCK:
            scale = self._model.input_scale(self._call(timestep, sample).sigma)
        return sample if scale == 1 else sample * scale

    def step(
        self,
        model_output: Tensor,
        timestep: float | Tensor,
        sample: Tensor,
        generator: torch.Generator | list[torch.Generator] | None = None,
        return_dict: bool = True,
    ) -> SteinSchedulerOutput | tuple[Tensor, Tensor]:
        """Takes the model's output for `sample`, and says which latents it is to see next.

        Args:
            model_output: (B, *shape), guided already.
            timestep: the element of `timesteps` that is due; read in the first call only.
            sample: (B, *shape), the latents that the output is for, not yet scaled.
            generator: not used: all solvers are deterministic.
            return_dict: whether to return a `SteinSchedulerOutput` or a tuple of its fields.

        Returns:
            `prev_sample` in the dtype of `model_output`; `pred_original_sample` in float32 or more.

        Raises:
            ValueError: `set_timesteps` was not called, or the sampling is over; wrong shapes; a
                beginning inside a step, or one that the solver's fitted scalars are not for.
            NonFiniteError: a NaN or an infinity, on the CPU; elsewhere looking for it would wait.
        """
        if self.num_inference_steps is None:
            raise ValueError("num_inference_steps is not known yet; call set_timesteps first")
        with LOCK:
            denoised, following = self._answered(model_output, timestep, sample)
            self._step_index = index = (self._step_index or 0) + 1
            previous = self._model.write(following, self._held[index]).to(model_output.dtype)
            if previous is denoised:  # of two results neither may be the other
                previous = previous.clone()
            self._turns.made(timestep, previous)
        if not return_dict:
            return previous, denoised
        return SteinSchedulerOutput(previous, denoised)

    def _answered(
        self, model_output: Tensor, timestep: float | Tensor, sample: Tensor
    ) -> tuple[Tensor, Tensor]:
        """D, and the VE state of the next model call."""
        call = self._call(timestep, sample)
        held = check_batch(sample, "sample")
        held = held.to(torch.promote_types(held.dtype, torch.float32))
        x, denoised = self._model.read(model_output, held, call)
        _check_finite("the model's output", denoised, call)
        following = self._replay.answer(call, x, denoised)
        _check_finite("the state after the step", following, call)
        return denoised, following

    @property
    def stein_record(self) -> Record:
        """Measurements of the steps done since `set_timesteps`, (steps, B) each.

        Raises:
            ValueError: the scheduler does not record, or no step is done.
        """
        if not self.config["record"]:
            raise ValueError("record is False; make the scheduler with record=True")
        return self._replay.record()

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Clean latents (B, *shape) brought to the level of `timesteps` (B,) with `noise`.

        Where a pipeline has set a begin index, the level is that of the coming model call.
        """
        if self._begin_index is not None:
            index = self._begin_index if self._step_index is None else self._step_index
            sigma: float | Tensor = self._held[index]
        else:
            found = [self._held[self.index_for_timestep(t)] for t in timesteps.reshape(-1)]
            sigma = torch.tensor(found, dtype=original_samples.dtype).to(original_samples.device)
            sigma = sigma.reshape(-1, *[1] * (original_samples.ndim - 1))
        alpha = 1 - sigma if self.config["model"] == "flow" else 1
        return alpha * original_samples + sigma * noise

    def scale_noise(self, sample: Tensor, timestep: Tensor, noise: Tensor) -> Tensor:
        """`add_noise`, with the arguments in the order that pipelines of flow models use."""
        return self.add_noise(sample, noise, timestep)

    def __copy__(self) -> SteinScheduler:
        """A copy may go on, and so may the original: neither sees the other's sampling."""
        copied = object.__new__(type(self))
        copied.__dict__.update(self.__dict__)
        copied._replay, copied._turns = copy.copy(self._replay), copy.copy(self._turns)
        return copied

    def __len__(self) -> int:
        return self.config["num_train_timesteps"]


def _count(steps: Any) -> int | None:
    try:
        found = None if steps is None else operator.index(steps)
    except TypeError:
        found = 0
    if found is not None and (found < 1 or isinstance(steps, bool)):
        raise ValueError(f"num_inference_steps is {steps!r}; an int >= 1 is needed")
    return found


def _floats(values: Any) -> list[float] | None:
    if isinstance(values, Tensor):
        values = values.tolist()  # one by one each would be waited for
    return None if values is None else [float(value) for value in values]


def _check_finite(what: str, x: Tensor, call: ModelCall) -> None:
    if x.device.type != "cpu":
        return
    require_finite(what, non_finite_samples(x).tolist(), call.step, call.sigma)
