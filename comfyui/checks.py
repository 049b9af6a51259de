"""What a workflow can get wrong, told in the words of its nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

_ROUNDING = 1e-6
"""How far above a model's highest level a scheduler's rounding may begin, as a share."""

_WEAKENING = {
    "epsilon_scaling_function": "Epsilon Scaling",
    "temporal_score_rescaling": "TSR - Temporal Score Rescaling",
}
"""Functions of ComfyUI's nodes_eps, after guidance -> the node that puts them on a model."""


def check_sigmas(sigmas: Sequence[float], sampling: Any, coordinates: str) -> None:
    """Raises ValueError for sigmas that rise, or that begin above all that the model knows."""
    for sigma, after in pairwise(sigmas):
        if after > sigma:
            raise ValueError(
                f"the sigmas rise from {sigma:.4g} to {after:.4g}, as FlipSigmas makes them: such "
                "steps add noise, and relaxing is for steps that remove it; unsample with "
                "ComfyUI's own euler, and take this sampler for the way back"
            )
    top = 1.0 if coordinates == "flow" else float(getattr(sampling, "sigma_max", sigmas[0]))
    if sigmas[0] > top * (1 + (_ROUNDING if coordinates == "flow" else 0.01)):
        kind = (
            "this flow model's go from 1 to 0"
            if coordinates == "flow"
            else (f"this model was trained up to {top:.4g}")
        )
        raise ValueError(
            f"the sigmas begin at {sigmas[0]:.4g}, but {kind}: they are those of another model; "
            "make them with a scheduler node (BasicScheduler) that is connected to this MODEL"
        )


def check_patches(model_options: Mapping[str, Any]) -> None:
    """Raises ValueError for a node on the model that already makes its steps weaker."""
    for function in model_options.get("sampler_post_cfg_function", ()):
        module = getattr(function, "__module__", None) or ""
        node = _WEAKENING.get(getattr(function, "__name__", ""))
        if node and module.endswith("nodes_eps"):
            raise ValueError(
                f"the model has the node {node} on it, which makes every step weaker by a set "
                "amount; relaxing would do it twice: take that node out, or set coefficient to "
                "none, and end to none or auto"
            )


def is_guided(guider: Any) -> bool:
    """Whether a guider of ComfyUI mixes predictions: any of its scales is not 1."""
    scales = (getattr(guider, name, 1.0) for name in ("cfg", "cfg1", "cfg2"))
    return any(scale != 1 for scale in scales if isinstance(scale, (int, float)))
