"""The same function in other coordinates: units rescaled at random wherever the model allows it.

A homogeneous unit's incoming weights are multiplied and its outgoing ones divided; in front of a
batch normalization the incoming weights are multiplied and the normalization's mean and variance
follow. Together with `expand` this makes models of known redundancy that no comparison of raw
weights finds: for tests and benchmarks.
"""

import numpy as np

from keras_l2feat.pruning.channels.interpret import Semantics, interpret
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.expand import expand, expandable
from keras_l2feat.pruning.rewrite import rebuild

__all__ = ["gauge", "widened"]


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


def widened(model, more, *, seed=0):
    """An equivalent model with `more(n)` units besides the n of each layer that can be widened,
    split from others (tied layers follow), and then rescaled."""
    widths, covered = {}, set()
    for layer, units in expandable(read(model)).items():
        if not covered & set(units.tolist()):
            widths[layer] = len(units) + int(more(len(units)))
        covered |= set(units.tolist())
    seed = int(np.random.default_rng(seed).integers(1 << 30))
    return gauge(expand(model, widths, seed=seed), seed=seed)


def _normalized(graph):
    """Units that meet a batch normalization before anything else that is not linear in each channel
    by itself.

    Returns: (units,) bool; and the first normalizations, (layer, mean, variance, epsilon, units).
    """
    walk = _Raw(graph)
    interpret(graph, walk)
    written = np.zeros(len(walk.good), dtype=bool)
    for units in graph.writers.values():
        written[units] = True
    return walk.good & written, list(walk.first.values())


class _Raw(Semantics):
    """Whether each channel is as a layer wrote it, up to linear passes, (channels,) bool; `good`
    loses the units that meet anything but a normalization like that."""

    def __init__(self, graph):
        self.graph = graph
        self.good, self.first = ~graph.pinned, {}

    def met(self, op, *raw):
        for tensor, mask in zip(op.inputs, raw):
            self.good[tensor.units[mask]] = False
        return np.zeros(len(op.out.units), dtype=bool)

    source = depthwise = map = normalize = sum = product = spread = met

    def linear(self, op, raw):
        if op.reader is not None:
            self.met(op, raw)
        return np.ones(len(op.out.units), dtype=bool)

    def affine(self, op, raw):
        if not op.statistics:
            return self.met(op, raw)
        layer, mean, variance, epsilon = op.statistics
        if not (raw.all() and (self.graph.weight(layer, variance) > 4 * epsilon).all()):
            return self.met(op, raw)
        self.first[layer] = (layer, mean, variance, epsilon, op.inputs[0].units)
        return np.zeros(len(op.out.units), dtype=bool)

    def attend(self, op, *raw):
        self.good[op.units] = False
        return self.met(op, *raw)

    def recurrent(self, op, raw):
        self.good[op.out.units] = False
        return self.met(op, raw)

    def passed(self, op, raw):
        return raw

    def concat(self, op, *raw):
        return np.concatenate(raw)
