"""Which units go first: the closed forms of least squares with one block of columns less.

With Gram matrix G of what is read, H = (G + ε)⁻¹, and the rows V_p of the kernel that read unit p,
the error that no kernel without p can avoid, and the best such kernel, are (optimal brain surgeon,
by unit)

    cost(p) = tr(V_pᵀ H_pp⁻¹ V_p)      V ← V - H_:p H_pp⁻¹ V_p      H ← H - H_:p H_pp⁻¹ H_p:

Aligned, dead, constant and dependent units cost nothing. Units go one after the other, cheapest
first. Costs rise, but for few exceptions; so the cheapest few are followed on their own small
blocks, and all the others are brought up to date once for each batch: n removals are n / BATCH
products of large matrices. [docs/theory.md §6.4]
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg
from scipy.linalg import blas, lapack

__all__ = ["Problem", "fitted", "mirrored", "removal_order"]

BATCH = 32


@dataclass
class Problem:
    """What one reader sees of a site's units.

    Attributes:
        gram: (columns, columns) float64, sum or mean over places.
        kernel: (columns, outputs) float64.
        columns: (n, m), the columns of each unit.
        ridge: ε, relative to the Gram matrix scaled to ones on its diagonal.
        weight: what a squared error here counts.
    """

    gram: np.ndarray
    kernel: np.ndarray
    columns: np.ndarray
    ridge: float
    weight: float = 1.0


class _State:
    """H and V of a problem for the columns that are left."""

    def __init__(self, problem):
        scale = _scale(problem.gram)
        self.inverse = _inverse(problem.gram, scale, problem.ridge)
        self.kernel = problem.kernel * scale[:, None]
        if self.kernel.shape[1] > len(self.kernel):  # V Vᵀ alone counts: as many columns do
            self.kernel = np.linalg.qr(self.kernel.T, mode="r").T.copy()
        self.columns = problem.columns
        self.others = np.setdiff1d(np.arange(len(self.kernel)), self.columns)
        self.weight = problem.weight

    def costs(self):
        """What each unit that is left costs, (n,)."""
        block = self.inverse[self.columns[:, :, None], self.columns[:, None, :]]
        kernel = self.kernel[self.columns]
        if block.shape[1] == 1:
            found = (kernel[:, 0] ** 2).sum(axis=1) / block[:, 0, 0]
        else:
            found = np.trace(np.linalg.solve(block, kernel @ kernel.mT), axis1=1, axis2=2)
        return self.weight * found

    def part(self, units):
        """The same for some units alone."""
        few = object.__new__(_State)
        few.inverse, few.kernel, few.weight = self.inverse, self.kernel, self.weight
        few.columns, few.others = self.columns[units], self.others[:0]
        few._pack()
        return few

    def _pack(self):
        """Hold no more than the columns that are left."""
        left = np.concatenate([self.columns.reshape(-1), self.others])
        self.inverse, self.kernel = self.inverse[np.ix_(left, left)], self.kernel[left]
        size = self.columns.size
        self.columns = np.arange(size).reshape(self.columns.shape)
        self.others = np.arange(size, len(left))

    def without(self, units):
        """Take units away, in place: their rows and columns, of which rounding is left, go once
        they are a quarter."""
        gone = self.columns[units].reshape(-1)
        rows = self.inverse[gone]
        solved = np.linalg.solve(rows[:, gone], np.column_stack([rows, self.kernel[gone]]))
        own, taken = np.ascontiguousarray(solved[:, : len(self.inverse)]), solved[:, len(rows.T) :]
        less = blas.dgemm(-1.0, own.T, rows.T, 1.0, self.inverse.T, trans_b=1, overwrite_c=1)
        self.inverse = less.T
        self.kernel -= rows.T @ taken
        self.columns = np.delete(self.columns, units, axis=0)
        if 4 * (self.columns.size + len(self.others)) < 3 * len(self.inverse):
            self._pack()


def removal_order(problems):
    """All units of a site but one, in the order in which they go.

    Args:
        problems: one a reader, with the same units.

    Returns: (n - 1,) indices, and (n - 1,) what each adds to the weighted squared error, as long as
        the kernels of what is left follow.
    """
    states = [_State(problem) for problem in problems]
    left = np.arange(len(problems[0].columns))
    order, costs = [], []
    while len(left) > 1:
        now = sum(state.costs() for state in states)
        wanted = min(BATCH, max(1, len(left) // 8))
        few = np.argsort(now, kind="stable")[: 2 * wanted]
        outside = np.inf if len(few) == len(left) else float(now[few[-1]])
        small, open_ = [state.part(few) for state in states], np.arange(len(few))
        chosen = []
        while len(chosen) < wanted and len(open_) > (1 if len(few) == len(left) else 0):
            current = sum(state.costs() for state in small)
            best = int(current.argmin())
            if chosen and current[best] > outside:
                break
            chosen.append(int(open_[best]))
            costs.append(max(float(current[best]), 0.0))
            for state in small:
                state.without([best])
            open_ = np.delete(open_, best)
        gone = few[chosen]
        order.extend(left[gone].tolist())
        for state in states:
            state.without(gone)
        left = np.delete(left, gone)
    return np.array(order, dtype=int), np.array(costs)


def fitted(gram, cross, kernel, ridge):
    """The kernel V that minimizes ‖X V - Z‖² + ε ‖V - kernel‖², columns of X scaled to norm 1.

    Args:
        gram: XᵀX (columns, columns); cross: XᵀZ (columns, outputs), both over the same number.
        kernel: (columns, outputs), to which what the data say nothing about is drawn.
        ridge: ε.
    """
    scale = _scale(gram)
    right = cross / scale[:, None] + ridge * kernel * scale[:, None]
    factor, failed = lapack.dpotrf(_scaled(gram, scale, ridge).T, lower=1, clean=0, overwrite_a=1)
    if failed:  # rounded to indefinite
        solved = linalg.lstsq(_scaled(gram, scale, ridge), right, check_finite=False)[0]
    else:  # of units that depend on each other the ridge says what they share
        solved = lapack.dpotrs(factor, right, lower=1)[0]
    return solved / scale[:, None]


def _inverse(gram, scale, ridge):
    """By Cholesky, which keeps it symmetric and positive: of units that depend on each other, the
    inverse of an LU decomposition leaves nothing right where the ridge is small."""
    factor, failed = lapack.dpotrf(_scaled(gram, scale, ridge).T, lower=1, clean=0, overwrite_a=1)
    if not failed:
        inverse, failed = lapack.dpotri(factor, lower=1, overwrite_c=1)
    if failed:  # rounded to indefinite
        return linalg.inv(_scaled(gram, scale, ridge), check_finite=False)
    return mirrored(inverse.T)


def mirrored(matrix):
    """A symmetric matrix of which only the upper triangle is right, completed in place."""
    for row in range(len(matrix)):
        matrix[row + 1 :, row] = matrix[row, row + 1 :]
    return matrix


def _scaled(gram, scale, ridge):
    scaled = gram / scale
    scaled /= scale[:, None]
    scaled[np.diag_indices_from(scaled)] += ridge
    return scaled


def _scale(gram):
    size = np.sqrt(np.maximum(np.diag(gram), 0.0))
    return np.where(size > 1e-12 * max(size.max(initial=0.0), 1e-300), size, 1.0)
