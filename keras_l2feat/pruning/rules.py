"""What each kind of Keras layer does to channels, in the operations of `graph`.

A rule takes a `Call` and returns the tensor it computes. Whatever has no rule, or is called in an unusual way, is a
barrier: named, its neighbours left alone.
"""

import math
from dataclasses import dataclass

import numpy as np

from keras_l2feat.activations import Scaling, scaling
from keras_l2feat.errors import InputError
from keras_l2feat.pruning.graph import Affine, Concat, Depthwise, Linear, Map, Pass, Product, Source, Spread, Sum

__all__ = ["walk"]

RULES = {}
PLACES_LIMIT = 1 << 24  # entries of the largest tensor whose reshaping is followed position by position


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


# ---- walking through models


def walk(graph, model, inputs=None, prefix=""):
    """Read a Sequential or Functional model, nested ones included.

    Returns: the model's input and output tensors of the channel graph.
    """
    import keras

    functional = getattr(model, "_functional", None) if isinstance(model, keras.Sequential) else model
    if functional is None or not hasattr(functional, "_nodes_by_depth"):
        why = (
            "is not built: call it once, or give it an Input"
            if isinstance(model, keras.Sequential)
            else "is subclassed"
        )
        raise InputError(f"Model {model.name!r} {why}. Expected: a built Sequential or Functional model.")
    if inputs is None:
        inputs = [graph.fresh(f"{t.name}", t.shape[-1] or 1, t.shape, -1, pinned=True) for t in functional.inputs]
        graph.ops.extend(Source([], tensor) for tensor in inputs)
    tensors = {id(symbolic): tensor for symbolic, tensor in zip(functional.inputs, inputs, strict=True)}
    for depth in sorted(functional._nodes_by_depth, reverse=True):
        for node in functional._nodes_by_depth[depth]:
            if node.is_input or any(id(t) not in tensors for t in node.input_tensors):
                continue
            outs = _call(graph, node, [tensors[id(t)] for t in node.input_tensors], prefix)
            tensors.update((id(symbolic), out) for symbolic, out in zip(node.outputs, outs, strict=True))
    return inputs, [tensors[id(symbolic)] for symbolic in functional.outputs]


def _call(graph, node, inputs, prefix):
    import keras

    layer = node.operation
    known = next((name for name, other in graph.layers.items() if other is layer), None)
    name = known or f"{prefix}{layer.name}"
    shapes = [tuple(t.shape) for t in node.outputs]
    plain = (
        all(value is None or value is False for value in node.arguments.kwargs.values())
        and len([a for a in node.arguments.args if a is not None]) == 1
    )
    if isinstance(layer, keras.Model) and (isinstance(layer, keras.Sequential) or hasattr(layer, "_nodes_by_depth")):
        if plain:
            graph.layers[name] = layer
            return walk(graph, layer, inputs, prefix=f"{name}/")[1]
        return graph.barrier(name, "a nested model called with more than its inputs", inputs, shapes)
    function = _rule_of(layer)
    if function is None:
        return graph.barrier(name, f"{type(layer).__name__} is not understood", inputs, shapes)
    if isinstance(layer, keras.layers.Layer):
        graph.layers[name] = layer
        odd = _unusual(layer)
        if odd:
            return graph.barrier(name, odd, inputs, shapes)
    if not plain and type(layer).__name__ not in ANY_ARGUMENTS:
        return graph.barrier(name, f"{type(layer).__name__} called with more than its input", inputs, shapes)
    if len(shapes) != 1 and type(layer).__name__ not in ANY_ARGUMENTS:
        return graph.barrier(name, "several outputs", inputs, shapes)
    call = Call(graph, layer, name, inputs, shapes[0])
    call.shapes = shapes
    call.arguments = node.arguments
    out = function(call)
    return out if isinstance(out, list) else [out]


def _rule_of(layer):
    """The rule for exactly this class: a subclass may do anything."""
    import keras

    if type(layer).__module__.startswith("keras_l2feat.layers"):
        return RULES.get(type(layer).__name__)
    if type(layer).__module__.startswith(("keras.src.layers", "keras.layers")):
        return RULES.get(type(layer).__name__)
    if type(layer).__module__.startswith("keras.src.ops") and not isinstance(layer, keras.layers.Layer):
        return RULES.get(f"ops.{type(layer).__name__}")
    return None


def _unusual(layer):
    if getattr(layer, "quantization_mode", None):
        return "quantized weights"
    if getattr(layer, "lora_enabled", False):
        return "LoRA is on"
    return None


# ---- producers and linear readers


def _activated(call, tensor, activation):
    """The layer's own activation on what it computes linearly."""
    kind = scaling(activation)
    if kind is Scaling.LINEAR:
        return tensor
    if kind is Scaling.COUPLED:
        return _softmax(call, tensor) if "softmax" in _key(activation)[0] else call.barrier("couples channels")
    if kind is not Scaling.POSITIVE:
        call.graph.stiffen(tensor.units)
    out = type(tensor)(tensor.shape, tensor.axis, tensor.units)
    return call.emit(Map, [tensor], out, kind, ("activation", _key(activation)), function=_of_constants(activation))


def _softmax(call, tensor):
    """Couples channels, but does not make changes larger."""
    return call.graph.barrier(call.name, "couples channels", [tensor], [call.shape], lipschitz=2.0)[0]


def _key(activation):
    """The same for the same function only."""
    return getattr(activation, "__name__", ""), id(activation)


def _of_constants(activation):
    def evaluate(values):
        import keras

        limited = keras.backend.backend() == "jax" and not _jax_has_float64()
        tensor = keras.ops.convert_to_tensor(np.asarray(values, dtype="float32" if limited else "float64"))
        return np.asarray(keras.ops.convert_to_numpy(activation(tensor)), dtype=np.float64)

    return evaluate


def _jax_has_float64():
    import jax

    return bool(jax.config.jax_enable_x64)


@rule("Dense", "HomogeneousDense")
def _dense(call):
    x, layer = call.turned(-1), call.layer
    kernel, bias = call.index(layer._kernel), call.index(layer.bias)
    return _linear(call, x, call.name, kernel, -2, -1, bias, beta=float(getattr(layer, "beta", 1.0)), path="units")


def _linear(
    call, x, reader, kernel, inward, outward, bias, *, beta=1.0, path, geometry=None, folds=True, activation=True
):
    """A kernel with an input and an output axis, all others taps."""
    graph, name = call.graph, call.name
    shape = tuple(call.layer.weights[kernel].shape)
    inward, outward = inward % len(shape), outward % len(shape)
    taps = tuple(axis for axis in range(len(shape)) if axis not in (inward, outward))
    out = graph.written(name, shape[outward], call.shape, call.channel_axis)
    writes = graph.slot(name, kernel, outward, out.units, "write")
    if bias is not None:
        graph.slot(name, bias, 0, out.units, "write")
    graph.size(name, (path,), out.units)
    graph.reads(
        reader,
        name,
        kernel,
        inward,
        x,
        bias=(bias, (), beta) if bias is not None and folds else None,
        taps=taps,
        writes=writes,
    )
    call.emit(
        Linear,
        [x],
        out,
        lambda: np.transpose(call.array(kernel), (*taps, inward, outward)).reshape(-1, shape[inward], shape[outward]),
        None if bias is None else lambda: beta * call.array(bias),
        geometry=geometry,
        folds=folds,
        reader=reader,
        weights=math.prod(shape),
    )
    return _activated(call, out, call.layer.activation) if activation else out


def _geometry(layer):
    """What says how taps see the input; `None` for a kernel of one tap."""
    size = tuple(layer.kernel_size)
    key = (size, tuple(layer.strides), tuple(layer.dilation_rate), layer.padding, layer.data_format)
    one = all(k == 1 for k in size)
    return (None if one and all(s == 1 for s in layer.strides) else key), one or layer.padding == "valid"


@rule("Conv1D", "Conv2D", "Conv3D")
def _conv(call):
    if call.layer.groups != 1:
        return call.barrier("grouped convolution")
    geometry, folds = _geometry(call.layer)
    layer = call.layer
    return _linear(
        call,
        call.turned(),
        call.name,
        call.index(layer._kernel),
        -2,
        -1,
        call.index(layer.bias),
        path="filters",
        geometry=geometry,
        folds=folds,
    )


@rule("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
def _conv_transpose(call):
    layer = call.layer
    geometry = ("transpose", *_geometry_key(layer), layer.output_padding)
    kernel, bias = call.index(layer.kernel), call.index(layer.bias)
    return _linear(call, call.turned(), call.name, kernel, -1, -2, bias, path="filters", geometry=geometry, folds=False)


def _geometry_key(layer):
    return tuple(layer.kernel_size), tuple(layer.strides), tuple(layer.dilation_rate), layer.padding, layer.data_format


def _filtered(call, x, kernel, bias):
    """A depthwise kernel: part of what each channel is."""
    graph, layer = call.graph, call.layer
    shape = tuple(layer.weights[kernel].shape)
    channels, multiplier = shape[-2:]
    geometry, folds = _geometry(layer)
    graph.slot(call.name, kernel, -2, x.units, "param")
    graph.stiffen(x.units)
    units = np.repeat(x.units, multiplier)
    if bias is not None:
        graph.slot(call.name, bias, 0, units, "param")
    axis = call.channel_axis % len(call.shape)
    spatial = tuple(call.shape[a] for a in range(1, len(call.shape)) if a != axis)
    size = (None, len(units), *spatial) if axis == 1 else (None, *spatial, len(units))
    out = type(x)(size, axis, units)
    return call.emit(
        Depthwise,
        [x],
        out,
        lambda: call.array(kernel).reshape(-1, channels, multiplier),
        None if bias is None else lambda: call.array(bias),
        geometry or ("one",),
        folds,
        math.prod(shape),
    )


@rule("DepthwiseConv1D", "DepthwiseConv2D")
def _depthwise(call):
    layer = call.layer
    out = _filtered(call, call.turned(), call.index(layer.kernel), call.index(layer.bias))
    return _activated(call, out, layer.activation)


@rule("SeparableConv1D", "SeparableConv2D")
def _separable(call):
    layer = call.layer
    kernel, bias = call.index(layer.pointwise_kernel), call.index(layer.bias)
    between = _filtered(call, call.turned(), call.index(layer.depthwise_kernel), None)
    return _linear(call, between, call.name, kernel, -2, -1, bias, path="filters")


@rule("Embedding")
def _embedding(call):
    layer, graph = call.layer, call.graph
    kernel = call.index(layer._embeddings)
    out = graph.written(call.name, layer.output_dim, call.shape, -1)
    graph.slot(call.name, kernel, -1, out.units, "write")
    graph.size(call.name, ("output_dim",), out.units)
    graph.pin(call.input.units)
    geometry = ("tokens", call.name, id(call.input))
    return call.emit(Linear, [call.input], out, lambda: call.array(kernel)[None], None, geometry=geometry)


@rule("EinsumDense")
def _einsum(call):
    layer, graph = call.layer, call.graph
    left, target = layer.equation.replace(" ", "").split("->")
    source, letters = (part.replace("...", "") for part in left.split(","))
    target = target.replace("...", "")
    contracted = [c for c in source if c in letters and c not in target]
    written = [c for c in letters if c not in source]
    if (
        len(contracted) != 1
        or len(contracted) + len(written) != len(letters)
        or source[-1] != contracted[0]
        or len(source) != len(set(source))
    ):
        return call.barrier(f"equation {layer.equation!r} mixes more than one axis")
    kernel, bias = call.index(layer._kernel), call.index(layer.bias)
    x = call.turned(-1)
    inward = letters.index(contracted[0])
    bias_letters = layer.bias_axes or ""
    if len(written) == 1 and target[-1] == written[0] and set(bias_letters) <= set(written):
        outward = letters.index(written[0])
        index = next(i for i in range(len(layer.partial_output_shape) - 1, -1, -1))
        path = ("output_shape", index)
        shape = tuple(layer.weights[kernel].shape)
        out = graph.written(call.name, shape[outward], call.shape, -1)
        writes = graph.slot(call.name, kernel, outward, out.units, "write")
        if bias is not None:
            graph.slot(call.name, bias, 0, out.units, "write")
        graph.size(call.name, path, out.units)
        graph.reads(
            call.name,
            call.name,
            kernel,
            inward,
            x,
            bias=None if bias is None else (bias, (), 1.0),
            writes=writes,
        )
        call.emit(
            Linear,
            [x],
            out,
            lambda: np.transpose(call.array(kernel), (inward, outward))[None],
            None if bias is None else lambda: call.array(bias),
            reader=call.name,
            weights=math.prod(shape),
        )
        return _activated(call, out, layer.activation)
    _read_only(call, x, call.name, kernel, inward, (bias, (), 1.0) if bias_letters == "".join(written) else None)
    return graph.barrier(call.name, None, [], [call.shape])[0]


def _read_only(call, x, reader, kernel, inward, bias):
    """A kernel that reads channels and writes something that is left alone."""
    graph = call.graph
    if bias is not None and bias[0] is None:
        bias = None
    count = tuple(call.layer.weights[kernel].shape)[inward]
    graph.reads(reader, call.name, kernel, inward, x, bias=bias)
    out = graph.fresh(reader, 1, (None, 1), -1, pinned=True)
    call.emit(
        Linear,
        [x],
        out,
        lambda: np.moveaxis(call.array(kernel), inward, 0).reshape(1, count, -1),
        None,
        reader=reader,
        weights=math.prod(call.layer.weights[kernel].shape),
    )


@rule("LSTM", "GRU", "SimpleRNN")
def _recurrent(call):
    layer = call.layer
    x = call.turned(-1)
    cell = layer.cell
    bias = call.index(cell.bias) if cell.use_bias else None
    row = (0,) if bias is not None and len(cell.bias.shape) == 2 else ()
    _read_only(call, x, call.name, call.index(cell.kernel), 0, (bias, row, 1.0))
    return call.graph.barrier(call.name, None, call.inputs[1:], call.shapes)


@rule("Bidirectional")
def _bidirectional(call):
    x = call.turned(-1)
    for side in (call.layer.forward_layer, call.layer.backward_layer):
        if type(side).__name__ not in {"LSTM", "GRU", "SimpleRNN"}:
            return call.graph.barrier(call.name, f"Bidirectional {type(side).__name__}", call.inputs, call.shapes)
        cell = side.cell
        bias = call.index(cell.bias) if cell.use_bias else None
        row = (0,) if bias is not None and len(cell.bias.shape) == 2 else ()
        _read_only(call, x, f"{call.name}/{side.name}", call.index(cell.kernel), 0, (bias, row, 1.0))
    return call.graph.barrier(call.name, None, call.inputs[1:], call.shapes)


@rule("MultiHeadAttention")
def _attention(call):
    layer, graph = call.layer, call.graph
    named = [*zip(("query", "value", "key"), call.arguments.args), *call.arguments.kwargs.items()]
    given = {key: value for key, value in named if hasattr(value, "shape") and hasattr(value, "_keras_history")}
    order = {id(symbolic): tensor for symbolic, tensor in zip(call.arguments.keras_tensors, call.inputs)}
    tensors = {key: order[id(value)] for key, value in given.items()}
    if not {"query", "value"} <= set(tensors):
        return graph.barrier(call.name, "attention called in an unusual way", call.inputs, call.shapes)
    tensors.setdefault("key", tensors["value"])
    if len(call.shapes) == 1:
        graph.fixed[call.name] = {"output_shape": call.shape[-1]}  # by default that of the query
    for role in ("query", "key", "value"):
        dense = getattr(layer, f"_{role}_dense")
        x = graph.turned(call.name, tensors.pop(role), -1)
        bias = call.index(dense.bias) if dense.bias is not None else None
        _read_only(call, x, f"{call.name}/{role}", call.index(dense._kernel), 0, (bias, (), 1.0))
    return graph.barrier(call.name, None, list(tensors.values()), call.shapes)


ANY_ARGUMENTS = {"MultiHeadAttention", "LSTM", "GRU", "SimpleRNN", "Bidirectional"} | {
    "Add",
    "Subtract",
    "Multiply",
    "Maximum",
    "Minimum",
}


# ---- channel by channel


@rule("BatchNormalization")
def _batch_norm(call):
    layer, graph = call.layer, call.graph
    x = call.turned(layer.axis)
    named = {key: call.index(getattr(layer, key, None)) for key in ("gamma", "beta", "moving_mean", "moving_variance")}
    graph.stiffen(x.units)
    for index in named.values():
        if index is not None:
            graph.slot(call.name, index, 0, x.units, "param")

    def coefficients():
        count = len(x.units)
        mean, variance = call.array(named["moving_mean"]), call.array(named["moving_variance"])
        gamma = np.ones(count) if named["gamma"] is None else call.array(named["gamma"])
        beta = np.zeros(count) if named["beta"] is None else call.array(named["beta"])
        scale = gamma / np.sqrt(variance + layer.epsilon)
        return scale, beta - scale * mean, np.abs(beta) + np.abs(scale * mean)

    statistics = call.name, named["moving_mean"], named["moving_variance"], layer.epsilon
    return call.emit(Affine, [x], call.same(x), coefficients, statistics)


@rule("Rescaling")
def _rescaling(call):
    count = len(call.input.units)
    scale, offset = (np.asarray(v, dtype=np.float64) for v in (call.layer.scale, call.layer.offset))
    if scale.ndim or offset.ndim:
        return call.barrier("a rescaling by channel")
    if offset:
        call.graph.stiffen(call.input.units)

    def coefficients():
        return np.full(count, float(scale)), np.full(count, float(offset)), np.full(count, abs(float(offset)))

    return call.emit(Affine, [call.input], call.same(call.input), coefficients)


@rule("Activation", "ReLU", "LeakyReLU", "ELU", "Softmax")
def _activation(call):
    layer, x = call.layer, call.input
    kind = scaling(layer)
    if kind is Scaling.LINEAR:
        return _identity(call)
    if kind is Scaling.COUPLED:
        name = getattr(getattr(layer, "activation", None), "__name__", "")
        return (
            _softmax(call, x)
            if "softmax" in name or type(layer).__name__ == "Softmax"
            else call.barrier("couples channels")
        )
    if kind is not Scaling.POSITIVE:
        call.graph.stiffen(x.units)
    if type(layer).__name__ == "Activation":
        tag, function = ("activation", _key(layer.activation)), _of_constants(layer.activation)
    else:
        settings = sorted(
            (k, repr(v)) for k, v in layer.get_config().items() if k not in {"name", "dtype", "trainable"}
        )
        tag, function = (type(layer).__name__, *settings), _of_constants(_on_anything(layer))
    return call.emit(Map, [x], call.same(x), kind, tag, function=function)


def _on_anything(layer):
    """A layer without weights as a function of plain vectors, in any precision."""
    config = {**layer.get_config(), "name": "constants", "dtype": "float64"}

    def evaluate(values):
        import keras

        dtype = keras.backend.standardize_dtype(values.dtype)
        return type(layer).from_config({**config, "dtype": dtype})(values)

    return evaluate


@rule("PReLU")
def _prelu(call):
    x, index = call.input, call.index(call.layer.alpha)
    shape = tuple(call.layer.alpha.shape)  # without the batch; 1 on shared axes
    axis = x.axis - 1
    if shape[axis] == len(x.units):
        call.graph.slot(call.name, index, axis, x.units, "param")
        slopes = np.moveaxis(call.array(index), axis, 0).reshape(len(x.units), -1)
    else:
        slopes = np.broadcast_to(call.array(index).reshape(1, -1), (len(x.units), int(np.prod(shape))))
    labels = np.unique(slopes, axis=0, return_inverse=True)[1].reshape(-1)
    return call.emit(
        Map, [x], call.same(x), Scaling.POSITIVE, ("prelu", call.name), labels, slope=max(1.0, np.abs(slopes).max())
    )


@rule(
    "Dropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "GaussianDropout",
    "GaussianNoise",
    "AlphaDropout",
    "ActivityRegularization",
    "Identity",
)
def _identity(call):
    return call.emit(Pass, [call.input], call.same(call.input))


def _settings(layer):
    return (
        type(layer).__name__,
        *sorted((k, repr(v)) for k, v in layer.get_config().items() if k not in {"name", "dtype", "trainable"}),
    )


@rule(
    *(f"AveragePooling{d}D" for d in (1, 2, 3)),
    *(f"GlobalAveragePooling{d}D" for d in (1, 2, 3)),
    *(f"AdaptiveAveragePooling{d}D" for d in (1, 2, 3)),
    *(f"UpSampling{d}D" for d in (1, 2, 3)),
    *(f"Cropping{d}D" for d in (1, 2, 3)),
    *(f"ZeroPadding{d}D" for d in (1, 2, 3)),
)
def _pass(call):
    x, kind = call.turned(), type(call.layer).__name__
    keeps = not kind.startswith("ZeroPadding") and getattr(call.layer, "padding", "valid") != "same"
    if not keeps:
        call.graph.stiffen([])
    return call.emit(Pass, [x], _moved(call, x), _settings(call.layer), constants=keeps)


def _moved(call, x):
    """The output of a layer that may drop the spatial axes."""
    axis = x.axis if len(call.shape) == len(x.shape) else len(call.shape) - 1
    return type(x)(call.shape, axis, x.units)


@rule(
    *(f"MaxPooling{d}D" for d in (1, 2, 3)),
    *(f"GlobalMaxPooling{d}D" for d in (1, 2, 3)),
    *(f"AdaptiveMaxPooling{d}D" for d in (1, 2, 3)),
)
def _max_pool(call):
    x = call.turned()
    return call.emit(Map, [x], _moved(call, x), Scaling.POSITIVE, _settings(call.layer), function=lambda values: values)


# ---- rearranging


@rule("Permute")
def _permute(call):
    x, dims = call.input, (0, *call.layer.dims)
    out = type(x)(call.shape, dims.index(x.axis), x.units)
    return call.emit(Pass, [x], out, ("permute", dims))


@rule("RepeatVector")
def _repeat(call):
    x = call.turned(-1)
    return call.emit(Pass, [x], type(x)(call.shape, 2, x.units), ("repeat", call.layer.n))


@rule("Flatten")
def _flatten(call):
    x = call.input
    order = list(range(len(x.shape)))
    if call.layer.data_format == "channels_first" and len(order) > 1:
        order = [0, *order[2:], 1]
    return _reshaped(call, order)


@rule("Reshape")
def _reshape(call):
    out = _reshaped(call, list(range(len(call.input.shape))))
    if out.axis > 0 and call.layer.target_shape[out.axis - 1] != -1:
        call.graph.size(call.name, ("target_shape", out.axis - 1), out.units)
    return out


def _reshaped(call, order):
    """Transpose by `order`, then reshape to the output's shape, channels followed position by position."""
    x = call.input
    inner = [x.shape[a] for a in order[1:]]
    axis = order.index(x.axis) - 1
    if len(inner) == 1 and len(call.shape) == 2:
        return _identity(call)
    if None in inner or None in call.shape[1:]:
        return call.barrier("reshapes a tensor of unknown size")
    if np.prod(inner) > PLACES_LIMIT:
        return call.barrier("reshapes a very large tensor")
    lined = np.arange(inner[axis]).reshape([-1 if a == axis else 1 for a in range(len(inner))])
    ids = np.broadcast_to(lined, inner).reshape(call.shape[1:])
    for target in range(ids.ndim - 1, -1, -1):
        row = ids[tuple(slice(None) if a == target else slice(0, 1) for a in range(ids.ndim))]
        if (ids == row).all():
            channel = row.reshape(-1)
            break
    else:
        return call.barrier("reshapes channels into several axes")
    occurrence = np.zeros(len(channel), dtype=int)
    ordered = np.argsort(channel, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(channel[ordered]) > 0])
    occurrence[ordered] = np.arange(len(channel)) - np.repeat(starts, np.diff(np.r_[starts, len(channel)]))
    out = type(x)(call.shape, target + 1, x.units[channel])
    return call.emit(Spread, [x], out, ("reshape", tuple(order), tuple(inner), call.shape), channel, occurrence)


# ---- several inputs


def _aligned_inputs(call):
    """Inputs with their channels on one axis and tied, or a reason why not."""
    graph, inputs = call.graph, call.inputs
    if len({len(t.shape) for t in inputs}) > 1:
        return None, "merges tensors of different rank"
    axis = max(inputs, key=lambda t: len(t.units)).axis
    width = max(len(t.units) for t in inputs if t.axis == axis)
    tied = []
    for tensor in inputs:
        tensor = graph.turned(call.name, tensor, axis)
        if len(tensor.units) == 1 < width:  # one channel for all: it stays, and scales or shifts each
            graph.pin(tensor.units)
            spread = type(tensor)(tensor.shape, tensor.axis, np.repeat(tensor.units, width))
            graph.ops.append(
                Spread([tensor], spread, ("broadcast",), np.zeros(width, dtype=int), np.zeros(width, dtype=int))
            )
            tied.append(spread)
        elif len(tensor.units) != width:
            return None, "merges tensors of different width"
        else:
            tied.append(tensor)
    full = [t for t, original in zip(tied, inputs) if len(original.units) == width]
    for other in full[1:]:
        graph.tie(full[0].units, other.units)
    return (tied, type(full[0])(call.shape, full[0].axis, full[0].units)), None


def _merged(call, kind, *arguments, rigid=True, **options):
    ready, reason = _aligned_inputs(call)
    if reason:
        return call.barrier(reason)
    tensors, out = ready
    if rigid:
        call.graph.stiffen(out.units)
    return call.emit(kind, tensors, out, *arguments, **options)


@rule("Add", "ops.Add")
def _add(call):
    return (
        _merged(call, Sum, tuple([1.0] * len(call.inputs)), rigid=_narrow(call)) if _tensors(call) else _unclear(call)
    )


@rule("Subtract", "ops.Subtract")
def _subtract(call):
    return _merged(call, Sum, (1.0, -1.0), rigid=_narrow(call)) if _tensors(call) else _unclear(call)


@rule("Average")
def _average(call):
    count = len(call.inputs)
    return _merged(call, Sum, tuple([1.0 / count] * count), rigid=_narrow(call)) if _tensors(call) else _unclear(call)


@rule("Multiply", "ops.Multiply")
def _multiply(call):
    return _merged(call, Product) if _tensors(call) else _unclear(call)


@rule("Maximum", "Minimum", "ops.Maximum", "ops.Minimum")
def _extremum(call):
    if not _tensors(call):
        return _unclear(call)
    return _merged(call, Map, Scaling.POSITIVE, (type(call.layer).__name__,), rigid=_narrow(call))


def _narrow(call):
    """Whether one input has a single channel for all."""
    return len({len(t.units) for t in call.inputs}) > 1


def _tensors(call):
    """Whether the call is on its tensors and nothing else, each once."""
    leaves = [a for a in call.arguments._flat_arguments if a is not None]
    return len(leaves) == len(call.inputs) and len(leaves) > 1


def _unclear(call):
    return call.barrier(f"{type(call.layer).__name__} with arguments that are no tensors of the model")


@rule("Concatenate")
def _concatenate(call):
    axis = call.layer.axis % len(call.shape)
    if all(t.axis == axis for t in call.inputs):
        units = np.concatenate([t.units for t in call.inputs])
        return call.emit(Concat, call.inputs, type(call.input)(call.shape, axis, units))
    kept = call.input.axis
    if any(t.axis != kept for t in call.inputs):
        return call.barrier("concatenates different axes")
    ready, reason = _aligned_inputs(call)
    if reason:
        return call.barrier(reason)
    tensors, out = ready
    sizes = tuple(t.shape[axis] for t in call.inputs)
    return call.emit(Map, tensors, out, Scaling.POSITIVE, ("concatenate", axis, sizes))


@rule("ops.Relu")
def _relu_op(call):
    return call.emit(
        Map, [call.input], call.same(call.input), Scaling.POSITIVE, ("relu op",), function=lambda v: np.maximum(v, 0)
    )


@rule("LayerNormalization", "RMSNormalization", "GroupNormalization", "UnitNormalization", "SpectralNormalization")
def _coupling(call):
    return call.barrier(f"{type(call.layer).__name__} couples channels")


@rule("Normalization")
def _normalization(call):
    return call.barrier(None)


@rule("InputLayer")
def _input(call):
    return call.input
