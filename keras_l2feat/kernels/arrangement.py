"""The arrangement of hyperplanes {w : a_i·w = 0} that data points cut through weight space (NumPy).

On one of its cells every neuron w is active on the same points, so a layer is linear there. Legend:
a (N, d) points, r their rank, signs (P, N) of ±1 (0 for a point that lies in every hyperplane
considered).
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from keras_l2feat.errors import InputError

__all__ = ["Faces", "cell_count", "cells", "face_numbers", "faces", "row_space"]

# Points and rays are normalized, so this is an angle: a ray closer than this to a hyperplane counts
# as lying in it. Rays come out of an SVD exact to about 1e-15 / (smallest singular value kept);
# cells thinner than 1e-9 are not told apart, which moves a Lipschitz function's maximum over them
# by 1e-9 of itself.
ANGLE = 1e-9
# numbers that an enumeration may hold at a time, as signs or as restricted points
LIMIT = 40_000_000


def cell_count(n: int, d: int) -> int:
    """2 Σ_{k<d} C(n−1, k): the cells that n hyperplanes through 0, in general position, cut R^d
    into [Cover 1965]."""
    return 2 * sum(math.comb(n - 1, k) for k in range(d)) if n > 0 and d > 0 else 1


def face_numbers(n: int, rank: int) -> int:
    """About how many numbers `faces` holds for n points in general position: a sum over its
    flats."""
    return sum(
        math.comb(n, fixed) * cell_count(n - fixed, rank - fixed) * n * (rank - fixed)
        for fixed in range(rank)
    )


def row_space(a: ArrayLike) -> np.ndarray:
    """An orthonormal basis of the span of the rows of `a` (N, d), as columns (d, r); r = 0 for zero
    points."""
    a = np.asarray(a, dtype=np.float64)
    if not a.size:
        return np.zeros((a.shape[1], 0))
    _, values, right = np.linalg.svd(a, full_matrices=False)
    rank = int((values > max(a.shape) * np.finfo(np.float64).eps * values[0]).sum())
    return right[:rank].T


def cells(a: ArrayLike) -> np.ndarray:
    """Every sign vector that some w gives the points, none of them on a kink.

    Every cell has an extreme ray (once the directions that no point sees are gone), and around a
    ray the arrangement is that of the points which vanish on it: so the cells are read off the
    rays, whatever the position of the points.

    Args:
        a: (N, d) float64 points, in any position: repeated, parallel, zero or rank-deficient.

    Returns: (P, N) int8 of ±1, each row once; 0 in the columns of zero points. P =
        `cell_count(N, r)` in general position.

    Raises:
        InputError: there would be too many.
    """
    points = np.asarray(a, dtype=np.float64)
    norms = np.linalg.norm(points, axis=1)
    seen = np.flatnonzero(norms > 0)
    signs = np.zeros((1, len(points)), dtype=np.int8)
    if not len(seen):
        return signs
    unit = points[seen] / norms[seen, None]
    found = _unit_cells(unit @ row_space(unit))
    signs = np.repeat(signs, len(found), axis=0)
    signs[:, seen] = found
    return signs


def _unit_cells(unit):
    """The cells of unit points (N, r) that span R^r."""
    n, rank = unit.shape
    if rank == n:
        _check(2**n * n, n, rank)
        return _sign_vectors(n)
    if rank == 1:
        side = np.where(unit[:, 0] > 0, 1, -1).astype(np.int8)
        return np.stack([side, -side])
    _check(2**rank * math.comb(n, rank - 1) * n, n, rank)
    subsets = np.array(list(itertools.combinations(range(n), rank - 1)))
    _, values, right = np.linalg.svd(unit[subsets], full_matrices=True)
    kept = values[:, -1] > ANGLE  # dependent points fix no ray; others of the same flat do
    subsets, heights = subsets[kept], right[kept, -1] @ unit.T
    rays = right[kept, -1]
    flat = np.abs(heights) <= ANGLE
    sides = np.where(heights > 0, 1, -1).astype(np.int8)
    simple = flat.sum(axis=1) == rank - 1
    around = _sign_vectors(rank - 1)  # near a simple ray every choice of sides occurs
    found = np.repeat(sides[simple], len(around), axis=0)
    rows = np.arange(len(found))[:, None]
    found[rows, np.repeat(subsets[simple], len(around), axis=0)] = np.tile(
        around, (int(simple.sum()), 1)
    )
    found = [found, -found]
    for index in _first_of_each(flat[~simple]):
        ray, zero, side = rays[~simple][index], flat[~simple][index], sides[~simple][index]
        local = cells(unit[zero] - np.outer(unit[zero] @ ray, ray))
        block = np.repeat(side[None], len(local), axis=0)
        block[:, zero] = local
        mirrored = np.repeat(-side[None], len(local), axis=0)
        mirrored[:, zero] = local
        found += [block, mirrored]
    found = np.concatenate(found)
    return found[_first_of_each(found > 0)]


def _sign_vectors(n):
    """All 2^n sign vectors of length n, (2^n, n) int8."""
    bits = np.arange(2**n)[:, None] >> np.arange(n) & 1
    return (2 * bits - 1).astype(np.int8)


def _first_of_each(rows):
    """Where each distinct row of a boolean matrix occurs first."""
    if not len(rows):
        return np.zeros(0, dtype=int)
    packed = np.ascontiguousarray(np.packbits(rows, axis=1))
    return np.sort(np.unique(packed.view(f"V{packed.shape[1]}").ravel(), return_index=True)[1])


def _check(numbers, n, rank):
    if numbers > LIMIT:
        digits = len(str(numbers)) - 1  # a float does not hold every count
        raise InputError(
            f"Enumeration is out of reach: {n} points of rank {rank} have about 10^{digits} signs."
        )


@dataclass(frozen=True)
class Faces:
    """All faces of one dimension k: cells of the arrangement restricted to flats {w : a_i·w = 0 for
    i in a set}.

    Attributes:
        bases: (F, d, k), an orthonormal basis of each flat.
        flats: (P,) which flat each face lies in.
        signs: (P, N) int8, the side of each point: ±1, or 0 for those that vanish on the flat.
    """

    bases: np.ndarray
    flats: np.ndarray
    signs: np.ndarray


def faces(a: ArrayLike) -> Iterator[Faces]:
    """The faces of every dimension of the arrangement of `a` (N, d), within its row space: r, r−1,
    …, 1.

    A maximum over the unit sphere lies in the relative interior of exactly one of them.

    Yields: `Faces`, the cells first, then their facets, and so on down to the rays.

    Raises:
        InputError: there are too many to hold.
    """
    a = np.asarray(a, dtype=np.float64)
    space = row_space(a)
    rank = space.shape[1]
    _check(face_numbers(len(a), rank), len(a), rank)
    norms = np.linalg.norm(a, axis=1)
    unit = np.divide(a, norms[:, None], out=np.zeros_like(a), where=norms[:, None] > 0) @ space
    for fixed in range(rank):
        bases, signs, met = [], [], set()
        for subset in itertools.combinations(np.flatnonzero(norms), fixed):
            basis = _null_space(unit[list(subset)], rank)
            if basis.shape[1] != rank - fixed:
                continue
            inside = unit @ basis
            flat = np.linalg.norm(inside, axis=1) <= ANGLE
            if flat.tobytes() in met:
                continue
            met.add(flat.tobytes())
            inside[flat] = 0.0
            bases.append(space @ basis)
            signs.append(cells(inside))
        if bases:
            counts = [len(block) for block in signs]
            yield Faces(
                np.stack(bases), np.repeat(np.arange(len(bases)), counts), np.concatenate(signs)
            )


def _null_space(rows, rank):
    """An orthonormal basis (r, k) of what is orthogonal to unit rows."""
    if not len(rows):
        return np.eye(rank)
    _, values, right = np.linalg.svd(rows, full_matrices=True)
    return right[int((values > ANGLE).sum()) :].T
