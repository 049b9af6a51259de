"""The five nodes: what they ask for and give. The work is imported when a node runs."""

from __future__ import annotations

from typing import Any, ClassVar

from .lazy import ours

CATEGORY = "sampling/custom_sampling/samplers"
SOLVERS = [
    "dpmpp_2m",
    "euler",
    "heun",
    "dpmpp_3m",
    "ipndm",
    "deis",
    "unipc",
    "res_multistep",
    "res_2s",
    "gradient_estimation",
    "power",
]
COEFFICIENTS = ["auto", "energy", "constant", "none"]
ENDS = ["auto", "steady", "stein", "linear", "mean", "none"]

RULE: dict[str, Any] = {
    "coefficient": (
        COEFFICIENTS,
        {
            "default": "auto",
            "tooltip": "What decides how strong each step is. auto: energy, set as the recipe for "
            "few steps has it. energy: a closed form, for every "
            "image and step. constant: the same at all steps. none: the plain solver, to compare.",
        },
    ),
    "trust": (
        "FLOAT",
        {
            "default": 0.1,
            "min": 0.0,
            "max": 1.0,
            "step": 0.01,
            "tooltip": "energy only: how much more noise than belongs there a step may leave, "
            "as a share. 0 is the plain solver; 0.1 is what was measured.",
        },
    ),
    "value": (
        "FLOAT",
        {
            "default": 0.98,
            "min": 0.5,
            "max": 1.0,
            "step": 0.005,
            "round": 0.0001,
            "tooltip": "constant only: the strength of every step but the last. 1 is the plain "
            "solver; below 1 more of the noise is kept, which shows as detail or as grain.",
        },
    ),
    "record": (
        "BOOLEAN",
        {
            "default": False,
            "tooltip": "Keep the measurements of the last sampling for the Stein Report node.",
        },
    ),
}
"""The inputs that choose a coefficient, shared by two nodes."""

END: dict[str, Any] = {
    "end": (
        ENDS,
        {
            "default": "auto",
            "tooltip": "How the last step goes to sigma 0, at no model call. auto: steady, and "
            "none where coefficient is none. none: the solver's own, which loses the finest "
            "detail. Acts only where the sigmas end at 0.",
        },
    ),
}
"""Optional, so that workflows made before it was there run as they are."""


class SteinSampler:
    """-> SAMPLER: a solver of SteinDiff, its steps relaxed."""

    RETURN_TYPES = ("SAMPLER",)
    OUTPUT_TOOLTIPS = ("A sampler for SamplerCustom and SamplerCustomAdvanced.",)
    FUNCTION = "make"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "A deterministic sampler that gives each step the strength that keeps the image's energy. "
        "For 4 to 12 steps of an ordinary (not distilled) model. No extra model calls."
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802  # ComfyUI's name
        """What the node asks for."""
        solver = {
            "default": SOLVERS[0],
            "tooltip": "The solver. All make one model call a step but heun and res_2s, which make "
            "two.",
        }
        order = {
            "default": 0,
            "min": 0,
            "max": 4,
            "tooltip": "How many steps back ipndm (1-4), deis (1-4) and unipc (1-3) look, this one "
            "included. 0: the solver's own choice, 3. The other solvers take 0 only. With 8 "
            "steps or fewer, 2 is safer.",
        }
        required = {"solver": (SOLVERS, solver), "order": ("INT", order), **RULE}
        return {"required": required, "optional": END}

    def make(
        self,
        solver: str,
        order: int,
        coefficient: str,
        trust: float,
        value: float,
        record: bool,
        end: str = "auto",
    ) -> tuple[Any]:
        """The sampler. Raises ValueError for an order that the solver does not have."""
        samplers = ours("samplers")
        rule = samplers.Rule.of(coefficient, trust, value, record, end)
        options = {"order": order} if order else {}
        return (samplers.make_sampler(samplers.SteinFunction(solver, rule, options)),)


class SteinRelaxation:
    """SAMPLER -> SAMPLER: the same solver, its steps relaxed."""

    RETURN_TYPES = ("SAMPLER",)
    OUTPUT_TOOLTIPS = ("The same solver, relaxed.",)
    FUNCTION = "relax"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Replaces a sampler of ComfyUI by the same solver with relaxed steps: euler, ddim, heun, "
        "dpmpp_2m, res_multistep, gradient_estimation, ipndm, deis, lms, uni_pc, uni_pc_bh2, "
        "er_sde as ODE. Others are refused with the reason."
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802  # ComfyUI's name
        """What the node asks for."""
        sampler = {"tooltip": "A sampler of ComfyUI, as KSamplerSelect gives it."}
        return {"required": {"sampler": ("SAMPLER", sampler), **RULE}, "optional": END}

    def relax(
        self,
        sampler: Any,
        coefficient: str,
        trust: float,
        value: float,
        record: bool,
        end: str = "auto",
    ) -> tuple[Any]:
        """The relaxed sampler. Raises ValueError for one that cannot be relaxed, saying why."""
        samplers, translation = ours("samplers"), ours("translation")
        solver, options = translation.translate(sampler)
        rule = samplers.Rule.of(coefficient, trust, value, record, end)
        function = samplers.SteinFunction(solver, rule, options)
        return (samplers.make_sampler(function, sampler.inpaint_options),)


class SteinRecipe:
    """MODEL -> SAMPLER, SIGMAS: solver, levels, coefficient and end for a number of steps."""

    RETURN_TYPES = ("SAMPLER", "SIGMAS")
    OUTPUT_TOOLTIPS: ClassVar = (
        "A sampler for SamplerCustom and SamplerCustomAdvanced.",
        "Its levels, from the model's highest to 0.",
    )
    FUNCTION = "choose"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Chooses solver, levels, strength and last step together, for few steps of an ordinary "
        "(not distilled) model. No extra model calls."
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802  # ComfyUI's name
        """What the node asks for."""
        model = {"tooltip": "The model that is sampled; it tells its range of sigma."}
        steps = {
            "default": 8,
            "min": 1,
            "max": 100,
            "tooltip": "Model calls. Made for 4 to 20.",
        }
        guidance = {
            "default": 8.0,
            "min": 0.0,
            "max": 100.0,
            "step": 0.1,
            "round": 0.01,
            "tooltip": "The cfg that the model is sampled with; 1 is none. The levels depend on "
            "whether there is any.",
        }
        return {
            "required": {
                "model": ("MODEL", model),
                "steps": ("INT", steps),
                "guidance": ("FLOAT", guidance),
                "record": RULE["record"],
            }
        }

    def choose(self, model: Any, steps: int, guidance: float, record: bool) -> tuple[Any, Any]:
        """The sampler and its levels. Raises TypeError for what is no MODEL."""
        return ours("recipe").sampler_and_sigmas(model, steps, guidance, record)


class SteinTuned:
    """MODEL, file -> SAMPLER, SIGMAS: what `steindiff tune` found for this model."""

    RETURN_TYPES = ("SAMPLER", "SIGMAS")
    OUTPUT_TOOLTIPS: ClassVar = SteinRecipe.OUTPUT_TOOLTIPS
    FUNCTION = "load"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "The sampler and the levels that steindiff tune fitted to this model. The file says for "
        "which model, guidance and numbers of steps it is; others are refused."
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802  # ComfyUI's name
        """What the node asks for."""
        asked = SteinRecipe.INPUT_TYPES()["required"]
        file = ("STRING", {"default": "tuned.json", "tooltip": "A file of steindiff tune."})
        any_model: dict[str, Any] = {
            "default": False,
            "tooltip": "Let a file of another model pass, with a warning in the log.",
        }
        required = {"model": asked["model"], "file": file, **asked}
        return {"required": required, "optional": {"any_model": ("BOOLEAN", any_model)}}

    def load(
        self, model: Any, file: str, steps: int, guidance: float, record: bool,
        any_model: bool = False,
    ) -> tuple[Any, Any]:  # fmt: skip
        """The sampler and its levels. Raises ValueError for a file of something else."""
        made = ours("tuned").sampler_and_sigmas
        return made(model, file, steps, guidance, record, any_model)


class SteinReport:
    """SAMPLER, LATENT -> IMAGE, LATENT: what the last sampling with that sampler measured."""

    RETURN_TYPES = ("IMAGE", "LATENT")
    RETURN_NAMES = ("report", "latent")
    OUTPUT_TOOLTIPS: ClassVar = ("Strength and health of every step.", "The latent, as it came.")
    FUNCTION = "report"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Draws the strength gamma and the check kappa of every step of the last sampling. "
        "Connect the sampler (with record on) and the latent that the sampling gave, so that the "
        "report is drawn after it."
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802  # ComfyUI's name
        """What the node asks for."""
        sampler = {"tooltip": "A sampler of Stein Sampler or Stein Relaxation, with record on."}
        latent = {"tooltip": "What that sampler sampled; passed on as it is."}
        return {"required": {"sampler": ("SAMPLER", sampler), "latent": ("LATENT", latent)}}

    def report(self, sampler: Any, latent: Any) -> tuple[Any, Any]:
        """The picture and the latent. Raises ValueError where nothing was recorded."""
        journal = ours("samplers").journal_of(sampler)
        return (ours("report").draw(journal), latent)


NODE_CLASS_MAPPINGS = {
    "SteinSampler": SteinSampler,
    "SteinRelaxation": SteinRelaxation,
    "SteinRecipe": SteinRecipe,
    "SteinTuned": SteinTuned,
    "SteinReport": SteinReport,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "SteinSampler": "Stein Sampler",
    "SteinRelaxation": "Stein Relaxation",
    "SteinRecipe": "Stein Recipe",
    "SteinTuned": "Stein Tuned Sampler",
    "SteinReport": "Stein Report",
}
