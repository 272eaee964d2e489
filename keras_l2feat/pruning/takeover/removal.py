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

__all__ = ["Problem", "fitted", "removal_order"]

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
        gram = problem.gram / np.outer(scale, scale)
        gram[np.diag_indices_from(gram)] += problem.ridge
        self.inverse = _inverse(gram)
        self.kernel = problem.kernel * scale[:, None]
        self.columns = problem.columns
        self.weight = problem.weight

    def costs(self):
        """What each unit that is left costs, (n,)."""
        block, kernel = self._blocks(self.columns)
        if block.shape[1] == 1:
            found = (kernel[:, 0] ** 2).sum(axis=1) / block[:, 0, 0]
        else:
            found = (kernel * np.linalg.solve(block, kernel)).sum(axis=(1, 2))
        return self.weight * found

    def _blocks(self, columns):
        return self.inverse[columns[:, :, None], columns[:, None, :]], self.kernel[columns]

    def part(self, units):
        """The same for some units alone."""
        few = object.__new__(_State)
        columns = self.columns[units]
        flat = columns.reshape(-1)
        few.inverse, few.kernel = self.inverse[np.ix_(flat, flat)], self.kernel[flat]
        few.columns = np.arange(len(flat)).reshape(columns.shape)
        few.weight = self.weight
        return few

    def without(self, units):
        """Take units away."""
        gone = self.columns[units].reshape(-1)
        kept = np.setdiff1d(np.arange(len(self.inverse)), gone)
        across = self.inverse[np.ix_(kept, gone)]
        both = np.column_stack([across.T, self.kernel[gone]])
        solved = np.linalg.solve(self.inverse[np.ix_(gone, gone)], both)
        inverse = self.inverse[np.ix_(kept, kept)]
        inverse -= across @ solved[:, : len(kept)]
        self.inverse = inverse
        self.kernel = self.kernel[kept] - across @ solved[:, len(kept) :]
        place = np.full(len(kept) + len(gone), -1)
        place[kept] = np.arange(len(kept))
        self.columns = place[np.delete(self.columns, units, axis=0)]


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
    scaled = gram / np.outer(scale, scale)
    scaled[np.diag_indices_from(scaled)] += ridge
    right = cross / scale[:, None] + ridge * kernel * scale[:, None]
    try:  # of units that depend on each other the ridge says what they share: no warning
        solved = linalg.cho_solve(linalg.cho_factor(scaled, check_finite=False), right)
    except linalg.LinAlgError:  # rounded to indefinite
        solved = linalg.lstsq(scaled, right, check_finite=False)[0]
    return solved / scale[:, None]


def _inverse(gram):
    """By Cholesky, which keeps it symmetric and positive: of units that depend on each other, the
    inverse of an LU decomposition leaves nothing right where the ridge is small."""
    try:
        factor = linalg.cho_factor(gram, lower=True, check_finite=False)
    except linalg.LinAlgError:  # rounded to indefinite
        return linalg.inv(gram, check_finite=False)
    return linalg.cho_solve(factor, np.eye(len(gram)), overwrite_b=True, check_finite=False)


def _scale(gram):
    size = np.sqrt(np.maximum(np.diag(gram), 0.0))
    return np.where(size > 1e-12 * max(size.max(initial=0.0), 1e-300), size, 1.0)
