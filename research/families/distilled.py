"""A student of the shipped network's classifier-free guidance: the guided D in one call.

D_u + w (D_c - D_u) takes two calls of the shipped network. The student is that network with other
weights, which depend on w: the difference is of low rank in every matrix, free in biases, norms and
class embedding, and zero at w = 1, where the student is the shipped network itself. For one w it
is a plain `UNetDenoiser`. Distilled guidance: Meng et al. 2023, "On Distillation of Guided
Diffusion Models", arXiv 2210.03142, stage one; low rank: Hu et al. 2021, "LoRA", arXiv 2106.09685.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from steindiff._files import write_whole
from steindiff.models import MODELS, UNetDenoiser, load_model

from .weights import WEIGHTS

TEACHER = "fashion-mnist"
DISTILLED = "fashion-mnist-distilled"
STRONGEST = 8.0
RANK = 8
_CURVES = 3


def curves(guidance: float) -> Tensor:
    """What differences are combinations of, (3,): u = (w - 1)/7, l = ln w/ln 8 and their product.

    Raises:
        ValueError: w outside of 1 .. 8.
    """
    if not 1 <= guidance <= STRONGEST:
        raise ValueError(f"guidance is {guidance!r}; the student knows 1 to {STRONGEST:g}")
    u = (guidance - 1) / (STRONGEST - 1)
    log = math.log(guidance) / math.log(STRONGEST)
    return torch.tensor([u, log, u * log])


class LowRank(nn.Module):
    """up diag(curves gain) down/sqrt(n), of the shape of a weight (out, *rest), n its inputs.

    Zero before training.
    """

    def __init__(self, shape: torch.Size, rank: int) -> None:
        super().__init__()
        inputs = shape[1:].numel()
        self.shape = shape
        self.up = nn.Parameter(torch.zeros(shape[0], rank))
        self.gain = nn.Parameter(torch.eye(_CURVES, 1).repeat(1, rank))
        self.down = nn.Parameter(torch.randn(rank, inputs))

    def forward(self, curve: Tensor) -> Tensor:
        down = self.down / math.sqrt(self.down.shape[1])
        return ((self.up * (curve @ self.gain)) @ down).view(self.shape)


class Free(nn.Module):
    """A difference of its own for each curve; zero before training."""

    def __init__(self, shape: torch.Size) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(_CURVES, *shape))

    def forward(self, curve: Tensor) -> Tensor:
        return torch.tensordot(curve, self.value, 1)


class Differences(nn.Module):
    """The weights of the student less those of its teacher, as a function of w.

    Args:
        teacher: the network that the differences belong to.
        rank: of the differences of matrices.
    """

    def __init__(self, teacher: UNetDenoiser, rank: int = RANK) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({
            name.replace(".", "/"): _part(name, value.shape, rank)
            for name, value in teacher.named_parameters()
        })  # fmt: skip

    def forward(self, teacher: UNetDenoiser, guidance: float) -> dict[str, Tensor]:
        """All weights of the student at a w in 1 .. 8, by their names in the teacher."""
        curve = curves(guidance)
        weights = {}
        for name, value in teacher.named_parameters():
            total = value + self.parts[name.replace(".", "/")](curve)
            layout = torch.channels_last if total.ndim == 4 else torch.contiguous_format
            weights[name] = total.contiguous(memory_format=layout)
        return weights


def _part(name: str, shape: torch.Size, rank: int) -> nn.Module:
    if len(shape) == 1 or name.startswith("class_embedding"):
        return Free(shape)
    return LowRank(shape, rank)


def distilled_path(folder: Path = WEIGHTS) -> Path:
    """Where the differences are."""
    return folder / f"{DISTILLED}.safetensors"


def save_differences(path: Path, differences: Differences) -> None:
    """Writes the differences in float16, with the SHA-256 of the file that they belong to."""
    state = {key: value.half().contiguous() for key, value in differences.state_dict().items()}
    content = save(state, metadata={"teacher": MODELS[TEACHER]["denoiser"]["sha256"]})
    write_whole(path, lambda file: file.write(content))


def load_distilled(guidance: float, *, folder: Path = WEIGHTS) -> UNetDenoiser:
    """The student at a w in 1 .. 8, in float32, in evaluation mode, without gradients.

    It was taught classes alone: `null_label` means nothing to it.

    Raises:
        ValueError: w outside of 1 .. 8, or differences that belong to other weights.
        FileNotFoundError: no differences in `folder`.
    """
    path, teacher = distilled_path(folder), load_model(TEACHER)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; research/README.md tells how it is trained")
    with safe_open(path, framework="pt") as file:
        owner = (file.metadata() or {}).get("teacher")
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    if owner != MODELS[TEACHER]["denoiser"]["sha256"]:
        raise ValueError(f"{path} belongs to other weights than those of {TEACHER}: {owner}")
    rank = min(len(value) for key, value in state.items() if key.endswith("down"))
    differences = Differences(teacher, rank)
    differences.load_state_dict(state)  # copies into float32
    with torch.no_grad():
        teacher.load_state_dict(differences(teacher, guidance))
    return teacher
