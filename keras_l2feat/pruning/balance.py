"""Rescaling units so that what they read weighs as much as what they write: the function stays,
Σ‖W‖² never grows.

At a stationary point of the L2-regularized loss ‖w_in‖ = ‖v_out‖ for every unit of a homogeneous
activation [Jacot et al. 2022; docs/theory.md §5.1], so a merged unit is brought there. A layer's
balance moves that of the next ones, so the factors are found by sweeps over the squared weights,
which contract; the weights are touched once.
"""

import numpy as np

from keras_l2feat.pruning.channels.graph import Graph

__all__ = ["balance_units", "norms", "squared_norm"]

SWEEPS = 100
SETTLED = 1e-9  # largest change of log scale after which a sweep is the last


def norms(graph: Graph) -> tuple:
    """How large each unit's incoming (bias included) and outgoing weights are.

    Returns: ‖w_in‖, ‖v_out‖, (units,) float64; both 0 where a unit has none.
    """
    every = np.ones(len(graph.pinned), dtype=bool)
    return _norms((square for _, square in _squares(graph, every)), np.ones(len(every)))


def squared_norm(graph: Graph) -> float:
    """Σ‖W‖² of all weights that write or read units, biases included."""
    every = np.ones(len(graph.pinned), dtype=bool)
    return sum(float(square.sum()) for _, (*_, square) in _squares(graph, every))


def balance_units(graph: Graph) -> np.ndarray:
    """Rescale, in place, every unit between whose weights only positively homogeneous operations
    lie.

    Units that cannot be rescaled, or whose weights vanish on a side, stay as they are.

    Returns: (units,) float64, what each was multiplied by.
    """
    squares = dict(_squares(graph, ~graph.rigid))
    scale = np.ones(len(graph.pinned))
    for _ in range(SWEEPS):
        inward, outward = _norms(squares.values(), scale)
        free = ~graph.rigid & (inward > 0) & (outward > 0)
        step = np.sqrt(outward[free] / inward[free])
        scale[free] *= step
        if np.abs(np.log(step)).max(initial=0.0) < SETTLED:
            break
    for (layer, index), (write, read, _) in squares.items():
        weight = _wide(graph.weight(layer, index)).copy()
        factor = np.ones([1] * weight.ndim)
        for slot, change in ((write, scale), (read, 1 / scale)):
            if slot is not None:
                shape = [-1 if axis == slot.axis else 1 for axis in range(weight.ndim)]
                factor = factor * change[slot.units].reshape(shape)
        if (factor != 1).any():
            np.multiply(weight, factor, out=weight, casting="unsafe")  # in float64, rounded once
            graph.assign(layer, index, weight)
    return scale


def _squares(graph, wanted):
    """By (layer, index): its slots that write and read units of which some are wanted, (units,)
    bool, and its squares summed over all other axes. One at a time: all take twice the model."""
    found = {}
    for slot in graph.slots.values():
        if slot.role in ("write", "read") and wanted[slot.units].any():
            found.setdefault((slot.layer, slot.index), {})[slot.role] = slot
    for key, slots in found.items():
        # In float64: in float32 the squares of weights beyond 1e19 are infinite.
        weight = np.asarray(graph.weight(*key), dtype=np.float64)
        axes = list(range(weight.ndim))
        kept = [slots[role].axis for role in ("write", "read") if role in slots]
        square = np.einsum(weight, axes, weight, axes, kept)
        yield key, (slots.get("write"), slots.get("read"), square)


def _wide(weight):
    """In float32 at least, to rescale."""
    return weight if weight.dtype in (np.float32, np.float64) else weight.astype(np.float32)


def _norms(squares, scale):
    """Norms of the units' weights once units have been rescaled."""
    inward, outward = np.zeros(len(scale)), np.zeros(len(scale))
    for write, read, square in squares:
        up = None if write is None else scale[write.units] ** 2
        down = None if read is None else scale[read.units] ** -2.0
        if write is not None:
            whole = square if read is None else square @ down.astype(square.dtype)
            np.add.at(inward, write.units, up * whole)
        if read is not None:
            whole = square if write is None else up.astype(square.dtype) @ square
            np.add.at(outward, read.units, down * whole)
    return np.sqrt(inward), np.sqrt(outward)
