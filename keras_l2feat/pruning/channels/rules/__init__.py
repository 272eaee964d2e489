"""What each kind of Keras layer does to channels, in the operations of `graph`.

A rule takes a `Call` and returns the tensor it computes. Whatever has no rule, or is called in an
unusual way, is a barrier: named, its neighbours left alone.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["RULES", "Call", "key", "of_constants", "rule", "softmax"]

RULES = {}


@dataclass
class Call:
    """One call of a layer: its tensors in, the shape out, and the graph that is being read."""

    graph: object
    layer: object
    name: str
    inputs: list
    shape: tuple

    @property
    def input(self):
        return self.inputs[0]

    @property
    def channel_axis(self):
        """The axis on which the layer sees channels."""
        return 1 if getattr(self.layer, "data_format", None) == "channels_first" else -1

    def turned(self, axis=None):
        """The input with its channels where the layer sees them."""
        return self.graph.turned(self.name, self.input, self.channel_axis if axis is None else axis)

    def index(self, variable):
        """Which of the layer's weights a variable is, `None` for none."""
        if variable is None:
            return None
        return next(i for i, weight in enumerate(self.layer.weights) if weight is variable)

    def array(self, index):
        """A weight in float64."""
        return np.asarray(self.graph.weight(self.name, index), dtype=np.float64)

    def emit(self, kind, inputs, out, *arguments, **options):
        self.graph.ops.append(kind(list(inputs), out, *arguments, **options))
        return out

    def same(self, tensor):
        """A tensor of the output's shape whose channels are those of `tensor`."""
        return type(tensor)(self.shape, tensor.axis, tensor.units)

    def barrier(self, reason):
        return self.graph.barrier(self.name, reason, self.inputs, [self.shape])[0]


def rule(*names):
    def register(function):
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


# ---- what several rules need


def softmax(call, tensor):
    """Couples channels, but does not make changes larger."""
    return call.graph.barrier(call.name, "couples channels", [tensor], [call.shape], lipschitz=2.0)[
        0
    ]


def key(activation):
    """The same for the same function only."""
    return getattr(activation, "__name__", ""), id(activation)


def of_constants(activation):
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
