"""Layers with several inputs, and those that couple channels."""

import numpy as np

from keras_l2feat.activations import Scaling
from keras_l2feat.pruning.channels.graph import Concat, Map, Product, Spread, Sum
from keras_l2feat.pruning.channels.rules import rule


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
        if (
            len(tensor.units) == 1 < width
        ):  # one channel for all: it stays, and scales or shifts each
            graph.pin(tensor.units)
            spread = type(tensor)(tensor.shape, tensor.axis, np.repeat(tensor.units, width))
            graph.ops.append(
                Spread(
                    [tensor],
                    spread,
                    ("broadcast",),
                    np.zeros(width, dtype=int),
                    np.zeros(width, dtype=int),
                )
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
        _merged(call, Sum, tuple([1.0] * len(call.inputs)), rigid=_narrow(call))
        if _tensors(call)
        else _unclear(call)
    )


@rule("Subtract", "ops.Subtract")
def _subtract(call):
    return (
        _merged(call, Sum, (1.0, -1.0), rigid=_narrow(call)) if _tensors(call) else _unclear(call)
    )


@rule("Average")
def _average(call):
    count = len(call.inputs)
    return (
        _merged(call, Sum, tuple([1.0 / count] * count), rigid=_narrow(call))
        if _tensors(call)
        else _unclear(call)
    )


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
    return call.barrier(
        f"{type(call.layer).__name__} with arguments that are no tensors of the model"
    )


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
        Map,
        [call.input],
        call.same(call.input),
        Scaling.POSITIVE,
        ("relu op",),
        function=lambda v: np.maximum(v, 0),
    )


@rule(
    "LayerNormalization",
    "RMSNormalization",
    "GroupNormalization",
    "UnitNormalization",
    "SpectralNormalization",
)
def _coupling(call):
    return call.barrier(f"{type(call.layer).__name__} couples channels")


@rule("Normalization")
def _normalization(call):
    return call.barrier(None)


@rule("InputLayer")
def _input(call):
    return call.input
