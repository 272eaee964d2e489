"""Two arithmetics for one checker: float64 with a running error bound, and exact dyadic rationals.

A stored weight is an integer times a power of two, so sums and products of weights are too:
`Dyadic` holds an array of Python integers and one exponent. Code that only adds, multiplies and
takes absolute values reads the same for both.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

__all__ = [
    "Dyadic",
    "Numbers",
    "exactly",
    "floats",
    "magnitude",
    "ratio",
    "roundoff",
    "smallest",
    "stacked",
]


def roundoff(dtype: Any) -> float:
    """The unit roundoff u of a floating dtype: storing x gives x (1 + d), |d| <= u."""
    return 2.0**-8 if str(dtype) == "bfloat16" else float(np.finfo(dtype).eps) / 2


def smallest(dtype: Any) -> float:
    """The smallest positive number of a floating dtype: below, storing errs by that at most."""
    if str(dtype) == "bfloat16":
        return 2.0**-133
    return float(np.finfo(dtype).smallest_subnormal)


class Dyadic:
    """values · 2^exponent, exactly: `values` an object array of Python integers."""

    def __init__(self, values: np.ndarray, exponent: int) -> None:
        self.values, self.exponent = values, exponent

    @property
    def shape(self) -> tuple:
        return self.values.shape

    def __getitem__(self, key):
        return Dyadic(self.values[key], self.exponent)

    def __abs__(self):
        return Dyadic(np.abs(self.values), self.exponent)

    def __neg__(self):
        return Dyadic(-self.values, self.exponent)

    def __mul__(self, other):
        other = exactly(other)
        return Dyadic(self.values * other.values, self.exponent + other.exponent)

    __rmul__ = __mul__

    def __add__(self, other):
        first, second = _aligned(self, exactly(other))
        return Dyadic(first.values + second.values, first.exponent)

    __radd__ = __add__

    def __sub__(self, other):
        return self + -exactly(other)

    def reshape(self, *shape: Any) -> "Dyadic":
        return Dyadic(self.values.reshape(*shape), self.exponent)

    def sum(self, axis: Any = None) -> "Dyadic":
        return Dyadic(np.asarray(self.values.sum(axis=axis), dtype=object), self.exponent)


Numbers: TypeAlias = np.ndarray | Dyadic  # in either arithmetic


def exactly(array: ArrayLike | Dyadic) -> Dyadic:
    """A float array as integers times a power of two; nothing is rounded."""
    if isinstance(array, Dyadic):
        return array
    mantissa, exponent = np.frexp(np.asarray(array, dtype=np.float64))
    whole = (mantissa * 2.0**53).astype(np.int64)
    used = exponent[whole != 0]
    least = int(used.min()) if used.size else 0
    shift = np.where(whole != 0, exponent - least, 0)
    return Dyadic(np.asarray(whole.astype(object) << shift.astype(object), object), least - 53)


def _aligned(first, second):
    least = min(first.exponent, second.exponent)
    return tuple(Dyadic(x.values << (x.exponent - least), least) for x in (first, second))


def stacked(parts: Sequence, axis: int) -> Numbers:
    """Arrays of one arithmetic, side by side."""
    if not isinstance(parts[0], Dyadic):
        return np.concatenate(parts, axis=axis)
    least = min(part.exponent for part in parts)
    whole = [part.values << (part.exponent - least) for part in parts]
    return Dyadic(np.concatenate(whole, axis=axis), least)


def floats(array: ArrayLike | Dyadic) -> np.ndarray:
    """The nearest float64 numbers."""
    if not isinstance(array, Dyadic):
        return np.asarray(array, dtype=np.float64)
    return _divided(array, exactly(1.0))


def magnitude(array: Numbers) -> Numbers:
    """|array| in its own arithmetic."""
    return abs(array) if isinstance(array, Dyadic) else np.abs(array)


def ratio(part: Numbers, whole: Numbers) -> np.ndarray:
    """part / whole as float64, elementwise and ≥ 0; 0 / 0 is 0."""
    if isinstance(part, Dyadic) or isinstance(whole, Dyadic):
        return _divided(exactly(part), exactly(whole))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(part == 0, 0.0, part / whole)


def _divided(part, whole):
    part, whole = _aligned(part, whole)
    quotient = np.frompyfunc(_quotient, 2, 1)(part.values, whole.values)
    return np.asarray(quotient, dtype=np.float64)


def _quotient(part, whole):
    if part == 0:
        return 0.0
    try:
        return part / whole
    except (OverflowError, ZeroDivisionError):
        return float("inf")
