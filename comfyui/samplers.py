"""The function that ComfyUI's KSAMPLER calls, and the sampler around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

from torch import Tensor

from steindiff._errors import unknown_name
from steindiff.adapters import k_diffusion
from steindiff.composition import AUTO, choose
from steindiff.solvers import resolve_solver
from steindiff.stein import Coefficient, Record

from .checks import check_patches, check_sigmas, is_guided
from .journal import Journal
from .lazy import comfy
from .regions import Everything, region_of

OFFSET = ("er_sde",)
"""Samplers of ComfyUI that begin a flow just below pure noise, in whose log-SNR they compute."""


class Rule(NamedTuple):
    """What a node's inputs say of the relaxation.

    Attributes:
        coefficient: its name, or itself; None leaves the solver plain.
        options: of the coefficient that is named.
        record: whether a sampling is measured.
        end: how it goes into 0; "auto" follows the coefficient.
    """

    coefficient: str | Coefficient | None
    options: dict[str, Any]
    record: bool
    end: str = AUTO

    @property
    def plain(self) -> bool:
        """Whether the sampling is the solver's own."""
        rule, end = choose(self.coefficient, self.end, **self.options)
        return rule is None and end == "none"

    @classmethod
    def of(
        cls, coefficient: str, trust: float, value: float, record: bool, end: str = AUTO
    ) -> Rule:
        """The rule of a node's inputs; an option that its coefficient does not have is left out.

        Raises:
            ValueError: an unknown name, or a value that the coefficient refuses.
        """
        options = {"energy": {"trust": trust}, "constant": {"value": value}, AUTO: {}, "none": {}}
        if coefficient not in options:
            raise unknown_name("coefficient", coefficient, options)
        name = None if coefficient == "none" else coefficient
        choose(name, end, **options[coefficient])
        return cls(name, options[coefficient], record, end)


class SteinFunction:
    """What KSAMPLER calls as its sampler_function, in k-diffusion's protocol.

    Args:
        solver: a name of `steindiff.solvers.SOLVERS`, or a sampler function of ComfyUI that calls
            the model once a step.
        rule: the relaxation.
        options: of the solver.

    Attributes:
        journal: what the last sampling measured, None before one and without `rule.record`.

    Raises:
        ValueError: an unknown solver, or an option that it does not have or refuses.
    """

    def __init__(
        self,
        solver: str | Callable[..., Tensor],
        rule: Rule,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.rule, self.options = rule, dict(options or {})
        self.theirs = None if isinstance(solver, str) else solver
        if isinstance(solver, str):
            resolve_solver(solver, **self.options)
            self.solver = solver
        else:
            self.solver = getattr(solver, "__name__", "").removeprefix("sample_")
        self.__name__ = f"sample_stein_{self.solver}"  # ComfyUI and other nodes ask for it
        self.journal: Journal | None = None

    def __call__(
        self,
        model: Any,
        x: Tensor,
        sigmas: Tensor,
        extra_args: dict[str, Any] | None = None,
        callback: Callable[[dict[str, Any]], object] | None = None,
        disable: bool | None = None,
    ) -> Tensor:
        """Samples from `x` (B, *shape) at sigmas[0] down to sigmas[-1], in the model's coordinates.

        Args:
            model: D(x, sigma (B,), **extra_args), ComfyUI's KSamplerX0Inpaint.
            x: the start. sigmas: (steps + 1,), decreasing. With fewer than two, x is returned.
            extra_args: for the model; its "denoise_mask" tells what is sampled.
            callback: gets k-diffusion's dictionary of every step.
            disable: whether the progress bar is hidden.

        Raises:
            ValueError: levels that rise or are another model's, a mask that does not fit or changes
                while sampling, or a model that is weakened already.
            NonFiniteError: a NaN or an infinity in all images; one alone is a warning.
        """
        self.journal = None
        if len(sigmas) < 2:
            return x
        extra_args = dict(extra_args or {})
        sampling = sampling_of(model)
        coordinates = coordinates_of(sampling)
        here = sigmas.cpu()  # read once, whoever asks for a level
        levels = here.tolist()
        check_sigmas(levels, sampling, coordinates)
        if not self.rule.plain:
            check_patches(extra_args.get("model_options") or {})
        region = region_of(model, x, levels[0], extra_args, not self.rule.plain)
        journal = Journal(self._title(), coordinates, levels, is_guided(model.inner_model))
        kept = journal if self.rule.record else None
        run = self._relaxed if self.theirs is not None else self._ours
        samples = run(region, here if self.theirs is None else sigmas, coordinates, kept)(
            region, region.start, extra_args=extra_args, disable=disable,
            callback=_reporter(callback, region, levels, None if self.theirs else kept),
        )  # fmt: skip
        self.journal = kept
        return region.whole(samples, levels[-1])

    def _ours(
        self,
        region: Everything,
        sigmas: Tensor,
        coordinates: Literal["ve", "flow"],
        journal: Journal | None,
    ) -> Callable[..., Tensor]:
        """The sampler of SteinDiff, with what it needs besides the model."""
        return partial(
            getattr(k_diffusion, self.__name__),
            sigmas=sigmas,
            coefficient=self.rule.coefficient,
            end=self.rule.end,
            coefficient_options=self.rule.options or None,
            coordinates=coordinates,
            **self.options,
        )

    def _relaxed(
        self,
        region: Everything,
        sigmas: Tensor,
        coordinates: Literal["ve", "flow"],
        journal: Journal | None,
    ) -> Callable[..., Tensor]:
        """ComfyUI's own sampler, relaxed through its calls of the model."""

        def report(record: Record) -> None:
            if journal is not None:
                journal.take(record, region.size / region.start[0].numel())

        if self.solver in OFFSET:
            sampling = comfy("k_diffusion.sampling")
            sigmas = sampling.offset_first_sigma_for_snr(sigmas, sampling_of(region))
        assert self.theirs is not None
        sampler = k_diffusion.relax(
            self.theirs,
            self.rule.coefficient,
            self.rule.end,
            coordinates,
            report=report if journal is not None else None,
            **self.rule.options,
        )
        return partial(sampler, sigmas=sigmas, **self.options)

    def _title(self) -> str:
        options = "".join(f", {name} {value}" for name, value in self.options.items())
        rule, end = choose(self.rule.coefficient, self.rule.end, **self.rule.options)
        named = isinstance(self.rule.coefficient, str)
        name = self.rule.coefficient if named else type(rule).__name__.lower() if rule else "none"
        return f"{self.solver}{options}; coefficient {name}, end {end}"


def make_sampler(function: SteinFunction, inpaint_options: Mapping[str, Any] | None = None) -> Any:
    """ComfyUI's SAMPLER around the function."""
    return comfy("samplers").KSAMPLER(function, {}, dict(inpaint_options or {}))


def journal_of(sampler: Any) -> Journal:
    """What the last sampling of a sampler measured.

    Raises:
        ValueError: not a sampler of these nodes, not recorded, or not sampled with yet.
    """
    function = getattr(sampler, "sampler_function", None)
    if not isinstance(function, SteinFunction):
        raise ValueError(
            f"sampler is a {getattr(function, '__name__', type(sampler).__name__)}, of which "
            "nothing is recorded; connect a Stein Sampler or a Stein Relaxation"
        )
    if not function.rule.record:
        raise ValueError("record is off in the Stein node that made the sampler; switch it on")
    if function.journal is None:
        raise ValueError(
            "nothing was sampled with this sampler yet; connect as latent what the sampling gives, "
            "so that the report comes after it"
        )
    return function.journal


def sampling_of(model: Any) -> Any:
    """The model_sampling of what KSAMPLER hands to a sampler function.

    Raises:
        TypeError: no ComfyUI model that tells it.
    """
    try:
        return model.inner_model.inner_model.model_sampling
    except AttributeError as error:
        raise TypeError(
            f"model is a {type(model).__name__} without inner_model.inner_model.model_sampling, "
            "which tells its coordinates; a model as KSAMPLER hands it on is needed"
        ) from error


def coordinates_of(sampling: Any) -> Literal["ve", "flow"]:
    """ "flow" for x = (1 - sigma) x0 + sigma eps (ComfyUI's CONST), "ve" for x0 + sigma eps."""
    return "flow" if isinstance(sampling, comfy("model_sampling").CONST) else "ve"


def _reporter(
    callback: Callable[[dict[str, Any]], object] | None,
    region: Everything,
    levels: list[float],
    journal: Journal | None,
) -> Callable[[dict[str, Any]], None]:
    """Notes a step, and shows it to ComfyUI as if the whole image had been sampled."""

    def report(step: dict[str, Any]) -> None:
        if journal is not None:
            journal.note(step, region.size)
        if callback is not None:
            x = region.whole(step["x"], levels[step["i"]])
            callback({**step, "x": x, "denoised": region.whole(step["denoised"], 0.0)})

    return report
