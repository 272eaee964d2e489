"""Groups of aligned rows in a big matrix, at the cost of reading it once.

Exact groups: aligned units have the same direction, so the same coordinates in any few orthonormal
directions, up to rounding. Sorting by such coordinates leaves small runs of candidates, and only
those are compared, entry by entry. No Gram matrix, no copy of the weights; no aligned pair is
missed, as an orthonormal projection never widens a gap.

Source: positively aligned neurons are one neuron [Jacot et al. 2022, section 3.1].
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from keras_l2feat.activations import Scaling
from keras_l2feat.errors import bad_argument
from keras_l2feat.pruning.values.pairs import CONDITION, PROJECTIONS, Pairs

__all__ = ["Group", "aligned_groups", "parts_of", "tolerance"]

PATIENCE = 4  # rounds of comparing with a leader, after which larger runs are told apart by entries
CROWD = 32  # units, from which a run is large
PRODUCT_ENTRIES = 1 << 20  # entries of a product: between many small ones BLAS's threads stay awake


class Group(NamedTuple):
    """Units that are multiples of one of them:
    `vectors[members] = factors[:, None] * vectors[representative]`, up to `gaps`."""

    representative: int
    members: np.ndarray  # (k,) int, ascending, without the representative
    factors: np.ndarray  # (k,) float64
    gaps: np.ndarray  # (k,) float64, the largest difference of an entry, over its terms


def unit_roundoff(dtype) -> float:
    """The unit roundoff u of a floating dtype (numpy's, or bfloat16): storing x gives x (1 + d),
    |d| <= u."""
    if str(dtype) == "bfloat16":
        return 2.0**-8
    return float(np.finfo(dtype).eps) / 2


def tolerance(dtype: Any, length: int, roundings: int = 2) -> float:
    """The distance up to which two directions are one, given how they were stored.

    An entry that was rounded `roundings` times to `dtype` (once when a unit is rescaled, once more
    when it is balanced) is off by a factor 1 ± roundings * u, so the direction by at most roundings
    * u, and the distance of two by twice that. The float64 sums over `length` entries that measure
    it add 8 √length roundoffs of float64, which random signs exceed with probability below 1e-13
    (Higham and Mary 2019).
    """
    return 2 * roundings * unit_roundoff(dtype) + 8 * np.sqrt(length) * unit_roundoff(np.float64)


def aligned_groups(
    vectors: ArrayLike | Sequence[ArrayLike],
    scaling: Scaling,
    dtype: Any = None,
    *,
    roundings: int = 2,
    terms: Sequence[np.ndarray] | None = None,
    seed: int = 0,
) -> list[Group]:
    """The groups of units that an activation cannot tell apart, up to the rounding of the stored
    dtype.

    Entry by entry: an entry may be off by what rounding explains of that entry alone. A weight of
    1e-9 beside a bias of 1.7 is no rounding error, since the feature that it weighs may be 1e9; so
    what is found does not change with the units in which inputs are measured.

    Args:
        vectors: (n_units, n_inputs) floats, or a sequence of such parts side by side: (kernel.T,
            bias[:, None]). Views are fine, nothing is copied; entries up to 1e±150.
        scaling: the activation's class: `POSITIVE` w_i = t w (t > 0), `LINEAR` t ≠ 0, `ODD` t = ±1,
            `IDENTITY` t = 1; `COUPLED` has no groups.
        dtype: what the weights are stored in, which sets the tolerance; the arrays' own by default.
        roundings: how often a stored entry may have been rounded since units were equal.
        terms: of the same shapes, ≥ |vectors|: the absolute values that an entry was added up from,
            where it is a sum; its rounding error is that much larger. Then two units are one only
            if they also differ, in norm, by no more than `CONDITION` times what rounding their
            entries explains: what is left after cancelling has to agree too.
        seed: of the projections; it changes the time, not the groups.

    Returns: groups of two and more units, by representative, the lowest index of each. All-zero
        (and not finite) units belong to none.

    Time: two passes over the weights, and one over those of the groups. Units that lie within
    rounding noise of each other in every projection, but are no group, cost more: they are told
    apart by entries (`_told_apart`).
    """
    parts, n_units, length = parts_of(vectors)
    dtype = dtype or max((p.dtype for p in parts), key=unit_roundoff)
    if scaling is Scaling.COUPLED or n_units < 2:
        return []
    delta = tolerance(dtype, length, roundings)
    norms, projections = _measure(parts, n_units, length, seed)
    units = np.flatnonzero((norms > 0) & np.isfinite(norms))
    gap = delta
    if terms is not None:
        slack = _norms(terms)[units] / norms[units]
        gap = delta * np.clip(slack, 1.0, CONDITION).max(initial=1.0)
    runs = _runs(_invariants(norms[units], projections[units], scaling), 2 * gap)
    pairs = Pairs(parts, terms, norms, projections, scaling, delta)
    return _verified(pairs, units, runs)


def parts_of(vectors: ArrayLike | Sequence[ArrayLike]) -> tuple[list[np.ndarray], int, int]:
    """The parts of a matrix, side by side; how many rows it has, and how many columns."""
    parts = [np.asarray(p) for p in (vectors if isinstance(vectors, (list, tuple)) else [vectors])]
    if not parts or any(p.ndim != 2 or len(p) != len(parts[0]) for p in parts):
        expected = "a matrix (n_units, n_inputs), or such matrices side by side"
        raise bad_argument("vectors", expected, [p.shape for p in parts])
    return parts, len(parts[0]), sum(p.shape[1] for p in parts)


@functools.lru_cache(maxsize=32)  # networks repeat the shapes of their layers
def _directions(length, seed):
    """Random orthonormal directions, (length, k)."""
    random = np.random.default_rng(seed).standard_normal((length, min(PROJECTIONS, length)))
    return np.linalg.qr(random)[0] if length else random


def _norms(parts):
    return np.sqrt(sum(np.einsum("ij,ij->i", part, part) for part in parts))


def _measure(parts, n_units, length, seed):
    """Norms (n_units,) and coordinates (n_units, k) in k random orthonormal directions, float64, in
    one pass."""
    directions = _directions(length, seed)
    squares, projections = np.zeros(n_units), np.zeros((n_units, directions.shape[1]))
    offset = 0
    for part in parts:
        width = part.shape[1]
        for units, inputs in _blocks(part, PRODUCT_ENTRIES):
            block = part[units, inputs].astype(np.float64, copy=False)
            square = np.einsum("ij,ij->i", block, block)
            squares[units] += square
            if not np.isfinite(square).all():  # the norm says so; a product would only warn
                block = np.nan_to_num(block, nan=0.0, posinf=0.0, neginf=0.0)
            projections[units] += block @ directions[offset : offset + width][inputs]
        offset += width
    return np.sqrt(squares), projections


def _blocks(part, entries):
    """Slices (units, inputs) that cover a matrix in pieces that are contiguous in memory."""
    n_units, width = part.shape
    if abs(part.strides[0]) >= abs(part.strides[1]):
        step = max(1, entries // max(width, 1))
        yield from ((slice(a, a + step), slice(None)) for a in range(0, n_units, step))
    else:
        step = max(1, entries // max(n_units, 1))
        yield from ((slice(None), slice(a, a + step)) for a in range(0, width, step))


def _invariants(norms, projections, scaling):
    """Coordinates that aligned units share, each 1-Lipschitz (2-Lipschitz with the norm) in the
    relative distance."""
    coordinates = projections / norms[:, None]
    if scaling.mirrored:
        coordinates = np.abs(coordinates)
    if scaling in (Scaling.IDENTITY, Scaling.ODD):
        coordinates = np.column_stack([np.log(norms), coordinates])
    return coordinates


def _runs(coordinates, gap):
    """Labels (n,) such that two rows within `gap` in every coordinate share one: sort, cut at gaps,
    repeat within."""
    labels = np.zeros(len(coordinates), dtype=np.intp)
    count = 0
    while len(labels) and count != labels.max() + 1:
        count = labels.max() + 1
        for column in coordinates.T:
            order = np.lexsort((column, labels))
            cut = (np.diff(column[order]) > gap) | (np.diff(labels[order]) > 0)
            labels[order] = np.concatenate([[0], np.cumsum(cut)])
    return labels


def _verified(pairs, units, runs):
    """Split candidate runs into groups, comparing every unit with the first that is left of its
    run."""
    found = {}
    for turn in itertools.count(1):
        first, position, size = np.unique(
            runs, return_index=True, return_inverse=True, return_counts=True
        )[1:]
        leader = units[first][position]  # units ascend, so the first of a run has the lowest index
        other = (leader != units) & (size[position] > 1)
        units, runs, leader = units[other], runs[other], leader[other]
        if not len(units):
            break
        aligned, factor, gap = pairs.compare(units, leader)
        for unit, lead, t, off in zip(
            units[aligned], leader[aligned], factor[aligned], gap[aligned]
        ):
            found.setdefault(int(lead), []).append((unit, t, off))
        units, runs = units[~aligned], runs[~aligned]
        if turn % PATIENCE == 0:
            runs = _told_apart(pairs, units, runs, seed=turn)
    return [
        Group(lead, *(np.array(column) for column in zip(*found[lead]))) for lead in sorted(found)
    ]


def _told_apart(pairs, units, runs, seed):
    """Finer runs of units that the projections do not tell apart, which average small differences
    away: by a few entries of each, in all of them at once.

    Aligned units have the same ratios of entries. Cells of the size of their rounding errors, in
    the logarithms of some ratios, are joined with their neighbours (in a k-d tree of the cells, so
    that many equal units count once); units in cells that are not joined are not aligned.
    """
    labels, first = np.unique(runs, return_inverse=True)[1].reshape(-1), 0
    fine = np.empty_like(labels)
    for run in range(labels.max(initial=-1) + 1):
        members = np.flatnonzero(labels == run)
        joined = np.zeros(len(members), dtype=int)
        if len(members) > CROWD:
            joined = _joined(pairs.cells(units[members], seed))
        fine[members] = first + joined
        first += joined.max() + 1
    return fine


def _joined(cells):
    """A label for each row such that cells that touch share one."""
    distinct, which = np.unique(cells, axis=0, return_inverse=True)
    touching = cKDTree(distinct).query_pairs(1.5, p=np.inf, output_type="ndarray")
    shape = len(distinct), len(distinct)
    links = sparse.coo_array((np.ones(len(touching)), touching.T), shape=shape)
    return connected_components(links, directed=False)[1][which.reshape(-1)]
