"""A search for nonnegative factors of a matrix, A = B Bᵀ with B ≥ 0, which proves nothing where it
fails."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from keras_l2feat.errors import bad_argument, require, require_counts

__all__ = ["Factorization", "factorize", "symmetric"]


# what a factorization in float64 leaves, relative to ‖A‖, when it converges; failures leave over
# 1e-4
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Factorization:
    """A nonnegative factor and how well it fits.

    Attributes:
        factor: B ≥ 0, float64 `(n, k)`.
        residual: ‖A − B Bᵀ‖_F / ‖A‖_F.
        found: whether the residual is within `TOLERANCE`; if not, nothing is known about A.
    """

    factor: np.ndarray
    residual: float

    @property
    def found(self) -> bool:
        return self.residual <= TOLERANCE


def factorize(
    matrix: ArrayLike, columns: int | None = None, *, restarts: int = 20, seed: int = 0
) -> Factorization:
    """Search for a nonnegative factor of `columns` columns.

    No maintained solver exists. Each try turns a square root of A by alternating projections,
    towards the nonnegative matrices and back onto the orthogonal ones [Groetzner and Dür 2020], and
    then solves A = B Bᵀ by Gauss-Newton. A failed search proves nothing.

    Args:
        matrix: `(n, n)`, symmetric.
        columns: k; by default n, 2 n and n (n + 1) / 2 in turn: the last always suffices, the first
            is quicker.
        restarts: the greatest number of tries, at least 1; the first success ends the search.
        seed: of the random turns.

    Returns: the `Factorization` of the least residual.
    """
    a = symmetric(matrix)
    n = len(a)
    require_counts(columns=columns, restarts=restarts)
    widths = (n, 2 * n, n * (n + 1) // 2) if columns is None else (columns,)
    generator = np.random.default_rng(seed)
    values, vectors = np.linalg.eigh(a)
    square_root = (vectors * np.sqrt(np.maximum(values, 0.0)))[:, ::-1]
    best = Factorization(square_root, np.inf)
    for trial in range(restarts):
        k = widths[trial % len(widths)]
        root = np.pad(square_root[:, :k], ((0, 0), (0, max(0, k - n))))
        result = _refine(a, _turn_nonnegative(root, generator))
        if result.residual < best.residual:
            best = result
        if best.found:
            break
    return best


def _turn_nonnegative(root, generator, steps=2000):
    """`root` times an orthogonal matrix that makes it nearly nonnegative."""
    q = np.linalg.qr(generator.standard_normal((root.shape[1],) * 2))[0]
    for _ in range(steps):
        turned = root @ q
        nearest = np.maximum(turned, 0.0)
        if np.linalg.norm(turned - nearest) <= 1e-14 * np.linalg.norm(turned):
            break
        u, _, v = np.linalg.svd(root.T @ nearest)
        q = u @ v
    return nearest


def _refine(a, factor, steps=60):
    """Gauss-Newton on A = B Bᵀ over the positive entries of B: the least step, cut off where it
    would leave B ≥ 0."""
    norm = max(np.linalg.norm(a), 1e-300)
    rows, columns = np.triu_indices(len(a))
    entries = np.arange(len(rows))
    best = Factorization(factor, float(np.linalg.norm(a - factor @ factor.T) / norm))
    for _ in range(steps):
        if best.residual <= 1e-15:
            break
        jacobian = np.zeros((len(rows), *factor.shape))
        np.add.at(jacobian, (entries, rows), factor[columns])
        np.add.at(jacobian, (entries, columns), factor[rows])
        free = factor > 1e-7 * np.abs(factor).max()
        jacobian = (jacobian * free).reshape(len(rows), -1)
        gap = (a - factor @ factor.T)[rows, columns]
        step = jacobian.T @ np.linalg.lstsq(jacobian @ jacobian.T, gap, rcond=1e-12)[0]
        factor = np.maximum(free * factor + step.reshape(factor.shape), 0.0)
        residual = float(np.linalg.norm(a - factor @ factor.T) / norm)
        if residual < best.residual:
            best = Factorization(factor, residual)
    return best


def symmetric(matrix: ArrayLike) -> np.ndarray:
    """A matrix in float64, symmetric to the bit.

    Raises:
        InputError: it is not square, not symmetric or not finite.
    """
    a = np.asarray(matrix, dtype=np.float64)
    if a.ndim != 2 or a.shape[0] != a.shape[1] or not len(a) or not np.isfinite(a).all():
        raise bad_argument("matrix", "a square matrix of finite numbers", a.shape)
    gap = np.abs(a - a.T).max()
    even = gap <= 1e-09 * max(np.abs(a).max(), 1e-300)
    require(even, "matrix", "symmetric", f"a matrix with asymmetry {gap:.3g}")
    return (a + a.T) / 2
