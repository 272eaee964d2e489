"""Activation patterns: on which points can one neuron be active, and where in weight space is it
so?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from keras_l2feat.errors import require
from keras_l2feat.kernels.arrangement import ANGLE, cell_count, cells, faces, row_space

__all__ = ["Cones", "pattern_count", "patterns", "sampled_patterns"]

# volume up to which a simplex of a triangulation is four or more rays of one facet, and holds
# nothing
FLAT = 1e-14


def pattern_count(n: int, d: int) -> int:
    """How many activation patterns n points in general position in R^d allow one neuron: 2 Σ_{k<d}
    C(n−1, k).

    2^n for n ≤ d (orthogonal data among them), of order n^(d−1) for fixed d. [Cover 1965; Pilanci
    and Ergen 2020]
    """
    for name, value in {"n": n, "d": d}.items():
        require(value >= 0, name, "at least 0", value)
    return cell_count(n, d)


def patterns(x: ArrayLike) -> np.ndarray:
    """Every activation pattern of a neuron without bias on `x` (N, d), enumerated, in whatever
    position.

    Append a column of ones for a neuron with bias.

    Returns: (P, N) bool, each pattern once; False for zero points.

    Raises:
        InputError: there are too many.
    """
    return cells(x) > 0


def sampled_patterns(x: ArrayLike, count: int, seed: int = 0) -> np.ndarray:
    """Patterns of `count` Gaussian neurons on `x` (N, d): (count, N) bool, wide cones more often
    than narrow ones."""
    x = np.asarray(x, dtype=np.float64)
    return np.random.default_rng(seed).standard_normal((count, x.shape[1])) @ x.T > 0


@dataclass(frozen=True)
class Cones:
    """The cells of the arrangement of points as cones cut into simplicial ones.

    Attributes:
        signs: (P, N) int8, the sides of the points in each cell.
        generators: for each cell a list of (d, r) arrays; each holds the r unit rays of a
            simplicial cone, r the rank of the points, and together these cover the cell (within the
            row space) without overlap.
    """

    signs: np.ndarray
    generators: list

    @classmethod
    def of(cls, x: ArrayLike) -> "Cones":
        """The cones of all cells of points `x` (N, d)."""
        x = np.asarray(x, dtype=np.float64)
        space = row_space(x)
        blocks = list(faces(x))
        if not blocks:
            return cls(np.zeros((1, len(x)), dtype=np.int8), [[]])
        signs, lines = blocks[0].signs, blocks[-1]
        heights = np.einsum("fd,nd->fn", lines.bases[:, :, 0], x)
        rays = np.concatenate([lines.bases[:, :, 0], -lines.bases[:, :, 0]]) @ space
        heights = np.concatenate([heights, -heights])
        slack = ANGLE * np.linalg.norm(x, axis=1)
        generators = []
        for sign in signs:
            own = rays[(heights * sign >= -slack).all(axis=1)]
            generators.append([space @ simplex.T for simplex in _simplices(own)])
        return cls(signs, generators)


def _simplices(rays):
    """The unit rays (R, r) of a pointed cone, cut into cones of r rays each: a list of (r, r)
    arrays, a ray a row."""
    rank = rays.shape[1]
    if len(rays) == rank:
        return [rays]
    from scipy.spatial import Delaunay

    axis = rays.sum(axis=0)
    section = rays / (rays @ axis)[:, None]  # all on one affine hyperplane
    across = np.linalg.svd(axis[None], full_matrices=True)[2][1:]
    simplices = [rays[index] for index in Delaunay(section @ across.T).simplices]
    return [simplex for simplex in simplices if abs(np.linalg.det(simplex)) > FLAT]
