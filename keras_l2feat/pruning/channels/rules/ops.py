"""Operations of `keras.ops` on one tensor, as they stand between the layers of Functional
models."""

import re

from keras_l2feat.activations import Scaling, scaling
from keras_l2feat.pruning.channels.operations import Pass
from keras_l2feat.pruning.channels.rules import activated, elementwise, of_constants, rule, softmax

ACTIVATIONS = (
    *("Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Celu", "Gelu", "Silu", "HardSilu"),
    *("Sigmoid", "HardSigmoid", "LogSigmoid", "Softplus", "Softsign", "Tanh", "Abs", "Absolute"),
    *("TanhShrink", "HardTanh", "HardShrink", "SoftShrink", "Threshold", "Squareplus"),
)
# of each entry by itself; constants are followed through those that are finite everywhere
FINITE = ("Clip", "Square", "Sin", "Cos")
PARTIAL = ("Exp", "Expm1", "Log", "Log1p", "Sqrt", "Reciprocal")


@rule(*(f"ops.{name}" for name in ACTIVATIONS))
def _activation(call):
    """The same as `Activation` of that name, so that branches are compared."""
    import keras

    settings = _settings(call.layer)
    if settings is None:
        return call.barrier("a parameter that is no number")
    kind = type(call.layer).__name__
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind).lower()
    known = getattr(keras.activations, name, None)
    if known is not None and not settings:
        return activated(call, call.input, known, scaling(name))
    return elementwise(call, call.input, scaling(name), (kind, *settings), of_constants(call.layer))


@rule(*(f"ops.{name}" for name in (*FINITE, *PARTIAL)))
def _function(call):
    settings = _settings(call.layer)
    if settings is None:
        return call.barrier("a parameter that is no number")
    kind = type(call.layer).__name__
    known = of_constants(call.layer) if kind in FINITE else None
    return elementwise(call, call.input, Scaling.IDENTITY, (kind, *settings), known)


@rule("ops.Softmax")
def _softmax(call):
    return softmax(call, call.input)


@rule("ops.StopGradient", "ops.Copy")
def _identity(call):
    return call.emit(Pass, [call.input], call.same(call.input))


def _settings(operation):
    """What an operation was made with, where that is numbers; else `None`."""
    own = {k: v for k, v in vars(operation).items() if k not in {"name", "built"} and k[0] != "_"}
    if not all(v is None or isinstance(v, (bool, int, float)) for v in own.values()):
        return None
    return tuple(sorted(own.items()))
