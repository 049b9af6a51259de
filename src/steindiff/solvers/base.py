"""The contract of a solver: immutable, with every bit of history in an explicit state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from torch import Tensor

from .._errors import shown

HistoryKind = Literal["none", "denoised", "noise"]
"""What a solver remembers of earlier steps."""

BoundDenoiser = Callable[[Tensor, float], Tensor]
"""D(x, sigma) with its conditioning bound: what a solver calls."""


class Step(NamedTuple):
    """What one step from `sigma` to `sigma_next` gave. All tensors are (B, *shape).

    Attributes:
        x: the candidate at `sigma_next`.
        denoised: the denoiser's output that opened the step, at `sigma`.
        state: what the solver needs for its next step.
        start: the state at `sigma` that the candidate departs from: the `x` that came in, unless
            the solver corrects it first (UniPC).
        predictor: the first-order candidate inside a one-step predictor-corrector (Heun).
    """

    x: Tensor
    denoised: Tensor
    state: Any
    start: Tensor
    predictor: Tensor | None = None


@dataclass(frozen=True)
class Solver(ABC):
    """Integrates dx/dsigma = (x - D(x, sigma))/sigma, one step at a time.

    A solver object holds options only. One object may serve any number of samplings at once.
    """

    @property
    def calls_per_step(self) -> int:
        """Model calls of an ordinary step."""
        return 1

    @property
    def history(self) -> HistoryKind:
        """What of earlier steps enters a step, which says how an excess of noise travels.

        An excess that was put into a state, as relaxing does, stays the same share of the noise at
        every later level where "none" or "denoised" samples are remembered. Where the "noise" is,
        (x - D)/sigma or what holds it, the excess is also a jump in the history, which the next
        steps extrapolate.
        """
        return "none"

    @abstractmethod
    def init(self, x: Tensor, sigmas: Sequence[float]) -> Any:
        """The state before the first step.

        Args:
            x: (B, *shape), the start at `sigmas[0]`.
            sigmas: all levels of the sampling, decreasing; the last may be 0.
        """

    @abstractmethod
    def step(
        self, denoiser: BoundDenoiser, x: Tensor, sigma: float, sigma_next: float, state: Any
    ) -> Step:
        """One step from `x` at `sigma` to `sigma_next` < `sigma`."""

    def replace(self, state: Any, proposed: Tensor, accepted: Tensor) -> Any:
        """The state after the step's candidate `proposed` was replaced by `accepted`.

        Only a solver that rebuilds its next start from something else than the state it is handed
        (a predictor-corrector) has anything to do here.
        """
        return state


class History(NamedTuple):
    """State of a multistep solver: the newest entry first.

    Attributes:
        steps_left: steps still to do, this one included.
        sigmas: levels of the remembered evaluations.
        values: what was remembered at each of them, (B, *shape).
    """

    steps_left: int
    sigmas: tuple[float, ...] = ()
    values: tuple[Tensor, ...] = ()

    def push(self, sigma: float, value: Tensor, keep: int) -> History:
        """With one more evaluation in front, `keep` of them in all."""
        return History(self.steps_left, (sigma, *self.sigmas)[:keep], (value, *self.values)[:keep])

    def advance(self) -> History:
        """After the step."""
        return self._replace(steps_left=self.steps_left - 1)


def usable_order(order: int, history: History, sigma_next: float, lower_final: bool) -> int:
    """The order that the history at hand, the steps left and a final zero allow.

    Into sigma = 0 the log-SNR is infinite and only first order has a meaning. `lower_final` caps
    the order by the number of steps left, which steadies the end of short samplings.
    """
    if sigma_next == 0:
        return 1
    allowed = min(order, len(history.values))
    return min(allowed, history.steps_left) if lower_final else allowed


def check_order(order: int, low: int, high: int, solver: str) -> None:
    """Raises ValueError when `order` is outside `low` .. `high`."""
    if isinstance(order, bool) or not isinstance(order, int) or not low <= order <= high:
        raise ValueError(f"order is {shown(order)}; {solver} has orders {low} to {high}")


def weighted_sum(weights: Sequence[float], values: Sequence[Tensor]) -> Tensor:
    """The sum of weights[k] * values[k], in the dtype of the values."""
    total = weights[0] * values[0]
    for weight, value in zip(weights[1:], values[1:], strict=True):
        total = total + weight * value
    return total
