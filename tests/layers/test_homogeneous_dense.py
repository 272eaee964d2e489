import keras
import numpy as np
import pytest

from keras_l2feat.errors import InputError
from keras_l2feat.files import load_model, save_model
from keras_l2feat.layers import HomogeneousDense

X = np.random.default_rng(0).standard_normal((4, 5)).astype("float32")


@pytest.mark.parametrize("beta", [0, 0.3, 1, 2.5])
def test_output_is_that_of_the_augmented_matrix(beta):
    layer = HomogeneousDense(3, beta=beta, activation="relu", bias_initializer="random_normal")
    out = keras.ops.convert_to_numpy(layer(X))
    z = X @ layer.kernel.numpy()
    if beta:
        z = z + beta * layer.bias.numpy()
    np.testing.assert_allclose(out, np.maximum(z, 0), atol=1e-6)
    assert len(layer.weights) == (2 if beta else 1)


def test_beta_one_is_dense():
    ours, keras_dense = HomogeneousDense(3), keras.layers.Dense(3)
    ours(X), keras_dense(X)
    keras_dense.set_weights([w + 0.1 for w in ours.get_weights()])
    ours.set_weights(keras_dense.get_weights())
    np.testing.assert_allclose(ours(X).numpy(), keras_dense(X).numpy(), atol=1e-6)


def test_config_and_files_round_trip(tmp_path):
    layer = HomogeneousDense(
        3,
        beta=0.3,
        activation="leaky_relu",
        kernel_regularizer=keras.regularizers.L2(0.1),
        bias_initializer="ones",
        dtype="float64",
        name="mine",
    )
    again = HomogeneousDense.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    inputs = keras.Input((5,))
    functional = keras.Model(
        inputs, HomogeneousDense(2, beta=0)(HomogeneousDense(3, beta=0.5)(inputs))
    )
    sequential = keras.Sequential([keras.Input((5,)), again])
    for index, model in enumerate((functional, sequential)):
        path = tmp_path / f"{index}.keras"
        save_model(model, path)
        loaded = load_model(path)
        np.testing.assert_array_equal(loaded(X).numpy(), model(X).numpy())
    assert loaded.layers[0].compute_dtype == "float64"


def test_dtype_policy_and_unknown_batch():
    layer = HomogeneousDense(3, beta=0.5, dtype="mixed_bfloat16")
    assert layer.compute_output_shape((None, 7, 5)) == (None, 7, 3)
    assert keras.backend.standardize_dtype(layer(X).dtype) == "bfloat16"
    assert layer.kernel.dtype == "float32"


@pytest.mark.parametrize("beta", [-1, float("nan"), "much", True])
def test_bad_beta_is_named(beta):
    with pytest.raises(InputError, match="'beta' must be a finite number"):
        HomogeneousDense(3, beta=beta)


def test_arguments_are_in_the_order_of_dense():
    layer = HomogeneousDense(3, "relu")
    assert (layer.activation, layer.beta) == (keras.activations.relu, 1.0)
    with pytest.raises(TypeError, match="positional"):
        HomogeneousDense(3, "relu", 0.5)
