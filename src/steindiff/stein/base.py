"""What a coefficient sees and what it answers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor


class Ahead(NamedTuple):
    """What a sampling has ahead of it at one of its steps.

    Attributes:
        steps_left: steps still to do, this one included; the last step is not relaxed.
        end: the level that the sampling ends at; infinite where its last step is of higher order,
            so that the steps before it owe it nothing.
        last: the level that the last step departs from; infinite where it is not known.
    """

    steps_left: int
    end: float = 0.0
    last: float = math.inf

    def after(self) -> Ahead:
        """The same at the next step."""
        return self._replace(steps_left=self.steps_left - 1)


class Proposal(NamedTuple):
    """A solver's step from `sigma` to `sigma_next`, before it is relaxed. Tensors: (B, *shape).

    Attributes:
        x: the state at `sigma` that the candidate departs from.
        denoised: D at the opening of the step.
        candidate: T(x), the solver's proposal at `sigma_next`.
        predictor: the first-order candidate inside a predictor-corrector step, if it is one.
        residual: the map z -> z - T(z) at a fixed history. Calling it calls the model.
        ahead: the steps still to do, and where they lead.
    """

    x: Tensor
    denoised: Tensor
    candidate: Tensor
    predictor: Tensor | None
    sigma: float
    sigma_next: float
    residual: Callable[[Tensor], Tensor]
    ahead: Ahead

    @property
    def ratio(self) -> float:
        """r = sigma_next/sigma."""
        return self.sigma_next / self.sigma


class Decision(NamedTuple):
    """A coefficient's answer: x' = (1 - gamma) x + gamma (T1 + correction (T - T1)).

    Attributes:
        gamma: (B,), the strength of the step; 1 leaves the candidate as it is.
        state: what the coefficient wants to see at the next step.
        correction: (B,), how much of the corrector is kept over the predictor T1 in a
            predictor-corrector step; None keeps all.
    """

    gamma: Tensor
    state: Any = None
    correction: Tensor | None = None


@dataclass(frozen=True)
class Coefficient(ABC):
    """A rule for the relaxation of one step. Holds options only; memory lives in its state."""

    @property
    def extra_calls(self) -> int:
        """Model calls that the rule makes for every call of the solver it relaxes."""
        return 0

    def init(self, x: Tensor) -> Any:
        """The state before the first step, for a batch like `x`."""
        return None

    @abstractmethod
    def __call__(self, proposal: Proposal, state: Any) -> Decision:
        """Decides on one step. Must not wait for the device: no `.item()`, no branch on values."""
