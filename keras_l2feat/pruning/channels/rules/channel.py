"""Layers that treat each channel by itself, and those that only rearrange."""

import numpy as np

from keras_l2feat.activations import Scaling, scaling
from keras_l2feat.pruning.channels.operations import Affine, Map, Pass, Spread
from keras_l2feat.pruning.channels.rules import (
    activated,
    affine,
    elementwise,
    of_constants,
    rule,
    softmax,
)

# entries of the largest tensor whose reshaping is followed position by position
PLACES_LIMIT = 1 << 24


@rule("BatchNormalization")
def _batch_norm(call):
    layer, graph = call.layer, call.graph
    x = call.turned(layer.axis)
    named = {
        key: call.index(getattr(layer, key, None))
        for key in ("gamma", "beta", "moving_mean", "moving_variance")
    }
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
    return affine(call, call.input, call.layer.scale, call.layer.offset)


@rule("Activation", "ReLU", "LeakyReLU", "ELU", "Softmax")
def _activation(call):
    layer, x = call.layer, call.input
    kind = scaling(layer)
    if kind is Scaling.LINEAR:
        return _identity(call)
    if type(layer).__name__ == "Activation":
        return activated(call, x, layer.activation, kind)
    if type(layer).__name__ == "Softmax":
        return softmax(call, x)
    return elementwise(call, x, kind, _settings(layer), of_constants(_on_anything(layer)))


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
        slopes = np.tile(call.array(index).reshape(1, -1), (len(x.units), 1))
    labels = np.unique(slopes, axis=0, return_inverse=True)[1].reshape(-1)
    tag, steepest = ("prelu", call.name), max(1.0, np.abs(slopes).max())
    return call.emit(Map, [x], call.same(x), Scaling.POSITIVE, tag, labels, slope=steepest)


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
    own = {k: v for k, v in layer.get_config().items() if k not in {"name", "dtype", "trainable"}}
    return type(layer).__name__, *sorted((k, repr(v)) for k, v in own.items())


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
    x, tag = call.turned(), _settings(call.layer)
    return call.emit(Map, [x], _moved(call, x), Scaling.POSITIVE, tag, function=lambda v: v)


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
        call.size(("target_shape", out.axis - 1), out.units)
    return out


def _reshaped(call, order):
    """Transpose by `order`, then reshape to the output's shape, channels followed position by
    position."""
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
    occurrence[ordered] = np.arange(len(channel)) - np.repeat(
        starts, np.diff(np.r_[starts, len(channel)])
    )
    out = type(x)(call.shape, target + 1, x.units[channel])
    return call.emit(
        Spread, [x], out, ("reshape", tuple(order), tuple(inner), call.shape), channel, occurrence
    )
