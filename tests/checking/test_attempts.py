"""Attempts to have another function accepted: each pair differs in one thing that a checker of
shapes and kernels alone would not see."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_l2feat.checking import Maps, check
from keras_l2feat.pruning import prune
from keras_l2feat.pruning.channels.read import read


def dense(middle, units=5):
    """Two models with dense layers around what `middle(change, x)` does."""

    def build(change):
        x = inputs = keras.Input((4,))
        x = middle(change, layers.Dense(units, name="first")(x))
        return keras.Model(inputs, layers.Dense(2, name="last")(x))

    return build


def image(middle):
    def build(change):
        x = inputs = keras.Input((5, 5, 3))
        x = middle(change, x)
        return keras.Model(inputs, layers.Dense(2, name="last")(layers.Flatten()(x)))

    return build


def frames(wrap):
    def build(change):
        x = inputs = keras.Input((2, 4, 4, 2))
        x = wrap(layers.ConvLSTM2D(2, 3))(x)
        return keras.Model(inputs, layers.Dense(2, name="last")(x))

    return build


def typed(change):
    x = inputs = keras.Input((4,), dtype="int32" if change else "float32")
    return keras.Model(inputs, layers.Dense(2, name="last")(x))


def named(change):
    names = ["second", "first"] if change else ["first", "second"]
    inputs = [keras.Input((4,), name=name) for name in names]
    parts = [layers.Dense(3, name=n)(x) for n, x in zip(("left", "right"), inputs)]
    return keras.Model(inputs, layers.Dense(2, name="last")(layers.Concatenate()(parts)))


class Own(keras.Model):
    """A model that is no graph of calls."""

    def __init__(self, name):
        super().__init__(name=name)
        self.part = layers.Dense(4)

    def call(self, x):
        return self.part(x) if float(len(x.shape)) else x


def nested(change):
    return dense(lambda _, x: Own("own")(x), 4)(change)


def times(factor):
    return lambda x: x * factor


GAINS = np.linspace(1, 2, 1200, dtype="float32")
OTHER = np.where(np.arange(1200) == 600, np.float32(40), GAINS)
BUILDS = {
    "bounds of a clip": dense(lambda c, x: ops.clip(x, 0, 1 + c)),
    "slope of an operation": dense(lambda c, x: ops.leaky_relu(x, negative_slope=0.1 + 0.3 * c)),
    "axis of an operation": dense(lambda c, x: ops.flip(x, axis=1 - c)),
    "an entry of a long constant": dense(lambda c, x: ops.multiply(x, OTHER if c else GAINS), 1200),
    "what a function holds": dense(
        lambda c, x: layers.Lambda(times(1.0 + c), output_shape=(5,), name="middle")(x)
    ),
    "settings of a layer without a rule": image(
        lambda c, x: layers.Resizing(3, 3, interpolation=["bilinear", "nearest"][c], name="r")(x)
    ),
    "the dtype of the input": typed,
    "the names of the inputs": named,
}


def pair(build):
    """Two models of the same weights, changed the one and not the other."""
    random, models = np.random.default_rng(0), []
    for change in (0, 1):
        keras.backend.clear_session()
        models.append(build(change))
        models[-1].name = "model"
    for weight, copy in zip(*(model.weights for model in models), strict=True):
        value = random.standard_normal(weight.shape) / np.sqrt(max(1, np.prod(weight.shape[:-1])))
        for each in (weight, copy):
            each.assign(np.abs(value) + 0.5 if "variance" in weight.path else value)
    return models


def apart(first, second):
    """Whether two models answer differently, inputs given by their names."""
    random = np.random.default_rng(1)
    names = sorted((t.name, (8, *t.shape[1:])) for t in first.inputs)
    x = {name: 2 * random.standard_normal(shape).astype("float32") for name, shape in names}
    x = x if len(x) > 1 else next(iter(x.values()))
    before, after = (keras.ops.convert_to_numpy(model(x)) for model in (first, second))
    return bool(np.abs(before - after).max() > 1e-2 * np.abs(before).max())


@pytest.mark.parametrize("name", BUILDS)
def test_what_is_no_weight_is_compared_too(name):
    build = BUILDS[name]
    first, second = pair(build)
    assert apart(first, second)
    assert not check(read(first), read(second), Maps()).accepted
    first, second = pair(lambda _: build(0))
    assert check(read(first), read(second), Maps()).accepted


def test_inputs_without_names_are_the_same_in_a_copy():
    """Keras names the tensors of a copy after its layers."""
    inputs = [keras.Input((4,)), keras.Input((3,))]
    hidden = layers.Dense(6, "relu")(layers.Concatenate()(inputs))
    model = keras.Model(inputs, layers.Dense(2)(hidden))
    kernel, bias = model.layers[-2].get_weights()
    kernel[:, 1] = 2 * kernel[:, 0]
    model.layers[-2].set_weights([kernel, bias])
    pruned, certificate = prune(model)
    assert certificate.verified
    assert pruned.layers[-2].units == 5


def doubled(layer):
    layer.set_weights([2 * weight for weight in layer.get_weights()])


def turned(layer):
    """Forward and backward weights, each other's."""
    weights = layer.get_weights()
    layer.set_weights([*weights[len(weights) // 2 :], *weights[: len(weights) // 2]])


@pytest.mark.parametrize(
    ("build", "change"),
    [
        (frames(lambda layer: layer), doubled),
        (frames(layers.Bidirectional), turned),
        (nested, doubled),
    ],
    ids=["doubled", "turned around", "in a model of its own"],
)
def test_weights_of_what_is_not_understood_are_compared(build, change):
    first, second = pair(lambda _: build(0))
    assert check(read(first), read(second), Maps()).accepted
    change(second.layers[1 if build is not nested else 2])
    assert apart(first, second)
    assert not check(read(first), read(second), Maps()).accepted


def scaled(x):
    x = layers.Activation("tanh")(x)
    return layers.BatchNormalization(center=False, name="middle")(x)


def divided(x):
    return layers.LayerNormalization(center=False)(x)


@pytest.mark.parametrize(("between", "value"), [(scaled, 1.0), (divided, 0.0)])
def test_a_constant_is_not_rescaled_by_what_does_not_commute(between, value):
    """A unit that is constant is said to be scaled by 4; its reader divides by that."""
    first, second = pair(dense(lambda _, x: between(x)))
    for model, factor in ((first, 1.0), (second, 4.0)):
        kernel, bias = model.get_layer("first").get_weights()
        kernel[:, 0], bias[0] = 0.0, value * factor
        model.get_layer("first").set_weights([kernel, bias])
        if between is scaled:
            model.get_layer("middle").moving_mean.assign(np.zeros(5))
        kernel, bias = model.get_layer("last").get_weights()
        kernel[0] *= 10 / factor
        model.get_layer("last").set_weights([kernel, bias])
    assert apart(first, second)
    maps = Maps(scale={("first", 0): 4.0})
    assert not check(read(first), read(second), maps).accepted


# ---- what cancels hides nothing


def without_last(kernel, bias, outgoing, factors, norm=None):
    """A model, and the same without its last unit, which is told to be a combination of the first
    two."""
    models = []
    for units in (len(bias), len(bias) - 1):
        x = inputs = keras.Input((4,))
        x = layers.Dense(units, name="first")(x)
        x = x if norm is None else layers.BatchNormalization(name="middle")(x)
        models.append(keras.Model(inputs, layers.Dense(2, name="last")(x), name="model"))
        parts = [kernel, bias, *(norm or ())]
        merged = outgoing[:units].astype(float)
        if units < len(bias):
            merged[:2] += np.outer(factors, outgoing[-1])
        parts = [part[..., :units] for part in parts]
        models[-1].set_weights([*parts, merged, np.array([0.1, -0.2])])
    last = len(bias) - 1
    told = {("first", nth): factor for nth, factor in enumerate(factors)}
    return *map(read, models), Maps({"first": [last]}, {("first", last): [told]})


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("size", [1e20, 1e8, 1e3, 1.0])
def test_a_combination_that_cancels_is_not_anything(size, exact):
    """Two equal units, read with factors of either sign, stand for nothing at all."""
    random = np.random.default_rng(0)
    kernel, bias, outgoing = (random.standard_normal(n) for n in ((4, 4), 4, (4, 2)))
    if size > 1:
        kernel[:, 1], bias[1] = kernel[:, 0], bias[0]
    else:
        kernel[:, 3], bias[3] = kernel[:, 0] - kernel[:, 1], bias[0] - bias[1]
    graph, pruned, maps = without_last(kernel, bias, outgoing, (size, -size))
    assert apart(graph.model, pruned.model) is (size > 1)
    assert check(graph, pruned, maps, exact=exact).accepted is (size == 1)


@pytest.mark.parametrize("gamma", [1e-12, 1e-6, 1e-3])
@pytest.mark.parametrize("beta", [0.7, 0.0])
def test_a_constant_beside_large_ones_that_cancel_is_not_nothing(gamma, beta):
    """A sum of units behind a normalization that shrinks them: its own shift is left out."""
    random = np.random.default_rng(0)
    kernel, bias, outgoing = (random.integers(-8, 9, n) / 8 for n in ((4, 3), 3, (3, 2)))
    kernel[:, 2], bias[2] = kernel[:, 0] + kernel[:, 1], bias[0] + bias[1]
    gammas = np.float32([gamma, gamma, 1.0])
    norm = gammas, np.array([1.0, -1.0, beta]), np.zeros(3), np.full(3, 1 - 1e-3)
    factors = tuple(1 / gammas[:2].astype(float))
    graph, pruned, maps = without_last(kernel, bias, outgoing, factors, norm)
    assert check(graph, pruned, maps).accepted is (beta == 0)


@pytest.mark.parametrize("size", [1e9, 1e7])
def test_products_that_cancel_are_not_any_pattern(size):
    def build(_):
        x = inputs = keras.Input((5, 4))
        x = layers.MultiHeadAttention(1, 2, name="heads")(x, x)
        return keras.Model(inputs, layers.Dense(2, name="last")(x))

    first, second = pair(build)
    heads, sign = second.get_layer("heads"), size * np.array([1.0, -1.0])
    queries = np.broadcast_to(sign, (4, 1, 2)), sign[None]
    keys = np.ones((4, 1, 2)), np.ones((1, 2))
    heads.set_weights([*queries, *keys, *heads.get_weights()[4:]])
    assert apart(first, second)
    assert not check(read(first), read(second), Maps()).accepted


@pytest.mark.parametrize("size", [1e36, 1e30])
def test_a_scale_does_not_make_weights_too_small_to_count(size):
    """One weight acts on large inputs; the unit is scaled until float32 loses that weight."""
    first, second = pair(dense(lambda _, x: layers.ReLU()(x)))
    kernel, bias = first.get_layer("first").get_weights()
    kernel[0] *= 1e-9
    first.get_layer("first").set_weights([kernel, bias])
    kernel, bias = kernel.astype(float), bias.astype(float)
    kernel[:, 0], bias[0] = kernel[:, 0] / size, bias[0] / size
    kernel[0, 0] = 0.0
    second.get_layer("first").set_weights([kernel, bias])
    outgoing, end = second.get_layer("last").get_weights()
    outgoing[0] *= np.float32(size)
    second.get_layer("last").set_weights([outgoing, end])
    maps = Maps(scale={("first", 0): 1 / size})
    assert not check(read(first), read(second), maps).accepted


@pytest.mark.parametrize("wrong", [1 + 1e-2, 1 + 1e-5])
def test_a_coarse_layer_makes_no_other_one_coarse(wrong):
    def build(_):
        x = inputs = keras.Input((4,))
        x = layers.Dense(5, "relu", name="coarse", dtype="bfloat16")(x)
        return keras.Model(inputs, layers.Dense(2, name="last", dtype="float32")(x))

    first, second = pair(build)
    assert check(read(first), read(second), Maps()).accepted
    kernel, bias = second.get_layer("last").get_weights()
    second.get_layer("last").set_weights([kernel * wrong, bias])
    assert not check(read(first), read(second), Maps()).accepted


def test_channels_of_several_groups_that_nothing_expresses_are_a_fault():
    """Not an error: what is a multiple of a lost channel of another group is no channel of this."""

    def build(units):
        x = inputs = keras.Input((2, 2, 4))
        x = layers.Conv2D(units, 1, name="first")(x)
        x = layers.Conv2D(4, 1, groups=2, name="grouped")(x)
        keras.backend.clear_session()
        return keras.Model(inputs, layers.Dense(2, name="last")(layers.Flatten()(x)), name="model")

    wide, thin = build(8), build(4)
    kernel, bias = wide.get_layer("first").get_weights()
    kernel[..., 6], bias[6] = 2 * kernel[..., 2], 2 * bias[2]
    wide.get_layer("first").set_weights([kernel, bias])
    assert not check(read(wide), read(thin), Maps({"first": [2, 3, 6, 7]})).accepted
