"""How large the pruned model's channels are beside the others of their tensor, and how far merged
units may move a sum."""

import numpy as np

from keras_l2feat.checking.numbers import ratio
from keras_l2feat.pruning.channels.interpret import Semantics, interpret

__all__ = ["Sizes", "amplification"]


class Sizes(Semantics):
    """(channels,) float64 for each tensor, the largest about 1: what weights of either sign add up
    to at most, where all inputs are of size 1.

    Attributes:
        channels: tensor number → sizes.
        sums: tensor number → the same before it is divided by the largest, of what kernels compute.
    """

    def __init__(self, graph):
        self.sums = {}
        self.channels = interpret(graph, self)

    def source(self, op, *inputs):
        return np.ones(len(op.out.units))

    def linear(self, op, x):
        kernel = np.abs(op.stored())
        known = np.ones(kernel.shape[1]) if op.reader is None else x
        self.sums[op.out.number] = known @ kernel.sum(axis=0, dtype=np.float64)
        return _relative(self.sums[op.out.number])

    def depthwise(self, op, x):
        return _relative((np.abs(op.kernel()).sum(axis=0) * x[:, None]).reshape(-1))

    def affine(self, op, x):
        return _relative(np.abs(op.coefficients()[0]) * x)

    def map(self, op, x, *others):
        return x

    passed = sum = product = normalize = map

    def attend(self, op, query, key, value, *masks):
        return value[op.channel]

    def recurrent(self, op, x):
        return np.ones(len(op.out.units))

    def concat(self, op, *inputs):
        return np.concatenate(inputs)

    def spread(self, op, x):
        return x[op.channel]


def _relative(size):
    return size / max(float(size.max(initial=0.0)), 1e-300)


def amplification(kernel, after, sizes, x, rows, kept, gone):
    """How far merged inputs may move each kept sum, in roundoffs of what it adds up after merging.

    Args:
        kernel: of the original, (taps, inputs, outputs).
        after: (pruned outputs,), what the pruned model's sums add up.
        sizes: (pruned inputs,); x: rows of the inputs; rows: of the outputs.
        kept: outputs; gone: (inputs,) bool, the original's inputs that were removed.

    Returns: shares (kept outputs,), and the inputs that are off.
    """
    p, column, factor = x.entries()
    chosen = (x.error[p] > 0) & gone[p]
    p, column, factor = p[chosen], column[chosen], factor[chosen]
    weight = np.abs(factor) * x.error[p] * np.concatenate([sizes, np.ones(x.count)])[column]
    effect = weight @ np.abs(kernel[:, p]).sum(axis=0, dtype=np.float64)[:, kept]
    return ratio(effect, after[rows.column[kept]] * np.abs(rows.factor[kept])), p
