"""What there is to see in a model before anything is pruned: rays, angles, balance, and what would
go."""

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from keras_l2feat.progress import bar
from keras_l2feat.pruning.balance import norms
from keras_l2feat.pruning.channels.operations import Linear
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.guarantees.exact import exact_plan
from keras_l2feat.pruning.plan import Plan
from keras_l2feat.types import Model

__all__ = ["ANGLES", "inspect"]

ANGLES = (1e-6, 1e-3, 1e-2, 1e-1)  # radians, at which rays are counted
LARGEST = 700.0  # logarithm of a factor that is a number still
LIMIT = 4096  # units of a layer that are compared with each other, BLOCK of them at a time
BLOCK = 256


def inspect(
    model: Model, *, quiet: bool = True, input_shape: tuple | None = None, plan: Plan | None = None
) -> dict:
    """Look at the units of every layer.

    Args:
        model: a built Keras model; a subclassed one is called on symbolic tensors.
        quiet: no progress bar.
        input_shape: without the batch, of a subclassed model that was not called yet.
        plan: what would go, where it is known.

    Returns: JSON-able: `layers`, a list with, by layer, `name`, `units`, `alive` (units with
        weights on both sides), `rays` (angle in radians → number of groups of units within that
        angle of each other, incoming weights with bias), `smallest_angle`, `median_angle` (of a
        unit to its nearest), `imbalance` (largest factor between ‖w_in‖ and ‖v_out‖ of a unit
        that can be rescaled, 1 where all are balanced), `would_go` (reason → units,
        exact); and `barriers`.
    """
    graph = read(model, input_shape)
    plan = exact_plan(graph) if plan is None else plan
    why = {graph.unit(r.layer, r.unit): r.reason for r in plan.removed}
    inward, outward = norms(graph)
    layers = []
    for op in graph.ops:
        if not isinstance(op, Linear) or op.reader not in graph.writers:
            continue
        units = op.out.units
        alive = (inward[units] > 0) & (outward[units] > 0)
        alive |= graph.pinned[units]
        free = alive & ~graph.rigid[units]
        gone = {}
        for reason in (why[u] for u in units.tolist() if u in why):
            gone[reason] = gone.get(reason, 0) + 1
        ratio = np.abs(np.log(inward[units[free]] / outward[units[free]]))
        layers.append(
            {
                "name": op.reader,
                "units": len(units),
                "alive": int(alive.sum()),
                **_rays(op, quiet),
                "imbalance": float(np.exp(min(ratio.max(), LARGEST))) if len(ratio) else None,
                "would_go": gone,
            }
        )
    return {"model": graph.model.name, "layers": layers, "barriers": dict(graph.barriers)}


def _rays(op, quiet):
    """What there is to see of a layer's incoming weights, some units beside others at a time."""
    kernel, bias = op.stored(), 0.0 if op.bias is None else op.bias()
    norms = np.sqrt(np.einsum("tio,tio->o", kernel, kernel, dtype=np.float64) + bias**2)
    alive = np.flatnonzero(norms)[:LIMIT]
    count = len(alive)

    def directions(start):
        units = alive[start : start + BLOCK]
        rows = kernel[:, :, units].reshape(-1, len(units)).astype(np.float64)
        if op.bias is not None:
            rows = np.vstack([rows, bias[units]])
        return rows / norms[units]

    rays = {angle: np.arange(count) for angle in ANGLES}
    nearest = np.full(count, np.inf)
    starts = range(0, count if count > 1 else 0, BLOCK)
    for a in bar(starts, description="near-aligned", quiet=quiet):
        left = directions(a)
        for b in range(a, count, BLOCK):
            square = 2 - 2 * left.T @ (left if a == b else directions(b))
            if a == b:
                np.fill_diagonal(square, np.inf)
            for start, axis in ((a, 1), (b, 0)):
                part = nearest[start : start + BLOCK]
                np.minimum(part, square.min(axis=axis), out=part)
            for angle in ANGLES:
                i, j = np.nonzero(square <= (2 * np.sin(angle / 2)) ** 2)
                rays[angle] = _joined(rays[angle], a + i, b + j) if len(i) else rays[angle]
    angles = 2 * np.arcsin(np.sqrt(np.clip(nearest, 0, 4)) / 2)
    return {
        "rays": {f"{angle:g}": len(np.unique(ray)) for angle, ray in rays.items()},
        "smallest_angle": float(angles.min()) if count > 1 else None,
        "median_angle": float(np.median(angles)) if count > 1 else None,
    }


def _joined(groups, first, second):
    """Groups, each named by one of its units, once those of some pairs of units are joined."""
    ends = np.concatenate([np.arange(len(groups)), first]), np.concatenate([groups, second])
    links = sparse.coo_array((np.ones(len(ends[0])), ends), shape=2 * groups.shape)
    _, first, labels = np.unique(
        connected_components(links, directed=False)[1], return_index=True, return_inverse=True
    )
    return first[labels]
