"""A lower bound of a combination of channels on a box, by a linear relaxation backward (CROWN
[Zhang et al. 2018, arXiv 1811.00866]), rounded outward."""

from typing import Any

import numpy as np

from keras_l2feat.activations import Scaling
from keras_l2feat.checking.tolerance import FLOAT64
from keras_l2feat.pruning.channels.interpret import Semantics, visit
from keras_l2feat.pruning.channels.operations import (
    Affine,
    Concat,
    Linear,
    Map,
    Op,
    Pass,
    Sum,
    Tensor,
)

__all__ = ["Below", "slopes"]


def slopes(op: Op) -> tuple[float, float] | None:
    """Slopes (below, above) 0 of an activation that is linear on either side, else `None`."""
    if not isinstance(op, Map) or op.function is None or op.scaling is not Scaling.POSITIVE:
        return None
    if len(op.inputs) != 1 or op.tag[0] not in {"activation", "ReLU", "LeakyReLU", "relu op"}:
        return None
    one = np.ones(1)
    return -float(op.function(-one)[0]), float(op.function(one)[0])


class Below(Semantics[Any]):
    """A lower bound of a combination of what an operation reads, by substituting operations from
    the last on; what a step is off by is subtracted at once, by the boxes that are known."""

    def __init__(self, boxes: Any, flat: bool) -> None:
        self.boxes, self.flat = boxes, flat
        self.rows, self.constant = {}, 0.0

    def bound(self, op: Op, coefficients: np.ndarray, constant: Any) -> np.ndarray:
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

    def off(self, size: np.ndarray) -> None:
        self.constant = self.constant - size

    def add(self, tensor: Tensor, coefficients: np.ndarray) -> bool:
        known = self.rows.get(tensor.number)
        if known is not None:
            both = np.abs(known) + np.abs(coefficients)
            self.off(2 * FLOAT64 * (both @ self.boxes.found[tensor.number].size))
            coefficients = known + coefficients
        self.rows[tensor.number] = coefficients
        return True

    def _boxed(self, op, *a):
        return False

    source = depthwise = product = spread = normalize = attend = recurrent = _boxed

    def linear(self, op: Linear, a: np.ndarray) -> bool:
        if op.out.number not in self.boxes.dense:
            return False
        kernel, bias = self.boxes.dense[op.out.number]
        size = self.boxes.found[op.inputs[0].number].size
        part = self.boxes.slack + (sum(kernel.shape) + 8) * FLOAT64
        self.off(part * (np.abs(a) @ (np.abs(kernel).T @ size + np.abs(bias))))
        self.constant = self.constant + a @ bias
        return self.add(op.inputs[0], a @ kernel.T)

    def affine(self, op: Affine, a: np.ndarray) -> bool:
        scale, shift, terms = op.coefficients()
        size = self.boxes.found[op.inputs[0].number].size
        part = self.boxes.slack + (len(scale) + 8) * FLOAT64
        self.off(part * (np.abs(a) @ (np.abs(scale) * size + terms)))
        self.constant = self.constant + a @ shift
        return self.add(op.inputs[0], a * scale)

    def map(self, op: Map, a: np.ndarray) -> bool:
        both, box = slopes(op), self.boxes.found[op.inputs[0].number]
        if both is None or not np.isfinite(box.size).all():
            return False
        (lower, low_shift), (upper, high_shift) = _lines(*both, box, self.flat)
        up, down = np.maximum(a, 0), np.minimum(a, 0)
        size = np.maximum(np.abs(lower), np.abs(upper)) * box.size + np.abs(low_shift)
        self.off((len(size) + 16) * FLOAT64 * (np.abs(a) @ (size + np.abs(high_shift))))
        self.constant = self.constant + up @ low_shift + down @ high_shift
        return self.add(op.inputs[0], up * lower + down * upper)

    def passed(self, op: Pass, a: np.ndarray) -> bool:
        return op.tag is None and self.add(op.inputs[0], a)

    def sum(self, op: Sum, a: np.ndarray) -> bool:
        for weight, x in zip(op.weights, op.inputs):
            self.off(2 * FLOAT64 * abs(weight) * (np.abs(a) @ self.boxes.found[x.number].size))
        return all([self.add(x, weight * a) for weight, x in zip(op.weights, op.inputs)])

    def concat(self, op: Concat, a: np.ndarray) -> bool:
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
