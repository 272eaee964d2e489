"""Rescaling units so that what they read weighs as much as what they write: the function stays, Σ‖W‖² never grows.

At a stationary point of the L2-regularized loss ‖w_in‖ = ‖v_out‖ for every unit of a homogeneous activation
[Jacot et al. 2022; theory §5], so a merged unit is brought there.
"""

import numpy as np

__all__ = ["balance", "norms"]

SWEEPS = 100  # a layer's balance moves that of the next ones; the sweeps contract
SETTLED = 1e-9  # largest change of log scale after which a sweep is the last


def norms(graph, weights=None):
    """How large each unit's incoming (bias included) and outgoing weights are.

    Args:
        graph: a model's `Graph`.
        weights: float64 arrays by (layer, index) to use in place of the model's own.

    Returns: ‖w_in‖, ‖v_out‖, (units,) float64; both 0 where a unit has none.
    """
    weights = _weights(graph) if weights is None else weights
    squares = {"write": np.zeros(len(graph.pinned)), "read": np.zeros(len(graph.pinned))}
    for slot in graph.slots.values():
        if slot.role in squares:
            weight = weights[slot.layer, slot.index]
            other = tuple(axis for axis in range(weight.ndim) if axis != slot.axis)
            np.add.at(squares[slot.role], slot.units, (weight**2).sum(axis=other))
    return np.sqrt(squares["write"]), np.sqrt(squares["read"])


def balance(graph) -> None:
    """Rescale, in place, every unit between whose weights only positively homogeneous operations lie.

    Raises nothing: units that cannot be rescaled, or whose weights vanish on a side, stay as they are.
    """
    weights = _weights(graph)
    changed = set()
    for _ in range(SWEEPS):
        inward, outward = norms(graph, weights)
        scale = np.ones(len(inward))
        free = ~graph.rigid & (inward > 0) & (outward > 0)
        scale[free] = np.sqrt(outward[free] / inward[free])
        for slot in graph.slots.values():
            factor = scale[slot.units]
            if slot.role not in ("write", "read") or (factor == 1).all():
                continue
            key = slot.layer, slot.index
            shape = [-1 if axis == slot.axis else 1 for axis in range(weights[key].ndim)]
            weights[key] = weights[key] * (factor if slot.role == "write" else 1 / factor).reshape(shape)
            changed.add(key)
        if np.abs(np.log(scale)).max(initial=0.0) < SETTLED:
            break
    for layer, index in changed:  # rounded once
        variable = graph.layers[layer].weights[index]
        variable.assign(weights[layer, index].astype(graph.weight(layer, index).dtype))


def _weights(graph):
    """The weights that write or read units, as float64 by (layer, index)."""
    keys = {(slot.layer, slot.index) for slot in graph.slots.values() if slot.role in ("write", "read")}
    return {key: np.asarray(graph.weight(*key), dtype=np.float64) for key in keys}
