"""Whether two models are one model with other numbers of units: the same layers, called on the same
tensors, with the same settings and the same weights wherever no unit is written or read.

What the channel graph says of a model is its sizes and operations; this compares all the rest, so
that nothing a rule overlooks can differ.
"""

import numpy as np

from keras_l2feat.backend import stored
from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.channels.symbolic import functional

__all__ = ["differences"]

IGNORED = {"build_config", "compile_config", "name", "registered_name"}


def differences(graph: Graph, other: Graph, kept: np.ndarray) -> list:
    """What is not the same in two channel graphs' models, as (layer, reason); empty if nothing is.

    Args:
        graph, other: of the original and of the pruned model.
        kept: (units,) bool, which units the pruned model has.
    """
    found = list(_calls(graph.model, other.model))
    if found:
        return found
    if set(graph.layers) != set(other.layers):
        changed = sorted(set(graph.layers) ^ set(other.layers))
        return [(changed[0], "is not in both models")]
    slots, biases = _slots(graph), _biases(graph)
    found = [
        (name, reason)
        for name, layer in graph.layers.items()
        if functional(layer) is None
        for reason in (
            *_layer(graph, other, name, layer),
            *_weights(graph, other, name, slots.get(name, {}), biases.get(name, {}), kept),
        )
    ]
    return found or list(_operations(graph, other))


def _slots(graph):
    """layer → index of a weight → its slots."""
    found: dict = {}
    for slot in graph.slots.values():
        found.setdefault(slot.layer, {}).setdefault(slot.index, []).append(slot)
    return found


def _biases(graph):
    """layer → index of a bias that constants go into → which part of it."""
    found: dict = {}
    for reader in graph.readers.values():
        if reader.bias is not None:
            found.setdefault(reader.layer, {})[reader.bias[0]] = reader.bias[1]
    return found


def _calls(model, other):
    """The calls of a model, nested ones included: what is called, on which tensors, how."""
    ours, theirs = functional(model), functional(other)
    if (ours is None) != (theirs is None):
        yield model.name, "is another kind of model"
        return
    if ours is None:
        return
    first, second = ([*_nodes(m)] for m in (ours, theirs))
    if [n[1:] for n in first] != [n[1:] for n in second]:
        yield model.name, "its layers are called differently"
        return
    if _ends(ours) != _ends(theirs):
        yield model.name, "its inputs or outputs are others"
        return
    known = {}
    for (layer, *_), (copy, *_) in zip(first, second):
        if known.setdefault(id(layer), copy) is not copy:
            yield layer.name, "shares its weights with other layers"
        elif type(layer) is not type(copy):
            yield layer.name, f"is a {type(copy).__name__}"
        elif hasattr(layer, "layers"):
            yield from _calls(layer, copy)


def _nodes(model):
    """(operation, its number, where its inputs come from, arguments) by depth."""
    numbers, tensors, count = {}, {}, 0
    for nth, tensor in enumerate(model.inputs):
        tensors[id(tensor)] = ("input", nth)
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            number = numbers.setdefault(id(node.operation), len(numbers))
            for nth, tensor in enumerate(node.outputs):
                tensors.setdefault(id(tensor), (count, nth))
            count += 1
            if node.is_input:
                continue
            read = tuple(tensors.get(id(t)) for t in node.input_tensors)
            yield node.operation, number, read, _arguments(node)


def _arguments(node):
    import keras

    seen = {id(t): f"tensor {n}" for n, t in enumerate(node.arguments.keras_tensors)}
    leaves = keras.tree.map_structure(
        lambda leaf: seen.get(id(leaf), repr(leaf)), (node.arguments.args, node.arguments.kwargs)
    )
    return repr(leaves)


def _ends(model):
    """Which calls the model's outputs come from."""
    tensors, count = {id(t): ("input", n) for n, t in enumerate(model.inputs)}, 0
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            for nth, tensor in enumerate(node.outputs):
                tensors.setdefault(id(tensor), (count, nth))
            count += 1
    return [tensors.get(id(t)) for t in model.outputs]


def _layer(graph, other, name, layer):
    """What differs in a layer besides sizes and the weights that have units."""
    copy = other.layers[name]
    if type(layer) is not type(copy):
        yield f"is a {type(copy).__name__}"
        return
    free = [path for owner, path in graph.sizes if owner == name]
    ours, theirs = (_config(each, free, graph.fixed.get(name, {})) for each in (layer, copy))
    if ours != theirs:
        yield "has other settings"
    for key in ("activation", "function"):
        if getattr(layer, key, None) is not getattr(copy, key, None) and callable(
            getattr(layer, key, None)
        ):
            if not _alike(getattr(layer, key), getattr(copy, key)):
                yield f"has another {key}"


def _weights(graph, other, name, slots, biases, kept):
    """What differs in a layer's weights, each read once: what belongs to no unit stays as it is,
    what a unit has for itself (a normalization, a filter, a slope) goes with it or stays."""
    layer, copy = graph.layers[name], other.layers[name]
    if len(layer.weights) != len(copy.weights):
        yield f"has {len(copy.weights)} weights, expected: {len(layer.weights)}"
        return
    if not slots and not biases:
        yield from _untouched(layer, copy)
        return
    for index, weight in enumerate(layer.weights):
        if str(weight.dtype) != str(copy.weights[index].dtype):
            yield f"weight {index} is stored in {copy.weights[index].dtype}"
        ours, theirs = (g.weight(name, index) for g in (graph, other))
        found = slots.get(index, [])
        if found and not all(_finite(array) for array in (ours, theirs)):
            yield f"weight {index} is not a finite number everywhere"
        if any(slot.role != "param" for slot in found):
            continue
        for slot in found:
            ours = np.compress(kept[slot.units], ours, axis=slot.axis)
        if index in biases and not found and ours.shape == theirs.shape:
            inside = biases[index] if biases[index] else ...
            ours, theirs = ours.copy(), theirs.copy()
            ours[inside] = theirs[inside] = 0
        if ours.shape != theirs.shape or ours.tobytes() != theirs.tobytes():
            yield f"weight {index} has changed"


def _finite(array):
    return bool(np.isfinite(array.sum(dtype=np.float64)))


def _untouched(layer, copy):
    """What differs in a layer none of whose weights has units; a copy may order them otherwise."""
    ours, theirs = (
        sorted((w.path.rsplit("/", 1)[-1], str(w.dtype), stored(w).tobytes()) for w in each.weights)
        for each in (layer, copy)
    )
    if ours != theirs:
        yield "its weights, which belong to no unit, have changed"


def _alike(first, second):
    """Functions of one name and module: after loading, one is a copy of the other."""
    return all(
        getattr(first, key, 0) == getattr(second, key, 1) for key in ("__module__", "__qualname__")
    ) or (type(first) is type(second) and hasattr(first, "get_config"))


def _config(layer, free, fixed):
    try:
        config = layer.get_config()
    except (NotImplementedError, TypeError):
        return None
    return {
        key: value
        for key, value in _entries(config)
        if key not in free
        and not any(key[: len(path)] == path for path in free)
        and not any(key[:1] == (name,) for name in fixed)
    }


def _entries(value, path=()):
    """The leaves of a nested config by path; names and built shapes are left out."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key not in IGNORED:
                yield from _entries(item, (*path, key))
    elif isinstance(value, (list, tuple)):
        for key, item in enumerate(value):
            yield from _entries(item, (*path, key))
    else:
        yield path, repr(value)


def _operations(graph, other):
    """The operations that the layers come down to."""
    if len(graph.ops) != len(other.ops):
        yield graph.model.name, f"has {len(other.ops)} operations, expected: {len(graph.ops)}"
        return
    for op, copy in zip(graph.ops, other.ops):
        ours, theirs = (_operation(each) for each in (op, copy))
        if ours != theirs:
            yield op.layer, "acts in another way"
    if [t.number for t in graph.outputs] != [t.number for t in other.outputs]:
        yield graph.model.name, "its outputs are others"


def _operation(op):
    settings = {
        name: getattr(op, name)
        for name in ("folds", "constants", "weights_", "scaling", "reader", "multiplier")
        if hasattr(op, name)
    }
    return type(op), op.layer, [t.number for t in op.inputs], op.out.axis, settings
