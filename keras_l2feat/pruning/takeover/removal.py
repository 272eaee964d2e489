"""Which units go first: the closed forms of least squares with one block of columns less.

With Gram matrix G of what is read, H = (G + ε)⁻¹, and the rows V_p of the kernel that read unit p,
the error that no kernel without p can avoid, and the best such kernel, are (optimal brain surgeon,
by unit)

    cost(p) = tr(V_pᵀ H_pp⁻¹ V_p)      V ← V - H_:p H_pp⁻¹ V_p      H ← H - H_:p H_pp⁻¹ H_p:

Aligned, dead, constant and dependent units cost nothing. Units go one after the other, cheapest
first. Costs rise, but for few exceptions; so the cheapest few are followed on their own small
blocks, and all the others are brought up to date once for each batch: n removals are n / BATCH
products of large matrices. [docs/theory.md §6.4]

Where there are fewer rows X than columns, no matrix of all columns is needed: G = XᵀX, and with
Y = (X Xᵀ + ε)^-½ X it is H = (1 - YᵀY) / ε.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg
from scipy.linalg import blas, lapack

__all__ = ["Problem", "fitted", "fitted_rows", "mirrored", "removal_order"]

BATCH = 32


@dataclass
class Problem:
    """What one reader sees of a site's units.

    Attributes:
        gram: (columns, columns) float64, sum or mean over places; or, where they are fewer than
            columns, the places themselves, (places, columns).
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

    def __init__(self, inverse, kernel, columns, weight):
        if kernel.shape[1] > len(kernel):  # V Vᵀ alone counts: as many columns do
            kernel = np.linalg.qr(kernel.T, mode="r").T.copy()
        self.inverse, self.kernel, self.columns, self.weight = inverse, kernel, columns, weight
        self.others = np.setdiff1d(np.arange(len(kernel)), columns)

    def costs(self):
        """What each unit that is left costs, (n,)."""
        block = self.inverse[self.columns[:, :, None], self.columns[:, None, :]]
        return self.weight * _costs(block, self.kernel[self.columns])

    def part(self, units):
        """The same for some units alone."""
        flat, columns = _numbered(self.columns[units])
        return _State(self.inverse[np.ix_(flat, flat)], self.kernel[flat], columns, self.weight)

    def without(self, units):
        """The state when units are gone. In place: their rows and columns, of which rounding is
        left, go once they are a quarter."""
        gone = self.columns[units].reshape(-1)
        rows = self.inverse[gone]
        solved = np.linalg.solve(rows[:, gone], np.column_stack([rows, self.kernel[gone]]))
        own, taken = np.ascontiguousarray(solved[:, : len(self.inverse)]), solved[:, len(rows.T) :]
        less = blas.dgemm(-1.0, own.T, rows.T, 1.0, self.inverse.T, trans_b=1, overwrite_c=1)
        self.inverse = less.T
        self.kernel -= rows.T @ taken
        self.columns = np.delete(self.columns, units, axis=0)
        if 4 * (self.columns.size + len(self.others)) >= 3 * len(self.inverse):
            return self
        left, columns = _numbered(self.columns, self.others)
        return _State(self.inverse[np.ix_(left, left)], self.kernel[left], columns, self.weight)


class _Rows:
    """The same by Y, of as many rows as there are places; a `_State` once no more columns are left
    than that."""

    def __init__(self, rows, kernel, columns, weight, ridge):
        self.rows, self.kernel, self.columns, self.weight = rows, kernel, columns, weight
        self.others, self.ridge = np.setdiff1d(np.arange(len(kernel)), columns), ridge
        self.whitened = _whitened(rows @ rows.T, ridge, rows)

    def costs(self):
        """What each unit that is left costs, (n,)."""
        parts = self.whitened.T[self.columns]
        block = (np.eye(parts.shape[1]) - parts @ parts.mT) / self.ridge
        return self.weight * _costs(block, self.kernel[self.columns])

    def part(self, units):
        """A `_State` for some units alone."""
        flat, columns = _numbered(self.columns[units])
        few = self.whitened[:, flat]
        inverse = (np.eye(len(flat)) - few.T @ few) / self.ridge
        return _State(inverse, self.kernel[flat], columns, self.weight)

    def without(self, units):
        """The state when units are gone."""
        gone = self.columns[units].reshape(-1)
        left, self.columns = _numbered(np.delete(self.columns, units, axis=0), self.others)
        few, stay = self.whitened[:, gone], self.whitened[:, left]
        moved = few @ np.linalg.solve(np.eye(len(gone)) - few.T @ few, self.kernel[gone])
        self.rows, self.kernel = self.rows[:, left], self.kernel[left] + stay.T @ moved
        if len(left) <= len(self.rows):
            gram = self.rows.T @ self.rows
            inverse = _inverse(gram, np.ones(len(gram)), self.ridge)
            return _State(inverse, self.kernel, self.columns, self.weight)
        self.others = np.arange(self.columns.size, len(left))
        self.whitened = _whitened(-few @ few.T, 1.0, stay)
        return self


def _state(problem):
    if len(problem.gram) < problem.gram.shape[1]:
        scale = _scale((problem.gram**2).sum(axis=0))
        kind, ridge = _Rows, (problem.ridge,)
        seen = problem.gram / scale
    else:
        scale = _scale(np.diag(problem.gram))
        kind, ridge = _State, ()
        seen = _inverse(problem.gram, scale, problem.ridge)
    return kind(seen, problem.kernel * scale[:, None], problem.columns, problem.weight, *ridge)


def _numbered(columns, others=()):
    """Which columns are left, those of units first, and where those of each unit are then."""
    left = np.concatenate([columns.reshape(-1), np.asarray(others, dtype=int)])
    return left, np.arange(columns.size).reshape(columns.shape)


def _costs(block, kernel):
    if block.shape[1] == 1:
        return (kernel[:, 0] ** 2).sum(axis=1) / block[:, 0, 0]
    return np.trace(np.linalg.solve(block, kernel @ kernel.mT), axis1=1, axis2=2)


def _whitened(matrix, ridge, rows):
    """R⁻¹ rows, with R Rᵀ = matrix + ridge."""
    matrix[np.diag_indices_from(matrix)] += ridge
    try:
        factor = linalg.cholesky(matrix, lower=True, check_finite=False)
    except linalg.LinAlgError:  # rounded to indefinite
        values, vectors = linalg.eigh(matrix, check_finite=False)
        least = np.finfo(np.float64).eps * values[-1]
        return (vectors / np.sqrt(np.maximum(values, least))).T @ rows
    return linalg.solve_triangular(factor, rows, lower=True, check_finite=False)


def removal_order(problems: Sequence[Problem]) -> tuple[np.ndarray, np.ndarray]:
    """All units of a site but one, in the order in which they go.

    Args:
        problems: one a reader, with the same units.

    Returns: (n - 1,) indices, and (n - 1,) what each adds to the weighted squared error, as long as
        the kernels of what is left follow.
    """
    states = [_state(problem) for problem in problems]
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
            small = [state.without([best]) for state in small]
            open_ = np.delete(open_, best)
        gone = few[chosen]
        order.extend(left[gone].tolist())
        states, left = [state.without(gone) for state in states], np.delete(left, gone)
    return np.array(order, dtype=int), np.array(costs)


def fitted(gram: np.ndarray, cross: np.ndarray, kernel: np.ndarray, ridge: float) -> np.ndarray:
    """The kernel V that minimizes ‖X V - Z‖² + ε ‖V - kernel‖², columns of X scaled to norm 1.

    Args:
        gram: XᵀX (columns, columns); cross: XᵀZ (columns, outputs), both over the same number.
        kernel: (columns, outputs), to which what the data say nothing about is drawn.
        ridge: ε.
    """
    scale = _scale(np.diag(gram))
    right = cross / scale[:, None] + ridge * kernel * scale[:, None]
    factor, failed = lapack.dpotrf(_scaled(gram, scale, ridge).T, lower=1, clean=0, overwrite_a=1)
    if failed:  # rounded to indefinite
        solved = linalg.lstsq(_scaled(gram, scale, ridge), right, check_finite=False)[0]
    else:  # of units that depend on each other the ridge says what they share
        solved = lapack.dpotrs(factor, right, lower=1)[0]
    return solved / scale[:, None]


def fitted_rows(
    rows: np.ndarray, target: np.ndarray, kernel: np.ndarray, ridge: float
) -> np.ndarray:
    """What `fitted` gives, where rows X (n, columns) are fewer than columns, by a matrix (n, n)."""
    scale = _scale((rows**2).sum(axis=0))
    scaled, gap = rows / scale, target - rows @ kernel
    whitened = _whitened(scaled @ scaled.T, ridge, np.column_stack([scaled, gap]))
    own, gap = whitened[:, : len(kernel)], whitened[:, len(kernel) :]
    return kernel + own.T @ gap / scale[:, None]


def _inverse(gram, scale, ridge):
    """By Cholesky, which keeps it symmetric and positive: of units that depend on each other, the
    inverse of an LU decomposition leaves nothing right where the ridge is small."""
    factor, failed = lapack.dpotrf(_scaled(gram, scale, ridge).T, lower=1, clean=0, overwrite_a=1)
    if not failed:
        inverse, failed = lapack.dpotri(factor, lower=1, overwrite_c=1)
    if failed:  # rounded to indefinite
        return linalg.inv(_scaled(gram, scale, ridge), check_finite=False)
    return mirrored(inverse.T)


def mirrored(matrix: np.ndarray) -> np.ndarray:
    """A symmetric matrix of which only the upper triangle is right, completed in place."""
    for row in range(len(matrix)):
        matrix[row + 1 :, row] = matrix[row, row + 1 :]
    return matrix


def _scaled(gram, scale, ridge):
    scaled = gram / scale
    scaled /= scale[:, None]
    scaled[np.diag_indices_from(scaled)] += ridge
    return scaled


def _scale(squares):
    size = np.sqrt(np.maximum(squares, 0.0))
    return np.where(size > 1e-12 * max(size.max(initial=0.0), 1e-300), size, 1.0)
