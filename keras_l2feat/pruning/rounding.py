"""How far rounding alone may drive the outputs of two models of one function apart.

A running error analysis, point by point: beside each tensor x of the float64 model goes an array
e ≥ |x̂ − x|, x̂ being what an implementation in the given precision computes, in whatever order it
sums. With u the unit roundoff and γ(n) = (1 + u)ⁿ − 1 [Higham 2002, section 3],

    W x + b, n terms      |W| e + γ(n + 3) (|W| (|x| + e) + |b|)    (weights and inputs rounded too)
    σ with Lipschitz L    L e + 8 u (|σ(x)| + L |x|)              (library functions to 8 roundoffs)

Overflow and underflow are left aside. Sums in float32 of products in bfloat16 or float16, as
accelerators take them, are covered, since they are more exact.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_l2feat.errors import InputError, require
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.channels.symbolic import functional
from keras_l2feat.pruning.evaluate import batches, float64_enabled, precise, through
from keras_l2feat.pruning.pipeline import named_inputs
from keras_l2feat.pruning.values.aligned import unit_roundoff
from keras_l2feat.types import Model

__all__ = ["PRECISIONS", "tolerance"]

PRECISIONS = ("float64", "float32", "bfloat16", "float16")
LIBRARY = 8  # roundoffs that an elementwise function of a library may be off by
NORMALIZATION = 10  # operations of a batch normalization, however it is arranged
LIPSCHITZ = {
    **dict.fromkeys(("linear", "relu", "relu6", "tanh", "softplus", "softsign", "hard_tanh"), 1.0),
    **dict.fromkeys(("leaky_relu", "elu", "celu"), 1.0),
    **{"sigmoid": 0.25, "hard_sigmoid": 1 / 6, "selu": 1.7581, "gelu": 1.13, "silu": 1.1},
    **{"hard_silu": 1.5, "mish": 1.09, "log_sigmoid": 1.0, "absolute": 1.0},
}
MOVES = (
    *("Flatten", "Reshape", "Permute", "RepeatVector", "Identity", "Dropout", "GaussianNoise"),
    *("GaussianDropout", "AlphaDropout", "ActivityRegularization"),
    *(f"{kind}{d}D" for d in (1, 2, 3) for kind in ("ZeroPadding", "Cropping", "SpatialDropout")),
    *(f"{kind}{d}D" for d in (1, 2, 3) for kind in ("MaxPooling", "GlobalMaxPooling")),
)


@dataclass(frozen=True, eq=False)
class Rounded:
    """A tensor and how far its rounded values may be from it, of one shape, float64."""

    value: object
    error: object


def tolerance(a: Model, b: Model, data: Any, precisions: Any = None) -> np.ndarray:
    """By how much the outputs of two models of the same function may differ through rounding alone.

    Args:
        a, b: built Keras models. They need not hold the same weights: what each computes in its
            precision is compared with what it is in exact arithmetic.
        data: arrays, one or a list of one per input, a `data.Dataset`, or its name.
        precisions: what each computes in, of "float64", "float32", "bfloat16", "float16"; by
            default the coarsest that its layers compute in.

    Returns: (points, values) float64, a bound for each output in the order of `evaluate.outputs`.
        A greater difference has another reason; a smaller one may have.

    Raises:
        InputError: a precision that is not known, or a layer of which no bound is known.

    Example:
    >>> import numpy as np
    >>> from keras_l2feat.models import mlp
    >>> model, x = mlp(4, (6,), 2), np.ones((3, 4), "float32")
    >>> bool((tolerance(model, model, x) < 2e-5).all())
    True
    """
    models = [read(model).model for model in (a, b)]
    precisions = precisions or [_own(model) for model in models]
    for precision in precisions:
        require(precision in PRECISIONS, "precisions", f"of {', '.join(PRECISIONS)}", precision)
    _, inputs = named_inputs(models[0], data)
    return sum(_error(m, inputs, p) for m, p in zip(models, precisions, strict=True))


def _own(model) -> str:
    """The coarsest precision in which layers compute; a model's own policy says nothing of them."""
    known = {layer.compute_dtype for layer in model._flatten_layers(include_self=False)}
    return max(known & set(PRECISIONS), key=unit_roundoff)


def _error(model, inputs, precision):
    """Bound on |computed − exact| of every output, (points, values) float64."""
    import keras

    copy, u, rows = precise(model), unit_roundoff(precision), []
    with float64_enabled():
        for part, count in batches(copy, inputs):
            tensors = [
                keras.ops.cast(keras.ops.convert_to_tensor(x), t.dtype)
                for x, t in zip(part, copy.inputs)
            ]
            wide = [keras.ops.cast(x, "float64") for x in tensors]
            given = [
                Rounded(x, (u if "float" in str(t.dtype) else 0.0) * keras.ops.abs(w))
                for x, w, t in zip(tensors, wide, copy.inputs)
            ]
            found = _run(copy, given, _Analysis(u))
            errors = [np.asarray(keras.ops.convert_to_numpy(r.error)) for r in found]
            rows.append(np.concatenate([e.reshape(len(e), -1) for e in errors], axis=1)[:count])
    return np.concatenate(rows)


def _run(model, given, analysis):
    import keras

    def call(layer, arguments, _):
        if isinstance(layer, keras.Model) and functional(layer) is not None:
            return _run(layer, keras.tree.flatten(arguments), analysis)
        kind = type(layer).__name__
        rule = analysis.rules.get(kind)
        own = type(layer).__module__.startswith(("keras.src.", "keras_l2feat.layers"))
        if rule is None or not own:
            raise InputError(
                f"How far rounding drives layer {layer.name!r} of class {kind} is not known."
            )
        return [rule(layer, *arguments)]

    return through(model, given, call)


class _Analysis:
    """The rules, by class name: (layer, tensors as `Rounded`) → `Rounded`."""

    def __init__(self, u):
        self.u = u
        self.rules = {
            **dict.fromkeys(MOVES, self._moved),
            **dict.fromkeys(("Add", "Subtract", "Average"), self._sum),
            **dict.fromkeys(("Maximum", "Minimum"), self._extreme),
            **dict.fromkeys(("ReLU", "LeakyReLU", "PReLU", "ELU"), self._rectified),
            **{f"Conv{d}D{t}": self._linear for d in (1, 2, 3) for t in ("", "Transpose")},
            **{f"{k}Conv{d}D": self._linear for d in (1, 2) for k in ("Depthwise", "Separable")},
            **{f"{k}AveragePooling{d}D": self._mean for d in (1, 2, 3) for k in ("", "Global")},
            **dict.fromkeys(("Dense", "HomogeneousDense", "EinsumDense"), self._linear),
            "Relu": lambda op, x: self._activated(_keras().activations.relu, x),
            "Multiply": self._product,
            "Concatenate": self._concatenated,
            "BatchNormalization": self._normalized,
            "Rescaling": self._rescaled,
            "Embedding": self._looked_up,
            "Activation": lambda layer, x: self._activated(layer.activation, x),
            "Softmax": lambda layer, x: self._softmax(x, layer.axis),
        }

    def gamma(self, n) -> float:
        """(1 + u)ⁿ − 1: what n roundings make of a factor."""
        return float(np.expm1(n * np.log1p(self.u)))

    # ---- layers with weights

    def _linear(self, layer, x):
        ops = _keras().ops
        plain, absolute = _without_activation(layer, x.value.shape)
        reach = absolute(ops.abs(x.value) + x.error)
        if layer.bias is not None:
            bias = ops.abs(layer.bias) * float(getattr(layer, "beta", 1.0))
            if getattr(layer, "data_format", None) == "channels_first":
                bias = ops.reshape(bias, (-1, *[1] * (len(reach.shape) - 2)))
            reach = reach + bias
        error = absolute(x.error) + self.gamma(_terms(layer) + 3) * reach
        return self._activated(layer.activation, Rounded(plain(x.value), error))

    def _normalized(self, layer, x):
        ops = _keras().ops
        along = [1] * len(x.value.shape)
        along[layer.axis] = -1

        def wide(weight, default):
            return default if weight is None else ops.reshape(ops.cast(weight, "float64"), along)

        scale = wide(layer.gamma, 1.0) / ops.sqrt(wide(layer.moving_variance, 0.0) + layer.epsilon)
        mean, shift = wide(layer.moving_mean, 0.0), wide(layer.beta, 0.0)
        terms = ops.abs(scale) * (ops.abs(x.value) + x.error + ops.abs(mean)) + np.abs(shift)
        error = ops.abs(scale) * x.error + self.gamma(NORMALIZATION) * terms
        return Rounded(scale * (x.value - mean) + shift, error)

    def _looked_up(self, layer, x):
        value = layer(x.value)
        return Rounded(value, self.u * _keras().ops.abs(value))

    # ---- each entry by itself

    def _activated(self, function, x):
        keras = _keras()
        name = getattr(function, "__name__", "")
        if name == "softmax" and function is keras.activations.softmax:
            return self._softmax(x, -1)
        if name not in LIPSCHITZ or function is not getattr(keras.activations, name, None):
            raise InputError(f"How far rounding drives the activation {name!r} is not known.")
        if name == "linear":
            return x
        return self._elementwise(function(x.value), x, LIPSCHITZ[name], name != "relu")

    def _elementwise(self, value, x, lipschitz, rounds=True):
        ops = _keras().ops
        error = lipschitz * x.error
        if rounds:
            error = error + LIBRARY * self.u * (ops.abs(value) + lipschitz * ops.abs(x.value))
        return Rounded(value, error)

    def _rectified(self, layer, x):
        if np.any(getattr(layer, "threshold", 0)):
            raise InputError(f"Layer {layer.name!r} jumps: rounding may do anything there.")
        slopes = [getattr(layer, n, 0) for n in ("negative_slope", "alpha")]
        steepest = max([1.0, *(float(np.abs(s).max(initial=0)) for s in map(np.asarray, slopes))])
        return self._elementwise(layer(x.value), x, steepest)

    def _softmax(self, x, axis):
        ops = _keras().ops
        value = _keras().activations.softmax(x.value, axis=axis)
        below = ops.max(x.value, axis=axis, keepdims=True) - x.value
        moved = 2 * ops.max(x.error, axis=axis, keepdims=True)
        moved = moved + self.u * ops.max(below, axis=axis, keepdims=True)
        factor = ops.expm1(2 * moved)
        rounds = self.gamma(value.shape[axis] + 3 * LIBRARY)
        return Rounded(value, ops.minimum(value * (factor + rounds * (1 + factor)), 1.0 + rounds))

    def _rescaled(self, layer, x):
        ops = _keras().ops
        scale, offset = np.abs(layer.scale), np.abs(layer.offset)
        reach = scale * (ops.abs(ops.cast(x.value, "float64")) + x.error) + offset
        return Rounded(layer(x.value), scale * x.error + self.gamma(4) * reach)

    # ---- several tensors

    def _several(self, arguments):
        """The arguments of a layer, or of an operation, as a list of `Rounded`."""
        keras = _keras()
        found = []
        for given in (a for a in keras.tree.flatten(arguments) if a is not None):
            if not isinstance(given, Rounded):
                value = np.float64(np.asarray(given))
                given = Rounded(value, self.u * np.abs(value))
            found.append(given)
        return found

    def _sum(self, layer, *arguments):
        ops, tensors = _keras().ops, self._several(arguments)
        signs = [1.0, -1.0] if type(layer).__name__ == "Subtract" else [1.0] * len(tensors)
        part = 1 / len(tensors) if type(layer).__name__ == "Average" else 1.0
        value = part * sum(s * t.value for s, t in zip(signs, tensors))
        reach = part * sum(ops.abs(t.value) + t.error for t in tensors)
        error = part * sum(t.error for t in tensors)
        return Rounded(value, error + self.gamma(len(tensors)) * reach)

    def _product(self, layer, *arguments):
        ops, (total, *others) = _keras().ops, self._several(arguments)
        for other in others:
            a, b = (ops.abs(t.value) for t in (total, other))
            exact = a * other.error + b * total.error + total.error * other.error
            rounds = self.u * (a + total.error) * (b + other.error)
            total = Rounded(total.value * other.value, exact + rounds)
        return total

    def _extreme(self, layer, *arguments):
        ops, (total, *others) = _keras().ops, self._several(arguments)
        pick = getattr(ops, type(layer).__name__.lower())
        for other in others:
            error = ops.maximum(total.error, other.error)
            total = Rounded(pick(total.value, other.value), error)
        return total

    def _concatenated(self, layer, *arguments):
        tensors = self._several(arguments)
        return Rounded(layer([t.value for t in tensors]), layer([t.error for t in tensors]))

    # ---- places

    def _moved(self, layer, x):
        return Rounded(layer(x.value), layer(x.error))

    def _mean(self, layer, x):
        ops, shape = _keras().ops, x.value.shape
        count = np.prod(getattr(layer, "pool_size", shape[1:]))
        reach = layer(ops.abs(x.value) + x.error)
        return Rounded(layer(x.value), layer(x.error) + self.gamma(int(count) + 1) * reach)


def _keras():
    import keras

    return keras


def _without_activation(layer, shape):
    """The layer up to its activation, and without bias, with the absolute values of its kernels."""
    made = []
    for bias in (layer.bias is not None, False):
        config = {**layer.get_config(), "activation": None}
        if "use_bias" in config:
            config["use_bias"] = bias
        elif not bias:
            config["bias_axes"] = None
        new = type(layer).from_config(config)
        new.build(tuple(shape))
        made.append(new)
    made[0].set_weights(layer.get_weights())
    kernels = [w for w in layer.weights if w is not layer.bias]
    made[1].set_weights([np.abs(np.asarray(w)) for w in kernels])
    return made


def _terms(layer) -> int:
    """How many products an output is the sum of, at most."""
    kind = type(layer).__name__
    if kind == "EinsumDense":
        letters = layer.equation.replace(" ", "").split("->")
        kernel, target = letters[0].split(",")[1], letters[1]
        sizes = zip(kernel.replace("...", ""), layer._kernel.shape)
        return int(np.prod([n for letter, n in sizes if letter not in target]))
    kernels = [tuple(w.shape) for w in layer.weights if w is not layer.bias]
    if kind.startswith("Depthwise"):
        return int(np.prod(kernels[0][:-2]))
    if kind.startswith("Separable"):
        return int(np.prod(kernels[0][:-2])) + kernels[1][-2]
    if kind.endswith("Transpose"):
        return int(np.prod(kernels[0][:-2])) * kernels[0][-1]
    return int(np.prod(kernels[0][:-1]))
