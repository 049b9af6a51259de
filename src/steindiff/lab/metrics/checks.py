"""What every metric asks of the features that it is given."""

from __future__ import annotations

import torch
from torch import Tensor


def check_features(name: str, value: object, least: int = 2) -> Tensor:
    """`value` in float64, if it is (N >= least, D >= 1), floating point and finite.

    Raises:
        TypeError: not a tensor, or not of a real floating-point dtype.
        ValueError: another shape, too few rows, or non-finite features.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} is a {type(value).__name__}; a torch.Tensor is needed")
    if not value.dtype.is_floating_point:
        raise TypeError(f"{name} has dtype {value.dtype}; a real floating-point dtype is needed")
    if value.ndim != 2 or len(value) < least or value.shape[1] == 0:
        raise ValueError(f"{name} has shape {tuple(value.shape)}; (N >= {least}, D) is needed")
    if not torch.isfinite(value).all():
        raise ValueError(f"{name} holds NaN or infinite features")
    return value.detach().double()


def check_pair(
    a: object, b: object, names: tuple[str, str] = ("a", "b"), least: int = 2
) -> tuple[Tensor, Tensor]:
    """Both in float64, if `check_features` holds for each and their widths agree."""
    first, second = check_features(names[0], a, least), check_features(names[1], b, least)
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            f"{names[0]} has {first.shape[1]} features and {names[1]} {second.shape[1]}; "
            "the same are needed"
        )
    return first, second
