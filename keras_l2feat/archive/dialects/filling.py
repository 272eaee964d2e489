"""Stored arrays put into a model, by the names of its layers and the order of their weights."""

import keras
import numpy as np

from keras_l2feat.archive.dialects.layout import Relayout
from keras_l2feat.archive.refusal import refused
from keras_l2feat.types import Model

__all__ = ["fill"]

# What arrays are called since Keras 2; others say nothing.
_ROLES = {"kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance", "embeddings"}
_ROLES |= {"recurrent_kernel", "depthwise_kernel", "pointwise_kernel"}
_SAME = {"depthwise_kernel": "kernel"}  # a depthwise layer has no other


def fill(model: Model, groups: dict, changes: dict) -> None:
    """Set the weights of a model.

    Args:
        model: a `keras.Model`.
        groups: (name, array) of each stored array, by layer.
        changes: `layout.Relayout` by path of names.

    Raises:
        InputError: the arrays and the model do not fit each other.
    """
    groups = {name.replace("/", "_"): arrays for name, arrays in groups.items()}
    outside = groups.pop("top_level_model_weights", [])
    groups = {name: arrays for name, arrays in groups.items() if arrays}
    matched = _by_name(model.layers, groups, ()) or _by_order(model.layers, groups)
    if matched is None or outside:
        raise refused(
            "the stored weights are of other layers than the model's: "
            f"{', '.join(list(groups)[:5])}…"
        )
    for layer, path, arrays in matched:
        _fill_layer(layer, path, arrays, changes)


def _by_name(layers, groups, path):
    """(layer, path, arrays) of each layer that has weights; layers of an inner model may be stored
    by themselves, as Keras 1 did. None unless all are found, and nothing is left."""
    found = _named(layers, groups, path)
    if found is None or (not path and len(found) < len(groups)):
        return None
    return found


def _named(layers, groups, path):
    found = []
    for layer in (layer for layer in layers if layer.weights):
        if layer.name in groups:
            found.append((layer, (*path, layer.name), groups[layer.name]))
        elif isinstance(layer, keras.Model):
            inner = _named(layer.layers, groups, (*path, layer.name))
            if inner is None:
                return None
            found += inner
        else:
            return None
    return found


def _by_order(layers, groups):
    """The same where names differ, as those of an architecture that was built anew."""
    layers = [layer for layer in layers if layer.weights]
    if len(layers) != len(groups):
        return None
    return [(layer, (layer.name,), groups[name]) for layer, name in zip(layers, groups)]


def _fill_layer(layer, path, arrays, changes):
    leaves = list(_leaves(layer, path))
    parts = [_counts(leaf, changes.get(way)) for leaf, way in leaves]
    if sum(map(sum, parts)) != len(arrays):
        raise refused(
            f"{len(arrays)} arrays are stored for layer {layer.name!r}, which takes "
            f"{sum(map(sum, parts))}"
        )
    # What is trained comes first, then the rest, each in the order of the layers; some versions
    # went layer by layer.
    apart, waiting = [[] for _ in leaves], list(arrays)
    for side in (0, 1):
        for mine, counts in zip(apart, parts):
            mine += waiting[: counts[side]]
            del waiting[: counts[side]]
    together, waiting = [], list(arrays)
    for counts in parts:
        together.append(waiting[: sum(counts)])
        del waiting[: sum(counts)]
    for order in (apart, together):
        pairs = [_pairs(leaf, mine, changes.get(way)) for (leaf, way), mine in zip(leaves, order)]
        if all(pairs):
            break
    else:
        raise refused(f"the arrays stored for layer {layer.name!r} do not fit its weights")
    for pair in pairs:
        for variable, value in pair:
            variable.assign(value)
    for leaf, way in leaves:
        _check_output(leaf, changes.get(way))
        if hasattr(leaf, "finalize_state"):
            leaf.finalize_state()


def _leaves(layer, path):
    if not isinstance(layer, keras.Model):
        yield layer, path
        return
    for inner in layer.layers:
        if inner.weights:
            yield from _leaves(inner, (*path, inner.name))


def _counts(leaf, change: Relayout | None):
    """How many arrays are stored among those that are trained, and among the rest."""
    own = len(leaf.trainable_weights), len(leaf.non_trainable_weights)
    if change is None or change.stored is None:
        return own
    return (change.stored, 0) if own[0] else (0, change.stored)


def _pairs(leaf, stored, change):
    """(variable, value) of each weight, or None where one does not fit."""
    variables = leaf.trainable_weights + leaf.non_trainable_weights
    names, arrays = [name for name, _ in stored], [array for _, array in stored]
    if change is not None:
        arrays = change.convert(arrays)
    if len(arrays) != len(variables):
        return None
    if change is None and not all(map(_fits, names, variables)):
        return None
    if any(np.shape(a) != tuple(v.shape) for a, v in zip(arrays, variables)):
        return None
    return list(zip(variables, arrays))


def _fits(name, variable) -> bool:
    role = name.rpartition("/")[2].partition(":")[0]
    if role not in _ROLES or variable.name not in _ROLES:
        return True
    return _SAME.get(role, role) == _SAME.get(variable.name, variable.name)


def _check_output(leaf, change):
    said = None if change is None else change.output_shape
    if said is not None and tuple(said[1:]) != tuple(leaf.output.shape[1:]):
        raise refused(f"layer {leaf.name!r} puts out {leaf.output.shape}, the file says {said}")
