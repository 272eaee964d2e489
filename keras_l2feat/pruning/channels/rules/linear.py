"""Layers with a kernel: what computes channels, and what reads them linearly."""

import math
from dataclasses import replace

import numpy as np

from keras_l2feat.activations import Scaling, scaling
from keras_l2feat.pruning.channels.operations import Concat, Depthwise, Linear, Map, Spread
from keras_l2feat.pruning.channels.rules import RULES, key, of_constants, rule, softmax


def _activated(call, tensor, activation):
    """The layer's own activation on what it computes linearly."""
    kind = scaling(activation)
    if kind is Scaling.LINEAR:
        return tensor
    if kind is Scaling.COUPLED:
        return (
            softmax(call, tensor)
            if "softmax" in key(activation)[0]
            else call.barrier("couples channels")
        )
    if kind is not Scaling.POSITIVE:
        call.graph.stiffen(tensor.units)
    out = type(tensor)(tensor.shape, tensor.axis, tensor.units)
    return call.emit(
        Map, [tensor], out, kind, ("activation", key(activation)), function=of_constants(activation)
    )


@rule("Dense", "HomogeneousDense")
def _dense(call):
    x, layer = call.turned(-1), call.layer
    kernel, bias = call.index(layer._kernel), call.index(layer.bias)
    return _linear(
        call,
        x,
        call.name,
        kernel,
        -2,
        -1,
        bias,
        beta=float(getattr(layer, "beta", 1.0)),
        path="units",
    )


def _linear(
    call,
    x,
    reader,
    kernel,
    inward,
    outward,
    bias,
    *,
    beta=1.0,
    path,
    geometry=None,
    folds=True,
    activation=True,
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
    call.size((path,), out.units)
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
        lambda: np.transpose(call.array(kernel, wide=False), (*taps, inward, outward)).reshape(
            -1, shape[inward], shape[outward]
        ),
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
    return (
        None if one and all(s == 1 for s in layer.strides) else key
    ), one or layer.padding == "valid"


@rule("Conv1D", "Conv2D", "Conv3D")
def _conv(call):
    if call.layer.groups != 1:
        return _grouped(call)
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


def _grouped(call):
    """Groups side by side; they stay of one size, so that units of the same place in their groups
    go together. Where each channel is a group, it is a depthwise convolution."""
    graph, layer, x = call.graph, call.layer, call.turned()
    groups, kernel, bias = layer.groups, call.index(layer._kernel), call.index(layer.bias)
    if groups == len(x.units):
        out = _filtered(call, x, kernel, bias, each=True)
        call.size(("groups",), x.units)
        call.size(("filters",), out.units)
        return _activated(call, out, layer.activation)
    parts = np.arange(len(x.units)).reshape(groups, -1)
    for part in parts[1:]:
        graph.tie(x.units[parts[0]], x.units[part])
    out = graph.written(call.name, layer.filters, call.shape, call.channel_axis)
    places = np.arange(layer.filters).reshape(groups, -1)
    for place in places[1:]:
        graph.tie(out.units[places[0]], out.units[place])
    writes = graph.slot(call.name, kernel, -1, out.units, "write")
    if bias is not None:
        graph.slot(call.name, bias, 0, out.units, "write")
    call.size(("filters",), out.units)
    geometry, folds = _geometry(layer)
    taps = tuple(range(len(layer._kernel.shape) - 2))
    bias_slot = (bias, (), 1.0) if bias is not None and folds else None
    results = []
    for number, (part, place) in enumerate(zip(parts, places)):
        seen = type(x)(_resized(x, len(part)), x.axis, x.units[part])
        call.emit(Spread, [x], seen, ("group", number), part, np.zeros_like(part))
        graph.reads(
            call.name, call.name, kernel, -2, seen, bias=bias_slot, taps=taps, writes=writes
        )
        result = type(x)(_resized(out, len(place)), out.axis, out.units[place])
        results.append(
            call.emit(
                Linear,
                [seen],
                result,
                lambda place=place: call.array(kernel, wide=False).reshape(
                    -1, len(parts[0]), layer.filters
                )[:, :, place],
                None if bias is None else lambda place=place: call.array(bias)[place],
                geometry=geometry,
                folds=folds,
                reader=call.name,
                weights=math.prod(layer._kernel.shape) // groups,
            )
        )
    return _activated(call, call.emit(Concat, results, out), layer.activation)


def _resized(tensor, count):
    """A tensor's shape with another number of channels."""
    return tuple(count if axis == tensor.axis else n for axis, n in enumerate(tensor.shape))


@rule("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
def _conv_transpose(call):
    layer = call.layer
    geometry = ("transpose", *_geometry_key(layer), layer.output_padding)
    kernel, bias = call.index(layer.kernel), call.index(layer.bias)
    return _linear(
        call,
        call.turned(),
        call.name,
        kernel,
        -1,
        -2,
        bias,
        path="filters",
        geometry=geometry,
        folds=False,
    )


def _geometry_key(layer):
    return (
        tuple(layer.kernel_size),
        tuple(layer.strides),
        tuple(layer.dilation_rate),
        layer.padding,
        layer.data_format,
    )


def _filtered(call, x, kernel, bias, *, each=False):
    """A depthwise kernel: part of what each channel is.

    Args:
        each: the kernel is that of a grouped convolution, (..., 1, channels · multiplier), instead
            of (..., channels, multiplier).
    """
    graph, layer = call.graph, call.layer
    shape = tuple(layer.weights[kernel].shape)
    channels = len(x.units)
    multiplier = math.prod(shape[-2:]) // channels
    geometry, folds = _geometry(layer)
    units = np.repeat(x.units, multiplier)
    graph.slot(call.name, kernel, -1 if each else -2, units if each else x.units, "param")
    graph.stiffen(x.units)
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
    call.size(("output_dim",), out.units)
    graph.pin(call.input.units)
    geometry = ("tokens", call.name, id(call.input))
    return call.emit(
        Linear,
        [call.input],
        out,
        lambda: call.array(kernel, wide=False)[None],
        None,
        geometry=geometry,
    )


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
        call.size(path, out.units)
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
            lambda: np.transpose(call.array(kernel, wide=False), (inward, outward))[None],
            None if bias is None else lambda: call.array(bias),
            reader=call.name,
            weights=math.prod(shape),
        )
        return _activated(call, out, layer.activation)
    read_only(
        call,
        x,
        call.name,
        kernel,
        inward,
        (bias, (), 1.0) if bias_letters == "".join(written) else None,
    )
    return graph.barrier(call.name, None, [], [call.shape])[0]


def read_only(call, x, reader, kernel, inward, bias):
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
        lambda: np.moveaxis(call.array(kernel, wide=False), inward, 0).reshape(1, count, -1),
        None,
        reader=reader,
        weights=math.prod(call.layer.weights[kernel].shape),
    )


@rule("TimeDistributed")
def _time_distributed(call):
    """The inner layer's rule, where it treats all axes before the last one alike."""
    inner = call.layer.layer
    kind = type(inner).__name__
    own = type(inner).__module__.startswith("keras.src.layers")
    if not own or kind not in ("Dense", "Activation", "ReLU", "LeakyReLU", "ELU", "Dropout"):
        return call.barrier(f"{kind} in TimeDistributed")
    if getattr(inner, "quantization_mode", None) or getattr(inner, "lora_enabled", False):
        return call.barrier("quantized weights, or LoRA is on")
    within = (*call.path, "layer", "config")
    return RULES[kind](replace(call, layer=inner, path=within))
