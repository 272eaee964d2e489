"""Inputs that never vary: a bias does what they did, on the data exactly."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_l2feat
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.shrinking.inputs import Inputs

SHAPE = (5, 5, 3)


def data(zero, other):
    """Points of which some entries are always 0, and some always 3."""
    x = np.random.default_rng(0).normal(size=(64, *SHAPE)).astype("float32")
    x[:, zero], x[:, other] = 0.0, 3.0
    return x


PIXELS = np.zeros((2, *SHAPE), bool)
PIXELS[0, 0, :, 1] = PIXELS[1, 4, 2:4] = True  # 5 entries, and 6
CHANNELS = np.zeros((2, *SHAPE), bool)
CHANNELS[0, ..., 0] = CHANNELS[1, ..., 2] = True


def built(*parts):
    return keras.Sequential([keras.Input(SHAPE), *parts, layers.Dense(2)])


@pytest.mark.parametrize(
    "parts, constant, left",
    [
        ((layers.Rescaling(0.5, 1.0), layers.Flatten(), layers.Dense(7, "relu")), PIXELS, 64),
        ((layers.Flatten(), layers.Dense(7, use_bias=False), layers.ReLU()), PIXELS, 70),
        ((layers.AveragePooling2D(2), layers.Flatten(), layers.Dense(7, "tanh")), PIXELS, 12),
        ((layers.Conv2D(4, 3), layers.ReLU(), layers.Flatten()), CHANNELS, 1),
        ((layers.Conv2D(4, 3, padding="same"), layers.ReLU(), layers.Flatten()), CHANNELS, 2),
        (
            (
                layers.Flatten(),
                layers.Dense(7, use_bias=False),
                layers.BatchNormalization(),
                layers.ReLU(),
            ),
            PIXELS,
            64,
        ),
    ],
    ids=["scaled", "no bias", "pooled", "convolution", "padded", "normalized"],
)
def test_what_never_varies_is_handed_over(parts, constant, left):
    keras.utils.set_random_seed(0)
    model = built(*parts)
    x = data(*constant)
    for weight in model.weights:  # biases too
        weight.assign(weight + 0.1 * keras.random.uniform(weight.shape))
    graph, before = read(model), model.predict(x, verbose=0)
    whole = Inputs.read(graph)
    inputs = Inputs(graph, [[x[:40]], [x[40:]]])
    inputs.hand_over(graph)
    assert Inputs.read(graph) == left <= whole
    np.testing.assert_allclose(model.predict(x, verbose=0), before, atol=2e-5)
    once = model.get_weights()
    inputs.hand_over(graph)
    assert all(np.array_equal(a, b) for a, b in zip(once, model.get_weights()))


def test_an_entry_that_varies_at_one_point_is_read():
    keras.utils.set_random_seed(0)
    model, x = built(layers.Flatten(), layers.Dense(7, "relu")), data(*PIXELS)
    x[-1, 0, 0, 1] = 1e-3
    inputs = Inputs(read(model), [[x[:40]], [x[40:]]])
    inputs.hand_over(read(model))
    assert Inputs.read(read(model)) == 75 - 10
    x[0, 1, 1, 1] = np.nan
    assert not Inputs(read(model), [[x]]).constant


def test_who_else_reads_the_inputs_is_not_counted():
    given = keras.Input((6,))
    hidden = layers.Dense(5, "relu")(given)
    model = keras.Model(given, layers.Dense(2)(layers.Concatenate()([hidden, given])))
    assert Inputs.read(read(model)) is None
    tokens = keras.Sequential([keras.Input((6,)), layers.Embedding(9, 4), layers.LSTM(3)])
    assert Inputs.read(read(tokens)) is None


@pytest.mark.slow
def test_shrinking_leaves_the_pixels_that_vary():
    keras.utils.set_random_seed(0)
    points = keras_l2feat.data.load("mnist-1k:digits=789")
    x = points.x_train + 1.0  # what never varies is 1, and its weights are trained
    varying = x.min(axis=0) < x.max(axis=0)
    model = keras.Sequential([keras.Input((784,)), layers.Dense(12, "relu"), layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss)
    model.fit(x, points.y_train, verbose=0)
    small, done = keras_l2feat.shrink(
        model, (x, points.y_train), units=0.6, epochs=2, rounds=2, validation=0
    )
    assert [record["inputs"] for record in done.curve] == [784, varying.sum(), varying.sum()]
    kernel = small.layers[0].get_weights()[0]
    assert np.array_equal(kernel.any(axis=1), varying)
