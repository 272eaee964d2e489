"""The smaller model that a plan describes: same classes, names, dtypes and compile settings,
smaller weights."""

from collections.abc import Callable, Sequence

import numpy as np

from keras_l2feat.errors import InputError
from keras_l2feat.pruning.channels.copies import clone, from_config, set_weights, unbuilt
from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.plan import BIAS, Plan
from keras_l2feat.types import Model

__all__ = ["rebuild", "rewrite", "sliced"]


def rewrite(graph: Graph, plan: Plan) -> Model:
    """Carry a plan out.

    Args:
        graph: the channel graph of the model; the model itself is not changed.
        plan: a `Plan` made for it.

    Returns: a new Keras model. New kernels are summed in float64 and rounded once to the dtype that
        they are stored in.

    Raises:
        InputError: the plan does not fit the model.
    """
    kept = _kept(graph, plan)
    return rebuild(graph, kept, lambda name: _weights(graph, plan, name, kept))


def rebuild(graph: Graph, copies: np.ndarray, weights: Callable[[str], list]) -> Model:
    """The model with other numbers of units.

    Args:
        graph: the channel graph of the model; the model itself is not changed.
        copies: (units,) int or bool, how many of each unit there shall be.
        weights: layer name → its new weights, in the order of `layer.weights`.

    Returns: a new Keras model.
    """
    sizes = {}
    for size in graph.sizes.values():
        sizes.setdefault(size.layer, []).append((size.path, size.count(copies)))

    def resized(layer):
        name = names.get(id(layer))
        try:
            config = {**unbuilt(layer.get_config()), **graph.fixed.get(name, {})}
            for path, count in sizes.get(name, ()):
                _set(config, path, count)
            return from_config(layer, config)
        except Exception as error:  # other people's layers; what they raise is theirs
            raise InputError(
                f"Layer {(name or layer.name)!r} of class {type(layer).__name__} cannot be made "
                "again from its config, so no smaller model can be built: "
                f"{' '.join(str(error).split())[:200]}"
            ) from error

    names = {id(layer): name for name, layer in graph.layers.items()}
    model, layers = clone(graph.model, resized)
    for old, new in layers:
        name = names.get(id(old))
        if old.weights:
            set_weights(new, old, old.get_weights() if name is None else weights(name))
    return model


def _kept(graph, plan):
    """Which units the plan keeps, (units,) bool, once it is found to fit the model."""
    kept = np.ones(len(graph.pinned), dtype=bool)
    for removal in plan.removed:
        unit = graph.unit(removal.layer, removal.unit)
        if graph.pinned[unit]:
            raise InputError(
                f"The plan removes unit {removal.unit} of layer {removal.layer!r}, which has "
                "to stay."
            )
        kept[unit] = False
    _check_transfers(graph, plan, kept)
    _check_weights(graph, plan)
    for layer, units in graph.writers.items():
        if len(units) and not kept[units].any():
            raise InputError(f"The plan leaves nothing of layer {layer!r}; one unit has to stay.")
    return kept


def _check_transfers(graph, plan, kept):
    for name, moves in plan.transfers.items():
        if name not in graph.readers:
            raise InputError(
                f"The plan names a reader {name!r} that model {graph.model.name!r} does not have."
            )
        units = graph.readers[name].units
        for source, target, _ in moves:
            if not (BIAS <= source < len(units) and BIAS <= target < len(units)):
                raise InputError(
                    f"The plan moves {source} to {target}, but {name!r} has {len(units)} positions."
                )
            if target != BIAS and not kept[units[target]]:
                raise InputError(
                    f"The plan moves something to position {target} of {name!r}, which it removes."
                )


def _check_weights(graph, plan):
    for layer, arrays in plan.weights.items():
        shapes = [tuple(w.shape) for w in getattr(graph.layers.get(layer), "weights", ())]
        for index, array in arrays.items():
            if not (0 <= index < len(shapes) and shapes[index] == np.shape(array)):
                raise InputError(
                    f"The plan has weight {index} of layer {layer!r} with the shape "
                    f"{np.shape(array)}, which model {graph.model.name!r} does not have."
                )


def _weights(graph, plan, name, kept):
    """A layer's new weights, in the dtype that they are stored in."""
    old = [graph.weight(name, index) for index in range(len(graph.layers[name].weights))]
    given = plan.weights.get(name, {})
    new = [np.reshape(given.get(index, array), array.shape) for index, array in enumerate(old)]
    for reader in graph.readers.values():
        if reader.layer == name and reader.name in plan.transfers:
            _transfer(new, reader, plan.transfers[reader.name])
    return [array.astype(like.dtype) for array, like in zip(sliced(graph, name, new, kept), old)]


def sliced(graph: Graph, name: str, weights: Sequence, kept: np.ndarray) -> list:
    """A layer's weights for the units that are kept alone.

    Args:
        graph: the channel graph of the model; name: of the layer.
        weights: as `Graph.weight` shows them, or as they are stored; kept: (units,) bool.
    """
    new = [np.reshape(w, graph.weight(name, i).shape) for i, w in enumerate(weights)]
    for slot in (s for s in graph.slots.values() if s.layer == name):
        keep = kept[slot.units]
        if not keep.all():
            new[slot.index] = np.compress(keep, new[slot.index], axis=slot.axis)
    return new


def _transfer(weights, reader, moves):
    """Apply T to a reader's kernel, and what goes into the bias."""
    kernel = np.moveaxis(
        np.asarray(weights[reader.slot.index], dtype=np.float64), reader.slot.axis, 0
    )
    new = kernel.copy()
    listed = np.unique([source for source, *_ in moves if source != BIAS]).astype(int)
    new[listed] = 0.0
    bias = None
    if any(BIAS in move[:2] for move in moves):
        if reader.bias is None:
            raise InputError(
                f"The plan moves a constant into {reader.name!r}, which has no bias for it."
            )
        index, inside, beta = reader.bias
        bias = np.asarray(weights[index], dtype=np.float64).copy()
        row = bias[inside] if inside else bias
        taps = tuple(axis - (axis > reader.slot.axis) for axis in reader.taps)
        before, replaced = row.copy(), any(source == BIAS for source, *_ in moves)
        if replaced:
            row[...] = 0.0
    for source, target, factor in moves:
        value = beta * before if source == BIAS else kernel[source]
        if source != BIAS and target == BIAS and taps:
            value = value.sum(axis=taps)
        if target != BIAS:
            new[target] += factor * value
        else:
            row[...] += factor * value.reshape(row.shape) / beta
    weights[reader.slot.index] = np.moveaxis(new, 0, reader.slot.axis)
    if bias is not None:
        weights[index] = bias


def _set(config, path, value):
    """Replace an entry of a nested config, tuples included."""
    *heads, last = path
    if not heads:
        if isinstance(config.get(last), (list, tuple)) and not isinstance(value, (list, tuple)):
            value = type(config[last])([*config[last][:-1], value])
        config[last] = value
        return
    inner = config[heads[0]]
    if isinstance(inner, int):
        config[heads[0]] = value
    elif isinstance(inner, dict):
        _set(inner, path[1:], value)
    else:
        inner = list(inner)
        inner[last] = value
        config[heads[0]] = tuple(inner)
