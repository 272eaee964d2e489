"""W M: what a kernel computes, in terms of what the pruned model has, and of what the original has
beside that; in either arithmetic, some outputs at a time."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from keras_l2feat.checking.numbers import Dyadic, exactly, floats, magnitude, stacked
from keras_l2feat.checking.rows import Rows
from keras_l2feat.checking.tolerance import FLOAT64, Tolerance

__all__ = ["Outputs", "Product"]

BLOCK = 1 << 21  # entries worked on at a time


class Outputs(NamedTuple):
    """Rows of W M, in either arithmetic: values and the sizes of their terms (taps, columns, n),
    constants and the sizes of theirs (n,); `slack`: what rounding in the check may have added,
    relative to sizes."""

    value: Any
    size: Any
    constant: Any
    terms: Any
    slack: float


class Product:
    """W M for a kernel W (taps, inputs, outputs) as it is stored, a bias, and rows M.

    Attributes:
        lost: original channels that have columns of their own; count: of all columns.
    """

    def __init__(
        self,
        tolerance: Tolerance,
        x: Rows,
        kernel: np.ndarray,
        bias: np.ndarray,
        folds: bool,
        lost: np.ndarray,
        border: bool,
    ) -> None:
        self.tolerance, self.kernel, self.bias = tolerance, kernel, bias
        self.constant, self.folds = x.constant, folds
        self.lost, self.border = lost, border
        self.count = x.width + len(lost)
        self.trivial = x.plain and not x.still.any() and not len(lost)
        row, column, factor = x.entries()
        beyond = x.width + np.searchsorted(lost + x.width, column)
        column = np.where(column < x.width, column, beyond)
        order = np.argsort(column, kind="stable")
        self.entries = row, column, factor = row[order], column[order], factor[order]
        most = int(np.bincount(column, minlength=1).max()) if len(column) else 0
        self.slack = 0.0 if tolerance.exact else (most + 2) * FLOAT64

    @classmethod
    def pair(
        cls, tolerance: Tolerance, x: Rows, ours: tuple, theirs: tuple, folds: bool
    ) -> tuple["Product", "Product"]:
        """The products of both models, `(kernel, bias)` each, in the same columns."""
        column = np.concatenate([x.entries()[1], [0]])
        lost = np.unique(column[column >= x.width]) - x.width
        other = x.theirs
        border = not folds and bool(x.constant.any() or other.constant.any())
        (kernel, bias), (smaller, less) = ours, theirs
        return (
            cls(tolerance, x, kernel, bias, folds, lost, border),
            cls(tolerance, other, smaller, less, folds, lost, border),
        )

    def blocks(self, which: np.ndarray) -> Iterator[np.ndarray]:
        """Parts of some outputs that are worked on at a time."""
        entries = max(self.count + self.border, len(self.entries[0]))
        step = max(1, BLOCK // max(1, self.kernel.shape[0] * entries))
        return (which[a : a + step] for a in range(0, len(which), step))

    def constants(self) -> np.ndarray:
        """The outputs that read nothing but constants: their values, else NaN."""
        read = np.unique(self.entries[0])
        moves = self.kernel[0, read[:1]].any(axis=0)
        quiet = np.flatnonzero(~moves)  # hardly ever any
        moves[quiet] = self.kernel[:, read][:, :, quiet].any(axis=(0, 1))
        if not self.constant.any():
            return np.where(moves, np.nan, self.bias)
        steady = self.bias + np.einsum("tio,i->o", self.kernel, self.constant)
        if self.border:
            moves |= np.einsum("tio,i->to", np.abs(self.kernel), np.abs(self.constant)).any(axis=0)
        return np.where(moves, np.nan, steady)

    def passed(self) -> np.ndarray:
        """The one channel that each column stands for as it is, (count,) int; -1 for others."""
        row, column, factor = self.entries
        found = np.full(self.count, -1)
        found[column] = np.where(factor == 1, row, -1)
        found[np.bincount(column, minlength=self.count) != 1] = -1
        return found

    def of(self, which: np.ndarray, columns: np.ndarray | None = None) -> Outputs:
        """Some outputs; in float64, some columns of them alone, if these are named."""
        numbers = self.tolerance.numbers
        bias = numbers(self.bias[which])
        if self.tolerance.exact:
            part = numbers(self.kernel[:, :, which])
            value, size = part, magnitude(part)
            if not self.trivial:
                value, size = self._integers(part), self._integers(part, absolute=True)
        else:
            value, size = self._floats(which, columns)
        offset, terms, slack = bias, magnitude(bias), self.slack
        inward = around = numbers(np.zeros((len(self.kernel), 1, len(which))))
        if self.constant.any():
            at = np.flatnonzero(self.constant)
            constant = numbers(self.constant[at].reshape(1, -1, 1))
            part = numbers(self.stored(at, which))
            inward = part * constant
            around = magnitude(part) * magnitude(constant)
            if not self.tolerance.exact:
                slack = max(slack, inward.shape[0] * inward.shape[1] * FLOAT64)
            if self.folds:
                offset = offset + inward.sum(axis=(0, 1))
                terms = terms + around.sum(axis=(0, 1))
        if self.border:
            value = stacked([value, _row(inward.sum(axis=1))], 1)
            size = stacked([size, _row(around.sum(axis=1))], 1)
        return Outputs(value, size, offset, terms, slack)

    def stored(self, inputs: np.ndarray, which: np.ndarray) -> np.ndarray:
        """The part of the kernel of some inputs and outputs, (n,) int both."""
        part = self.kernel
        for axis, chosen in ((1, inputs), (2, which)):
            if not np.array_equal(chosen, np.arange(part.shape[axis])):
                part = np.take(part, chosen, axis=axis)
        return part

    def _floats(self, which, columns):
        """Values of some outputs and the sizes of their terms, in some columns, ascending."""
        row, column, factor = self.entries
        count = self.count if columns is None else len(columns)
        if columns is not None:
            nth = np.full(self.count, -1)
            nth[columns] = np.arange(count)
            chosen = nth[column] >= 0
            row, column, factor = row[chosen], nth[column[chosen]], factor[chosen]
        terms = floats(self.stored(row, which))
        if (factor != 1).any():
            terms = terms * factor[:, None]
        new = np.diff(column, prepend=-1) > 0
        return tuple(_spread(_added(part, new), column[new], count) for part in (terms, abs(terms)))

    def _integers(self, part, absolute=False):
        row, column, factor = self.entries
        factor = exactly(factor.reshape(1, -1, 1))
        part = part[:, row]
        weighted = magnitude(part) * magnitude(factor) if absolute else part * factor
        taps, _, outputs = weighted.shape
        total = np.zeros((taps, self.count, outputs), dtype=object)
        if len(column):
            first = np.flatnonzero(np.r_[True, np.diff(column) > 0])
            total[:, column[first]] = np.add.reduceat(weighted.values, first, axis=1)
        return Dyadic(total, weighted.exponent)


def _row(array):
    shape = array.shape
    return array.reshape(shape[0], 1, shape[1])


def _added(terms, new):
    """Sums of the terms (taps, n, outputs) from each that is `new`, (n,) bool, up to the next."""
    first = np.flatnonzero(new)
    if len(first) == len(new):
        return terms
    total, nth = np.take(terms, first, axis=1), np.cumsum(new) - 1
    place = np.arange(len(new)) - first[nth]
    for k in range(1, int(place.max()) + 1):  # few, and much faster than `np.add.reduceat`
        at = np.flatnonzero(place == k)
        total[:, nth[at]] += terms[:, at]
    return total


def _spread(values, column, count):
    """Values (taps, n, outputs) at such columns, ascending, of so many; 0 at the others."""
    if len(column) == count:
        return values
    whole = np.zeros((len(values), count, values.shape[2]))
    whole[:, column] = values
    return whole
