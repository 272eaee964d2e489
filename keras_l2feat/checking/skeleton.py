"""Whether two models are one model with other numbers of units: the same layers, called on the same
tensors, with the same settings and the same weights wherever no unit is written or read.

What the channel graph says of a model is its sizes and operations; this compares all the rest, so
that nothing a rule overlooks can differ.
"""

import re

import numpy as np

from keras_l2feat.backend import stored
from keras_l2feat.checking.calls import differing_calls, leaf
from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.channels.symbolic import functional

__all__ = ["differences"]

IGNORED = {"build_config", "compile_config", "name", "registered_name"}
FUNCTIONS = "activation", "function"  # of a layer


def differences(graph: Graph, other: Graph, kept: np.ndarray) -> list:
    """What is not the same in two channel graphs' models, as (layer, reason); empty if nothing is.

    Args:
        graph, other: of the original and of the pruned model.
        kept: (units,) bool, which units the pruned model has.
    """
    pairs: list = []
    found = list(differing_calls(graph.model, other.model, pairs))
    if found:
        return found
    if set(graph.layers) != set(other.layers):
        changed = sorted(set(graph.layers) ^ set(other.layers))
        return [(changed[0], "is not in both models")]
    slots, biases, free = _slots(graph), _biases(graph), _free(graph)
    found = [
        (name, reason)
        for name, layer in graph.layers.items()
        if functional(layer) is None
        for reason in (
            *_settings(layer, other.layers[name], free.get(name, ())),
            *_weights(graph, other, name, slots.get(name, {}), biases.get(name, {}), kept),
        )
    ]
    known = {id(layer) for layer in graph.layers.values()}
    found += [  # what is not understood, and operations between layers
        (layer.name, reason)
        for layer, copy in pairs
        if id(layer) not in known
        for reason in (*_settings(layer, copy), *_untouched(layer, copy))
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


def _free(graph):
    """layer → paths of the entries of its config that count units, or are checked otherwise."""
    found: dict = {name: {(key,) for key in fixed} for name, fixed in graph.fixed.items()}
    for layer, path in graph.sizes:
        found.setdefault(layer, set()).add(path)
    return found


def _settings(layer, copy, free=()):
    """What differs in a layer, or in an operation, besides sizes and weights."""
    if type(layer) is not type(copy):
        yield f"is a {type(copy).__name__}"
        return
    if not _same(_config(layer), _config(copy), free):
        yield "has other settings"
    for key in FUNCTIONS:
        if not _alike(getattr(layer, key, None), getattr(copy, key, None)):
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
    if _plain_weights(layer) != _plain_weights(copy):
        yield "its weights, which belong to no unit, have changed"
    if hasattr(layer, "get_vocabulary") and layer.get_vocabulary() != copy.get_vocabulary():
        yield "has another vocabulary"


def _plain_weights(layer):
    """(path, dtype, bytes) of each weight by path; Keras numbers layers without names anew."""
    found = [
        (re.sub(r"_\d+(?=/|$)", "", w.path.rpartition(f"{layer.name}/")[2]), w)
        for w in getattr(layer, "weights", ())
    ]
    found.sort(key=lambda pair: pair[0])
    return [(path, str(w.dtype), stored(w).tobytes()) for path, w in found]


def _alike(first, second):
    """Whether two functions do the same: after loading, one is a copy of the other. The settings of
    those that are layers are compared with the layer's own."""
    if first is second or not callable(first):
        return first is second or not callable(second)
    if type(first) is not type(second):
        return False
    if hasattr(first, "__code__"):
        return _code(first) == _code(second)
    names = [
        [getattr(f, key, None) for key in ("__module__", "__qualname__")] for f in (first, second)
    ]
    return hasattr(first, "get_config") or (names[0] == names[1] and None not in names[0])


def _code(function):
    held = [cell.cell_contents for cell in function.__closure__ or ()]
    held += [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).items()]
    return function.__code__, function.__module__, [leaf(value) for value in held]


def _config(layer):
    """A layer's config; an operation that has none is known by what it holds."""
    try:
        config = layer.get_config()
    except (NotImplementedError, TypeError):
        if hasattr(layer, "weights"):
            return None
        config = {key: value for key, value in vars(layer).items() if key[0] != "_"}
    if callable(getattr(layer, "function", None)):
        config = {key: value for key, value in config.items() if key != "function"}
    return config


def _same(value, other, free, path=()):
    """Whether two nested configs are the same but for entries whose paths are `free`, names and
    built shapes."""
    if isinstance(value, dict) and isinstance(other, dict):
        return all(
            key in IGNORED
            or (*path, key) in free
            or (key in value and key in other and _same(value[key], other[key], free, (*path, key)))
            for key in value.keys() | other.keys()
        )
    if isinstance(value, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(value) == len(other) and all(
            (*path, nth) in free or _same(*pair, free, (*path, nth))
            for nth, pair in enumerate(zip(value, other))
        )
    return value is other or leaf(value) == leaf(other)


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
