"""Columns that are linear combinations of others, up to the rounding of every entry.

A QR decomposition with column pivoting (LAPACK's xGEQP3) finds a basis, those columns first that
must stay; what is left is solved for, and kept where each entry agrees within what rounding
explains of that entry.
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import qr, solve_triangular

__all__ = ["Dependence", "dependence"]


# distances whose squares the Gram matrix of unit columns shows in float64, with some digits
RESOLVED = 1e-5


class Dependence(NamedTuple):
    """`columns[:, others] = columns[:, pivots] @ mix`, up to `gaps`."""

    pivots: np.ndarray  # (p,) int
    others: np.ndarray  # (d,) int, ascending
    mix: np.ndarray  # (p, d) float64
    gaps: np.ndarray  # (d,) float64, the largest difference of an entry, over its terms


NOBODY = np.zeros(0, dtype=int)
NONE = Dependence(NOBODY, NOBODY, np.zeros((0, 0)), np.zeros(0))


def dependence(
    columns: np.ndarray, terms: np.ndarray, free: np.ndarray, bound: float
) -> Dependence:
    """Which columns others make up for.

    Args:
        columns: (rows, count) float64, no zero column, no two aligned.
        terms: (rows, count), the absolute values that entries were added up from.
        free: (count,) bool: may be replaced; the others come first into the basis.
        bound: relative rounding error of an entry.

    Rows are brought to one size first, so what is found does not depend on their units.

    Time: rows · count² flops of matrix products where all columns are far from those before them
    (a square layer of 2000 units: a second), else those of a pivoted QR, about 4 rows · count ·
    min(rows, count), half of them matrix times vector (seconds).
    """
    used = terms.any(axis=1)
    columns, terms = columns[used], terms[used]
    size = terms.max(axis=1, keepdims=True)
    norms = np.linalg.norm(columns / size, axis=0)
    unit, terms = columns / size / norms, terms / size / norms
    # a combination carries the rounding of all its columns
    threshold = bound * np.sqrt(unit.shape[1])
    if _surely_independent(unit, threshold):
        return NONE
    first = _independent(unit, np.flatnonzero(~free), threshold)
    stay = np.linalg.qr(unit[:, first])[0]
    more = _independent(unit, np.flatnonzero(free), threshold, without=stay)
    pivots, others = np.concatenate([first, more]), np.setdiff1d(np.flatnonzero(free), more)
    if not len(others):
        return NONE
    basis, triangle = np.linalg.qr(unit[:, pivots])
    mix = solve_triangular(triangle, basis.T @ unit[:, others])
    short = np.where(np.abs(mix) > threshold, mix, 0.0)  # without what is only noise
    short_gap, gap = (
        _gaps(unit[:, pivots], unit[:, others], terms[:, pivots], terms[:, others], m)
        for m in (short, mix)
    )
    fits = short_gap <= bound
    mix, gap = np.where(fits, short, mix), np.where(fits, short_gap, gap)
    good = gap <= bound
    mix = mix * norms[others] / norms[pivots][:, None]
    return Dependence(pivots, others[good], mix[:, good], gap[good])


def _gaps(basis, columns, basis_terms, terms, mix):
    """How far combinations are off: the largest difference of an entry, over its terms."""
    gap, allowed = np.abs(basis @ mix - columns), basis_terms @ np.abs(mix) + terms
    return np.divide(gap, allowed, out=np.zeros_like(gap), where=allowed > 0).max(axis=0)


def _surely_independent(unit, threshold):
    """Whether every column is far from what those before it span: the diagonal of a Cholesky factor
    of the Gram matrix, which costs a fraction of a pivoted QR."""
    if unit.shape[0] < unit.shape[1]:
        return False
    try:
        far = np.diag(np.linalg.cholesky(unit.T @ unit)).min(initial=1.0)
    except np.linalg.LinAlgError:
        return False
    return far > max(threshold, RESOLVED)


def _independent(unit, which, threshold, without=None):
    """Those of the columns `which` that are a basis of all of them, up to `threshold`, and up to
    what the orthonormal columns `without` span."""
    rest = unit[:, which]
    if without is not None and without.shape[1]:
        for _ in range(2):  # once more, for what rounding left
            rest = rest - without @ (without.T @ rest)
    if not rest.size:
        return which[:0]
    triangle, order = qr(rest, mode="r", pivoting=True, check_finite=False)
    return which[order[: np.count_nonzero(np.abs(np.diag(triangle)) > threshold)]]
