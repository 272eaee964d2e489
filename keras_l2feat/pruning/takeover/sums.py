"""Sums of squares and products over as many rows as come: XᵀX and XᵀZ in float64.

Rows are put together until they are worth a product of matrices, which goes into the sum in place
and fills one triangle of it (BLAS syrk): half the operations, and no second matrix of that size.

Float64, though the rows come from float32: a product in float32 is off by 6e-8 of the norms of its
columns, and the error of a fit is a square, so that what others explain but for a part of 2e-4
could not be told from what they explain wholly. In float64 that part is 1e-8.
"""

import numpy as np
from scipy.linalg import blas

from keras_l2feat.pruning.takeover.removal import fitted, mirrored

__all__ = ["Sums", "best_ridge"]

BLOCK = 256  # rows of a product, at least
PART = 4  # and a part of the columns, so that what waits is small beside the sum
JUDGED = 64  # outputs by which a ridge is chosen
RIDGES = (1e-2, 1e-4, 1e-6, 1e-8, 1e-10, 1e-12)  # from which a fit takes the best


class Sums:
    """XᵀX (columns, columns), and XᵀZ (columns, outputs) where there are targets Z."""

    def __init__(self, columns, outputs=0):
        self.upper = np.zeros((columns, columns), order="F")
        self.products = np.zeros((columns, outputs))
        self.sizes, self.count = np.zeros(outputs), 0
        self.waiting = []

    def add(self, rows, target=None):
        """Rows (n, columns) and their targets (n, outputs)."""
        target = np.zeros((len(rows), 0)) if target is None else target
        self.count += len(rows)
        self.waiting.append((rows, target))
        if sum(len(rows) for rows, _ in self.waiting) >= max(BLOCK, len(self.upper) // PART):
            self._settle()

    def _settle(self):
        if self.waiting:
            rows, target = (np.concatenate(x, dtype=np.float64) for x in zip(*self.waiting))
            self.waiting = []
            self.upper = blas.dsyrk(1.0, rows.T, beta=1.0, c=self.upper, overwrite_c=1)
            self.products += rows.T @ target
            self.sizes += (target**2).sum(axis=0)

    @property
    def total(self):
        """XᵀX, both triangles."""
        self._settle()
        return mirrored(self.upper)

    @property
    def cross(self):
        """XᵀZ."""
        self._settle()
        return self.products

    def __add__(self, other):
        both = Sums(0)
        both.upper, both.products = self.total + other.total, self.cross + other.cross
        both.sizes, both.count = self.sizes + other.sizes, self.count + other.count
        return both

    def of(self, outputs):
        """The same for some outputs alone."""
        few = Sums(0)
        few.upper, few.products = self.total, self.cross[:, outputs]
        few.sizes, few.count = self.sizes[outputs], self.count
        return few

    def error(self, kernel):
        """Mean over rows of ‖X kernel - Z‖²."""
        inside = np.vdot(kernel, self.total @ kernel) - 2 * np.vdot(kernel, self.cross)
        return (float(inside) + self.sizes.sum()) / max(self.count, 1)


def best_ridge(halves, start):
    """The ε with which each half of the data is best explained by a fit to the other, judged by
    some outputs; smaller ones are tried as long as they get better.

    Args:
        halves: two `Sums`; start: (columns, outputs), see `fitted`.
    """
    some = slice(None, None, max(1, start.shape[1] // JUDGED))
    halves, start = [half.of(some) for half in halves], start[:, some]
    best = np.inf
    for chosen, ridge in enumerate(RIDGES):
        error = sum(
            b.error(fitted(a.upper, a.products, start, ridge)) for a, b in (halves, halves[::-1])
        )
        if not error < best:
            return RIDGES[chosen - 1] if chosen else ridge
        best = error
    return RIDGES[-1]
