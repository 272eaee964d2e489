"""What a kernel computes: rows of its outputs, each shown from the weights of both models.

W M_in = M_out W', entry by entry. The maps say which units a removed one may be expressed by;
whether it is so, and by which factors, the weights decide.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from keras_l2feat.checking.numbers import Numbers, floats, magnitude, ratio
from keras_l2feat.checking.products import Outputs, Product
from keras_l2feat.checking.rows import CONSTANT, MIXED, Rows
from keras_l2feat.checking.tolerance import AMPLIFIED, FLOAT64, LIMIT, Tolerance

__all__ = ["Kernels", "proportion"]

LOST = 1 << 23  # entries of outputs that are compared with each other, at most


@dataclass
class Kernels:
    """The products of both models' kernels with the rows that they read."""

    tolerance: Tolerance
    ours: Product
    theirs: Product

    def errors(self, rows: Rows, kept: np.ndarray) -> np.ndarray:
        """How far the outputs `kept` are from what `rows` claims, in roundoffs; infinite for the
        others."""
        error = np.full(rows.count, np.inf)
        for block in self.ours.blocks(kept):
            # What is the same to the bit needs no measure, unless something beside it is off: then
            # the largest term of all decides what tiny numbers explain.
            for columns in (self._moved(rows, block), None):
                others = rows.column[block]
                mine, other = self.ours.of(block, columns), self.theirs.of(others, columns)
                d = rows.factor[block]
                error[block], rest, terms = self.compare(mine, other, d)
                apart = self.tolerance.off(rest, terms, mine.slack + other.slack)
                error[block] = np.maximum(error[block], apart)
                if (error[block] <= LIMIT).all():
                    break
        return error

    def _moved(self, rows, block):
        """The columns that both models' outputs do not have the same numbers in."""
        ours, theirs = self.ours.passed(), self.theirs.passed()
        alike = (ours >= 0) & (theirs >= 0)
        if self.tolerance.exact or (rows.factor[block] != 1).any() or not alike.any():
            return None
        at = np.flatnonzero(alike)
        mine = self.ours.stored(ours[at], block)
        same = mine == self.theirs.stored(theirs[at], rows.column[block])
        alike[at] = same.all(axis=(0, 2))
        return np.flatnonzero(~alike)

    def compare(
        self, mine: Outputs, other: Outputs, factor: ArrayLike
    ) -> tuple[np.ndarray, Numbers, Numbers]:
        """Outputs and factor times others: how far they are apart, in roundoffs (n,), which
        constant is between them, and the size of its terms (n,)."""
        d = self.tolerance.numbers(np.asarray(factor, dtype=np.float64))
        slack = mine.slack + other.slack
        error = self.tolerance.off(
            mine.value - other.value * d, mine.size + other.size * magnitude(d), slack
        )
        rest = mine.constant - other.constant * d
        return error.max(axis=(0, 1), initial=0.0), rest, mine.terms + other.terms * magnitude(d)

    def needed(self, o: int) -> np.ndarray:
        """Which of the channels that nothing is left of an output depends on, (lost,) bool."""
        mine = self.ours.of(np.array([o]))
        moved = self.tolerance.off(mine.value, mine.size, mine.slack) > LIMIT
        width = self.ours.count - len(self.ours.lost)
        return moved.any(axis=(0, 2))[width : width + len(self.ours.lost)]

    # ---- outputs that are gone

    def express(self, rows: Rows, gone: np.ndarray, choices: dict, place: dict) -> Rows:
        """Rows of removed outputs: constants, multiples of kept ones, combinations; else their own.

        Args:
            rows: of the outputs that are kept; filled in.
            gone: (n,) outputs.
            choices: output → list of {unit: factor}, what it may be expressed by.
            place: (unit, which of its positions) → position.
        """
        waiting = []
        for block in self.ours.blocks(gone):
            mine = self.ours.of(block)
            error = self.tolerance.off(mine.value, mine.size, mine.slack)
            error = error.max(axis=(0, 1), initial=0.0)
            still = error <= LIMIT
            constant, terms = floats(mine.constant)[still], floats(mine.terms)[still]
            rows.put(block[still], CONSTANT, 0.0, constant, terms, error[still])
            waiting += block[~still].tolist()
        named = {
            o: [[(place.get((u, nth)), f) for u, f in choice.items()] for choice in found]
            for o, (nth, found) in choices.items()
            if o in set(waiting)
        }
        spare = rows.copy()
        self._first_of(rows, named)
        several = {o: found[::-1] for o, found in named.items() if len(found) > 1}
        if several:
            self._first_of(spare, several)
            which = np.isin(np.arange(rows.count), list(several))
            rows.spare = spare.where(which, rows)
        self._among_lost(rows, np.array([o for o in waiting if rows.column[o] >= rows.width]))
        return rows

    def _first_of(self, rows, choices):
        """The first of each output's choices that its weights agree with."""
        waiting = list(choices)
        for nth in range(max((len(found) for found in choices.values()), default=0)):
            pairs, several = [], []
            for o in waiting:
                at, told = zip(*choices[o][nth]) if nth < len(choices[o]) else ((), ())
                if not at or None in at or (rows.column[list(at)] >= rows.width).any():
                    continue
                at = np.array(at)
                live = rows.column[at] >= 0
                named = o, rows.column[at][live], (np.array(told) * rows.factor[at])[live]
                (pairs if live.sum() == 1 else several).append(named)
            self._multiples(rows, pairs)
            for o, columns, factor in several:
                self._combination(rows, o, columns, factor)
            waiting = [o for o in waiting if rows.column[o] >= rows.width]

    def _multiples(self, rows, pairs):
        """As told, or by the proportion of the weights."""
        for block in self.ours.blocks(np.arange(len(pairs))):
            o, j, told = (np.array([pairs[n][k] for n in block]).reshape(-1) for k in range(3))
            mine, other = self.ours.of(o), self.theirs.of(j)
            for factor in (told, proportion(floats(mine.value), floats(other.value))):
                usable = np.isfinite(factor) & (factor != 0) & (rows.column[o] >= rows.width)
                factor = np.where(usable, factor, 1.0)
                error, rest, terms = self.compare(mine, other, factor)
                fine = usable & (error <= LIMIT)
                found = (j, factor, floats(rest), floats(terms), error)
                rows.put(o[fine], *(part[fine] for part in found))
                if fine.all():
                    break

    def _combination(self, rows, o, columns, told):
        """As told, or by least squares with each entry measured by the size of its terms."""
        mine, others = self.ours.of(np.array([o])), self.theirs.of(columns)
        values = [np.abs(floats(w.value)) for w in (mine, others)]
        scale = np.maximum(*(value.max(axis=2, keepdims=True) for value in values))
        largest = max(floats(w.terms).max() for w in (mine, others))  # of the constants
        part = ratio(values[0], scale).max(initial=0.0)
        own = max(largest * part, floats(mine.terms)[0])
        for factor in (told, None):
            if factor is None:
                basis, target = (
                    floats(w.value).reshape(-1, w.value.shape[2]) for w in (others, mine)
                )
                size = np.abs(basis).max(axis=1) + np.abs(target[:, 0])
                norm = 1.0 / np.where(size > 0, size, 1.0)
                factor = np.linalg.lstsq(basis * norm[:, None], target[:, 0] * norm, rcond=None)[0]
            total = _combined(others, self.tolerance.numbers(factor))
            error, rest, terms = self.compare(mine, total, np.ones(1))
            share = self.tolerance.share(mine.value - total.value, mine.value, scale)
            if error[0] <= LIMIT and share <= AMPLIFIED:
                around = min(floats(terms)[0], AMPLIFIED / LIMIT * own)
                rows.put(o, MIXED, 0.0, floats(rest)[0], around, error[0])
                rows.mixed[int(o)] = columns, np.asarray(factor, dtype=np.float64)
                return

    def _among_lost(self, rows, lost):
        """Which of the outputs that nothing is left of are multiples of each other: what reads them
        may add them up to nothing."""
        if len(lost) < 2 or len(lost) * self.ours.kernel.shape[0] * self.ours.count > LOST:
            return
        outputs = self.ours.of(lost)
        flat = np.concatenate(
            [floats(outputs.value).reshape(-1, len(lost)), floats(outputs.constant)[None]]
        )
        along = np.random.default_rng(0).standard_normal(len(flat))
        with np.errstate(divide="ignore", invalid="ignore"):
            mark = np.abs(along @ flat) / np.abs(flat).sum(axis=0)
        first = None
        for k in np.argsort(mark, kind="stable").tolist():
            near = first is not None and abs(mark[k] - mark[first])
            if first is not None and near <= 64 * self.tolerance.unit * len(along):
                factor = proportion(flat[None, :, [k]], flat[None, :, [first]])
                error, rest, terms = self.compare(_one(outputs, k), _one(outputs, first), factor)
                error = max(error[0], self.tolerance.off(rest, terms, 2 * outputs.slack)[0])
                if error <= LIMIT:
                    rows.put(lost[k], rows.width + lost[first], factor[0], error=error)
                    continue
            first = k


def proportion(value: Outputs, other: Outputs) -> Any:
    """What other has to be multiplied by to become value, (taps, columns, n) both: (n,), by the
    sums of their sizes."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        size = np.abs(value).sum(axis=(0, 1)) / np.abs(other).sum(axis=(0, 1))
        largest = np.abs(other).max(axis=(0, 1), initial=0.0)
        sign = np.sign((value * (other / largest)).sum(axis=(0, 1)))
    return sign * size


def _one(outputs, k):
    value, size, constant, terms, slack = outputs
    return Outputs(value[..., [k]], size[..., [k]], constant[[k]], terms[[k]], slack)


def _combined(outputs, factors):
    """The sum of factors times outputs, as one output."""
    sums = [
        (part * by).sum(axis=-1) for part, by in zip(outputs, 2 * (factors, magnitude(factors)))
    ]
    value, size, constant, terms = (part.reshape(*part.shape, 1) for part in sums)
    slack = outputs.slack + (factors.shape[0] + 2) * FLOAT64
    return Outputs(value, size, constant, terms, slack)
