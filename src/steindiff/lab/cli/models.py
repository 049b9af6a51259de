"""One place that turns the options of a command into a model to sample from."""

from __future__ import annotations

from ..subjects import Subject, of_edm, of_folder, of_function, of_name, read_prompts
from .commands.sample import AnyNetwork
from .options import MODEL, AnyModel


def model_of(asked: AnyModel, device: str = "cpu") -> Subject:
    """Opens the model that one of --edm, --diffusers and --function names, or else --model.

    Raises:
        ValueError, OSError: options that do not go together, or as the makers of each do.
    """
    _check(asked)
    if asked.edm is not None:
        return of_edm(asked.edm, asked.trust, device)
    if asked.function is not None:
        return of_function(asked.function, device)
    if asked.diffusers is None:
        return of_name(asked.model, asked.guidance, device)
    prompts = (asked.prompt,) if asked.prompt else ()
    if asked.prompts is not None:
        prompts = read_prompts(asked.prompts)
    return of_folder(asked.diffusers, prompts, asked.guidance, device)


def check_edm(asked: AnyModel | AnyNetwork) -> None:
    """Raises ValueError for options that do not go with --edm, or that do not go without it."""
    if asked.edm is None and asked.trust:
        raise ValueError("--trust is for --edm PATH, which is missing")
    if asked.guidance != 1 and asked.edm is not None:
        raise ValueError(
            f"--guidance is {asked.guidance}; EDM networks have no label for 'no class' that they "
            "were trained with (autoguidance: steindiff.adapters.edm.from_edm)"
        )


def _check(asked: AnyModel) -> None:
    given = {"--edm": asked.edm, "--diffusers": asked.diffusers, "--function": asked.function}
    named = [name for name, value in given.items() if value is not None]
    if asked.model != MODEL:
        named.insert(0, f"--model {asked.model}")
    if len(named) > 1:
        raise ValueError(f"{' and '.join(named)} are both given; one is needed")
    check_edm(asked)
    if asked.diffusers is None and asked.prompt:
        raise ValueError(
            f"--prompt is for --diffusers FOLDER, which is missing; it is {asked.prompt!r}"
        )
    if asked.diffusers is None and asked.prompts is not None:
        raise ValueError(f"--prompts {asked.prompts} is for --diffusers FOLDER, which is missing")
    if asked.prompt and asked.prompts is not None:
        raise ValueError(f"--prompt and --prompts {asked.prompts} are both given; one is needed")
    if asked.guidance != 1 and asked.function is not None:
        raise ValueError(
            f"--guidance is {asked.guidance}; a function returns what is guided already: let it "
            "return a steindiff.ClassifierFreeGuidance"
        )
