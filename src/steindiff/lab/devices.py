"""The devices that commands may be asked to use."""

from __future__ import annotations

import torch


def check_device(device: torch.device | str) -> torch.device:
    """The device, if it is one that can be used here; "auto" is CUDA's first where there is one.

    Raises:
        ValueError: neither the CPU nor a CUDA device that is there.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device is {str(device)!r}; 'cpu' or 'cuda' is needed") from error
    if place.type not in ("cpu", "cuda"):
        raise ValueError(f"device is {str(device)!r}; 'cpu' or 'cuda' is needed")
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device is {str(device)!r}, and torch sees {torch.cuda.device_count()} CUDA devices; "
            "'cpu' or one that is there is needed"
        )
    return place
