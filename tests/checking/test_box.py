"""What the checker proves of a box: bounds hold at every place, and what cannot vary is a
constant, for the finder too."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_l2feat.checking import Maps, check
from keras_l2feat.checking.box import bounds
from keras_l2feat.pruning import prune
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.evaluate import outputs
from keras_l2feat.pruning.values.intervals import box_of_inputs
from keras_l2feat.pruning.values.relaxation import boxes

PLACES = {
    "flattened": [layers.Flatten()],
    "channels first": [layers.Flatten(data_format="channels_first")],
    "partly flattened": [layers.Reshape((4, 12))],
    "in groups": [layers.Conv2D(4, 1, groups=2)],
    "pooled": [layers.AveragePooling2D(2), layers.Flatten()],
    "turned": [layers.Permute((2, 1, 3)), layers.Flatten()],
    "scaled": [layers.Rescaling(-2.0, 1.0), layers.Flatten()],
}


def filled(model, seed=0):
    random = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(random.standard_normal(weight.shape) / np.sqrt(len(weight.shape) + 1))
    return model


@pytest.mark.parametrize("where", [np.s_[0, 0], np.s_[0], np.s_[:, 0], np.s_[..., 0]])
@pytest.mark.parametrize("name", PLACES)
def test_bounds_hold_where_inputs_vary_by_place(name, where):
    model = filled(keras.Sequential([keras.Input((3, 4, 4)), *PLACES[name], layers.Dense(3)]))
    random, graph = np.random.default_rng(1), read(model)
    low, high = np.full((3, 4, 4), -2.0), np.full((3, 4, 4), 2.0)
    low[where], high[where] = 0.5, 0.75
    y = np.asarray(model(random.uniform(low, high, (300, 3, 4, 4)).astype("float32")))
    y = y.reshape(-1, 3)
    for found in (bounds(graph, low, high, 1e-6), boxes(graph, box_of_inputs(graph, low, high))):
        box = found[graph.outputs[0].number]
        assert (y.min(axis=0) >= box.low - 1e-4).all()
        assert (y.max(axis=0) <= box.high + 1e-4).all()


def test_groups_and_channels_for_all_are_bounded_at_every_place():
    """A channel for all others, of which one place is known better."""
    inputs = [keras.Input((2, 2, n)) for n in (3, 1)]
    model = filled(keras.Model(inputs, layers.Dense(3)(layers.Multiply()(inputs))))
    low, high = np.full((2, 2, 1), -2.0), np.full((2, 2, 1), 2.0)
    low[0, 0], high[0, 0] = 0.5, 0.75
    random, graph = np.random.default_rng(1), read(model)
    x = [random.uniform(low, high, (300, 2, 2, n)).astype("float32") for n in (3, 1)]
    y = np.asarray(model(x)).reshape(-1, 3)
    for found in (bounds(graph, low, high, 1e-6), boxes(graph, box_of_inputs(graph, low, high))):
        box = found[graph.outputs[0].number]
        assert (y.min(axis=0) >= box.low - 1e-4).all()
        assert (y.max(axis=0) <= box.high + 1e-4).all()


# ---- inputs that cannot vary


def vector():
    inputs = [keras.Input((4,), name=name) for name in ("one", "two")]
    x = layers.Concatenate()(inputs)
    return keras.Model(inputs, layers.Dense(2, name="end")(layers.Dense(5, "relu", name="in")(x)))


def picture(*before):
    x = inputs = keras.Input((4, 4, 1))
    for layer in before:
        x = layer(x)
    x = layers.Dense(6, "tanh", name="in")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(2, name="end")(x))


def border(value, inner=(-1.0, 1.0)):
    low, high = np.full((4, 4, 1), value), np.full((4, 4, 1), value)
    low[1:3, 1:3], high[1:3, 1:3] = inner
    return low, high


BOXES = {
    "one of several entries, at 0.1": (vector, ([-1, -1, -1, 0.1], [1, 1, 1, 0.1])),
    "one of several entries, at 0": (vector, ([-1, -1, -1, 0], [1, 1, 1, 0])),
    "a border of zeros": (picture, border(0.0)),
    "a border of ones": (picture, border(1.0)),
    "a border of zeros, rescaled": (lambda: picture(layers.Rescaling(1 / 255)), border(0.0)),
    "a border of ones, moved": (lambda: picture(layers.Rescaling(1 / 3, -2.0)), border(1.0)),
}


def of_constants(name):
    """A model whose unit 1 is unit 0 but for weights of what cannot vary; a unit that reads nothing
    else; and its box."""
    build, (low, high) = BOXES[name]
    model = filled(build())
    low, high = np.asarray(low, float), np.asarray(high, float)
    still = np.tile((low == high).ravel(), len(model.inputs))
    kernel, bias = model.get_layer("in").get_weights()
    kernel[~still, 1], kernel[~still, 2] = kernel[~still, 0], 0.0
    value = np.tile(low.ravel(), len(model.inputs))
    if isinstance(model.layers[1], layers.Rescaling):
        value = value * model.layers[1].scale + model.layers[1].offset
    bias[1] = bias[0]
    nth = np.flatnonzero(still)  # other weights of the constants, the same sum
    if value[still].any():
        kernel[nth[0], 1] = kernel[nth[0], 0] + 0.5
        kernel[nth[1], 1] = kernel[nth[1], 0] - 0.5
        kernel[nth[2:], 1] = kernel[nth[2:], 0]
    model.get_layer("in").set_weights([kernel, bias])
    return model, (low, high)


@pytest.mark.parametrize("name", BOXES)
def test_inputs_that_cannot_vary_are_constants(name):
    model, box = of_constants(name)
    units = model.get_layer("in").units
    pruned, certificate = prune(model, "domain", input_range=box)
    assert certificate.verified
    told = f"each entry in a range of its own, {(box[0] == box[1]).sum()} of {box[0].size} at one"
    assert told in certificate.summary()
    assert pruned.get_layer("in").units == units - 2
    graph, after, maps = read(model), read(pruned), certificate.maps
    assert check(graph, after, maps, input_range=box, exact=True).accepted
    random = np.random.default_rng(0)
    x = [random.uniform(*box, (200, *box[0].shape)).astype("float32") for _ in model.inputs]
    before, now = outputs(model, x), outputs(pruned, x)
    np.testing.assert_allclose(now, before, rtol=1e-4, atol=1e-5)
    # what varies is none: by a little, or in the other direction
    for wrong in ((box[0] - 1e-3, box[1]), (box[0], box[1] + 1e-3), (-box[1] - 1, box[1] + 1)):
        assert not check(graph, after, maps, input_range=wrong).accepted
    assert not check(graph, after, maps).accepted


@pytest.mark.parametrize("exact", [False, True])
def test_the_value_of_a_constant_is_not_believed(exact):
    """The pruned model is right where the border is 1, and claimed where it is 2."""
    model, box = of_constants("a border of ones")
    pruned, certificate = prune(model, "domain", input_range=box)
    other = border(2.0)
    assert not check(
        read(model), read(pruned), certificate.maps, input_range=other, exact=exact
    ).accepted
    assert not check(read(model), read(pruned), Maps(), input_range=box, exact=exact).accepted
