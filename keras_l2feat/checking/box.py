"""Bounds of every channel for inputs in a box, rounded outward: what `domain` rests on is proved
here again.

Intervals forward, channel by channel; where dense layers compute a tensor, also a linear relaxation
backward (`relaxation`). Every weight may be off by `slack`, relative
to itself, so bounds hold for the original with its weights changed too; the sums' own rounding is
added to that. A change of that kind keeps signs: what is 0 at a corner of the box stays 0.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from keras_l2feat.checking.relaxation import Below, slopes
from keras_l2feat.checking.tolerance import FLOAT64
from keras_l2feat.errors import bad_argument
from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.channels.interpret import Semantics, interpret

__all__ = ["Interval", "bounds"]

ENTRIES = 1 << 24  # of a layer's coefficients backward; larger ones have intervals alone


@dataclass(frozen=True, eq=False)
class Interval:
    """low <= value <= high, (channels,) float64; of inputs, and of those rescaled, also by place,
    (places, channels)."""

    low: np.ndarray
    high: np.ndarray
    places: tuple | None = None

    @property
    def size(self) -> np.ndarray:
        return np.maximum(np.abs(self.low), np.abs(self.high))


def bounds(graph: Graph, low: ArrayLike, high: ArrayLike, slack: float) -> dict:
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
            low = Below(self, flat).bound(op, kernel[0].T, bias)
            high = -Below(self, flat).bound(op, -kernel[0].T, -bias)
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

        def moved(low, high):
            with np.errstate(invalid="ignore"):
                parts = np.sort([scale * low, scale * high], axis=0)
                return self.outward(parts + shift, np.abs(parts) + terms, 4)

        box = moved(x.low, x.high)
        if x.places is None:
            return box
        by_place, (low, high) = moved(*x.places), x.places
        point = low == high  # of an input: no weight of it that is kept may be off
        value = scale * low + shift
        ends = (np.where(point, value, end) for end in (by_place.low, by_place.high))
        return replace(box, places=tuple(ends))

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
        if x.places is not None and _flattens(op, x.places[0].size):
            return Interval(*(end[op.place, op.channel] for end in x.places))
        return Interval(x.low[op.channel], x.high[op.channel])


def _flattens(op, size):
    """Whether each position is one entry of the input, a channel's in the order of its places."""
    if op.tag[0] != "reshape" or len(op.place) != size:
        return False
    others = [axis for axis in op.tag[1] if axis != op.inputs[0].axis]
    return others == sorted(others)


def _with_zero(x):
    return Interval(np.minimum(x.low, 0.0), np.maximum(x.high, 0.0))


def _anything(op):
    count = len(op.out.units)
    return Interval(np.full(count, -np.inf), np.full(count, np.inf))
