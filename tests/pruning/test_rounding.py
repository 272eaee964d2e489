"""How far rounding drives two models apart: never exceeded in any order of summation,
and not vague."""

import keras
import ml_dtypes  # noqa: F401 (NumPy learns bfloat16)
import numpy as np
import pytest
from keras import layers

import keras_l2feat
from keras_l2feat.errors import InputError
from keras_l2feat.models import mlp
from keras_l2feat.pruning.evaluate import outputs, precise
from keras_l2feat.pruning.rounding import tolerance


def filled(model, seed=0):
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        value = generator.standard_normal(weight.shape) / np.sqrt(
            max(1, np.prod(weight.shape[:-1]))
        )
        weight.assign(np.abs(value) + 0.5 if "variance" in weight.path else value)
    return model


def convolutional(dtype):
    with_dtype = {"dtype": dtype}
    x = inputs = keras.Input((12, 12, 2))
    x = layers.Rescaling(1 / 3, 0.1, **with_dtype)(x)
    x = layers.Conv2D(6, 3, padding="same", use_bias=False, **with_dtype)(x)
    x = layers.ReLU(**with_dtype)(layers.BatchNormalization(**with_dtype)(x))
    y = layers.SeparableConv2D(6, 3, padding="same", activation="gelu", **with_dtype)(x)
    x = layers.Multiply(**with_dtype)([layers.Add(**with_dtype)([x, y]), y])
    x = layers.MaxPooling2D(2, **with_dtype)(x)
    x = layers.Concatenate(**with_dtype)(
        [x, layers.DepthwiseConv2D(3, padding="same", **with_dtype)(x)]
    )
    x = layers.AveragePooling2D(2, **with_dtype)(layers.LeakyReLU(**with_dtype)(x))
    x = layers.Dense(5, activation="tanh", **with_dtype)(layers.Flatten(**with_dtype)(x))
    return keras.Model(inputs, layers.Dense(4, activation="softmax", **with_dtype)(x))


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_model_in_another_precision_stays_within(precision):
    exact, other = filled(convolutional("float64")), filled(convolutional(precision))
    exact.set_weights(
        [np.asarray(w, "float64") for w in filled(convolutional("float32")).get_weights()]
    )
    x = np.random.default_rng(1).standard_normal((5, 12, 12, 2)).astype("float32")
    bound = tolerance(exact, other, x)
    found = np.abs(outputs(other, [x]) - outputs(exact, [x]))
    assert bound.shape == found.shape
    assert (found <= bound).all()
    if precision == "float32":
        assert bound.max() < 1e-2


def added(terms, generator, blocked):
    """The sum of rows in one of their orders: one after the other, or any two at a time."""
    rows = [terms[k] for k in generator.permutation(len(terms))]
    while len(rows) > 1:
        place = generator.integers(len(rows)) if blocked else 0
        rows.insert(place, rows.pop(place) + rows.pop(place % len(rows)))
    return rows[0]


@pytest.mark.parametrize("blocked", [False, True], ids=["one by one", "in blocks"])
@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
@pytest.mark.parametrize("seed", range(2))
def test_every_order_of_summation_stays_within(seed, precision, blocked):
    """Dense layers by hand, each sum in an order of its own, products first rounded."""
    generator, half = np.random.default_rng(seed), np.dtype(precision)
    model = filled(mlp(30, (20, 10), 3, dtype="float64"), seed)
    x = generator.standard_normal((4, 30)).astype("float32")
    value = x.astype(half)
    kernels = [layer.get_weights() for layer in model.layers if layer.weights]
    for depth, (kernel, bias) in enumerate(kernels):
        kernel, bias = kernel.astype(half), bias.astype(half)[None]
        terms = [np.concatenate([point[:, None] * kernel, bias]) for point in value]
        value = np.array([added(one, generator, blocked) for one in terms])
        if depth < len(kernels) - 1:
            value = np.maximum(value, half.type(0))
    found = np.abs(value.astype("float64") - outputs(model, [x]))
    bound = tolerance(model, model, x, (precision, "float64"))
    assert (found <= bound).all()
    if precision == "float16":  # the worst order and signs in three layers
        assert bound.max() < 1000 * found.max()


@pytest.mark.parametrize("precision, digits", [("float16", 11), ("bfloat16", 8), ("float32", 24)])
def test_the_worst_order_stays_within(precision, digits):
    """1 and many terms of a little less than half a unit in its last place: each vanishes where 1
    is added first, and the bound is within a factor of 4."""
    count, kind = 200, np.dtype(precision)
    small = float(kind.type(0.99 * 2.0**-digits))
    model = mlp(count + 1, (), 1, dtype="float64")
    model.set_weights([np.array([1.0, *[small] * count])[:, None], np.zeros(1)])
    total = kind.type(1)
    for _ in range(count):
        total = total + kind.type(small)
    x = np.ones((1, count + 1))
    lost = abs(float(total) - float(outputs(model, [x])[0, 0]))
    assert lost == pytest.approx(count * small)
    assert lost <= tolerance(model, model, x, (precision, "float64"))[0, 0] < 4 * lost


def test_a_wrong_model_is_outside():
    model = filled(mlp(8, (16,), 3))
    wrong = keras.models.clone_model(model)
    weights = model.get_weights()
    weights[0][3, 5] += 1e-3
    wrong.set_weights(weights)
    x = np.random.default_rng(0).standard_normal((50, 8)).astype("float32")
    bound = keras_l2feat.tolerance(model, wrong, x)
    assert (np.abs(outputs(model, [x]) - outputs(precise(model), [x])) <= bound).all()
    assert (np.abs(outputs(model, [x]) - outputs(wrong, [x])) > bound).any()


def test_what_is_not_known_is_said():
    inputs = keras.Input((4, 3))
    model = keras.Model(inputs, layers.LSTM(2, name="memory")(inputs))
    x = np.ones((2, 4, 3), "float32")
    with pytest.raises(InputError, match="layer 'memory' of class LSTM is not known"):
        tolerance(model, model, x)
    with pytest.raises(InputError, match="float8"):
        tolerance(model, model, x, ("float8", "float32"))
