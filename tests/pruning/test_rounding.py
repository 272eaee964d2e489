"""How far rounding drives two models apart: never exceeded in any order of summation,
and not vague."""

import keras
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


@pytest.mark.parametrize("seed", range(5))
def test_every_order_of_summation_stays_within_and_the_bound_is_not_vague(seed):
    """Dense layers by hand in float16, each sum in an order of its own, products first rounded."""
    generator = np.random.default_rng(seed)
    model = filled(mlp(30, (20, 10), 3, dtype="float64"), seed)
    x = generator.standard_normal((4, 30)).astype("float32")
    value, half = x.astype("float16"), np.float16
    kernels = [layer.get_weights() for layer in model.layers if layer.weights]
    for depth, (kernel, bias) in enumerate(kernels):
        rows = []
        for point in value:
            terms = np.concatenate([point[:, None] * kernel.astype(half), bias.astype(half)[None]])
            total = np.zeros(len(bias), half)
            for row in generator.permutation(len(terms)):
                total = total + terms[row]
            rows.append(total)
        value = np.array(rows)
        if depth < len(kernels) - 1:
            value = np.maximum(value, 0)
    found = np.abs(value - outputs(model, [x]))
    bound = tolerance(model, model, x, ("float16", "float64"))
    assert (found <= bound).all()
    assert bound.max() < 1000 * found.max()  # the worst order and signs, in three layers


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
