"""Normalizations by the channels themselves: all channels stay, but what is known of them is."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_l2feat.checking import check
from keras_l2feat.pruning import prune
from keras_l2feat.pruning.channels.read import read

CHANNELS = 6


def normalized(norm):
    keras.config.set_dtype_policy("float64")
    try:
        x = keras.Input((5, 4))
        h = norm()(layers.Dense(CHANNELS, "relu", name="before")(x))
        model = keras.Model(x, layers.Dense(2)(layers.Dense(7, "relu", name="after")(h)))
    finally:
        keras.config.set_dtype_policy("float32")
    random = np.random.default_rng(0)
    model.set_weights([random.standard_normal(w.shape) for w in model.get_weights()])
    return model


def change(function, *variables):
    for variable in variables:
        array = variable.numpy().copy()
        function(array)
        variable.assign(array)


def equal_but_for(model, channel, difference):
    """Unit 4 behind the normalization reads one channel otherwise than unit 1 does."""
    after = model.get_layer("after")

    def equal(array):
        array[..., 4] = array[..., 1]

    change(equal, after.kernel, after.bias)
    kernel = after.kernel.numpy().copy()
    kernel[channel, 4] += difference
    after.kernel.assign(kernel)


def proved(model):
    pruned, certificate = prune(model)
    assert certificate.verified
    assert check(read(model), read(pruned), certificate.maps, exact=True).accepted
    x = np.random.default_rng(1).standard_normal((4, *model.input_shape[1:]))
    np.testing.assert_allclose(pruned(x), model(x), rtol=1e-9, atol=1e-9)
    return [pruned.get_layer(name).units for name in ("before", "after")]


def test_a_channel_without_scale_is_a_constant():
    model = normalized(layers.LayerNormalization)
    norm, after = model.layers[2], model.get_layer("after")
    change(lambda gamma: np.put(gamma, 2, 0.0), norm.gamma)
    equal_but_for(model, 2, 0.5)
    assert prune(model)[0] is model
    change(lambda bias: np.put(bias, 4, bias[4] - 0.5 * norm.beta.numpy()[2]), after.bias)
    assert proved(model) == [CHANNELS, 6]


@pytest.mark.parametrize("norm", [layers.RMSNormalization, layers.UnitNormalization])
def test_a_dead_channel_stays_dead_where_no_mean_is_subtracted(norm):
    model = normalized(norm)
    before = model.get_layer("before")
    change(lambda array: array[..., 3].fill(0.0), before.kernel, before.bias)
    equal_but_for(model, 3, 0.5)
    assert proved(model) == [CHANNELS, 6]


def test_a_dead_channel_counts_in_a_mean():
    model = normalized(layers.LayerNormalization)
    before = model.get_layer("before")
    change(lambda array: array[..., 3].fill(0.0), before.kernel, before.bias)
    equal_but_for(model, 3, 0.5)
    assert prune(model)[0] is model


def test_channels_by_themselves_go():
    """Group normalization with a group for each channel."""

    def instance():
        return layers.GroupNormalization(-1)

    model = normalized(instance)
    before = model.get_layer("before")

    def equal(array):
        array[..., 3] = array[..., 0]

    change(equal, before.kernel, before.bias, *model.layers[2].weights)
    assert proved(model) == [CHANNELS - 1, 7]


@pytest.mark.parametrize("groups", [1, 2])
def test_channels_of_a_group_stay(groups):
    model = normalized(lambda: layers.GroupNormalization(groups))
    before = model.get_layer("before")

    def equal(array):
        array[..., 2] = array[..., 0]

    change(equal, before.kernel, before.bias, *model.layers[2].weights)
    pruned, certificate = prune(model)
    assert pruned is model
    assert certificate.verified
