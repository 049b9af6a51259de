"""One network with its noises and fine solution: how far any sampling is from it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

import steindiff as sd
from steindiff import trajectory
from steindiff._errors import NonFiniteError, unknown_name
from steindiff._files import digest, sha256, write_whole
from steindiff._provenance import versions
from steindiff.calibrated.path import relative_rmse
from steindiff.lab.bench.memo import Memo
from steindiff.lab.metrics import frechet_distance
from steindiff.solvers import Solver
from steindiff.stein import Coefficient, Oracle
from steindiff.trajectory import FineSolution

from .networks import Network, load_network

SIGMA_MIN, SIGMA_MAX = 0.002, 80.0
FINE_STEPS = 30
BATCH = 100
RUNS = Path(__file__).parents[2] / "runs" / "bed"


class Bed:
    """One network with its noises and fine solution.

        bed = Bed("latent-emoji", guidance=1.0, seeds=range(512))
        x = bed.sample("dpmpp_2m", sd.schedules.karras(5), "energy")
        bed.distances(x)  # {"classifier": 12.3, "classifier-2": 9.8, "rmse": 0.21}

    The sample of seed s starts from the noise of seed s and is asked to be of class s mod K.
    Fréchet distances of n paired samples lean to the relative error where n is small: use 512
    seeds or more.

    Args:
        network: a name that `load_network` takes, or a network of your own.
        guidance: of classifier-free guidance, for a network by name; 1 is none.
        seeds: of the noises.
        sigma_min, sigma_max: VE noise levels at the ends of the fine solution. Samplings start at
            sigma_max and end at any level below; see `distances`.
        fine_steps: Heun steps of the fine solution, of two evaluations each.
        runs: folder in which the fine solution is kept (2 fine_steps float32 values a coordinate);
            None keeps it in memory only.

    Attributes:
        denoiser: D, remembering its latest outputs (up to 1 GiB).
        x: (n, *shape), the noises at sigma_max.
        conditioning: of all seeds.
        parts: the slices that are sampled at a time; a sample's bits may depend on its part.
        feature_sets: names of the sets that distances are measured in.

    Raises:
        ValueError: an unknown network, or fewer than two seeds.
    """

    def __init__(
        self,
        network: str | Network,
        guidance: float = 1.0,
        seeds: Sequence[int] = range(512),
        *,
        sigma_min: float = SIGMA_MIN,
        sigma_max: float = SIGMA_MAX,
        fine_steps: int = FINE_STEPS,
        runs: Path | None = RUNS,
    ) -> None:
        if len(seeds) < 2:
            raise ValueError(f"seeds has {len(seeds)}; a Fréchet distance needs two or more")
        self.network = load_network(network, guidance) if isinstance(network, str) else network
        self.guidance, self.seeds = guidance, list(seeds)
        self.sigma_min, self.sigma_max, self.fine_steps = sigma_min, sigma_max, fine_steps
        self.runs = runs
        self.denoiser = Memo(self.network.denoiser)
        self.x = sd.noise(self.network.shape, sigma_max, self.seeds)
        self.conditioning = self.network.conditioning_of(self.seeds)
        self.feature_sets = tuple(self.network.feature_sets)
        self.parts = [slice(i, i + BATCH) for i in range(0, len(self.x), BATCH)]
        self._targets: dict[tuple[str, float], Tensor] = {}

    def sample(
        self, solver: Solver | str, levels: Sequence[float] | Tensor,
        coefficient: Coefficient | str | None = None, end: str = "none",
    ) -> Tensor:  # fmt: skip
        """Samples (n, *shape) from the bed's noises.

        Args:
            solver, levels, coefficient, end: as `steindiff.sample` takes them, the levels from
                sigma_max on; the coefficient "oracle" knows the fine solution.

        Raises:
            NonFiniteError: a sample is not finite.
        """
        sigmas = torch.as_tensor(levels).tolist()
        found = []
        for k, part in enumerate(self.parts):
            rule = self._oracle(k, sigmas) if coefficient == "oracle" else coefficient
            conditioning = self.network.conditioning_of(self.seeds[part])
            result = sd.sample(
                self.denoiser, self.x[part], sigmas, solver, rule,
                end=end, conditioning=conditioning,
            )  # fmt: skip
            found.append(result.x)
        return torch.cat(found)

    def distances(self, x: Tensor, sigma: float | None = None) -> dict[str, float]:
        """How far samples (n, *shape) are from the fine solution of the same noises.

        Args:
            x: samples in the order of the seeds.
            sigma: the level that they are at, the last of their sampling; None is sigma_min.

        Returns:
            The Fréchet distance in each feature set by name, and under "rmse" the relative root
            mean square error in the sample's own coordinates. All are infinite where x is not
            finite.
        """
        level = self.sigma_min if sigma is None else sigma
        if not x.isfinite().all():
            return self._infinite()
        distances = {
            name: float(frechet_distance(self.features(name, x), self.target(name, level)))
            for name in self.feature_sets
        }
        return {**distances, "rmse": relative_rmse(x, self.fine(level))}

    def measure(
        self, solver: Solver | str, levels: Sequence[float] | Tensor,
        coefficient: Coefficient | str | None = None, end: str = "none",
    ) -> dict[str, float]:  # fmt: skip
        """`distances` of `sample`, at the level where it ends; infinite where it diverges."""
        try:
            x = self.sample(solver, levels, coefficient, end)
        except NonFiniteError:
            return self._infinite()
        return self.distances(x, float(levels[-1]))

    def features(self, name: str, x: Tensor) -> Tensor:
        """(n, D) float64 of samples (n, *shape), in the feature set of this name.

        Raises:
            ValueError: an unknown feature set.
        """
        if name not in self.network.feature_sets:
            raise unknown_name("feature set", name, self.network.feature_sets)
        extract = self.network.feature_sets[name]
        with torch.no_grad():
            return torch.cat([extract(x[part]) for part in self.parts]).double()

    def target(self, name: str, sigma: float) -> Tensor:
        """Features of the fine solution at a level."""
        key = name, sigma
        if key not in self._targets:
            self._targets[key] = self.features(name, self.fine(sigma))
        return self._targets[key]

    def fine(self, sigma: float) -> Tensor:
        """The fine solution at a level, (n, *shape)."""
        return torch.cat([part.at(sigma) for part in self.fine_parts])

    def images(self, x: Tensor) -> Tensor:
        """Images of samples, (n, C, H, W); samples of a mixture stay what they are."""
        with torch.no_grad():
            return torch.cat([self.network.decode(x[part]) for part in self.parts])

    @cached_property
    def fine_parts(self) -> list[FineSolution]:
        """The fine solution of each part, from `runs` where it is there."""
        path = None if self.runs is None else self.runs / self._file_name()
        if path is not None and path.is_file():
            with torch.serialization.safe_globals([FineSolution]):
                return torch.load(path, weights_only=True)
        with torch.no_grad():
            found = [
                FineSolution(
                    self.network.denoiser, self.x[part],
                    self.network.conditioning_of(self.seeds[part]),
                    self.fine_steps, self.sigma_min, self.sigma_max,
                )
                for part in self.parts
            ]  # fmt: skip
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            buffer = io.BytesIO()
            torch.save(found, buffer)
            write_whole(path, lambda file: file.write(buffer.getbuffer()))
        return found

    def _file_name(self) -> str:
        """Of the fine solution: tells all that it depends on."""
        settings: Mapping[str, object] = {
            "network": self.network.hash,
            "guidance": self.guidance,
            "seeds": self.seeds,
            "levels": [self.sigma_min, self.sigma_max],
            "fine_steps": self.fine_steps,
            "batch": BATCH,
            "code": sha256(Path(trajectory.__file__)),
            "versions": versions("steindiff", "torch"),
        }
        label = self.network.name.partition(":")[0]
        return f"{label}-{self.guidance:g}-{digest(settings)[:16]}.pt"

    def _oracle(self, part: int, levels: Sequence[float]) -> Oracle:
        fine = self.fine_parts[part]
        return Oracle(tuple(fine.at(level) for level in levels[1:-1]))

    def _infinite(self) -> dict[str, float]:
        return dict.fromkeys((*self.feature_sets, "rmse"), float("inf"))
