"""The calls of two models, nested ones included: whether the same is called, on the same tensors
and in the same way, and which operation of the one is which of the other."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_l2feat.backend import stored
from keras_l2feat.pruning.channels.symbolic import functional
from keras_l2feat.types import Model

__all__ = ["differing_calls", "leaf"]


def differing_calls(model: Model, other: Model, pairs: list, top: bool = True) -> Iterator:
    """What two models call differently, as (name, reason).

    Args:
        model, other: Keras models.
        pairs: the operations that are called, `(operation, copy)`, are added to it; a nested model
            only where it is no graph of calls.
        top: whether the models' inputs and outputs are anybody's who calls them.
    """
    ours, theirs = functional(model), functional(other)
    if ours is None or theirs is None:
        if ours is not theirs:
            yield model.name, "is another kind of model"
        pairs.append((model, other))
        return
    if _inputs(ours, top) != _inputs(theirs, top):
        yield model.name, "takes other inputs"
    (first, ends), (second, others) = map(_calls, (ours, theirs))
    if [n[1:] for n in first] != [n[1:] for n in second]:
        yield model.name, "its layers are called differently"
        return
    if ends != others:
        yield model.name, "its inputs or outputs are others"
        return
    known: dict = {}
    for (layer, *_), (copy, *_) in zip(first, second):
        if id(layer) in known:
            if known[id(layer)] is not copy:
                yield layer.name, "shares its weights with other layers"
            continue
        known[id(layer)] = copy
        if type(layer) is not type(copy):
            yield layer.name, f"is a {type(copy).__name__}"
        elif hasattr(layer, "layers"):
            yield from differing_calls(layer, copy, pairs, top=False)
        else:
            pairs.append((layer, copy))


def _inputs(model, top):
    """What has to be the same of the inputs: how many channels they have may differ inside, and one
    alone needs no name."""
    dtypes, shapes = zip(*((str(t.dtype), tuple(t.shape)) for t in model.inputs))
    layers = [t._keras_history.operation.name for t in model.inputs]
    names = layers if len(layers) > 1 else []
    return (dtypes, shapes, names) if top else dtypes


def _calls(model):
    """(operation, its number, where its inputs come from, arguments) of each call, by depth; and
    which calls the model's outputs come from, and how inputs and outputs are nested."""
    import keras

    numbers, calls, count = {}, [], 0
    tensors = {id(tensor): ("input", nth) for nth, tensor in enumerate(model.inputs)}
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            number = numbers.setdefault(id(node.operation), len(numbers))
            for nth, tensor in enumerate(node.outputs):
                tensors.setdefault(id(tensor), (count, nth))
            count += 1
            if node.is_input:
                continue
            read = tuple(tensors.get(id(t)) for t in node.input_tensors)
            calls.append((node.operation, number, read, _arguments(node)))
    nested = keras.tree.map_structure(lambda _: 0, (model.input, model.output))
    return calls, ([tensors.get(id(t)) for t in model.outputs], repr(nested))


def _arguments(node):
    import keras

    seen = {id(t): f"tensor {n}" for n, t in enumerate(node.arguments.keras_tensors)}
    leaves = keras.tree.map_structure(
        lambda value: seen.get(id(value)) or leaf(value),
        (node.arguments.args, node.arguments.kwargs),
    )
    return repr(leaves)


def leaf(value: Any) -> str:
    """What tells a value from others, arrays to the bit: their `repr` leaves entries out."""
    import keras

    if isinstance(value, keras.Variable):
        value = stored(value)
    if hasattr(value, "dtype") and hasattr(value, "__array__"):
        array = np.asarray(value)
        return f"{array.dtype} {array.shape} {array.tobytes().hex()}"
    return repr(value)
