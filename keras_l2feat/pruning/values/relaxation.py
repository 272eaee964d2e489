"""Bounds on every channel of a model on a box, the tighter of two, channel by channel.

Every tensor is bounded by interval arithmetic. Where dense layers compute it, it is also bounded by
backward linear relaxation, CROWN [Zhang et al. 2018, arXiv 1811.00866], through every activation
that is linear on either side of 0, with sums and concatenations, back to the tensors that only an
interval is known of.
"""

from collections.abc import Sequence

import numpy as np

from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.channels.interpret import Semantics, interpret, visit
from keras_l2feat.pruning.values.intervals import Box, Intervals, dot, slopes

__all__ = ["boxes"]


def boxes(graph: Graph, inputs: Sequence[Box]) -> dict:
    """Bounds of every tensor of a graph.

    Args:
        graph: what `graph.read` made.
        inputs: list of `Box`, one a model input.

    Returns: tensor number → `Box`; infinite where nothing is known.
    """
    found = {tensor.number: box for tensor, box in zip(graph.inputs, inputs)}
    return interpret(graph, _Relaxed(graph, found), found)


class _Relaxed(Intervals):
    """Intervals forward, and on dense layers the tighter of them and of a relaxation backward."""

    def __init__(self, graph, found):
        super().__init__(graph)
        self.found = found  # tensor number → Box, so far
        self.dense = {}  # tensor number → kernel (inputs, outputs) and bias, read once

    def linear(self, op, x):
        box = super().linear(op, x)
        dense = op.geometry is None and op.reader is not None
        if not dense or not np.isfinite([box.low, box.high]).all():
            return box
        kernel, shift = op.kernel()[0], 0.0 if op.bias is None else op.bias()
        self.dense[op.out.number] = kernel, shift
        for flat in (False, True):
            low = _Below(self, flat).bound(op, kernel.T, shift)
            high = -_Below(self, flat).bound(op, -kernel.T, -shift)
            box = Box(np.maximum(box.low, low), np.minimum(box.high, high))
        return box


class _Below(Semantics):
    """A lower bound of Σ_t rows[t] · t + constant over tensors t, by substituting operations from
    the last on.

    A method takes the coefficients (outputs, channels) of what an operation computes, replaces them
    by those of its inputs, and says whether it could.

    Args:
        boxes: the `_Relaxed` boxes so far.
        flat: an unstable activation is bounded below by its flatter line, else by the one that is
            nearer in area.
    """

    def __init__(self, boxes, flat):
        self.boxes, self.flat = boxes, flat
        self.rows, self.constant = {}, 0.0

    def bound(self, op, coefficients, constant):
        """The bound of coefficients · (the input of `op`) + constant, (outputs,) float64."""
        self.rows, self.constant = {op.inputs[0].number: coefficients}, constant
        for earlier in reversed(self.boxes.graph.ops[: op.out.number]):
            number = earlier.out.number
            if number in self.rows and visit(self, earlier, self.rows[number]):
                del self.rows[number]
        bound = self.constant
        for number, a in self.rows.items():
            box = self.boxes.found[number]
            bound = bound + dot(box.low, np.maximum(a, 0).T) + dot(box.high, np.minimum(a, 0).T)
        return bound

    def add(self, tensor, coefficients):
        known = self.rows.get(tensor.number)
        self.rows[tensor.number] = coefficients if known is None else known + coefficients
        return True

    def boxed(self, op, *a):
        """Its box is all that is known."""
        return False

    source = depthwise = product = spread = normalize = attend = recurrent = boxed

    def linear(self, op, a):
        if op.out.number not in self.boxes.dense:
            return False
        kernel, bias = self.boxes.dense[op.out.number]
        self.constant = self.constant + a @ np.broadcast_to(bias, len(kernel.T))
        return self.add(op.inputs[0], a @ kernel.T)

    def affine(self, op, a):
        scale, shift, _ = op.coefficients()
        self.constant = self.constant + a @ shift
        return self.add(op.inputs[0], a * scale)

    def map(self, op, a):
        lines = _lines(op, self.boxes.found, self.flat)
        if lines is None:
            return False
        (slope_low, shift_low), (slope_high, shift_high) = lines
        up, down = np.maximum(a, 0), np.minimum(a, 0)
        self.constant = self.constant + up @ shift_low + down @ shift_high
        return self.add(op.inputs[0], up * slope_low + down * slope_high)

    def passed(self, op, a):
        return op.tag is None and self.add(op.inputs[0], a)

    def sum(self, op, a):
        return all([self.add(x, weight * a) for weight, x in zip(op.weights, op.inputs)])

    def concat(self, op, a):
        ends = np.cumsum([len(tensor.units) for tensor in op.inputs])[:-1]
        return all([self.add(x, part) for x, part in zip(op.inputs, np.split(a, ends, axis=1))])


def _lines(op, found, flat):
    """Lines below and above an activation on its box: ((slope, shift), (slope, shift)), or `None`
    where it has none."""
    both = slopes(op, len(op.out.units))
    if both is None:
        return None
    box = found[op.inputs[0].number]
    low, high = box.low, box.high
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        return None
    below, above = both
    unstable = (low < 0) & (high > 0)
    stable_slope = np.where(low >= 0, above, below)
    width = np.where(unstable, high - low, 1.0)
    chord = np.where(unstable, (above * high - below * low) / width, stable_slope)
    chord_shift = np.where(unstable, below * low - chord * low, 0.0)
    near = np.where(high >= -low, above, below)
    flatter = np.where(np.abs(below) <= np.abs(above), below, above)
    line = np.where(unstable, flatter if flat else near, stable_slope)
    zero = np.zeros_like(line)
    convex = below <= above
    lower = np.where(convex, line, chord), np.where(convex, zero, chord_shift)
    upper = np.where(convex, chord, line), np.where(convex, chord_shift, zero)
    return lower, upper
