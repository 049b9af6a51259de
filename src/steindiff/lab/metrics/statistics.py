"""Mean and covariance of a set of features, and the files that they are kept in."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..._files import write_whole
from .moments import Moments


@dataclass(frozen=True, eq=False)
class Statistics:
    """What the Fréchet distance needs to know of a set of features.

    Attributes:
        mu: (D,) mean, float64.
        sigma: (D, D) unbiased covariance, float64, symmetric.
        count: number of rows, None if unknown.
        features: name of the feature extractor (`Features.name`), None if unknown.

    Raises:
        ValueError: shapes that do not fit, a covariance that is not symmetric, or NaN.
    """

    mu: Tensor
    sigma: Tensor
    count: int | None = None
    features: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "mu", torch.as_tensor(self.mu).double())
        object.__setattr__(self, "sigma", torch.as_tensor(self.sigma).double())
        _check(self.mu, self.sigma)

    @classmethod
    def from_moments(cls, moments: Moments, features: str | None = None) -> Statistics:
        """Statistics of all rows that `moments` has seen, on the CPU; at least two are needed."""
        mu, sigma = moments.mean().cpu(), moments.covariance().cpu()
        return cls(mu, sigma, moments.count, features)


def save_statistics(path: Path, statistics: Statistics) -> None:
    """Writes an npz file in one piece: `mu`, `sigma` and, where known, `count` and `features`.

    Two float64 arrays `mu` and `sigma` are what other implementations of the FID read as well.
    """
    known: dict[str, Any] = {"count": statistics.count, "features": statistics.features}
    arrays: dict[str, Any] = {
        key: np.asarray(value) for key, value in known.items() if value is not None
    }
    mu, sigma = statistics.mu.cpu().numpy(), statistics.sigma.cpu().numpy()
    write_whole(path, lambda file: np.savez(file, mu=mu, sigma=sigma, **arrays))


def load_statistics(
    path: Path, features: str | None = None, *, dim: int | None = None
) -> Statistics:
    """Reads a file of `save_statistics`, or one of another program with `mu` and `sigma`.

    Args:
        path: an npz file.
        features: name of the feature extractor that the statistics must be of. A file that does
            not say whose it holds is taken; `dim` is then the only check.
        dim: number of features that it must have.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, not such a file, or of other features than asked for.
    """
    path = Path(path)
    arrays = _read(path)
    if missing := [key for key in ("mu", "sigma") if key not in arrays]:
        raise ValueError(f"{path} lacks {' and '.join(missing)}; an npz with mu, sigma is needed")
    count, found = arrays.get("count"), arrays.get("features")
    try:
        statistics = Statistics(
            torch.from_numpy(arrays["mu"]),
            torch.from_numpy(arrays["sigma"]),
            None if count is None else int(count),
            None if found is None else str(found),
        )
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} holds no statistics: {error}") from error
    if features is not None and statistics.features not in (None, features):
        raise ValueError(
            f"{path} holds statistics of {statistics.features!r}, but {features!r} is asked for"
        )
    if dim is not None and len(statistics.mu) != dim:
        raise ValueError(f"{path} holds statistics of {len(statistics.mu)} features, not of {dim}")
    return statistics


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except FileNotFoundError:
        raise
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, KeyError) as error:
        raise ValueError(f"{path} is damaged or no npz file: {error}") from error
    except (AttributeError, TypeError) as error:  # a single array has no names
        raise ValueError(f"{path} holds a single array; an npz with mu, sigma is needed") from error


def _check(mu: Tensor, sigma: Tensor) -> None:
    if mu.ndim != 1 or len(mu) == 0:
        raise ValueError(f"mu has shape {tuple(mu.shape)}; (D,) is needed")
    if sigma.shape != (len(mu), len(mu)):
        raise ValueError(
            f"sigma has shape {tuple(sigma.shape)}; ({len(mu)}, {len(mu)}) is needed, as mu has "
            f"{len(mu)} features"
        )
    for name, value in (("mu", mu), ("sigma", sigma)):
        if not torch.isfinite(value).all():
            raise ValueError(f"{name} holds NaN or infinite values")
    # Other programs round a covariance in float32.
    if (sigma - sigma.mT).abs().max() > 1e-5 * sigma.abs().max():
        raise ValueError("sigma is not symmetric; a covariance is needed")
