"""By how much roundings may move a weight, a factor or a constant: all tolerances of the checker,
and how differences are measured by them.

An entry of a kernel is stored once by each step (`exact`, `domain`) and once by balancing, u each;
sums and products before are in float64. Units that were merged are one up to 8 u in each entry
(`pruning.values.aligned.tolerance`). Together these stay below LIMIT, and hardly ever reach 2 u. An
entry of one model that was moved by 64 u shows as 32 u of the sum of both.
"""

from collections.abc import Iterable

import numpy as np

from keras_l2feat.checking.numbers import (
    Numbers,
    exactly,
    floats,
    magnitude,
    ratio,
    roundoff,
    smallest,
)

__all__ = ["AMPLIFIED", "FLOAT64", "LIMIT", "Tolerance"]

LIMIT = 16.0  # roundoffs by which a weight may differ
# Roundoffs by which what was merged may move a sum, as a part of what that sum adds up afterwards.
AMPLIFIED = 256.0
SNAP = 4.0  # roundoffs from ±1 within which a factor is ±1
FLOAT64 = 2.0**-53


class Tolerance:
    """Differences in roundoffs of what weights are stored in.

    Args:
        dtypes: of the weights; the coarsest counts.
        exact: count in integers instead of float64.

    Attributes:
        dtype, unit: what roundoffs are of, and how large one is.
        numbers: turns a float array into one to count with.
    """

    def __init__(self, dtypes: Iterable[str], exact: bool = False) -> None:
        self.dtype = max(set(dtypes) or {"float32"}, key=roundoff)
        self.unit, self.exact = roundoff(self.dtype), exact
        self.numbers = exactly if exact else floats
        self._smallest = smallest(self.dtype)

    def off(self, remainder: Numbers, terms: Numbers, slack: float = 0.0) -> np.ndarray:
        """|remainder| over u · terms: roundoffs. What storing tiny numbers explains is taken off
        where it is nothing beside the largest term of the same output, the last axis.

        slack: rounding of the check itself, relative to the terms.
        """
        rest = floats(magnitude(remainder))
        parts = np.maximum(ratio(magnitude(remainder), terms) / self.unit - slack / self.unit, 0.0)
        tiny = 2 * self._smallest
        small = (rest <= tiny) & (parts > 0)
        if small.any():
            largest = floats(terms)
            largest = largest.max(axis=tuple(range(largest.ndim - 1)), initial=0.0)
            parts = np.where(small & (tiny <= LIMIT * self.unit * largest), 0.0, parts)
        return parts

    def share(self, rest: Numbers, whole: Numbers, scale: np.ndarray) -> float:
        """The largest |rest| over the largest |whole|, in roundoffs, each entry over its scale: how
        far a sum is off whose terms cancel, in whatever units its inputs are measured."""
        parts = [ratio(np.abs(floats(part)), scale).max(initial=0.0) for part in (rest, whole)]
        return float(ratio(*parts)) / self.unit

    def snapped(self, factor: np.ndarray) -> np.ndarray:
        """±1 where a factor is that up to roundings."""
        near = np.abs(np.abs(factor) - 1) <= SNAP * self.unit
        return np.where(near, np.sign(factor), factor)
