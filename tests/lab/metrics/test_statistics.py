"""Statistics files: what is kept, what others' files give, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from steindiff.lab.metrics import Moments, Statistics, load_statistics, save_statistics

Draw = Callable[..., torch.Tensor]


@pytest.fixture
def statistics(draw: Draw) -> Statistics:
    moments = Moments(4)
    moments.add(draw(50, 4))
    return Statistics.from_moments(moments, "pixels")


def test_a_file_gives_back_what_was_saved(statistics: Statistics, tmp_path: Path) -> None:
    path = tmp_path / "reference.npz"
    save_statistics(path, statistics)
    again = load_statistics(path, "pixels", dim=4)
    assert torch.equal(again.mu, statistics.mu)
    assert torch.equal(again.sigma, statistics.sigma)
    assert (again.count, again.features) == (50, "pixels")
    with np.load(path) as file:  # as other programs read it
        assert file["mu"].dtype == file["sigma"].dtype == np.float64
        assert file["sigma"].shape == (4, 4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_files_of_other_programs_load(dtype: type, tmp_path: Path) -> None:
    path = tmp_path / "theirs.npz"
    x = np.random.default_rng(0).normal(size=(100, 5))
    sigma = np.cov(x, rowvar=False).astype(dtype)
    np.savez(path, mu=x.mean(axis=0).astype(dtype), sigma=sigma)
    found = load_statistics(path, "pixels")
    assert found.features is None
    assert found.count is None
    assert np.array_equal(found.sigma.numpy(), sigma.astype(np.float64))


def test_statistics_of_other_features_are_refused_by_name(
    statistics: Statistics, tmp_path: Path
) -> None:
    path = tmp_path / "reference.npz"
    save_statistics(path, statistics)
    asked = "fashion-mnist-classifier@0123456789ab"
    with pytest.raises(ValueError, match=f"statistics of 'pixels', but '{asked}' is asked for"):
        load_statistics(path, asked)
    with pytest.raises(ValueError, match="statistics of 4 features, not of 64"):
        load_statistics(path, "pixels", dim=64)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mu": np.zeros(3)}, "lacks sigma"),
        ({"other": np.zeros(3)}, "lacks mu and sigma"),
        ({"mu": np.zeros(3), "sigma": np.zeros((3, 2))}, r"sigma has shape \(3, 2\)"),
        ({"mu": np.zeros(3), "sigma": np.eye(4)}, r"\(3, 3\) is needed"),
        ({"mu": np.zeros((3, 1)), "sigma": np.eye(3)}, r"mu has shape \(3, 1\)"),
        ({"mu": np.zeros(2), "sigma": np.array([[1.0, 0.5], [0.4, 1.0]])}, "not symmetric"),
        ({"mu": np.zeros(2), "sigma": np.full((2, 2), np.nan)}, "sigma holds NaN"),
        ({"mu": np.array([np.inf, 0]), "sigma": np.eye(2)}, "mu holds NaN or inf"),
        ({"mu": np.array(["a", "b"]), "sigma": np.eye(2)}, "holds no statistics"),
    ],
)
def test_wrong_contents_are_refused(
    arrays: dict[str, np.ndarray], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "wrong.npz"
    with path.open("wb") as file:
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=message) as error:
        load_statistics(path)
    assert str(path) in str(error.value)


def test_damaged_files_are_refused(statistics: Statistics, tmp_path: Path) -> None:
    path = tmp_path / "reference.npz"
    save_statistics(path, statistics)
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[content.index(b"NUMPY") + 140] ^= 0xFF
    for damaged in (content[: len(content) // 2], bytes(flipped), b"", b"no archive"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged or no npz"):
            load_statistics(path)
    np.save(tmp_path / "single.npy", np.zeros(3))
    with pytest.raises(ValueError, match="single array"):
        load_statistics(tmp_path / "single.npy")
    with pytest.raises(FileNotFoundError):
        load_statistics(tmp_path / "none.npz")
