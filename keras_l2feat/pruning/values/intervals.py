"""Bounds on every channel of a model whose inputs stay in a box, by interval arithmetic on the
graph's operations.

Positions of a channel share one interval; a padded convolution may always see a zero. All in
float64. Bounds hold up to its rounding: a unit whose bound is off by that moves outputs by no more
than that.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from keras_l2feat.activations import Scaling
from keras_l2feat.errors import bad_argument, require
from keras_l2feat.pruning.channels import operations as ops
from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.channels.interpret import Semantics

__all__ = ["Box", "Intervals", "box_of_inputs", "dot", "slopes"]

NONDECREASING = (  # Keras' names; gelu, silu and the like are not
    *("relu6", "sigmoid", "hard_sigmoid", "log_sigmoid", "sparse_sigmoid", "softplus"),
    *("sparse_plus", "squareplus", "exponential", "elu", "celu", "selu", "tanh", "softsign"),
    *("tanh_shrink", "hard_tanh", "hard_shrink", "soft_shrink"),
)


@dataclass(frozen=True, eq=False)
class Box:
    """Bounds `low <= value <= high` of a tensor, (channels,) float64; of inputs, and of what is
    done to each of their entries alone, also by place, (places, channels)."""

    low: np.ndarray
    high: np.ndarray
    places: tuple | None = None


def box_of_inputs(
    graph: Graph, low: ArrayLike, high: ArrayLike, only: int | None = None
) -> list[Box]:
    """The box of each input of a model.

    Args:
        graph: of the model.
        low, high: numbers, or arrays that broadcast to one input without its batch axis.
        only: number of the one input that is meant; all by default.

    Returns: list of `Box`.

    Raises:
        InputError: shapes do not fit, a bound is not finite, or a low one is above a high one.
    """
    return [
        _input_box(tensor, low, high) for k, tensor in enumerate(graph.inputs) if only in (None, k)
    ]


def _input_box(tensor, low, high):
    shape = tuple(size or 1 for size in tensor.shape[1:])
    try:
        bounds = [np.broadcast_to(np.asarray(b, np.float64), shape) for b in (low, high)]
    except ValueError:
        raise bad_argument(
            "input_range", f"numbers, or arrays of shape {shape}", (np.shape(low), np.shape(high))
        ) from None
    ends = float(bounds[0].min()), float(bounds[1].max())
    good = np.isfinite(bounds).all() and (bounds[0] <= bounds[1]).all()
    require(good, "input_range", "finite, low <= high", ends)
    flat = [np.moveaxis(b, tensor.axis - 1, -1).reshape(-1, shape[tensor.axis - 1]) for b in bounds]
    return Box(flat[0].min(axis=0), flat[1].max(axis=0), tuple(flat))


class Intervals(Semantics[Box]):
    """Boxes forward, by interval arithmetic alone."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def source(self, op: ops.Source, *inputs: Box) -> Box:
        return _unknown(op)

    def normalize(self, op: ops.Normalize, x: Box) -> Box:
        return _unknown(op)

    def recurrent(self, op: ops.Recurrent, x: Box) -> Box:
        return _unknown(op)

    def linear(self, op: ops.Linear, x: Box) -> Box:
        kernel, shift = op.kernel(), 0.0 if op.bias is None else op.bias()
        if op.reader is None:  # an embedding: one row of its kernel
            rows = kernel.sum(axis=0)
            return Box(rows.min(axis=0) + shift, rows.max(axis=0) + shift)
        x = _seen(op, x)
        up, down = np.maximum(kernel, 0).sum(axis=0), np.minimum(kernel, 0).sum(axis=0)
        low, high = dot(x.low, up) + dot(x.high, down), dot(x.high, up) + dot(x.low, down)
        return Box(low + shift, high + shift)

    def depthwise(self, op: ops.Depthwise, x: Box) -> Box:
        kernel, x = op.kernel(), _seen(op, x)
        up, down = (m(kernel, 0).sum(axis=0) for m in (np.maximum, np.minimum))
        ends = x.low[:, None], x.high[:, None]
        low = (_times(ends[0], up) + _times(ends[1], down)).ravel()
        high = (_times(ends[1], up) + _times(ends[0], down)).ravel()
        shift = 0.0 if op.bias is None else op.bias()
        return Box(low + shift, high + shift)

    def affine(self, op: ops.Affine, x: Box) -> Box:
        scale, shift, _ = op.coefficients()

        def ends(bounds):
            found = [_times(bound, scale) + shift for bound in bounds]
            return np.minimum(*found), np.maximum(*found)

        low, high = ends((x.low, x.high))
        return Box(low, high, None if x.places is None else ends(x.places))

    def map(self, op: ops.Map, *inputs: Box) -> Box:
        return _map(self.graph, op, inputs)

    def passed(self, op: ops.Pass, x: Box) -> Box:
        x = x if op.constants else _with_zero(x)
        return x if op.tag is None else Box(x.low, x.high)  # others have other places

    def attend(self, op: ops.Attend, query: Box, key: Box, value: Box, *masks: Box) -> Box:
        seen = value if op.constants else _with_zero(value)  # a mean of them
        return Box(seen.low[op.channel], seen.high[op.channel])

    def sum(self, op: ops.Sum, *inputs: Box) -> Box:
        ends = [np.sort([w * x.low, w * x.high], axis=0) for w, x in zip(op.weights, inputs)]
        return Box(sum(e[0] for e in ends), sum(e[1] for e in ends))

    def product(self, op: ops.Product, *inputs: Box) -> Box:
        box = inputs[0]
        for x in inputs[1:]:
            corners = [_times(a, b) for a in (box.low, box.high) for b in (x.low, x.high)]
            box = Box(np.min(corners, axis=0), np.max(corners, axis=0))
        return box

    def concat(self, op: ops.Concat, *inputs: Box) -> Box:
        return Box(*(np.concatenate([getattr(x, end) for x in inputs]) for end in ("low", "high")))

    def spread(self, op: ops.Spread, x: Box) -> Box:
        if x.places is not None and _every_entry(op) == x.places[0].size:
            return Box(*(bound[op.place, op.channel] for bound in x.places))
        return Box(x.low[op.channel], x.high[op.channel])


def _every_entry(op):
    """How many entries of its input a reshape puts side by side, place after place; 0 where a
    position is several of them, or places change their order."""
    order = op.tag[1] if op.tag[0] == "reshape" else ()
    places = [axis for axis in order if axis != op.inputs[0].axis]
    return len(op.place) if places and places == sorted(places) else 0


def _seen(op, x):
    """What a kernel sees of a box: at a border a tap sees nothing."""
    return x if op.folds else _with_zero(x)


def _with_zero(x):
    return Box(np.minimum(x.low, 0.0), np.maximum(x.high, 0.0))


def _times(a, b):
    """a · b with 0 · ∞ = 0: a bound that a zero weight multiplies does not matter."""
    with np.errstate(invalid="ignore"):
        return np.where((a == 0) | (b == 0), 0.0, a * b)


def dot(bound: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """bound @ weight with 0 · ∞ = 0."""
    infinite = ~np.isfinite(bound)
    if not infinite.any():
        return bound @ weight
    return np.where(infinite, 0.0, bound) @ weight + _times(
        bound[infinite, None], weight[infinite]
    ).sum(axis=0)


def slopes(op: ops.Op, channels: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Slopes (below, above) zero of a homogeneous activation, each (channels,); `None` for other
    operations."""
    if not isinstance(op, ops.Map) or op.function is None or op.scaling is not Scaling.POSITIVE:
        return None
    if op.tag[0] not in {"activation", "ReLU", "LeakyReLU", "LeakyRelu"}:  # pooling mixes places
        return None
    return -op.function(-np.ones(channels)), op.function(np.ones(channels))


def _map(graph, op, inputs):
    kind = op.tag[0]
    if kind == "prelu":
        alpha = graph.weight(op.tag[1], 0).astype(np.float64)
        alpha = np.moveaxis(alpha, op.inputs[0].axis - 1, 0).reshape(
            alpha.shape[op.inputs[0].axis - 1], -1
        )
        steps = [(alpha.min(axis=1), 1.0), (alpha.max(axis=1), 1.0)]
    else:
        both = slopes(op, len(op.out.units))
        steps = [] if both is None else [both]
    if steps:
        x = inputs[0]
        ends = [
            np.where(e < 0, _times(below, e), _times(above, e))
            for e in (x.low, x.high)
            for below, above in steps
        ]
        ends.append(np.where((x.low < 0) & (x.high > 0), 0.0, ends[0]))  # |x| turns at 0
        return Box(np.min(ends, axis=0), np.max(ends, axis=0))
    lows, highs = [x.low for x in inputs], [x.high for x in inputs]
    if kind in {"Maximum", "Minimum"}:
        extreme = getattr(np, kind.lower())
        return Box(extreme.reduce(lows), extreme.reduce(highs))
    if kind == "concatenate":
        return Box(np.min(lows, axis=0), np.max(highs, axis=0))
    if len(inputs) == 1 and op.function is not None and _nondecreasing(op.tag):
        with np.errstate(all="ignore"):
            return Box(op.function(lows[0]), op.function(highs[0]))
    return _unknown(op)


def _nondecreasing(tag):
    """Whether a map is known to be nondecreasing: pooling by maximum, and activations by the
    function itself."""
    kind = tag[0]
    if kind == "activation":
        import keras

        name, identity = tag[1]
        return name in NONDECREASING and identity == id(getattr(keras.activations, name, None))
    if kind == "ReLU":  # with a largest value; a threshold makes a jump
        settings = dict(tag[1:])
        return float(settings["threshold"]) == 0 and float(settings["negative_slope"]) >= 0
    if kind == "ELU":
        return float(dict(tag[1:])["alpha"]) >= 0
    return "MaxPooling" in kind


def _unknown(op):
    channels = len(op.out.units)
    return Box(np.full(channels, -np.inf), np.full(channels, np.inf))
