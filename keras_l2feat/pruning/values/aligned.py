"""Groups of aligned rows in a big matrix, at the cost of reading it once.

Exact groups: aligned units have the same direction, so the same coordinates in any few orthonormal
directions, up to rounding. Sorting by such coordinates leaves small runs of candidates, and only
those are compared entry by entry. No Gram matrix, no copy of the weights; no aligned pair is
missed, as an orthonormal projection never widens a gap.

Near-aligned pairs have no such shortcut: they are searched block by block, in bounded memory.

Source: positively aligned neurons are one neuron [Jacot et al. 2022, section 3.1].
"""

from typing import NamedTuple

import numpy as np

from keras_l2feat.activations import Scaling
from keras_l2feat.errors import bad_argument
from keras_l2feat.progress import bar

__all__ = ["Group", "aligned_groups", "near_aligned_pairs", "tolerance"]

PROJECTIONS = 8  # orthonormal directions that units are sorted by
BLOCK_ENTRIES = 1 << 17  # entries worked on at a time: 1 MiB in float64, stays in cache


class Group(NamedTuple):
    """Units that are multiples of one of them:
    `vectors[members] = factors[:, None] * vectors[representative]`."""

    representative: int
    members: np.ndarray  # (k,) int, ascending, without the representative
    factors: np.ndarray  # (k,) float64


def unit_roundoff(dtype) -> float:
    """The unit roundoff u of a floating dtype (numpy's, or bfloat16): storing x gives x (1 + d),
    |d| <= u."""
    if str(dtype) == "bfloat16":
        return 2.0**-8
    return float(np.finfo(dtype).eps) / 2


def tolerance(dtype, length: int, roundings: int = 2) -> float:
    """The distance up to which two directions are one, given how they were stored.

    An entry that was rounded `roundings` times to `dtype` (once when a unit is rescaled, once more
    when it is balanced) is off by a factor 1 ± roundings * u, so the direction by at most roundings
    * u, and the distance of two by twice that. The float64 sums over `length` entries that measure
    it add 8 √length roundoffs of float64, which random signs exceed with probability below 1e-13
    (Higham and Mary 2019).
    """
    return 2 * roundings * unit_roundoff(dtype) + 8 * np.sqrt(length) * unit_roundoff(np.float64)


def aligned_groups(vectors, scaling, dtype=None, *, roundings=2, slack=None, seed=0) -> list[Group]:
    """The groups of units that an activation cannot tell apart, up to the rounding of the stored
    dtype.

    Args:
        vectors: (n_units, n_inputs) floats, or a sequence of such parts side by side: (kernel.T,
            bias[:, None]). Views are fine, nothing is copied; entries up to 1e±150.
        scaling: the activation's class: `POSITIVE` w_i = t w (t > 0), `LINEAR` t ≠ 0, `ODD` t = ±1,
            `IDENTITY` t = 1; `COUPLED` has no groups.
        dtype: what the weights are stored in, which sets the tolerance; the arrays' own by default.
        roundings: how often a stored entry may have been rounded since units were equal.
        slack: (n_units,) floats ≥ 1: how much larger than a unit the terms were that it was summed
            from, where it is a sum; its rounding error is that much larger.
        seed: of the projections; it changes the time, not the groups.

    Returns: groups of two and more units, by representative, the lowest index of each. All-zero
        (and not finite) units belong to none.
    """
    parts, n_units, length = _parts(vectors)
    dtype = dtype or max((p.dtype for p in parts), key=unit_roundoff)
    if scaling is Scaling.COUPLED or n_units < 2:
        return []
    delta = tolerance(dtype, length, roundings)
    norms, projections = _measure(parts, n_units, length, seed)
    units = np.flatnonzero((norms > 0) & np.isfinite(norms))
    deltas = delta * (np.ones(n_units) if slack is None else np.asarray(slack, dtype=np.float64))
    runs = _runs(
        _invariants(norms[units], projections[units], scaling), 2 * deltas[units].max(initial=delta)
    )
    return _verified(parts, units, runs, norms, projections, scaling, deltas)


def _parts(vectors):
    parts = [np.asarray(p) for p in (vectors if isinstance(vectors, (list, tuple)) else [vectors])]
    if not parts or any(p.ndim != 2 or len(p) != len(parts[0]) for p in parts):
        raise bad_argument(
            "vectors",
            "a matrix (n_units, n_inputs), or such matrices side by side",
            [p.shape for p in parts],
        )
    return parts, len(parts[0]), sum(p.shape[1] for p in parts)


def _measure(parts, n_units, length, seed):
    """Norms (n_units,) and coordinates (n_units, k) in k random orthonormal directions, float64, in
    one pass."""
    random = np.random.default_rng(seed).standard_normal((length, min(PROJECTIONS, length)))
    directions = np.linalg.qr(random)[0] if length else random
    squares, projections = np.zeros(n_units), np.zeros((n_units, directions.shape[1]))
    offset = 0
    for part in parts:
        width = part.shape[1]
        for units, inputs in _blocks(part):
            block = part[units, inputs].astype(np.float64)
            squares[units] += np.einsum("ij,ij->i", block, block)
            projections[units] += block @ directions[offset : offset + width][inputs]
        offset += width
    return np.sqrt(squares), projections


def _blocks(part):
    """Slices (units, inputs) that cover a matrix in pieces that are contiguous in memory."""
    n_units, width = part.shape
    if abs(part.strides[0]) >= abs(part.strides[1]):
        step = max(1, BLOCK_ENTRIES // max(width, 1))
        yield from ((slice(a, a + step), slice(None)) for a in range(0, n_units, step))
    else:
        step = max(1, BLOCK_ENTRIES // max(n_units, 1))
        yield from ((slice(None), slice(a, a + step)) for a in range(0, width, step))


def _invariants(norms, projections, scaling):
    """Coordinates that aligned units share, each 1-Lipschitz (2-Lipschitz with the norm) in the
    relative distance."""
    coordinates = projections / norms[:, None]
    if scaling in (Scaling.LINEAR, Scaling.ODD):
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


def _verified(parts, units, runs, norms, projections, scaling, deltas):
    """Split candidate runs into groups, comparing every unit with the first that is left of its
    run."""
    members, factors = {}, {}
    while len(units):
        first, position, size = np.unique(
            runs, return_index=True, return_inverse=True, return_counts=True
        )[1:]
        leader = units[first][position]  # units ascend, so the first of a run has the lowest index
        other = (leader != units) & (size[position] > 1)
        units, runs, leader = units[other], runs[other], leader[other]
        sign = 1.0
        if scaling in (Scaling.LINEAR, Scaling.ODD):
            sign = np.where(
                np.einsum("ij,ij->i", projections[units], projections[leader]) < 0, -1.0, 1.0
            )
        ratio = (
            norms[units] / norms[leader] if scaling in (Scaling.POSITIVE, Scaling.LINEAR) else 1.0
        )
        factor = np.broadcast_to(sign * ratio, units.shape)
        aligned = (
            _distances(parts, units, leader, factor)
            <= np.maximum(deltas[units], deltas[leader]) * norms[units]
        )
        for unit, lead, t in zip(units[aligned], leader[aligned], factor[aligned]):
            members.setdefault(int(lead), []).append(unit)
            factors.setdefault(int(lead), []).append(t)
        units, runs = units[~aligned], runs[~aligned]
    return [
        Group(lead, np.array(members[lead]), np.array(factors[lead])) for lead in sorted(members)
    ]


def _distances(parts, units, leaders, factors):
    """‖vectors[unit] - factor * vectors[leader]‖ for each pair, float64 (n_pairs,)."""
    squares = np.zeros(len(units))
    for part in parts:
        width = part.shape[1]
        if abs(part.strides[0]) >= abs(part.strides[1]):
            step = max(1, BLOCK_ENTRIES // max(width, 1))
            for a in range(0, len(units), step):
                pair = slice(a, a + step)
                gap = part[units[pair]] - factors[pair, None] * part[leaders[pair]]
                squares[pair] += np.einsum("ij,ij->i", gap, gap)
        else:
            step = max(1, BLOCK_ENTRIES // max(len(units), 1))
            for a in range(0, width, step):
                rows = part[:, a : a + step].T  # contiguous; all of it passes through memory once
                gap = rows[:, units] - factors * rows[:, leaders]
                squares += np.einsum("ij,ij->j", gap, gap)
    return np.sqrt(squares)


def near_aligned_pairs(vectors, scaling, angle, *, limit=1_000_000, block=1024, quiet=True):
    """Pairs of units whose directions differ by at most `angle`, nearest first, found block by
    block.

    Args:
        vectors: (n_units, n_inputs) floats, or parts side by side as in `aligned_groups`.
        scaling: `POSITIVE`: directions; `LINEAR`: lines; `ODD` and `IDENTITY`: vectors (up to
            sign), by the distance ‖w_i ∓ w_j‖ ≤ angle · max(‖w_i‖, ‖w_j‖); `COUPLED`: none.
        angle: radians, in (0, π/2).
        limit: keep at most so many pairs, the nearest.
        block: units compared with each other at a time: memory is block · n_inputs + block² floats.
        quiet: no progress bar.

    Returns: `(i, j, distance)`, (k,) arrays with i < j, by distance: the chord between directions,
        or the relative distance for `ODD` and `IDENTITY`.
    """
    if not 0 < angle < np.pi / 2:
        raise bad_argument("angle", "in radians, between 0 and π/2", angle)
    parts, n_units, length = _parts(vectors)
    empty = np.zeros(0, dtype=np.intp)
    if scaling is Scaling.COUPLED or n_units < 2:
        return empty, empty, np.zeros(0)
    norms = _measure(parts, n_units, length, 0)[0]
    rescaled = scaling in (Scaling.POSITIVE, Scaling.LINEAR)
    mirrored = scaling in (Scaling.LINEAR, Scaling.ODD)
    chord = 2 * np.sin(angle / 2) if rescaled else angle
    safe = np.where(norms > 0, norms, 1.0)

    def units(a):
        rows = np.concatenate([p[a : a + block].astype(np.float64) for p in parts], axis=1)
        return rows / safe[a : a + block, None] if rescaled else rows

    found = []
    starts = range(0, n_units, block)
    with bar(
        total=len(starts) * (len(starts) + 1) // 2, description="near-aligned", quiet=quiet
    ) as progress:
        for a in starts:
            left = units(a)
            for b in range(a, n_units, block):
                right = left if a == b else units(b)
                found.append(
                    _near(
                        left,
                        right,
                        norms[a : a + block],
                        norms[b : b + block],
                        rescaled,
                        mirrored,
                        chord,
                        a,
                        b,
                    )
                )
                if sum(len(f[0]) for f in found) > 2 * limit:
                    found = [_nearest(found, limit)]
                progress.update()
    return _nearest(found, limit)


def _near(left, right, left_norm, right_norm, rescaled, mirrored, chord, a, b):
    """Pairs of two blocks within `chord`, as (i, j, distance)."""
    product = left @ right.T
    if mirrored:
        product = np.abs(product)
    alive = (left_norm > 0)[:, None] & (right_norm > 0)
    if rescaled:
        square = 2 - 2 * product
    else:
        largest = np.where(alive, np.maximum(left_norm[:, None], right_norm), 1.0)
        square = (left_norm[:, None] ** 2 + right_norm**2 - 2 * product) / largest**2
    near = alive & (square <= chord**2)
    i, j = np.nonzero(np.triu(near, 1) if a == b else near)
    return a + i, b + j, np.sqrt(np.maximum(square[i, j], 0.0))


def _nearest(found, limit):
    i, j, distance = (np.concatenate(column) for column in zip(*found))
    order = np.argsort(distance, kind="stable")[:limit]
    return i[order], j[order], distance[order]
