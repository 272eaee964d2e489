"""Sums of squares and products over as many rows as come: XᵀX and XᵀZ in float64.

Rows are put together until they are worth a product of matrices, which goes into the sum in place
and fills one triangle of it (BLAS syrk): half the operations, and no second matrix of that size.
As long as they are fewer than columns, they stay as they are, and so does all that is done with
them: a matrix of all columns would say no more, and be larger.

Float64, though the rows come from float32: a product in float32 is off by 6e-8 of the norms of its
columns, and the error of a fit is a square, so that what others explain but for a part of 2e-4
could not be told from what they explain wholly. In float64 that part is 1e-8.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.linalg import blas

from keras_l2feat.pruning.takeover.removal import fitted, fitted_rows, mirrored

__all__ = ["Sums", "best_ridge"]

BLOCK = 256  # rows of a product, at least
PART = 4  # and a part of the columns, so that what waits is small beside the sum
JUDGED = 64  # outputs by which a ridge is chosen
RIDGES = (1e-2, 1e-4, 1e-6, 1e-8, 1e-10, 1e-12)  # from which a fit takes the best


class Sums:
    """XᵀX (columns, columns), and XᵀZ (columns, outputs) where there are targets Z; X and Z
    themselves as long as there are fewer rows than columns."""

    def __init__(self, columns: int, outputs: int = 0) -> None:
        self.shape, self.whole, self.count = (columns, outputs), True, 0
        self.upper: Any = None  # (columns, columns), the upper triangle unless `whole`
        self.products: Any = 0.0
        self.sizes: Any = 0.0
        self.waiting: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, rows: np.ndarray, target: np.ndarray | None = None) -> None:
        """Rows (n, columns) and their targets (n, outputs)."""
        target = np.zeros((len(rows), 0)) if target is None else target
        self.count += len(rows)
        self.waiting.append((rows, target))
        part = 1 if self.upper is None else PART
        if sum(len(rows) for rows, _ in self.waiting) >= max(BLOCK, self.shape[0] // part):
            self._settle()

    @property
    def few(self) -> bool:
        """Whether there are fewer rows than columns."""
        return self.upper is None and self.count < self.shape[0]

    @property
    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """X and Z in float64, where they are few."""
        rows, target = (np.concatenate(x, dtype=np.float64) for x in zip(*self.waiting))
        return rows, target

    def _settle(self):
        if self.waiting:
            rows, target = self.rows
            self.waiting = []
            if self.upper is None:
                self.upper = np.zeros((self.shape[0], self.shape[0]), order="F")
            self.whole = False
            self.upper = blas.dsyrk(1.0, rows.T, beta=1.0, c=self.upper, overwrite_c=1)
            self.products = self.products + rows.T @ target
            self.sizes = self.sizes + (target**2).sum(axis=0)

    @property
    def total(self) -> np.ndarray:
        """XᵀX, both triangles."""
        self._settle()
        if not self.whole:
            self.upper, self.whole = mirrored(self.upper), True
        return self.upper

    @property
    def cross(self) -> np.ndarray:
        """XᵀZ."""
        self._settle()
        return self.products

    def __add__(self, other):
        both = Sums(*self.shape)
        if self.few and other.few:
            for rows, target in self.waiting + other.waiting:
                both.add(rows, target)
        else:
            both.upper, both.products = self.total + other.total, self.cross + other.cross
            both.sizes, both.count = self.sizes + other.sizes, self.count + other.count
        return both

    def of(self, outputs: Any) -> "Sums":
        """The same for some outputs alone."""
        few = Sums(*self.shape)
        few.count = self.count
        if self.few:
            few.waiting = [(rows, target[:, outputs]) for rows, target in self.waiting]
        else:
            few.upper, few.products = self.total, self.cross[:, outputs]
            few.sizes = self.sizes[outputs]
        return few

    def fit(self, start: np.ndarray, ridge: float) -> np.ndarray:
        """The kernel of the ridge regression, see `fitted`."""
        if self.few:
            rows, target = self.rows
            return fitted_rows(rows, target, start, ridge)
        return fitted(self.total, self.cross, start, ridge)

    def without(self, kept: np.ndarray, kernel: np.ndarray, ridge: float) -> np.ndarray:
        """The kernel on some columns, (columns,) bool, that computes best what one on all does."""
        if self.few:
            rows, _ = self.rows
            return fitted_rows(rows[:, kept], rows @ kernel, kernel[kept], ridge)
        total = self.total
        return fitted(total[np.ix_(kept, kept)], total[kept] @ kernel, kernel[kept], ridge)

    def error(self, kernel: np.ndarray) -> float:
        """Mean over rows of ‖X kernel - Z‖²."""
        if self.few:
            rows, target = self.rows
            return float(((rows @ kernel - target) ** 2).sum()) / max(self.count, 1)
        inside = np.vdot(kernel, self.total @ kernel) - 2 * np.vdot(kernel, self.cross)
        return (float(inside) + self.sizes.sum()) / max(self.count, 1)


def best_ridge(halves: Sequence[Sums], start: np.ndarray) -> float:
    """The ε with which each half of the data is best explained by a fit to the other, judged by
    some outputs; smaller ones are tried as long as they get better.

    Args:
        halves: two `Sums`; start: (columns, outputs), see `fitted`.
    """
    some = slice(None, None, max(1, start.shape[1] // JUDGED))
    halves, start = [half.of(some) for half in halves], start[:, some]
    best = np.inf
    for chosen, ridge in enumerate(RIDGES):
        error = sum(b.error(a.fit(start, ridge)) for a, b in (halves, halves[::-1]))
        if not error < best:
            return RIDGES[chosen - 1] if chosen else ridge
        best = error
    return RIDGES[-1]
