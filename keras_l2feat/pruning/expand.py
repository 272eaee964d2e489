"""The inverse of pruning: an equivalent wider model, by splitting units into aligned copies.

Unit (w, v) becomes copies (√α_i w, √α_i v) with α_i > 0, Σ α_i = 1: the outputs stay, and so does Σ
‖W‖² when w and v are balanced [Simsek et al. 2021; docs/theory.md §7.1]. Where a unit cannot be
rescaled (tanh, batch normalization) the copies are equal, and only what reads them is divided:
(w, α_i v).
"""

import itertools
from collections.abc import Sequence

import numpy as np

from keras_l2feat.errors import InputError, require, require_counts
from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.channels.operations import Concat, Spread
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.rewrite import rebuild
from keras_l2feat.types import Model

__all__ = ["expand", "expandable"]


def expandable(graph: Graph) -> dict:
    """layer → its units that can be split, in the order of the model; layers with none are left
    out."""
    fixed = graph.pinned.copy()
    for part in (part for heads in graph.heads for part in heads.parts):
        fixed[part] = True  # heads would have to grow together
    for op in (
        graph.ops
    ):  # where a run of one unit's positions does not tell in what order copies would come
        if isinstance(op, Spread) and op.place.any() and not op.channel.any():
            fixed[op.out.units] = True
        elif isinstance(op, Concat):
            for left, right in itertools.pairwise(op.inputs):
                fixed[left.units[-1:][left.units[-1:] == right.units[:1]]] = True
    return {
        layer: units
        for layer, units in graph.writers.items()
        if not fixed[units].any() and len(np.unique(units)) == len(units)  # groups grow together
    }


def expand(
    model: Model,
    widths: dict[str, int] | Sequence[int] | None = None,
    *,
    factor: float | None = None,
    seed: int = 0,
) -> Model:
    """An equivalent model with more units.

    Args:
        model: a built Sequential or Functional Keras model; it is not changed.
        widths: new numbers of units: `{layer: units}`, or a sequence for the layers that can be
            widened, in order.
        factor: instead, how many times as many units each of them gets.
        seed: which units are split, and how unevenly.

    Returns: a new Keras model with the same outputs up to rounding. Layers that are tied (the
        branches of a sum) are widened together.

    Raises:
        InputError: widths that are smaller than the layers', or a layer that cannot be widened.

    Example:
    >>> from keras_l2feat.models import mlp
    >>> [layer.units for layer in expand(mlp(4, (6, 5), 2), (12, 9)).layers]
    [12, 9, 2]
    """
    graph = read(model)
    wanted = _wanted(graph, widths, factor)
    generator = np.random.default_rng(seed)
    copies = np.ones(len(graph.pinned), dtype=int)
    for layer, width in wanted.items():
        units = graph.writers[layer]
        more = width - int(copies[units].sum())
        if more < 0:
            raise InputError(
                f"Layer {layer!r} has {copies[units].sum()} units already. Received: {width}."
            )
        copies += np.bincount(generator.choice(units, more), minlength=len(copies)) if more else 0
    for layer, width in wanted.items():
        if copies[graph.writers[layer]].sum() != width:
            raise InputError(
                f"Layer {layer!r} is tied to another of different new width; give both the same."
            )
    # the share of each copy, unit after unit; uneven, but none vanishes
    raw = 0.5 + generator.random(copies.sum())
    start = np.concatenate([[0], np.cumsum(copies)])
    share = raw / np.repeat(np.add.reduceat(raw, start[:-1]), copies)
    scale = np.where(np.repeat(graph.rigid, copies), 1.0, np.sqrt(share))
    roles = {"write": scale, "read": share / scale, "param": np.ones_like(share)}

    def weights(name):
        new = [graph.weight(name, index) for index in range(len(graph.layers[name].weights))]
        stored = [array.dtype for array in new]
        for slot in (s for s in graph.slots.values() if s.layer == name):
            position, copy = _positions(slot.units, copies, start)
            shape = [-1 if axis == slot.axis else 1 for axis in range(new[slot.index].ndim)]
            taken = np.take(np.asarray(new[slot.index], dtype=np.float64), position, axis=slot.axis)
            new[slot.index] = taken * roles[slot.role][copy].reshape(shape)
        return [array.astype(dtype) for array, dtype in zip(new, stored)]

    return rebuild(graph, copies, weights)


def _positions(units, copies, start):
    """Where each position of a wider axis comes from, and the copy that it belongs to.

    A run of positions of one unit (its places, where channels come before places) is repeated as a
    whole.
    """
    edges = np.flatnonzero(np.r_[True, np.diff(units) != 0, True])
    positions, owners = [], []
    for first, end in itertools.pairwise(edges.tolist()):
        for copy in range(copies[units[first]]):
            positions.append(np.arange(first, end))
            owners.append(np.full(end - first, start[units[first]] + copy))
    return np.concatenate(positions), np.concatenate(owners)


def _wanted(graph, widths, factor):
    free = expandable(graph)
    if (widths is None) == (factor is None):
        raise InputError("Give either widths or a factor.")
    if factor is not None:
        require_counts(factor=factor)
        return {layer: factor * len(units) for layer, units in free.items()}
    if not isinstance(widths, dict):
        expected = f"one number for each of {', '.join(free) or 'no layers'}"
        require(len(widths) == len(free), "widths", expected, tuple(widths))
        widths = dict(zip(free, widths))
    expected = f"for layers that can be widened: {', '.join(free) or 'none'}"
    for layer, width in widths.items():
        require(layer in free, "widths", expected, layer)
        least = len(free[layer])
        require(width >= least, "widths", f"at least {least} for layer {layer!r}", width)
    return {layer: int(width) for layer, width in widths.items()}
