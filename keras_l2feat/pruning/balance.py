"""Rescaling units so that what they read weighs as much as what they write: the function stays, Σ‖W‖² never grows.

At a stationary point of the L2-regularized loss ‖w_in‖ = ‖v_out‖ for every unit of a homogeneous activation
[Jacot et al. 2022; theory §5], so a merged unit is brought there.
"""

import numpy as np

__all__ = ["balance", "norms"]


def norms(graph):
    """How large each unit's incoming (bias included) and outgoing weights are.

    Returns: ‖w_in‖, ‖v_out‖, (units,) float64; both 0 where a unit has none.
    """
    squares = {"write": np.zeros(len(graph.pinned)), "read": np.zeros(len(graph.pinned))}
    for slot in graph.slots.values():
        if slot.role in squares:
            weight = np.asarray(graph.weight(slot.layer, slot.index), dtype=np.float64)
            other = tuple(axis for axis in range(weight.ndim) if axis != slot.axis)
            np.add.at(squares[slot.role], slot.units, (weight**2).sum(axis=other))
    return np.sqrt(squares["write"]), np.sqrt(squares["read"])


def balance(graph) -> None:
    """Rescale, in place, every unit between whose weights only positively homogeneous operations lie.

    Raises nothing: units that cannot be rescaled, or whose weights vanish on a side, stay as they are.
    """
    inward, outward = norms(graph)
    scale = np.ones(len(inward))
    free = ~graph.rigid & (inward > 0) & (outward > 0)
    scale[free] = np.sqrt(outward[free] / inward[free])
    changed = {}
    for slot in graph.slots.values():
        factor = scale[slot.units]
        if slot.role not in ("write", "read") or (factor == 1).all():
            continue
        key = slot.layer, slot.index
        weight = changed.get(key)
        if weight is None:
            weight = np.asarray(graph.weight(*key), dtype=np.float64)
        shape = [-1 if axis == slot.axis else 1 for axis in range(weight.ndim)]
        changed[key] = weight * (factor if slot.role == "write" else 1 / factor).reshape(shape)
    for (layer, index), weight in changed.items():
        variable = graph.layers[layer].weights[index]
        variable.assign(weight.astype(graph.weight(layer, index).dtype))
