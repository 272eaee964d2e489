"""What each kind of Keras layer does to channels, in the operations of `graph`.

A rule takes a `Call` and returns the tensor it computes. Whatever has no rule, or is called in an
unusual way, is a barrier: named, its neighbours left alone.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from keras_l2feat.activations import Scaling, scaling
from keras_l2feat.backend import stored
from keras_l2feat.pruning.channels.builder import Builder
from keras_l2feat.pruning.channels.operations import Affine, Linear, Map, Op, Tensor
from keras_l2feat.types import Layer

__all__ = [
    "ANY_ARGUMENTS",
    "RULES",
    "Call",
    "activated",
    "affine",
    "elementwise",
    "key",
    "linear_of",
    "of_constants",
    "rule",
    "softmax",
]

RULES: dict[str, Callable] = {}
# the rules that look at the arguments themselves, and at several outputs
ANY_ARGUMENTS: set[str] = set()
COUPLED = "couples channels"  # why a call is a barrier


@dataclass
class Call:
    """One call of a layer.

    Attributes:
        graph: the `Builder` of the graph that is being read.
        layer, name: the Keras layer or operation, and what the graph calls it.
        inputs: its tensors in the graph; shapes: of its outputs, with the batch.
        arguments: what Keras recorded of the call, symbolic tensors among them.
        path: where the layer's config stands in that of the layer whose weights these are.
    """

    graph: Builder
    layer: Layer
    name: str
    inputs: list
    shapes: list
    arguments: Any
    path: tuple = ()

    @property
    def input(self) -> Tensor:
        """The only input, or the first."""
        return self.inputs[0]

    @property
    def shape(self) -> tuple:
        """Of the only output, or the first."""
        return self.shapes[0]

    @property
    def channel_axis(self) -> int:
        """The axis on which the layer sees channels."""
        return 1 if getattr(self.layer, "data_format", None) == "channels_first" else -1

    def turned(self, axis: int | None = None) -> Tensor:
        """The input with its channels where the layer sees them."""
        return self.graph.turned(self.name, self.input, self.channel_axis if axis is None else axis)

    def index(self, variable: Any) -> int | None:
        """Which of the layer's weights a variable is, `None` for none."""
        if variable is None:
            return None
        return next(i for i, weight in enumerate(self.layer.weights) if weight is variable)

    def array(self, index: int, *, wide: bool = True) -> np.ndarray:
        """A weight in float64; unless `wide`, as it is stored, to read only, if that is float32."""
        array = stored(self.layer.weights[index])
        return array if not wide and array.dtype == np.float32 else array.astype(np.float64)

    def size(self, entry: tuple, units: np.ndarray, axis: int | None = None) -> None:
        """Note that an entry of the layer's config counts units."""
        self.graph.size(self.name, (*self.path, *entry), units, axis)

    def emit(
        self, kind: Callable[..., Op], inputs: Iterable[Tensor], out: Tensor, *arguments, **options
    ) -> Tensor:
        self.graph.ops.append(kind(list(inputs), out, *arguments, **options))
        self.graph.ops[-1].layer = self.name
        return out

    def same(self, tensor: Tensor) -> Tensor:
        """A tensor of the output's shape whose channels are those of `tensor`."""
        return type(tensor)(self.shape, tensor.axis, tensor.units)

    def barrier(self, reason: str) -> Tensor:
        return self.graph.barrier(self.name, reason, self.inputs, [self.shape])[0]


def linear_of(
    call: Call,
    x: Tensor,
    out: Tensor,
    kernel: int,
    view: Callable[[np.ndarray], np.ndarray],
    bias: Callable[[], np.ndarray] | None = None,
    **options,
) -> Tensor:
    """What weight `kernel` makes of a tensor; `view` turns it into (taps, inputs, outputs)."""
    stored = lambda: view(call.array(kernel, wide=False))  # noqa: E731
    options.setdefault("weights", math.prod(call.layer.weights[kernel].shape))
    return call.emit(Linear, [x], out, stored, bias, **options)


def rule(*names: str, any_arguments: bool = False) -> Callable:
    """Register a function as the rule of layers, or `"ops.Name"` of operations, by class name; it
    is asked only where the call is on one tensor, or one list of tensors, unless
    `any_arguments`."""

    def register(function):
        RULES.update(dict.fromkeys(names, function))
        ANY_ARGUMENTS.update(names if any_arguments else ())
        return function

    return register


# ---- what several rules need


def affine(call: Call, x: Tensor, scale: ArrayLike, shift: ArrayLike) -> Tensor:
    """scale · x + shift for constants that broadcast against `x`, (...) float64 each.

    Nothing of them can be left out with a unit: where they differ by channel, all channels stay.
    """
    scale, shift = (_by_channel(value, x) for value in (scale, shift))
    if scale is None or shift is None or tuple(call.shape) != tuple(x.shape):
        return call.barrier("a constant that is not the same at every place")
    if len(scale) > 1 or len(shift) > 1:
        call.graph.pin(x.units)
    if shift.any():
        call.graph.stiffen(x.units)
    count = len(x.units)
    scale, shift = (np.broadcast_to(value, count) for value in (scale, shift))
    return call.emit(Affine, [x], call.same(x), lambda: (scale, shift, np.abs(shift)))


def _by_channel(value, x):
    """A constant's value by channel, or one for all, (channels or 1,); `None` if places differ."""
    value = np.asarray(value, dtype=np.float64)
    if value.ndim > len(x.shape):
        return None
    value = value.reshape([1] * (len(x.shape) - value.ndim) + list(value.shape))
    value = np.moveaxis(value, x.axis, -1).reshape(-1, value.shape[x.axis])
    if len(value[0]) not in (1, len(x.units)) or (value != value[0]).any():
        return None
    return value[0] if (value[0] != value[0, 0]).any() else value[0, :1]


def elementwise(
    call: Call, x: Tensor, kind: Scaling, tag: tuple, function: Callable | None = None
) -> Tensor:
    """A function of each channel of a tensor by itself."""
    if kind is not Scaling.POSITIVE:
        call.graph.stiffen(x.units)
    out = type(x)(x.shape, x.axis, x.units)
    return call.emit(Map, [x], out, kind, tag, function=function)


def activated(call: Call, x: Tensor, function: Callable, kind: Scaling | None = None) -> Tensor:
    """An activation function of Keras, or of the user's, on a tensor; `kind`: its class, where it
    is known."""
    kind = scaling(function) if kind is None else kind
    if kind is Scaling.LINEAR:
        return x
    if kind is Scaling.COUPLED:
        return softmax(call, x) if "softmax" in key(function)[0] else call.barrier(COUPLED)
    return elementwise(call, x, kind, ("activation", key(function)), of_constants(function))


def softmax(call: Call, tensor: Tensor) -> Tensor:
    """Couples channels, but does not make changes larger."""
    return call.graph.barrier(call.name, COUPLED, [tensor], [call.shape], lipschitz=2.0)[0]


def key(activation: Callable) -> tuple[str, int]:
    """The same for the same function only."""
    return getattr(activation, "__name__", ""), id(activation)


def of_constants(activation: Callable) -> Callable[[ArrayLike], np.ndarray]:
    def evaluate(values):
        import keras

        limited = keras.backend.backend() == "jax" and not _jax_has_float64()
        tensor = keras.ops.convert_to_tensor(
            np.asarray(values, dtype="float32" if limited else "float64")
        )
        return np.asarray(keras.ops.convert_to_numpy(activation(tensor)), dtype=np.float64)

    return evaluate


def _jax_has_float64():
    import jax

    return bool(jax.config.jax_enable_x64)
