"""Hundreds of random graphs of all kinds of layers: what is planted is found, and the function
stays."""

import keras
import numpy as np
import pytest
from gauge import widened
from keras import layers

from keras_l2feat.pruning import prune
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.evaluate import outputs, random_inputs

GRAPHS = 300
QUICK = 10


def normalized(x, generator):
    """Perhaps a batch normalization, perhaps without scale or center."""
    if generator.random() < 0.5:
        return x
    return layers.BatchNormalization(
        center=generator.random() < 0.8, scale=generator.random() < 0.8
    )(x)


def activated(x, generator):
    choices = [
        lambda: layers.ReLU(),
        lambda: layers.LeakyReLU(negative_slope=0.1),
        lambda: layers.Activation("tanh"),
        lambda: layers.ReLU(max_value=6.0),
        lambda: layers.Activation("gelu"),
        lambda: layers.PReLU(shared_axes=list(range(1, len(x.shape) - 1)) or None),
        lambda: layers.Activation("sigmoid"),
    ]
    return choices[generator.integers(len(choices))]()(x)


def convolved(x, filters, generator, padding="same"):
    kind = generator.integers(4)
    size, bias = int(generator.integers(1, 4)), bool(generator.random() < 0.6)
    if kind == 0:
        x = layers.SeparableConv2D(filters, size, padding=padding, use_bias=bias)(x)
    elif kind == 1:
        x = layers.DepthwiseConv2D(size, padding="same", use_bias=bias)(x)
        x = activated(normalized(x, generator), generator)
        x = layers.Conv2D(filters, 1, use_bias=bias)(x)
    else:
        x = layers.Conv2D(filters, size, padding=padding, use_bias=bias)(x)
    return activated(normalized(x, generator), generator)


def block(x, generator):
    """One of the ways in which image networks go on."""
    filters = int(x.shape[-1])
    kind = generator.integers(7)
    if kind == 0:
        return layers.Add()([x, convolved(x, filters, generator)])
    if kind == 1:
        y = convolved(x, int(generator.integers(2, 5)), generator)
        return layers.Concatenate()([x, y])
    if kind == 2:
        y = layers.GlobalAveragePooling2D(keepdims=True)(x)
        y = layers.Dense(filters, activation="sigmoid")(y)
        return layers.Multiply()([x, y])
    if kind == 3:
        return layers.ZeroPadding2D(1)(
            convolved(x, int(generator.integers(2, 6)), generator, padding="valid")
        )
    if kind == 4:
        return layers.Maximum()([x, convolved(x, filters, generator)])
    if kind == 5:
        shared = layers.Conv2D(filters, 3, padding="same")  # one layer, called twice
        return shared(layers.ReLU()(shared(x)))
    return convolved(x, int(generator.integers(2, 7)), generator)


def image_model(generator):
    inputs = keras.Input((8, 8, 3))
    x = convolved(inputs, int(generator.integers(3, 7)), generator)
    for _ in range(generator.integers(1, 4)):
        x = block(x, generator)
    pool = [layers.MaxPooling2D, layers.AveragePooling2D][generator.integers(2)]
    x = pool(4)(x)
    first = layers.Flatten()(x) if generator.random() < 0.5 else layers.GlobalMaxPooling2D()(x)
    first = activated(layers.Dense(int(generator.integers(3, 9)))(first), generator)
    ends = [layers.Dense(3, activation="softmax" if generator.random() < 0.5 else None)(first)]
    if generator.random() < 0.5:
        ends.append(layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    return keras.Model(inputs, ends)


def sequence_model(generator):
    tokens = keras.Input((6,), dtype="int32")
    x = layers.Embedding(11, int(generator.integers(3, 7)))(tokens)
    kind = generator.integers(4)
    if kind == 0:
        x = layers.Conv1D(5, 3, padding="same", activation="relu")(x)
        x = layers.LSTM(4)(x)
    elif kind == 1:
        x = layers.EinsumDense("abc,cd->abd", (None, 6), bias_axes="d", activation="relu")(x)
        x = layers.MultiHeadAttention(2, 3)(x, x)
        x = layers.GlobalAveragePooling1D()(x)
    elif kind == 2:
        x = layers.Dense(5, activation="relu")(x)
        x = layers.Bidirectional(layers.GRU(3))(x)
    else:
        x = layers.Dense(6, activation="tanh")(x)
        x = layers.LayerNormalization()(x)
        x = layers.Dense(7, activation="relu")(x)
        x = layers.Permute((2, 1))(x)
        x = layers.Flatten()(x)
    return keras.Model(tokens, layers.Dense(3)(x))


def vector_model(generator):
    left, right = keras.Input((4,)), keras.Input((5,))
    tower = keras.Sequential(
        [keras.Input((4,)), layers.Dense(5, activation="relu"), layers.Dense(4, "tanh")]
    )
    a, b = (
        tower(left),
        tower(layers.Dense(4, activation="relu")(right)),
    )  # a nested model, called twice
    x = (
        layers.Subtract()([a, b])
        if generator.random() < 0.5
        else layers.Concatenate()([a, b, right])
    )
    x = layers.Dropout(0.3)(layers.Dense(int(generator.integers(3, 8)), activation="relu")(x))
    x = layers.Dense(6)(x)  # linear
    x = layers.Average()([x, layers.Dense(6, activation="relu")(x)])
    return keras.Model([left, right], [layers.Dense(3)(x), layers.Dense(1)(layers.ReLU()(x))])


def fill(model, generator):
    """Generic weights: batch normalizations with gammas of either sign, some of them zero."""
    for weight in model.weights:
        path = weight.path.rsplit("/")[-1]
        if path == "moving_variance":
            value = generator.uniform(0.5, 2.0, weight.shape)
        elif path == "gamma":
            value = generator.uniform(0.5, 1.5, weight.shape) * generator.choice(
                [-1, 1], weight.shape
            )
            value *= generator.random(weight.shape) > 0.08
        else:
            value = generator.standard_normal(weight.shape) / np.sqrt(
                max(1, np.prod(weight.shape[:-1]))
            )
        weight.assign(value)


def build(seed):
    """A model from which everything redundant was taken, so that its widths are known to be the
    least."""
    keras.utils.clear_session(free_memory=False)
    generator = np.random.default_rng(seed)
    model = [image_model, image_model, sequence_model, vector_model][seed % 4](generator)
    fill(model, generator)
    return model, prune(model, certificate=False)[0]


def check(seed):
    model, small = build(seed)
    generator = np.random.default_rng(seed)
    least = {layer: len(units) for layer, units in read(small).writers.items()}
    wide = widened(small, lambda _: generator.integers(1, 4), seed=generator)
    pruned, certificate = prune(wide)
    assert {layer["name"]: layer["units_after"] for layer in certificate.layers} == least, seed
    assert certificate.verified, seed
    assert certificate.verdict.worst is None or certificate.verdict.worst.units <= 16, seed
    assert certificate.max_rel_deviation <= 1e-5, seed
    inputs = random_inputs(
        read(model), 8, seed
    )  # and against the model that the whole journey began with
    before, after = outputs(model, inputs), outputs(pruned, inputs)
    assert np.abs(before - after).max() <= 1e-4 * np.abs(before).max(), seed


def test_planted_redundancy_is_found_in_random_graphs():
    for seed in range(QUICK):
        check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(5))
def test_planted_redundancy_is_found_in_many_random_graphs(part):
    count = (GRAPHS - QUICK) // 5
    for seed in range(QUICK + part * count, QUICK + (part + 1) * count):
        check(seed)


@pytest.mark.parametrize("seed", [171, 224])
def test_constants_that_are_roundings_do_not_hide_what_is_redundant(seed):
    """Of linear units whose difference is added up (171), and in front of a border (224)."""
    check(seed)
