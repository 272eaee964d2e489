"""What there is to see in a model before anything is pruned: rays, angles, balance, and what would
go."""

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from keras_l2feat.activations import Scaling
from keras_l2feat.pruning.balance import norms
from keras_l2feat.pruning.channels.operations import Linear
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.guarantees.exact import exact_plan
from keras_l2feat.pruning.plan import Plan
from keras_l2feat.pruning.values.near import near_aligned_pairs
from keras_l2feat.types import Model

__all__ = ["ANGLES", "inspect"]

ANGLES = (1e-6, 1e-3, 1e-2, 1e-1)  # radians, at which rays are counted
LARGEST = 700.0  # logarithm of a factor that is a number still
LIMIT = 4096  # units of a layer that are compared with each other


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
    kernel = op.kernel()
    vectors = kernel.reshape(-1, kernel.shape[2]).T
    if op.bias is not None:
        vectors = np.column_stack([vectors, op.bias()])
    vectors = vectors[np.linalg.norm(vectors, axis=1) > 0][:LIMIT]
    count = len(vectors)
    near = {}
    if count > 1:
        first, second, chord = near_aligned_pairs(vectors, Scaling.POSITIVE, 1.5, quiet=quiet)
        angle = 2 * np.arcsin(np.clip(chord / 2, 0, 1))
        nearest = np.full(count, np.pi)
        np.minimum.at(nearest, first, angle)
        np.minimum.at(nearest, second, angle)
        near = {"smallest_angle": float(nearest.min()), "median_angle": float(np.median(nearest))}
        rays = {}
        for a in ANGLES:
            links = first[angle <= a], second[angle <= a]
            joined = sparse.coo_array((np.ones(len(links[0])), links), shape=(count, count))
            rays[f"{a:g}"] = int(connected_components(joined, directed=False)[0])
    else:
        rays = {f"{a:g}": count for a in ANGLES}
    return {"rays": rays, "smallest_angle": None, "median_angle": None, **near}
