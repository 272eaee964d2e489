"""Near-aligned pairs of rows: no sort helps to find them, so they are searched block by block, in
bounded memory."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from keras_l2feat.activations import Scaling
from keras_l2feat.errors import require
from keras_l2feat.progress import bar
from keras_l2feat.pruning.values.aligned import parts_of

__all__ = ["near_aligned_pairs"]


def near_aligned_pairs(
    vectors: ArrayLike | Sequence[ArrayLike],
    scaling: Scaling,
    angle: float,
    *,
    limit: int = 1_000_000,
    block: int = 1024,
    quiet: bool = True,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
    require(0 < angle < np.pi / 2, "angle", "in radians, between 0 and π/2", angle)
    parts, n_units, _ = parts_of(vectors)
    empty = np.zeros(0, dtype=np.intp)
    if scaling is Scaling.COUPLED or n_units < 2:
        return empty, empty, np.zeros(0)
    norms = np.sqrt(sum(np.einsum("ij,ij->i", p, p, dtype=np.float64) for p in parts))
    rescaled = scaling.homogeneous
    chord = 2 * np.sin(angle / 2) if rescaled else angle
    safe = np.where(norms > 0, norms, 1.0)

    def units(a):
        rows = np.concatenate([p[a : a + block].astype(np.float64) for p in parts], axis=1)
        return rows / safe[a : a + block, None] if rescaled else rows

    found = []
    starts = range(0, n_units, block)
    pairs = len(starts) * (len(starts) + 1) // 2
    with bar(total=pairs, description="near-aligned", quiet=quiet) as progress:
        for a in starts:
            left = units(a)
            for b in range(a, n_units, block):
                right = left if a == b else units(b)
                sizes = norms[a : a + block, None], norms[b : b + block]
                i, j, distance = _near(left, right, *sizes, scaling, chord, same=a == b)
                found.append((a + i, b + j, distance))
                if sum(len(f[0]) for f in found) > 2 * limit:
                    found = [_nearest(found, limit)]
                progress.update()
    return _nearest(found, limit)


def _near(left, right, left_norm, right_norm, scaling, chord, *, same):
    """Pairs of two blocks, or within the `same`, within `chord`, as (i, j, distance); norms (n, 1)
    and (m,)."""
    product = left @ right.T
    if scaling.mirrored:
        product = np.abs(product)
    alive = (left_norm > 0) & (right_norm > 0)
    if scaling.homogeneous:
        square = 2 - 2 * product
    else:
        largest = np.where(alive, np.maximum(left_norm, right_norm), 1.0)
        square = (left_norm**2 + right_norm**2 - 2 * product) / largest**2
    near = alive & (square <= chord**2)
    i, j = np.nonzero(np.triu(near, 1) if same else near)
    return i, j, np.sqrt(np.maximum(square[i, j], 0.0))


def _nearest(found, limit):
    i, j, distance = (np.concatenate(column) for column in zip(*found))
    order = np.argsort(distance, kind="stable")[:limit]
    return i[order], j[order], distance[order]
