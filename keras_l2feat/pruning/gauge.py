"""The same function in other coordinates: units rescaled at random wherever the model allows it.

A homogeneous unit's incoming weights are multiplied and its outgoing ones divided; in front of a
batch normalization the incoming weights are multiplied and the normalization's mean and variance
follow. Together with `expand` this makes models of known redundancy that no comparison of raw
weights finds: for tests and benchmarks.
"""

import numpy as np

from keras_l2feat.pruning.channels import graph as g
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.rewrite import rebuild

__all__ = ["gauge"]


def gauge(model, *, low=0.5, high=2.0, seed=0):
    """An equivalent model with every unit that can be rescaled, rescaled by a factor between `low`
    and `high`.

    Returns: a new Keras model; its outputs are those of `model` up to rounding.
    """
    graph = read(model)
    normalized, statistics = _normalized(graph)
    generator = np.random.default_rng(seed)
    factor = np.exp(generator.uniform(np.log(low), np.log(high), len(graph.pinned)))
    factor[graph.rigid & ~normalized] = 1.0
    outgoing = np.where(normalized, 1.0, 1 / factor)

    def weights(name):
        new = [
            np.asarray(graph.weight(name, index))
            for index in range(len(graph.layers[name].weights))
        ]
        stored = [array.dtype for array in new]
        for slot in (s for s in graph.slots.values() if s.layer == name):
            along = [-1 if axis == slot.axis else 1 for axis in range(new[slot.index].ndim)]
            change = {"write": factor, "read": outgoing}.get(slot.role, np.ones_like(factor))
            new[slot.index] = new[slot.index] * change[slot.units].reshape(along)
        for layer, mean, variance, epsilon, units in statistics:
            if layer == name:
                t = np.where(normalized[units], factor[units], 1.0)
                new[mean] = new[mean] * t
                new[variance] = t**2 * (new[variance].astype(np.float64) + epsilon) - epsilon
        return [array.astype(dtype) for array, dtype in zip(new, stored)]

    return rebuild(graph, np.ones(len(factor), dtype=int), weights)


def _normalized(graph):
    """Units that meet a batch normalization before anything else that is not linear in each channel
    by itself.

    Returns: (units,) bool; and the first normalizations, (layer, mean, variance, epsilon, units).
    """
    raw = {}  # id(tensor) -> (channels,) bool: as the layer wrote it, up to linear passes
    good = np.ones(len(graph.pinned), dtype=bool) & ~graph.pinned
    first = {}
    for op in graph.ops:
        before = [raw[id(tensor)] for tensor in op.inputs]
        if isinstance(op, g.Linear) and op.reader is not None:
            good[op.inputs[0].units[before[0]]] = False
            raw[id(op.out)] = np.ones(len(op.out.units), dtype=bool)
        elif isinstance(op, g.Affine) and op.statistics:
            layer, mean, variance, epsilon = op.statistics
            if before[0].all() and (graph.weight(layer, variance) > 4 * epsilon).all():
                first[layer] = (layer, mean, variance, epsilon, op.inputs[0].units)
            else:
                good[op.inputs[0].units[before[0]]] = False
            raw[id(op.out)] = np.zeros(len(op.out.units), dtype=bool)
        elif isinstance(op, g.Concat):
            raw[id(op.out)] = np.concatenate(before)
        elif isinstance(op, g.Pass):
            raw[id(op.out)] = before[0]
        elif isinstance(op, g.Linear):
            raw[id(op.out)] = np.ones(len(op.out.units), dtype=bool)
        else:
            for tensor, mask in zip(op.inputs, before):
                good[tensor.units[mask]] = False
            raw[id(op.out)] = np.zeros(len(op.out.units), dtype=bool)
    written = np.zeros(len(good), dtype=bool)
    for units in graph.writers.values():
        written[units] = True
    return good & written, list(first.values())
