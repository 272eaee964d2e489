"""Normalizations by what the channels themselves are: all of them count in what each is divided
by, so all stay; but of two that are equal, or a combination, those behind know it."""

import numpy as np

from keras_l2feat.activations import Scaling
from keras_l2feat.pruning.channels.operations import Affine, Normalize
from keras_l2feat.pruning.channels.rules import elementwise, rule

COUPLES = "it couples channels: each counts in what all are divided by"


@rule("LayerNormalization")
def _layer_norm(call):
    layer = call.layer
    centered = not getattr(layer, "rms_scaling", False)
    return _normalized(call, centered, layer.gamma, layer.beta)


@rule("RMSNormalization")
def _rms_norm(call):
    return _normalized(call, False, call.layer.scale, None)


@rule("UnitNormalization")
def _unit_norm(call):
    return _normalized(call, False, None, None)


@rule("GroupNormalization")
def _group_norm(call):
    layer, x = call.layer, call.turned(call.layer.axis)
    count = len(x.units)
    if layer.groups < count:
        return _normalized(call, True, layer.gamma, layer.beta, groups=layer.groups)
    # Each channel by itself: what is the same at every place becomes 0.
    call.size(("groups",), x.units)
    out = elementwise(call, x, Scaling.IDENTITY, ("instance", layer.epsilon), np.zeros_like)
    return _scaled(call, out, layer.gamma, layer.beta)


@rule("SpectralNormalization")
def _spectral_norm(call):
    return call.barrier(COUPLES)


def _normalized(call, centered, gamma, beta, groups=1):
    x = call.input
    axes = call.layer.axis if isinstance(call.layer.axis, (list, tuple)) else [call.layer.axis]
    if len(axes) != 1 or axes[0] % len(x.shape) != x.axis:
        return call.barrier(COUPLES)
    call.graph.barriers.setdefault(call.name, COUPLES)
    call.graph.pin(x.units)
    count = len(x.units)
    group = np.repeat(np.arange(groups), count // groups)
    return _scaled(call, call.emit(Normalize, [x], call.same(x), group, centered), gamma, beta)


def _scaled(call, x, gamma, beta):
    """What is normalized, times γ plus β."""
    indices = [call.index(weight) for weight in (gamma, beta)]
    for index in indices:
        if index is not None:
            call.graph.slot(call.name, index, 0, x.units, "param")
    if indices == [None, None]:
        return x

    def coefficients():
        scale, shift = (
            np.full(len(x.units), default) if index is None else call.array(index)
            for index, default in zip(indices, (1.0, 0.0))
        )
        return scale, shift, np.abs(shift)

    return call.emit(Affine, [x], call.same(x), coefficients)
