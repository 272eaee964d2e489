"""How far rounding may move the outputs of a pruned model: a bound from the weights.

Pruned and original weights differ as if every stored entry had been rounded a few times
(`aligned.tolerance` says how often). To first order in the unit roundoff, with |x| ≤ a channel by
channel and Δx what has come so far,

    |W x + b| ≤ |W| a + |b|        |Δ(W x + b)| ≤ |W| |Δx| + η ‖[W, b]‖ ‖[a, 1]‖
                                   (row by row; all taps have the same a)

and activations multiply by their Lipschitz constant on the range that is reached. That is rigorous,
and sharp to an order of magnitude for a few layers; it grows with every layer. It is what `bounded`
on a box, without data, goes by (`guarantees/within_box.py`).
"""

from collections.abc import Callable, Sequence

import numpy as np

from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.channels.interpret import Semantics, interpret
from keras_l2feat.pruning.channels.operations import Depthwise, Linear
from keras_l2feat.pruning.values.aligned import tolerance
from keras_l2feat.pruning.values.classes import ROUNDINGS
from keras_l2feat.pruning.values.readings import coarsest

__all__ = ["a_priori"]

DEPTH = 12  # linear operations; beyond, the a-priori bound is astronomical and not computed
GRID = 4001


def a_priori(graph: Graph, sizes: Sequence[float], seen: Callable) -> float:
    """Bound on the deviation of any output for inputs of bounded size.

    Args:
        graph: of the original model.
        sizes: the largest |x| of each of the model's inputs.
        seen: `(op, error) -> error`, both (channels,): what an operation sees of its input's
            error, where units were replaced by something else.

    Returns: the largest bound over all outputs; infinite if a layer on the way is not understood,
        or there are more than `DEPTH`.
    """
    if sum(isinstance(op, (Linear, Depthwise)) for op in graph.ops) > DEPTH:
        return np.inf
    reach = {}
    for size, tensor in zip(sizes, graph.inputs, strict=True):
        none = np.zeros(len(tensor.units))
        reach[tensor.number] = none + size, none
    with np.errstate(over="ignore", invalid="ignore"):
        interpret(graph, _Reach(coarsest(graph), seen), reach)
    bound = max(float(reach[tensor.number][1].max()) for tensor in graph.outputs)
    return bound if np.isfinite(bound) else np.inf


class _Reach(Semantics):
    """(a, e): how large each channel gets, and by how much it may be off; both (channels,)."""

    def __init__(self, dtype, seen):
        self.dtype, self.seen = dtype, seen

    def source(self, op, *inputs):
        if op.lipschitz is not None and inputs:
            size, error = (v.max() for v in inputs[0])
            count = len(op.out.units)
            return np.full(count, max(1.0, size)), np.full(count, op.lipschitz * error)
        return self.unknown(op)

    def unknown(self, op, *inputs):
        return (np.full(len(op.out.units), np.inf),) * 2

    normalize = recurrent = unknown

    def linear(self, op, x):
        size, error = x[0], self.seen(op, x[1])
        kernel = op.kernel()
        taps, inputs, outputs = kernel.shape
        if op.reader is None:  # one row of a table
            largest = np.abs(kernel).max(axis=(0, 1))
            return largest, largest * tolerance(self.dtype, 1, ROUNDINGS)
        bias = np.zeros(outputs) if op.bias is None else op.bias()
        absolute = np.abs(kernel).sum(axis=0).T
        norm = np.sqrt(np.einsum("tio,tio->o", kernel, kernel) + bias**2)
        reach = np.sqrt(taps * (size @ size) + 1)
        fresh = tolerance(self.dtype, taps * inputs, ROUNDINGS) * norm * reach
        return absolute @ size + np.abs(bias), absolute @ error + fresh

    def depthwise(self, op, x):
        kernel = op.kernel()
        taps, _, multiplier = kernel.shape
        absolute = np.abs(kernel).sum(axis=0).ravel()
        bias = 0.0 if op.bias is None else np.abs(op.bias())
        size, error = (np.repeat(v, multiplier) for v in x)
        out = absolute * size + bias
        return out, absolute * error + tolerance(self.dtype, taps, ROUNDINGS) * np.sqrt(taps) * out

    def affine(self, op, x):
        scale, _, terms = op.coefficients()
        out = np.abs(scale) * x[0] + terms
        return out, np.abs(scale) * x[1] + tolerance(self.dtype, 2, ROUNDINGS) * out

    def map(self, op, *inputs):
        size, error = (np.max([v[k] for v in inputs], axis=0) for k in (0, 1))
        slope, start = op.slope, 0.0
        if op.function is not None:
            slope = _steepest(op.function, size.max())
            start = abs(float(op.function(np.zeros(1))[0]))
        return start + slope * size, slope * error

    def passed(self, op, x):
        return x

    def attend(self, op, query, key, value, *masks):
        # how far a softmax's weights move is not bounded here
        return value[0][op.channel], np.full(len(op.channel), np.inf)

    def sum(self, op, *inputs):
        return tuple(sum(abs(w) * v[k] for w, v in zip(op.weights, inputs)) for k in (0, 1))

    def product(self, op, *inputs):
        size, error = inputs[0]
        for other, off in inputs[1:]:
            size, error = size * other, error * other + size * off
        return size, error

    def concat(self, op, *inputs):
        return tuple(np.concatenate([v[k] for v in inputs]) for k in (0, 1))

    def spread(self, op, x):
        return x[0][op.channel], x[1][op.channel]


def _steepest(function, top):
    """Largest slope of an activation on [-top, top], by differences on a grid, finer where
    activations bend."""
    if not np.isfinite(top):
        return np.inf
    near = min(top, 10.0)
    grid = np.union1d(np.linspace(-top, top, GRID), np.linspace(-near, near, GRID))
    grid = grid[np.r_[True, np.diff(grid) > 1e-9 * max(top, 1.0)]]
    if len(grid) < 2:
        return 1.0
    return 1.01 * float(np.abs(np.diff(function(grid)) / np.diff(grid)).max())
