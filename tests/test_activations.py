"""The stated class of every Keras activation is what the function does."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_l2feat.activations import ACTIVATIONS, Scaling, append_bias, scaling, slopes
from keras_l2feat.errors import InputError
from keras_l2feat.layers import absolute

NAMED = [name for name in dir(keras.activations) if not name.startswith("_")]
FUNCTIONS = sorted(set(NAMED) - {"deserialize", "get", "serialize", "threshold"})


def commutes(function, factor, x):
    x = np.asarray(x, "float64")
    left = ops.convert_to_numpy(function(ops.convert_to_tensor(factor * x)))
    right = factor * ops.convert_to_numpy(function(ops.convert_to_tensor(x)))
    return np.allclose(left, right, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_class_is_the_behaviour(name):
    function = getattr(keras.activations, name)
    x = np.linspace(-9, 9, 60).reshape(10, 6)
    positive, mirrored = commutes(function, 1.7, x), commutes(function, -1.0, x)
    kind = scaling(function)
    if kind is Scaling.COUPLED:
        changed = x.copy()
        changed[:, 0] += 1
        before, after = (
            ops.convert_to_numpy(function(ops.convert_to_tensor(p))) for p in (x, changed)
        )
        assert before.shape != x.shape or not np.array_equal(before[:, 1:], after[:, 1:])
    else:
        assert (positive and mirrored) == (kind is Scaling.LINEAR)
        assert positive == (kind in {Scaling.LINEAR, Scaling.POSITIVE})
        assert mirrored == (kind in {Scaling.LINEAR, Scaling.ODD})


@pytest.mark.parametrize(
    "activation, expected",
    [
        (None, Scaling.LINEAR),
        ("relu", Scaling.POSITIVE),
        ("tanh", Scaling.ODD),
        ("softmax", Scaling.COUPLED),
        ("no-such-name", Scaling.IDENTITY),
        (keras.ops.abs, Scaling.POSITIVE),
        (absolute, Scaling.POSITIVE),
        (keras.layers.ReLU(), Scaling.POSITIVE),
        (keras.layers.ReLU(negative_slope=0.3), Scaling.POSITIVE),
        (keras.layers.ReLU(max_value=6.0), Scaling.IDENTITY),
        (keras.layers.ReLU(threshold=1.0), Scaling.IDENTITY),
        (keras.layers.LeakyReLU(negative_slope=0.01), Scaling.POSITIVE),
        (keras.layers.PReLU(), Scaling.POSITIVE),
        (keras.layers.ELU(), Scaling.IDENTITY),
        (keras.layers.Softmax(), Scaling.COUPLED),
        (keras.layers.Activation("tanh"), Scaling.ODD),
        (lambda z: z * 2, Scaling.IDENTITY),
        (lambda z: keras.ops.cumsum(z, axis=-1), Scaling.COUPLED),
        (lambda z: z - keras.ops.mean(z, axis=0), Scaling.COUPLED),
        (lambda z: keras.ops.sum(z), Scaling.COUPLED),
    ],
)
def test_parameters_and_foreign_functions(activation, expected):
    assert scaling(activation) is expected


def test_a_function_that_only_borrows_a_known_name_is_not_trusted():
    def relu(z):
        return z + 1

    assert scaling(relu) is Scaling.IDENTITY


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_table_agrees_with_keras_and_with_itself(name):
    """Values as Keras' own, on arrays and on tensors; slopes as differences; lines as slopes."""
    z = np.random.default_rng(0).standard_normal(50)
    sigma = ACTIVATIONS[name]
    own = {"abs": keras.ops.abs}.get(name) or keras.activations.get(name)
    tensors = keras.ops.convert_to_tensor(z, "float64")
    np.testing.assert_allclose(sigma.values(z), np.asarray(own(tensors)), rtol=1e-6)
    np.testing.assert_allclose(np.asarray(sigma.tensor(tensors)), sigma.values(z), rtol=1e-15)
    difference = (sigma.values(z + 1e-6) - sigma.values(z - 1e-6)) / 2e-6
    np.testing.assert_allclose(sigma.slope(z), difference, rtol=1e-6, atol=1e-9)
    if scaling(name).homogeneous:
        below, above = slopes(name)
        np.testing.assert_allclose(sigma.values(z), np.where(z < 0, below, above) * z)
    else:
        with pytest.raises(InputError, match="positively homogeneous"):
            slopes(name)


def test_the_bias_column():
    a = np.ones((2, 3), "float32")
    assert append_bias(a, 0.5).tolist() == [[1, 1, 1, 0.5]] * 2
    assert append_bias(a, 0.0).shape == (2, 3)
    assert append_bias(a, 0.5).dtype == np.float64
