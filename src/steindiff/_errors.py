"""What goes wrong, said clearly: the argument, its value, and what would be right."""

from __future__ import annotations

import difflib
import math
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

import torch
from torch import Tensor


class NonFiniteError(ValueError):
    """A NaN or an infinity appeared while sampling.

    Attributes:
        step: index of the step, counted from 0.
        samples: indices of the affected samples in the batch.
    """

    def __init__(self, what: str, step: int, sigma: float, samples: list[int]) -> None:
        self.step, self.samples = step, samples
        shown = ", ".join(map(str, samples[:8])) + (", ..." if len(samples) > 8 else "")
        super().__init__(
            f"{what} is not finite at step {step} (sigma = {sigma:g}), in samples {shown}"
        )


def unknown_name(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """The error for a name that is not in a registry, with the nearest known one."""
    known = sorted(known)
    near = difflib.get_close_matches(shown(name).strip("'"), known, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return ValueError(f"{kind} {shown(name)} is unknown.{hint} Known: {', '.join(known)}.")


def check_options(kind: str, name: str, cls: type, options: Iterable[str]) -> None:
    """Raises ValueError for an option that is no field of the dataclass `cls`."""
    known = [field.name for field in fields(cls)]
    for option in options:
        if option not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise ValueError(f"option {option!r} does not exist for {kind} {name!r}; {has}")


SHOWN = 200
"""Characters of a wrong value that are shown."""


def shown(value: object) -> str:
    """The value as Python writes it, cut: it may be a whole file, or an integer without end."""
    try:
        text = repr(value)
    except ValueError:  # more digits than Python will write
        return "an integer without end"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def check_number(name: str, value: object) -> float:
    """`value` as a float, which may be NaN or infinite.

    Raises:
        TypeError: no number, or a flag.
        ValueError: too large for a float.
    """
    try:
        if isinstance(value, (bool, str, bytes)):
            raise TypeError
        return float(value)  # type: ignore[arg-type]
    except OverflowError:
        raise ValueError(f"{name} is {shown(value)}; a number of 64 bits is needed") from None
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name} is {shown(value)}; a number is needed") from None


def check_finite(name: str, value: object) -> float:
    """As `check_number`; raises ValueError for NaN and infinities as well."""
    number = check_number(name, value)
    if not math.isfinite(number):
        raise ValueError(f"{name} is {value}; a finite number is needed")
    return number


def check_callable(name: str, value: object) -> None:
    """Raises TypeError where `value` cannot be called."""
    if not callable(value):
        raise TypeError(f"{name} is a {type(value).__name__}; a callable is needed")


def check_mapping(name: str, value: object) -> dict[str, Any]:
    """`value` as a dict, empty for None; raises TypeError where it is no mapping of names."""
    if not isinstance(value, Mapping | None):
        raise TypeError(f"{name} is a {type(value).__name__}; a mapping is needed")
    found = dict(value or {})
    for key in found:
        if not isinstance(key, str):
            raise TypeError(f"{name} has the key {shown(key)}; names of arguments are needed")
    return found


def check_shape(name: str, value: object) -> tuple[int, ...]:
    """`value` as the shape of one sample.

    Raises:
        TypeError: no sequence.
        ValueError: a size that is no int >= 1.
    """
    try:
        sizes = tuple(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} is {shown(value)}; a sequence of sizes is needed") from None
    for i, size in enumerate(sizes):
        check_count(f"{name}[{i}]", size, 1, LARGEST)
    return sizes


LARGEST = 2**31
"""Of any one size."""

MOST_STEPS = 1_000_000
"""Of a sampling."""


def check_count(name: str, value: object, least: int = 1, most: int | None = None) -> int:
    """`value` if it is an int from `least` to `most`; raises ValueError where it is not."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} is {shown(value)}; an int >= {least} is needed")
    if most is not None and value > most:
        raise ValueError(f"{name} is {shown(value)}; an int <= {most} is needed")
    return value


COMPUTED = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""The dtypes that PyTorch computes in; narrower ones, such as float8, only keep numbers."""

A_FLOAT = "a real floating-point dtype of 16 bits or more is needed"


def check_batch(x: object, name: str = "x") -> Tensor:
    """`x` if it is a batch of samples: floating point, at least two dimensions, not empty.

    Raises:
        TypeError: not a tensor, not of a dtype of `COMPUTED`, or sparse, nested or otherwise not
            laid out in strides.
        ValueError: no batch dimension, or nothing in it.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} is a {type(x).__name__}; a torch.Tensor is needed")
    if x.dtype not in COMPUTED:
        raise TypeError(f"{name} has dtype {x.dtype}; {A_FLOAT}")
    if x.layout != torch.strided or x.is_nested:
        kind = "nested" if x.is_nested else f"of layout {x.layout}"
        raise TypeError(f"{name} is {kind}; a dense tensor (torch.strided) is needed")
    if x.ndim < 2:
        raise ValueError(f"{name} has shape {tuple(x.shape)}; (batch, *sample shape) is needed")
    if x.numel() == 0:
        raise ValueError(f"{name} has shape {tuple(x.shape)}: the batch is empty")
    return x


T = TypeVar("T")


def check_values(name: str, value: T, beside: Tensor | None = None) -> T:
    """`value`, unless it is a tensor of the meta device, where there is nothing to compute with.

    Args:
        name: what it is called.
        value: anything.
        beside: what it is computed with; where that is of the meta device, `value` may be as well.

    Raises:
        ValueError: it is such a tensor.
    """
    if isinstance(value, Tensor) and value.is_meta and not (beside is not None and beside.is_meta):
        raise ValueError(f"{name} is on the meta device, where tensors have no values")
    return value


def non_finite_samples(x: Tensor) -> Tensor:
    """(B,) bool: which samples of `x` hold a NaN or an infinity. Does not wait for the device."""
    return (x - x).ne(0).flatten(1).any(dim=1)  # 0 where finite, NaN elsewhere


def require_finite(what: str, bad: Sequence[bool], step: int, sigma: float) -> None:
    """Raises NonFiniteError where one of `bad`, what `non_finite_samples` found, is true."""
    if any(bad):
        raise NonFiniteError(what, step, sigma, [i for i, one in enumerate(bad) if one])


class Watch:
    """Looks for non-finite values: at once on the CPU, at the end where looking would wait.

    Args:
        strict: whether one bad sample is an error. Else it is a warning that names it, and only a
            batch of which nothing is left is an error.
    """

    def __init__(self, strict: bool = True) -> None:
        self.strict = strict
        self._pending: list[tuple[str, Tensor, int, float]] = []
        self._lost: set[int] = set()

    def look(self, what: str, x: Tensor, step: int, sigma: float) -> None:
        """Notes which samples of `x` (B, *shape) are not finite; raises as `report` on the CPU."""
        self._pending.append((what, non_finite_samples(x), step, sigma))
        if x.device.type == "cpu":
            self.report()

    def report(self) -> None:
        """Says what was noted. Waits for the device, once; the meta device has nothing to say.

        Raises:
            NonFiniteError: of one sample if strict, else of all.
        """
        if not self._pending:
            return
        try:
            flags = torch.stack([bad for _, bad, _, _ in self._pending]).tolist()
        except NotImplementedError:  # tensors without values
            self._pending.clear()
            return
        for (what, _, step, sigma), bad in zip(self._pending, flags, strict=True):
            if self.strict:
                require_finite(what, bad, step, sigma)
            else:
                self._warn(what, bad, step, sigma)
        self._pending.clear()

    def _warn(self, what: str, bad: Sequence[bool], step: int, sigma: float) -> None:
        new = {i for i, one in enumerate(bad) if one} - self._lost
        if not new:
            return
        self._lost |= new
        error = NonFiniteError(what, step, sigma, sorted(new))
        if len(self._lost) == len(bad):
            raise error
        _warn_again(f"{error}; the others go on")


def _warn_again(text: str) -> None:
    """A RuntimeWarning at the caller's line, said however often it was said before.

    `warnings.warn` says the same words of the same line once in a process: of the next sampling
    that loses the same sample nobody would be told.
    """
    frame = sys._getframe()
    own = __name__.partition(".")[0]
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == own:
        frame = frame.f_back
    warnings.warn_explicit(text, RuntimeWarning, frame.f_code.co_filename, frame.f_lineno)
