"""Units are as near as what they compute on data."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_l2feat import prune
from keras_l2feat.callbacks import AlignNeurons
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.training.computed import on_data
from keras_l2feat.training.rays import within_budget
from keras_l2feat.training.units import sites


def convolutional():
    x = keras.Input((6, 6, 4))
    h = layers.Conv2D(8, 3, activation="relu", name="planted")(x)
    return keras.Model(x, layers.Dense(3)(layers.Flatten()(layers.Conv2D(5, 2)(h))))


def dense():
    x = keras.Input((4,))
    return keras.Model(x, layers.Dense(3)(layers.Dense(8, "relu", name="planted")(x)))


def planted(make):
    """Units 4 to 7 are multiples of 0 to 3 where the last input is 0, as it is in the data."""
    keras.utils.set_random_seed(0)
    model = make()
    layer = model.get_layer("planted")
    kernel, bias = layer.get_weights()
    kernel[..., 4:] = 2 * kernel[..., :4]
    kernel[..., -1, 4:] = 5.0
    layer.set_weights([kernel, bias])
    x = np.random.default_rng(0).normal(size=(50, *model.input_shape[1:])).astype("float32")
    x[..., -1] = 0.0
    return model, x


@pytest.mark.parametrize("make", [dense, convolutional])
def test_what_is_one_feature_on_the_data_joins_first(make):
    model, x = planted(make)
    graph = read(model)
    found = sites(graph)
    near = on_data(graph, found, [x])
    values = keras.Model(model.inputs, model.get_layer("planted").output).predict(x, verbose=0)
    products = near[0].incoming @ near[0].incoming.T
    if make is dense:
        np.testing.assert_allclose(products, values.T @ values, rtol=1e-5, atol=1e-4)
    flat = near[0].directions @ near[0].directions.T
    assert all(flat[k, k + 4] == pytest.approx(1, abs=1e-5) for k in range(4))
    share = 7 / 11 if make is dense else 12 / 16
    labels = within_budget(graph, near, "units", share)[0]
    assert np.array_equal(labels[:4], labels[4:])
    weights = within_budget(graph, found, "units", share)[0]
    assert not np.array_equal(weights[:4], weights[4:])


@pytest.mark.slow
def test_training_with_data_ends_exactly_redundant():
    model, x = planted(convolutional)
    model.compile("adam", "mse")
    y = model.predict(x, verbose=0)
    align = AlignNeurons(units=0.75, data=x)
    model.fit(x, y, epochs=4, verbose=0, callbacks=[align])
    small, certificate = prune(model)
    assert certificate.verified
    assert small.get_layer("planted").filters == 4
