"""Bounds of every channel for inputs in a box, rounded outward: what `domain` rests on is proved
here again.

Intervals forward, channel by channel; where dense layers compute a tensor, also a linear relaxation
backward (CROWN [Zhang et al. 2018, arXiv 1811.00866]). Every weight may be off by `slack`, relative
to itself, so bounds hold for the original with its weights changed too; the sums' own rounding is
added to that. A change of that kind keeps signs: what is 0 at a corner of the box stays 0.
"""

from dataclasses import dataclass

import numpy as np

from keras_l2feat.activations import Scaling
from keras_l2feat.errors import bad_argument
from keras_l2feat.pruning.channels.interpret import Semantics, interpret, visit
from keras_l2feat.pruning.channels.operations import Map

__all__ = ["Interval", "bounds", "slopes"]

FLOAT64 = 2.0**-53
ENTRIES = 1 << 24  # of a layer's coefficients backward; larger ones have intervals alone


@dataclass(frozen=True, eq=False)
class Interval:
    """low <= value <= high, (channels,) float64; of inputs also by place, (places, channels)."""

    low: np.ndarray
    high: np.ndarray
    places: tuple | None = None

    @property
    def size(self):
        return np.maximum(np.abs(self.low), np.abs(self.high))


def bounds(graph, low, high, slack) -> dict:
    """Bounds of every tensor of a graph.

    Args:
        graph: the original's channel graph.
        low, high: numbers, or arrays that broadcast to one input without its batch axis.
        slack: by what part of itself each weight may be off.

    Returns: tensor number → `Interval`.

    Raises:
        InputError: the range is none, or does not fit.
    """
    found = {tensor.number: _of_input(tensor, low, high) for tensor in graph.inputs}
    return interpret(graph, _Bounds(graph, found, slack), found)


def _of_input(tensor, low, high):
    shape = tuple(size or 1 for size in tensor.shape[1:])
    try:
        ends = [np.broadcast_to(np.asarray(end, np.float64), shape) for end in (low, high)]
    except (ValueError, TypeError):
        raise bad_argument(
            "input_range", f"numbers, or arrays of shape {shape}", (np.shape(low), np.shape(high))
        ) from None
    if not (np.isfinite(ends).all() and (ends[0] <= ends[1]).all()):
        raise bad_argument("input_range", "finite, low <= high", (np.min(low), np.max(high)))
    flat = [np.moveaxis(e, tensor.axis - 1, -1).reshape(-1, shape[tensor.axis - 1]) for e in ends]
    return Interval(flat[0].min(axis=0), flat[1].max(axis=0), tuple(flat))


def slopes(op):
    """Slopes (below, above) 0 of an activation that is linear on either side, else `None`."""
    if not isinstance(op, Map) or op.function is None or op.scaling is not Scaling.POSITIVE:
        return None
    if len(op.inputs) != 1 or op.tag[0] not in {"activation", "ReLU", "LeakyReLU", "relu op"}:
        return None
    one = np.ones(1)
    return -float(op.function(-one)[0]), float(op.function(one)[0])


class _Bounds(Semantics):
    def __init__(self, graph, found, slack):
        self.graph, self.found, self.slack = graph, found, slack
        self.dense = {}  # tensor number → kernel (inputs, outputs), bias

    def outward(self, ends, sizes, terms):
        """Ends moved outward by the slack and the rounding of a sum of so many terms."""
        part = self.slack + (terms + 8) * FLOAT64
        low, high = ends[0] - part * sizes[0], ends[1] + part * sizes[1]
        return Interval(*(np.where(np.isnan(e), s, e) for e, s in ((low, -np.inf), (high, np.inf))))

    def source(self, op, *inputs):
        return _anything(op)

    def linear(self, op, x):
        kernel = op.kernel()
        bias = np.zeros(kernel.shape[2]) if op.bias is None else op.bias()
        if op.reader is None:
            table = kernel.sum(axis=0)
            ends = table.min(axis=0), table.max(axis=0)
            return self.outward(ends, [np.abs(e) for e in ends], 0)
        seen = x if op.folds else _with_zero(x)
        if not np.isfinite(seen.size).all():
            return _anything(op)
        up, down = np.maximum(kernel, 0).sum(axis=0), np.maximum(-kernel, 0).sum(axis=0)
        box = self._summed(seen, up, down, bias, len(kernel) * kernel.shape[1])
        if op.geometry is not None or kernel.size > ENTRIES:
            return box
        self.dense[op.out.number] = kernel[0], bias
        for flat in (False, True):
            low = _Below(self, flat).bound(op, kernel[0].T, bias)
            high = -_Below(self, flat).bound(op, -kernel[0].T, -bias)
            box = Interval(np.maximum(box.low, low), np.minimum(box.high, high))
        return box

    def _summed(self, x, up, down, bias, terms):
        low, high = x.low @ up - x.high @ down + bias, x.high @ up - x.low @ down + bias
        sizes = (
            np.abs(x.low) @ up + np.abs(x.high) @ down + np.abs(bias),
            np.abs(x.high) @ up + np.abs(x.low) @ down + np.abs(bias),
        )
        return self.outward((low, high), sizes, terms)

    def depthwise(self, op, x):
        kernel = op.kernel()
        x = x if op.folds else _with_zero(x)
        bias = np.zeros(len(op.out.units)) if op.bias is None else op.bias()
        if not np.isfinite(x.size).all():
            return _anything(op)
        up, down = np.maximum(kernel, 0).sum(axis=0), np.maximum(-kernel, 0).sum(axis=0)
        low, high = x.low[:, None], x.high[:, None]
        ends = (low * up - high * down).ravel() + bias, (high * up - low * down).ravel() + bias
        down_low, up_high = np.abs(low), np.abs(high)
        sizes = (
            (down_low * up + up_high * down).ravel() + np.abs(bias),
            (up_high * up + down_low * down).ravel() + np.abs(bias),
        )
        return self.outward(ends, sizes, len(kernel))

    def affine(self, op, x):
        scale, shift, terms = op.coefficients()
        with np.errstate(invalid="ignore"):
            parts = np.sort([scale * x.low, scale * x.high], axis=0)
            return self.outward(parts + shift, np.abs(parts) + terms, 4)

    def map(self, op, *inputs):
        both = slopes(op)
        if both is not None:
            x = inputs[0]
            with np.errstate(invalid="ignore"):
                ends = [np.where(e < 0, both[0] * e, both[1] * e) for e in (x.low, x.high)]
            ends.append(np.where((x.low < 0) & (x.high > 0), 0.0, ends[0]))
            return self.outward(
                (np.min(ends, axis=0), np.max(ends, axis=0)), np.zeros((2, x.low.size)), 0
            )
        if op.tag[0] == "concatenate" or "MaxPooling" in str(op.tag[0]):
            return Interval(
                np.min([x.low for x in inputs], axis=0), np.max([x.high for x in inputs], axis=0)
            )
        if op.tag[0] in ("Maximum", "Minimum"):
            extreme = getattr(np, op.tag[0].lower())
            ends = ([getattr(x, end) for x in inputs] for end in ("low", "high"))
            return Interval(*(extreme.reduce(end) for end in ends))
        return _anything(op)

    def passed(self, op, x):
        # means are sums of many roundings; relative to the largest entry they are few
        if op.tag is None:
            return x
        x = x if op.constants else _with_zero(x)
        return self.outward((x.low, x.high), (np.abs(x.low), np.abs(x.high)), 1 << 20)

    def normalize(self, op, x):
        return _anything(op)

    def attend(self, op, query, key, value, *masks):
        seen = self.passed(op, value)  # a mean, as those of pooling are
        return Interval(seen.low[op.channel], seen.high[op.channel])

    def recurrent(self, op, x):
        return _anything(op)

    def sum(self, op, *inputs):
        with np.errstate(invalid="ignore"):
            ends = [np.sort([w * x.low, w * x.high], axis=0) for w, x in zip(op.weights, inputs)]
            return self.outward(sum(ends), sum(np.abs(e) for e in ends), 0)

    def product(self, op, box, *others):
        for x in others:
            with np.errstate(invalid="ignore"):
                corners = [a * b for a in (box.low, box.high) for b in (x.low, x.high)]
            ends = np.min(corners, axis=0), np.max(corners, axis=0)
            box = self.outward(ends, np.abs(ends), 0)
        return box

    def concat(self, op, *inputs):
        ends = ("low", "high")
        return Interval(*(np.concatenate([getattr(x, end) for x in inputs]) for end in ends))

    def spread(self, op, x):
        if x.places is not None and len(x.places[0]) > np.max(op.place, initial=0):
            return Interval(*(end[op.place, op.channel] for end in x.places))
        return Interval(x.low[op.channel], x.high[op.channel])


class _Below(Semantics):
    """A lower bound of a combination of what an operation reads, by substituting operations from
    the last on; what a step is off by is subtracted at once, by the boxes that are known."""

    def __init__(self, boxes, flat):
        self.boxes, self.flat = boxes, flat
        self.rows, self.constant = {}, 0.0

    def bound(self, op, coefficients, constant):
        part = self.boxes.slack + FLOAT64 * (coefficients.shape[1] + 8)
        size = self.boxes.found[op.inputs[0].number].size
        self.constant = constant - part * (np.abs(coefficients) @ size + np.abs(constant))
        self.rows = {op.inputs[0].number: coefficients}
        for earlier in reversed(self.boxes.graph.ops[: op.out.number]):
            number = earlier.out.number
            if number in self.rows and visit(self, earlier, self.rows[number]):
                del self.rows[number]
        bound = self.constant
        for number, a in self.rows.items():
            box = self.boxes.found[number]
            up, down = np.maximum(a, 0), np.minimum(a, 0)
            ends = up @ box.low + down @ box.high
            bound = bound + ends - (a.shape[1] + 8) * FLOAT64 * (np.abs(a) @ box.size)
        return np.where(np.isnan(bound), -np.inf, bound)

    def off(self, size):
        self.constant = self.constant - size

    def add(self, tensor, coefficients):
        known = self.rows.get(tensor.number)
        if known is not None:
            both = np.abs(known) + np.abs(coefficients)
            self.off(2 * FLOAT64 * (both @ self.boxes.found[tensor.number].size))
            coefficients = known + coefficients
        self.rows[tensor.number] = coefficients
        return True

    def boxed(self, op, a):
        return False

    source = depthwise = product = spread = normalize = attend = recurrent = boxed

    def linear(self, op, a):
        if op.out.number not in self.boxes.dense:
            return False
        kernel, bias = self.boxes.dense[op.out.number]
        size = self.boxes.found[op.inputs[0].number].size
        part = self.boxes.slack + (sum(kernel.shape) + 8) * FLOAT64
        self.off(part * (np.abs(a) @ (np.abs(kernel).T @ size + np.abs(bias))))
        self.constant = self.constant + a @ bias
        return self.add(op.inputs[0], a @ kernel.T)

    def affine(self, op, a):
        scale, shift, terms = op.coefficients()
        size = self.boxes.found[op.inputs[0].number].size
        part = self.boxes.slack + (len(scale) + 8) * FLOAT64
        self.off(part * (np.abs(a) @ (np.abs(scale) * size + terms)))
        self.constant = self.constant + a @ shift
        return self.add(op.inputs[0], a * scale)

    def map(self, op, a):
        both, box = slopes(op), self.boxes.found[op.inputs[0].number]
        if both is None or not np.isfinite(box.size).all():
            return False
        (lower, low_shift), (upper, high_shift) = _lines(*both, box, self.flat)
        up, down = np.maximum(a, 0), np.minimum(a, 0)
        size = np.maximum(np.abs(lower), np.abs(upper)) * box.size + np.abs(low_shift)
        self.off((len(size) + 16) * FLOAT64 * (np.abs(a) @ (size + np.abs(high_shift))))
        self.constant = self.constant + up @ low_shift + down @ high_shift
        return self.add(op.inputs[0], up * lower + down * upper)

    def passed(self, op, a):
        return op.tag is None and self.add(op.inputs[0], a)

    def sum(self, op, a):
        for weight, x in zip(op.weights, op.inputs):
            self.off(2 * FLOAT64 * abs(weight) * (np.abs(a) @ self.boxes.found[x.number].size))
        return all([self.add(x, weight * a) for weight, x in zip(op.weights, op.inputs)])

    def concat(self, op, a):
        ends = np.cumsum([len(tensor.units) for tensor in op.inputs])[:-1]
        return all([self.add(x, part) for x, part in zip(op.inputs, np.split(a, ends, axis=1))])


def _lines(below, above, box, flat):
    """Lines below and above an activation on its box: ((slope, shift), (slope, shift))."""
    low, high = box.low, box.high
    unstable = (low < 0) & (high > 0)
    steady = np.where(low >= 0, above, below)
    width = np.where(unstable, high - low, 1.0)
    chord = np.where(unstable, (above * high - below * low) / width, steady)
    # the chord's own rounding must not cut the corner off
    size = (abs(above) + abs(below)) * box.size * 16 * FLOAT64
    shift = np.where(unstable, below * low - chord * low, 0.0)
    outward = np.where(unstable, size, 0.0)
    near = np.where(high >= -low, above, below)
    flatter = below if abs(below) <= abs(above) else above
    line = np.where(unstable, flatter if flat else near, steady)
    zero = np.zeros_like(line)
    if below <= above:
        return (line, zero), (chord, shift + outward)
    return (chord, shift - outward), (line, zero)


def _with_zero(x):
    return Interval(np.minimum(x.low, 0.0), np.maximum(x.high, 0.0))


def _anything(op):
    count = len(op.out.units)
    return Interval(np.full(count, -np.inf), np.full(count, np.inf))
