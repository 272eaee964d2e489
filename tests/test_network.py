"""The array form: what it computes is what Keras computes, and what does not fit is named."""

import keras
import numpy as np
import pytest

from keras_l2feat.activations import ACTIVATIONS
from keras_l2feat.errors import InputError
from keras_l2feat.network import DenseNetwork


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_model_round_trip(activation, beta):
    network = DenseNetwork.random((4, 6, 5, 3), activation=activation, beta=beta, seed=1)
    network = network.with_weights([w + 0.1 for w in network.weights])  # biases that are not 0
    model = network.to_model(dtype="float64")
    x = np.random.default_rng(0).standard_normal((9, 4))
    # TensorFlow rounds the slope of leaky_relu to float32, whatever the dtype of the layer.
    rtol = 1e-6 if activation == "leaky_relu" else 1e-12
    np.testing.assert_allclose(np.asarray(model(x)), network(x), rtol=rtol, atol=rtol / 10)
    back = DenseNetwork.from_model(model)
    assert (back.activation, back.beta, back.widths) == (activation, beta, (4, 6, 5, 3))
    for ours, theirs in zip(network.weights, back.weights):
        np.testing.assert_array_equal(ours, theirs)


def test_forward_shapes_and_bias_column():
    network = DenseNetwork.random((4, 6, 3), beta=0.5)
    z, a = network.forward(np.ones((7, 4)))
    assert [entry.shape for entry in z] == [(7, 6), (7, 3)]
    assert [entry.shape for entry in a] == [(7, 5), (7, 7)]
    assert all((entry[:, -1] == 0.5).all() for entry in a)


def test_functional_with_separate_activations_dropout_and_flatten():
    x = keras.Input((2, 3))
    h = keras.layers.Flatten()(x)
    h = keras.layers.Dense(5)(h)
    h = keras.layers.ReLU()(h)
    h = keras.layers.Dropout(0.5)(h)
    model = keras.Model(x, keras.layers.Dense(2)(h))
    points = np.random.default_rng(0).standard_normal((8, 2, 3))
    network = DenseNetwork.from_model(model)
    np.testing.assert_allclose(
        np.asarray(model(points)), network(points.reshape(8, 6)), rtol=1e-4, atol=1e-6
    )


def _branching():
    x = keras.Input((3,))
    a, b = keras.layers.Dense(3)(x), keras.layers.Dense(3)(x)
    return keras.Model(x, keras.layers.Add(name="sum")([a, b]))


@pytest.mark.parametrize(
    "build, words",
    [
        (
            lambda: keras.Sequential([keras.Input((8, 3)), keras.layers.Conv1D(2, 3, name="conv")]),
            "'conv'",
        ),
        (_branching, "not one chain"),
        (
            lambda: keras.Sequential(
                [keras.Input((3,)), keras.layers.Dense(2, "relu", name="last")]
            ),
            "'last'",
        ),
        (
            lambda: keras.Sequential(
                [keras.Input((3,)), keras.layers.Dense(2, "gelu", name="g"), keras.layers.Dense(2)]
            ),
            "'gelu'",
        ),
    ],
)
def test_what_has_no_array_form_is_refused_by_name(build, words):
    with pytest.raises(InputError, match=words):
        DenseNetwork.from_model(build())


def test_bad_weights_are_refused():
    with pytest.raises(InputError, match="W_2 needs 4 rows"):
        DenseNetwork((np.ones((3, 3)), np.ones((3, 2))))
    with pytest.raises(InputError, match="activation"):
        DenseNetwork((np.ones((3, 3)),), activation="gelu")
    with pytest.raises(InputError, match="beta"):
        DenseNetwork((np.ones((3, 3)),), beta=-1)
