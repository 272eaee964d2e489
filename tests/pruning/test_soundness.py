"""What once got through, judged by a float64 rebuild of both models by hand, at the inputs where it
shows; and what was refused although it is right."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_l2feat.errors import InputError
from keras_l2feat.pruning import prune
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.guarantees.exact import exact_plan
from keras_l2feat.pruning.inspect import inspect
from keras_l2feat.pruning.table import table

ACTIVATIONS = {
    "relu": lambda z: np.maximum(z, 0.0),
    "linear": lambda z: z,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
}


def by_hand(model, x):
    """What a chain of dense, normalizing and rescaling layers answers, in float64."""
    x = np.asarray(x, dtype=np.float64)
    for layer in model.layers:
        w = [np.asarray(v).astype(np.float64) for v in layer.get_weights()]
        if isinstance(layer, layers.Dense):
            x = ACTIVATIONS[layer.activation.__name__](x @ w[0] + (w[1] if layer.use_bias else 0))
        elif isinstance(layer, layers.BatchNormalization):
            gamma, beta, mean, variance = w
            x = gamma * (x - mean) / np.sqrt(variance + layer.epsilon) + beta
        elif isinstance(layer, layers.Rescaling):
            x = x * layer.scale + layer.offset
        else:
            raise TypeError(layer)
    return x


def deviation(model, pruned, x):
    """Largest difference over the largest output."""
    before, after = by_hand(model, x), by_hand(pruned, x)
    return np.abs(after - before).max() / np.abs(before).max()


def chain(inputs, *stack, weights=()):
    model = keras.Sequential([keras.Input((inputs,)), *stack])
    for number, values in weights:
        model.layers[number].set_weights([np.asarray(v, dtype="float32") for v in values])
    return model


def kinks(generator, units, low, high):
    """Relu units on one feature, weights of either sign, with their kinks between two values."""
    w = generator.uniform(1, 3, units) * generator.choice([-1, 1], units)
    return w, -w * generator.uniform(low, high, units)


# ---- inputs that are not of size 1


@pytest.mark.parametrize(
    ("low", "high", "scale"),
    [(1.70e9, 1.75e9, 1e-9), (5.0e11, 5.1e11, 1e-12), (4.3e14, 7.5e14, 1e-3), (1e-9, 2e-9, 1e9)],
    ids=["seconds", "money", "light", "nanometres"],
)
def test_kinks_on_one_large_feature_are_not_one_unit(low, high, scale):
    generator = np.random.default_rng(0)
    w, b = kinks(generator, 64, low, high)
    model = chain(
        1,
        layers.Dense(64, "relu"),
        layers.Dense(1),
        weights=[(0, (scale * w[None], scale * b)), (1, (generator.normal(size=(64, 1)), [0.0]))],
    )
    pruned = prune(model, certificate=False)[0]
    assert deviation(model, pruned, np.linspace(low, high, 500)[:, None]) < 1e-5


@pytest.mark.parametrize("kind", ["batch normalization", "rescaling"])
@pytest.mark.parametrize(("center", "spread"), [(1.7e9, 1e4), (5e11, 1e6), (5.4e14, 1e9)])
def test_kinks_behind_a_normalizing_layer(kind, center, spread):
    generator = np.random.default_rng(1)
    w, b = kinks(generator, 32, -2.0, 2.0)
    center = float(np.float32(center))
    if kind == "rescaling":
        first, known = layers.Rescaling(1 / spread, offset=-center / spread), []
    else:
        first, known = layers.BatchNormalization(), [(0, ([1], [0], [center], [spread**2]))]
    model = chain(
        1,
        first,
        layers.Dense(32, "relu"),
        layers.Dense(1),
        weights=[*known, (1, (w[None], b)), (2, (generator.normal(size=(32, 1)), [0.0]))],
    )
    pruned = prune(model, certificate=False)[0]
    x = center + spread * np.linspace(-3, 3, 500)[:, None]
    assert deviation(model, pruned, x) < 1e-5


def test_linear_units_on_features_of_different_size_are_not_dependent():
    """The third unit is the sum of the first two but for a weight of 1e-9 on a feature of 1e9."""
    kernel = np.array([[1.0, 0.3, 1.3], [0.2, -1.0, -0.8], [1e-9, 2e-9, 4.5e-9]])
    model = chain(
        3,
        layers.Dense(3),
        layers.Dense(2),
        weights=[(0, (kernel, [0.1, 0.2, 0.3])), (1, (np.eye(3, 2) + 0.5, [0.0, 0.0]))],
    )
    pruned = prune(model, certificate=False)[0]
    x = np.random.default_rng(2).normal(size=(100, 3)) * [1, 1, 1e9]
    assert deviation(model, pruned, x) < 1e-5


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("exponent", [5, 15])
def test_units_of_very_different_size_still_merge(seed, exponent):
    """Each of 12 units is there 3 times, in sizes from 1e-5 to 1e5 and more."""
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(6, 12))
    size = 10.0 ** generator.uniform(-exponent, exponent, 36)
    kernel, bias = np.tile(rows[:5], 3) * size, np.tile(rows[5], 3) * size
    outgoing = generator.normal(size=(36, 2)) / size[:, None]
    model = chain(
        5,
        layers.Dense(36, "relu"),
        layers.Dense(2),
        weights=[(0, (kernel, bias)), (1, (outgoing, [0.1, 0.2]))],
    )
    pruned = prune(model, certificate=False)[0]
    assert pruned.layers[0].units == 12
    assert deviation(model, pruned, generator.normal(size=(100, 5))) < 1e-5


@pytest.mark.parametrize(
    ("noise", "largest", "merged"),
    [(1.0, 0.0, True), (1e-3, 1e-9, False), (1e-3, 1.0, False), (1e-12, 1e9, True)],
    ids=["an input that is 0", "a tiny input", "an input like the others", "a huge one"],
)
def test_on_a_box_too_each_weight_counts_by_itself(noise, largest, merged):
    """Two units are equal but for their weights of one input. Within the rounding of these weights
    they are one, and where the input is a constant; where it is only small, the weights cannot show
    it."""
    generator = np.random.default_rng(7)
    kernel, bias = generator.normal(size=(5, 6)), generator.normal(size=6)
    kernel[:4, 5], bias[5] = 2 * kernel[:4, 1], 2 * bias[1]
    kernel[4] /= max(largest, 1.0)
    kernel[4, 5] = 2 * kernel[4, 1] * (1 + noise) if noise > 1e-9 else 2 * kernel[4, 1]
    model = chain(
        5,
        layers.Dense(6, "relu"),
        layers.Dense(2),
        weights=[(0, (kernel, bias)), (1, (generator.normal(size=(6, 2)), [0.1, 0.2]))],
    )
    low, high = -np.ones(5), np.ones(5)
    low[4], high[4] = -largest, largest
    pruned, certificate = prune(model, "domain", input_range=(low, high))
    assert certificate.verified
    assert (pruned.layers[0].units == 5) == merged
    x = generator.uniform(low, high, (500, 5))
    assert deviation(model, pruned, x) < 1e-5
    if noise > 1e-9:
        assert prune(model, certificate=False)[0] is model


# ---- ill-conditioned merges


def almost_equal(noise, outgoing, generator):
    """Eight relu units, the last equal to the first up to relative noise, read with `outgoing` and
    its negative."""
    kernel, bias = generator.normal(size=(4, 8)), generator.normal(size=8)
    kernel[:, 7] = kernel[:, 0] * (1 + noise * generator.choice([-1, 1], 4))
    bias[7] = bias[0]
    second = generator.normal(size=(8, 3))
    second[7] = second[0] - outgoing
    second[0] += outgoing
    return chain(
        4,
        layers.Dense(8, "relu"),
        layers.Dense(3),
        weights=[(0, (kernel, bias)), (1, (second, np.zeros(3)))],
    )


def test_a_merge_that_moves_the_outputs_is_refused_and_named():
    generator = np.random.default_rng(3)
    model = almost_equal(3e-7, 1e7, generator)
    x = generator.normal(size=(500, 4))
    plan = exact_plan(read(model))
    assert plan.removed == []
    assert {unit for _, unit in plan.ill_conditioned} == {0, 7}
    pruned, certificate = prune(model)
    assert deviation(model, pruned, x) < 1e-5
    assert {unit for _, unit in certificate.ill_conditioned} == {0, 7}
    layer = certificate.ill_conditioned[0][0]
    assert f"(ill-conditioned): {layer} 0, {layer} 7." in certificate.summary()
    assert "(ill-conditioned)" in " ".join(table(certificate).split())
    assert certificate.to_json()["ill_conditioned"] == [[layer, 0], [layer, 7]]


@pytest.mark.parametrize(("noise", "outgoing"), [(0.0, 1e7), (1e-7, 1.0), (1e-7, 0.0)])
def test_a_merge_that_does_not_move_the_outputs_is_carried_out(noise, outgoing):
    generator = np.random.default_rng(4)
    model = almost_equal(noise, outgoing, generator)
    pruned = prune(model, certificate=False)[0]
    assert pruned.layers[0].units == 7
    assert deviation(model, pruned, generator.normal(size=(500, 4))) < 1e-5


def test_units_that_differ_only_after_cancelling_are_not_one():
    """Two units of the second layer read ±1e7 of one value; what is left differs by a factor 2."""
    generator = np.random.default_rng(5)
    model = almost_equal(0.0, 0.0, generator)
    second = generator.normal(size=(8, 3))
    second[:, 1] = second[:, 0]
    second[0, :2], second[7, :2] = 1e7, [-9999999.0, -9999998.0]
    model = chain(
        4,
        layers.Dense(8, "relu"),
        layers.Dense(3, "relu"),
        layers.Dense(1),
        weights=[
            (0, model.layers[0].get_weights()),
            (1, (second, np.zeros(3))),
            (2, ([[1.0], [-1.0], [0.1]], [0.0])),
        ],
    )
    pruned = prune(model, certificate=False)[0]
    assert deviation(model, pruned, generator.normal(size=(500, 4))) < 1e-5


# ---- layers that are called twice, layouts


def test_a_shared_layer_fed_by_constants():
    """l(l(a(x))) with a constant a: what a unit is differs from call to call."""
    for seed in range(10):
        generator = np.random.default_rng(seed)
        inputs = keras.Input((3,))
        first, shared = layers.Dense(4, "relu"), layers.Dense(4, "relu")
        last = layers.Dense(2)
        model = keras.Model(inputs, last(shared(shared(first(inputs)))))
        first.set_weights([np.zeros((3, 4)), generator.uniform(0.5, 2, 4)])
        for layer in (shared, last):
            layer.set_weights([generator.normal(size=w.shape) for w in layer.get_weights()])
        pruned = prune(model, certificate=False)[0]
        x = generator.normal(size=(5, 3)).astype("float32")
        before, after = (m.predict(x, verbose=0) for m in (model, pruned))
        np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5)


def test_poolings_of_two_layouts_are_not_equal():
    generator = np.random.default_rng(6)
    inputs = keras.Input((8, 8, 4))
    x = layers.Conv2D(4, 1, activation="relu")(inputs)
    pooled = [
        layers.Flatten()(layers.MaxPooling2D(2)(layers.Reshape(shape)(x)))
        for shape in ((8, 8, 4), (4, 16, 4))
    ]
    model = keras.Model(inputs, layers.Dense(2)(layers.Subtract()(pooled)))
    for weight in model.weights:
        weight.assign(generator.normal(size=weight.shape))
    pruned = prune(model, certificate=False)[0]
    x = generator.normal(size=(20, 8, 8, 4)).astype("float32")
    before, after = (m.predict(x, verbose=0) for m in (model, pruned))
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-3)


# ---- wrongly refused


@pytest.mark.parametrize("seed", range(3))
def test_many_linear_units_on_few_inputs(seed):
    generator = np.random.default_rng(seed)
    model = chain(
        32,
        layers.Dense(20000),
        layers.Dense(3),
        weights=[
            (0, (generator.normal(size=(32, 20000)), generator.normal(size=20000))),
            (1, (generator.normal(size=(20000, 3)), np.zeros(3))),
        ],
    )
    pruned = prune(model, certificate=False)[0]
    assert pruned.layers[0].units == 32
    assert deviation(model, pruned, generator.normal(size=(50, 32))) < 1e-5


# ---- weights that are no numbers


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_named(value):
    model = chain(3, layers.Dense(4, "relu", name="broken"), layers.Dense(2))
    weights = model.layers[0].get_weights()
    weights[0][1, 2] = value
    model.layers[0].set_weights(weights)
    for look in (prune, inspect):
        with pytest.raises(InputError, match="'broken'"):
            look(model)
