"""Models that come from elsewhere: files of weights, pickles, folders, pipelines, functions."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..._errors import unknown_name
from ..._files import digest, sha256
from ...denoisers import Denoiser
from ...models import load_model
from .base import Given, Labels, Subject, guided, guided_name
from .known import make_subject

if TYPE_CHECKING:
    from ...adapters.diffusers.folder import FolderModel


def of_name(text: str, guidance: float = 1.0, device: str = "cpu") -> Subject:
    """A shipped model or a mixture, see `make_subject`, or the network of a .safetensors file.

    Raises:
        ValueError, FileNotFoundError: as `make_subject`, or `load_model` of a file.
    """
    if not text.endswith(".safetensors"):
        return make_subject(text, guidance, device)
    path = Path(text)
    net = load_model(path, device=device)
    classes = net.config.num_classes
    return Given(
        guided_name(path.name, guidance), guided(net, guidance, net.null_label),
        net.sample_shape, conditioning=Labels(classes, device), device=device,
        columns=_classes(classes), hashes={"file": sha256(path)},
    )  # fmt: skip


def of_edm(path: Path, trust: bool, device: str = "cpu") -> Given:
    """The EDM network in a pickle, with its labels and its levels.

    Raises:
        ValueError: as `load_edm_pickle` does; a network that does not say what it samples.
    """
    from ...adapters.edm import from_edm, load_edm_pickle

    network: Any = load_edm_pickle(path, trust=trust)
    net = from_edm(network.to(device))
    if net.sample_shape is None:
        raise ValueError(f"{path} holds a network without img_channels and img_resolution")
    return Given(
        path.name, net, net.sample_shape, conditioning=Labels(net.label_dim or 0, device),
        rounding=net.round_sigma, limits=(net.sigma_min, net.sigma_max), device=device,
        columns=_classes(net.label_dim or 0), hashes={"file": sha256(path)},
    )  # fmt: skip


def of_folder(
    path: Path, prompts: Sequence[str] = (), guidance: float = 1.0, device: str = "cpu"
) -> Given:
    """The network of a saved pipeline of diffusers, with its prompts or classes and its levels.

    Args:
        path: the folder.
        prompts: of a text-to-image pipeline, in turn by seed; the empty one if left out.
        guidance: classifier-free, against the empty prompt or the label of no class; 1 is none.
        device: where the network is put.

    Raises:
        ValueError: as `load_folder` does, diffusers is not installed, or guidance of a network
            that knows no "no class".
    """
    try:
        from ...adapters.diffusers.folder import load_folder
    except ImportError as error:
        raise ValueError(str(error)) from error
    model = load_folder(path, prompts=prompts, device=device)
    return _of_model(model, path.name, guidance, device, {"folder": _layout(path)})


def of_pipeline(pipeline: Any, prompts: Sequence[str] = (), guidance: float = 1.0) -> Given:
    """The network of a pipeline of diffusers that is loaded already; as `of_folder`."""
    from ...adapters.diffusers.folder import denoiser_of

    model = denoiser_of(pipeline, prompts=prompts)
    return _of_model(model, type(pipeline).__name__, guidance, str(pipeline.device), {})


def of_function(text: str, device: str = "cpu") -> Subject:
    """What a function of a module returns, called without arguments.

    That is a denoiser that says its `sample_shape`, a pair (denoiser, shape of a sample), or a
    `Subject` such as `Given`, where conditioning, levels or a decoder have to be told too. Modules
    of the working directory are found. The function itself puts its network on `device`.

    Args:
        text: "module:function", the module as `import` names it.
        device: where the noises are made.

    Raises:
        ValueError: not of that form, no such module or function, or another thing returned.
    """
    place, colon, name = text.partition(":")
    if not (place and colon and name):
        raise ValueError(f"function is {text!r}; MODULE:FUNCTION is needed, such as mymodel:load")
    module = _module(place, text)
    function = getattr(module, name, None)
    if not callable(function):
        known = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
        raise unknown_name(f"function of {place}", name, known)
    return of_denoiser(function(), text, device)


def subject_of(found: Any, prompts: Sequence[str] = (), guidance: float = 1.0) -> Subject:
    """The subject of an object: a pipeline of diffusers, its folder, a name, or a denoiser.

    Args:
        found: a pipeline, the path of a saved one, what `of_name` or what `of_denoiser` takes.
        prompts: of a text-to-image pipeline, in turn by seed.
        guidance: classifier-free guidance scale, of all but a denoiser, which is given guided.

    Raises:
        ValueError, TypeError: prompts or guidance where none is taken, or as the makers do.
    """
    if hasattr(found, "scheduler") and hasattr(found, "components"):
        return of_pipeline(found, prompts, guidance)
    if isinstance(found, (str, Path)) and Path(found).is_dir():
        return of_folder(Path(found), prompts, guidance)
    if prompts:
        raise ValueError(f"prompts is {list(prompts)!r}; they are for a pipeline of diffusers")
    if isinstance(found, (str, Path)):
        return of_name(str(found), guidance)
    if guidance != 1:
        raise ValueError(
            f"guidance is {guidance:g} of a {type(found).__name__}; give it guided already: a "
            "steindiff.ClassifierFreeGuidance"
        )
    return of_denoiser(found, type(found).__name__)


def of_denoiser(found: Any, name: str, device: str = "cpu") -> Subject:
    """The subject of a denoiser with its shape; see `of_function`.

    Raises:
        ValueError: something else.
    """
    if isinstance(found, Subject):
        return found
    denoiser, shape = found if _is_pair(found) else (found, getattr(found, "sample_shape", None))
    if shape is None or not callable(denoiser):
        what = f"a {type(found).__name__}" + (" without sample_shape" if callable(found) else "")
        raise ValueError(
            f"{name} is {what}; a denoiser with its sample_shape, a pair (denoiser, shape of a "
            "sample), or a steindiff.lab.subjects.Given is needed"
        )
    limits = (0.0, float(getattr(denoiser, "sigma_max", math.inf)))
    return Given(name, cast(Denoiser, denoiser), shape, limits=limits, device=device)


def _is_pair(found: Any) -> bool:
    return (
        isinstance(found, tuple)
        and len(found) == 2
        and isinstance(found[1], (tuple, list))
        and all(isinstance(size, int) for size in found[1])
    )


def _module(place: str, text: str) -> Any:
    if "" not in sys.path:  # as `python -m` has it; an installed command does not
        sys.path.insert(0, "")
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing == place or place.startswith(f"{missing}."):
            said = f"there is no module {missing!r} here or among what is installed"
        else:
            said = f"{place} needs {missing}, which is missing"
        raise ValueError(f"function is {text!r}; {said}") from error


def _of_model(
    model: FolderModel, name: str, guidance: float, device: str, hashes: dict[str, str]
) -> Given:
    note = ""
    if model.noisy:
        note = (
            f"The pipeline's own {model.noisy} adds noise at every step; what is sampled here is "
            "the deterministic flow of the same network."
        )
    if guidance != 1 and model.prompts == ():
        raise ValueError(f"guidance is {guidance:g} without a prompt; there is nothing to guide to")
    return Given(
        guided_name(f"{name} ({model.kind})", guidance),
        guided(model.denoiser, guidance, model.null_label), model.sample_shape,
        conditioning=Labels(model.classes, device), limits=(model.sigma_min, model.sigma_max),
        device=device, decode=model.decode, columns=model.prompts or _classes(model.classes),
        hashes=hashes, note=note,
    )  # fmt: skip


def _layout(folder: Path) -> str:
    """SHA-256 of the names and sizes of a folder's files: its weights may be many gigabytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return digest([[str(path.relative_to(folder)), path.stat().st_size] for path in files])


def _classes(count: int) -> list[str]:
    return [f"class {k}" for k in range(count)]
