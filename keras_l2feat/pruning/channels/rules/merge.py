"""Layers with several inputs, and those that couple channels."""

import numpy as np

from keras_l2feat.activations import Scaling
from keras_l2feat.pruning.channels.operations import Concat, Map, Product, Spread, Sum
from keras_l2feat.pruning.channels.rules import activated, affine, elementwise, rule


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
        # one channel for all: it stays, and scales or shifts each
        if len(tensor.units) == 1 < width:
            graph.pin(tensor.units)
            spread = type(tensor)(tensor.shape, tensor.axis, np.repeat(tensor.units, width))
            graph.ops.append(Spread([tensor], spread, ("broadcast",), *np.zeros((2, width), int)))
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


@rule("Add", "ops.Add", any_arguments=True)
def _add(call):
    if not _tensors(call):
        return _with_constant(call, lambda c: (1.0, c), lambda c: (1.0, c))
    return _merged(call, Sum, tuple([1.0] * len(call.inputs)), rigid=_narrow(call))


@rule("Subtract", "ops.Subtract", any_arguments=True)
def _subtract(call):
    if not _tensors(call):
        return _with_constant(call, lambda c: (1.0, -c), lambda c: (-1.0, c))
    return _merged(call, Sum, (1.0, -1.0), rigid=_narrow(call))


@rule("Average")
def _average(call):
    if not _tensors(call):
        return _unclear(call)
    count = len(call.inputs)
    return _merged(call, Sum, tuple([1.0 / count] * count), rigid=_narrow(call))


@rule("Multiply", "ops.Multiply", any_arguments=True)
def _multiply(call):
    if not _tensors(call):
        return _with_constant(call, lambda c: (c, 0.0), lambda c: (c, 0.0))
    return _merged(call, Product)


@rule("ops.Negative")
def _negative(call):
    return affine(call, call.input, -1.0, 0.0)


@rule("ops.Divide", "ops.TrueDivide", any_arguments=True)
def _divide(call):
    return _with_constant(call, lambda c: (1.0 / c, 0.0), None)


@rule("Maximum", "Minimum", "ops.Maximum", "ops.Minimum", any_arguments=True)
def _extremum(call):
    import keras

    name = type(call.layer).__name__
    if _tensors(call):
        return _merged(call, Map, Scaling.POSITIVE, (name,), rigid=_narrow(call))
    known = _operands(call)
    constant = None if known is None else known[1 if known[0] is None else 0]
    if constant is None or constant.ndim:
        return _unclear(call)
    if name == "Maximum" and constant == 0:
        return activated(call, call.input, keras.activations.relu)
    extreme = getattr(np, name.lower())
    kind = Scaling.IDENTITY if constant else Scaling.POSITIVE
    tag = (f"{name} of", float(constant))
    return elementwise(call, call.input, kind, tag, lambda v: extreme(v, constant))


def _with_constant(call, right, left):
    """x ∘ c, or c ∘ x, as a multiple of x and a shift.

    Args:
        right, left: c → (scale, shift) of x ∘ c and of c ∘ x; `None` where that is not affine.
    """
    known = _operands(call)
    if known is None:
        return _unclear(call)
    first, second = known
    rule, constant = (right, second) if first is None else (left, first)
    if rule is None:
        return _unclear(call)
    with np.errstate(divide="ignore"):
        scale, shift = rule(constant)
    if not (np.isfinite(scale).all() and np.isfinite(shift).all()):
        return _unclear(call)
    return affine(call, call.input, scale, shift)


def _operands(call):
    """The two arguments of an operation: `None` for the tensor, and the constant in float64;
    `None` if they are anything else."""
    import keras

    arguments = call.arguments.args
    if call.arguments.kwargs or len(arguments) != 2 or len(call.inputs) != 1:
        return None
    constants = [a for a in arguments if not isinstance(a, keras.KerasTensor)]
    if len(constants) != 1 or isinstance(constants[0], (keras.Variable, str)):
        return None
    try:
        constant = np.asarray(keras.ops.convert_to_numpy(constants[0]), dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return tuple(None if isinstance(a, keras.KerasTensor) else constant for a in arguments)


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


@rule("Normalization")
def _normalization(call):
    return call.barrier(None)


@rule("InputLayer")
def _input(call):
    return call.input
