"""Layers with a kernel: what computes channels, and what reads them linearly."""

import math
from dataclasses import replace

import numpy as np

from keras_l2feat.pruning.channels.operations import Concat, Depthwise, Spread
from keras_l2feat.pruning.channels.rules import RULES, activated, linear_of, rule


@rule("Dense", "HomogeneousDense")
def _dense(call):
    layer = call.layer
    beta = float(getattr(layer, "beta", 1.0))
    return _linear(call, call.turned(-1), layer._kernel, layer.bias, ("units",), beta=beta)


def _linear(call, x, kernel, bias, path, axes=(-2, -1), *, beta=1.0, geometry=None, folds=True):
    """A kernel with an input and an output axis, all others taps, and the layer's activation.

    Args:
        kernel, bias: the layer's variables; axes: of the kernel, for inputs and outputs.
        path: of the entry of the layer's config that counts units.
    """
    graph, name = call.graph, call.name
    kernel, bias = call.index(kernel), call.index(bias)
    shape = tuple(call.layer.weights[kernel].shape)
    inward, outward = (axis % len(shape) for axis in axes)
    taps = tuple(axis for axis in range(len(shape)) if axis not in (inward, outward))
    out = graph.written(name, shape[outward], call.shape, call.channel_axis)
    writes = graph.slot(name, kernel, outward, out.units, "write")
    if bias is not None:
        graph.slot(name, bias, 0, out.units, "write")
    call.size(path, out.units)
    place = (bias, (), beta) if bias is not None and folds else None
    graph.reads(name, name, kernel, inward, x, bias=place, taps=taps, writes=writes)

    def view(array):
        turned = np.transpose(array, (*taps, inward, outward))
        return turned.reshape(-1, shape[inward], shape[outward])

    added = None if bias is None else lambda: beta * call.array(bias)
    how = {"geometry": geometry, "folds": folds, "reader": name}
    linear_of(call, x, out, kernel, view, added, **how)
    return activated(call, out, call.layer.activation)


def _key(layer):
    """What says how taps see the input."""
    sizes = (layer.kernel_size, layer.strides, layer.dilation_rate)
    return (*map(tuple, sizes), layer.padding, layer.data_format)


def _geometry(layer):
    """The `_key`, `None` for a kernel of one tap; and whether a constant stays one."""
    key = _key(layer)
    one = all(k == 1 for k in key[0])
    plain = one and all(s == 1 for s in key[1])
    return None if plain else key, one or layer.padding == "valid"


@rule("Conv1D", "Conv2D", "Conv3D")
def _conv(call):
    layer = call.layer
    if layer.groups != 1:
        return _grouped(call)
    geometry, folds = _geometry(layer)
    how = {"geometry": geometry, "folds": folds}
    return _linear(call, call.turned(), layer._kernel, layer.bias, ("filters",), **how)


def _grouped(call):
    """Groups side by side; they stay of one size, so that units of the same place in their groups
    go together. Where each channel is a group, it is a depthwise convolution."""
    graph, layer, x = call.graph, call.layer, call.turned()
    groups, kernel, bias = layer.groups, call.index(layer._kernel), call.index(layer.bias)
    if groups == len(x.units):
        out = _filtered(call, x, kernel, bias, each=True)
        call.size(("groups",), x.units)
        call.size(("filters",), out.units)
        return activated(call, out, layer.activation)
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
    how = {"geometry": geometry, "folds": folds, "reader": call.name}
    how["weights"] = math.prod(layer._kernel.shape) // groups
    results = []
    for number, (part, place) in enumerate(zip(parts, places)):
        seen = type(x)(_resized(x, len(part)), x.axis, x.units[part])
        call.emit(Spread, [x], seen, ("group", number), part, np.zeros_like(part))
        graph.reads(
            call.name, call.name, kernel, -2, seen, bias=bias_slot, taps=taps, writes=writes
        )

        def view(array, place=place):
            return array.reshape(-1, len(parts[0]), layer.filters)[:, :, place]

        result = type(x)(_resized(out, len(place)), out.axis, out.units[place])
        added = None if bias is None else lambda place=place: call.array(bias)[place]
        results.append(linear_of(call, seen, result, kernel, view, added, **how))
    return activated(call, call.emit(Concat, results, out), layer.activation)


def _resized(tensor, count):
    """A tensor's shape with another number of channels."""
    return tuple(count if axis == tensor.axis else n for axis, n in enumerate(tensor.shape))


@rule("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
def _conv_transpose(call):
    layer = call.layer
    how = {"geometry": ("transpose", *_key(layer), layer.output_padding), "folds": False}
    return _linear(call, call.turned(), layer.kernel, layer.bias, ("filters",), (-1, -2), **how)


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

    def stored():
        return call.array(kernel).reshape(-1, channels, multiplier)

    added = None if bias is None else lambda: call.array(bias)
    how = geometry or ("one",), folds, math.prod(shape)
    return call.emit(Depthwise, [x], out, stored, added, *how)


@rule("DepthwiseConv1D", "DepthwiseConv2D")
def _depthwise(call):
    layer = call.layer
    out = _filtered(call, call.turned(), call.index(layer.kernel), call.index(layer.bias))
    return activated(call, out, layer.activation)


@rule("SeparableConv1D", "SeparableConv2D")
def _separable(call):
    layer = call.layer
    between = _filtered(call, call.turned(), call.index(layer.depthwise_kernel), None)
    return _linear(call, between, layer.pointwise_kernel, layer.bias, ("filters",))


@rule("Embedding")
def _embedding(call):
    layer, graph = call.layer, call.graph
    kernel = call.index(layer._embeddings)
    out = graph.written(call.name, layer.output_dim, call.shape, -1)
    graph.slot(call.name, kernel, -1, out.units, "write")
    call.size(("output_dim",), out.units)
    graph.pin(call.input.units)
    geometry = ("tokens", call.name, id(call.input))
    how = {"geometry": geometry, "weights": 0}  # nothing is multiplied
    return linear_of(call, call.input, out, kernel, lambda array: array[None], **how)


@rule("EinsumDense")
def _einsum(call):
    layer = call.layer
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
    x, inward = call.turned(-1), letters.index(contracted[0])
    bias_letters = layer.bias_axes or ""
    if len(written) == 1 and target[-1] == written[0] and set(bias_letters) <= set(written):
        path = ("output_shape", len(layer.partial_output_shape) - 1)
        axes = inward, letters.index(written[0])
        return _linear(call, x, layer._kernel, layer.bias, path, axes)
    kernel, bias = call.index(layer._kernel), call.index(layer.bias)
    place = (bias, (), 1.0) if bias_letters == "".join(written) else None
    read_only(call, x, call.name, kernel, inward, place)
    return call.graph.barrier(call.name, None, [], [call.shape])[0]


def read_only(call, x, reader, kernel, inward, bias):
    """A kernel that reads channels and writes something that is left alone."""
    graph = call.graph
    if bias is not None and bias[0] is None:
        bias = None
    count = tuple(call.layer.weights[kernel].shape)[inward]
    graph.reads(reader, call.name, kernel, inward, x, bias=bias)
    out = graph.fresh(reader, 1, (None, 1), -1, pinned=True)

    def view(array):
        return np.moveaxis(array, inward, 0).reshape(1, count, -1)

    linear_of(call, x, out, kernel, view, reader=reader)


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
