"""What the research scripts sample from: the shipped model, the families and mixtures, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

import steindiff as sd
from families import FAMILIES, load_family
from steindiff._errors import NonFiniteError
from steindiff.denoisers import ClassifierFreeGuidance
from steindiff.lab.bench.memo import Memo
from steindiff.lab.metrics import frechet_distance
from steindiff.lab.specs import parse_solver
from steindiff.lab.subjects import Labels, make_subject
from steindiff.schedules import SCHEDULES
from steindiff.stein import Coefficient
from steindiff.trajectory import FineSolution

SIGMA_MIN, SIGMA_MAX, FINE_STEPS, BATCH = 0.002, 80.0, 20, 100


@dataclass(frozen=True)
class Place:
    """Where a rule is tried: a network, its guidance, a schedule, NFE and a solver."""

    network: str
    guidance: float
    schedule: str
    nfe: int
    solver: str

    def levels(self) -> list[float]:
        """Levels that the NFE pays for; Heun's last step goes into sigma = 0."""
        schedule = SCHEDULES[self.schedule]
        if self.solver == "heun":
            return schedule((self.nfe + 1) // 2, SIGMA_MIN, SIGMA_MAX, final="zero").tolist()
        return schedule(self.nfe, SIGMA_MIN, SIGMA_MAX).tolist()


class Bed:
    """One network with its noises and fine solution; Fréchet distances of any sampling to it."""

    def __init__(self, network: str, guidance: float, seeds: Sequence[int]) -> None:
        self.seeds = list(seeds)
        self.conditioning: Callable[[Sequence[int]], dict[str, Tensor]]
        if network in FAMILIES:
            family = load_family(network)
            net, self.shape = family.denoiser, family.shape
            self._features = family.classifier.features
            self.conditioning = Labels(net.num_classes)
            if guidance != 1:
                net = ClassifierFreeGuidance(net, guidance, {"class_labels": net.null_label})
        else:
            subject = make_subject(network, guidance)
            net, self.shape = subject.denoiser, subject.shape
            self._features, self.conditioning = subject.features.features, subject.conditioning
        self.denoiser = Memo(net)
        self.x = sd.noise(self.shape, SIGMA_MAX, self.seeds)

    @property
    def parts(self) -> list[slice]:
        return [slice(i, i + BATCH) for i in range(0, len(self.x), BATCH)]

    @cached_property
    def reference(self) -> Tensor:
        """Features of the fine solution at the level where few-step samplings end."""
        fine = [
            FineSolution(
                self.denoiser, self.x[part], self.conditioning(self.seeds[part]),
                FINE_STEPS, SIGMA_MIN, SIGMA_MAX,
            ).at(SIGMA_MIN)
            for part in self.parts
        ]  # fmt: skip
        return self.features(torch.cat(fine))

    def features(self, x: Tensor) -> Tensor:
        return torch.cat([self._features(x[part]) for part in self.parts]).double()

    def distance(self, place: Place, rule: Coefficient | None) -> float:
        """Fréchet distance to the fine solution; infinite where a sample is not finite."""
        solver, levels = parse_solver(place.solver), place.levels()
        try:
            samples = [
                sd.sample(
                    self.denoiser, self.x[part], levels, solver, rule,
                    conditioning=self.conditioning(self.seeds[part]),
                ).x
                for part in self.parts
            ]  # fmt: skip
        except NonFiniteError:
            return float("inf")
        return float(frechet_distance(self.features(torch.cat(samples)), self.reference))
