import keras
import numpy as np
import pytest

from keras_l2feat.layers import HomogeneousDense
from keras_l2feat.models import mlp
from keras_l2feat.network import DenseNetwork


@pytest.mark.parametrize("beta", [0, 0.3, 1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_widths_beta_and_dtype(beta, dtype):
    model = mlp(7, (5, 4), 3, beta=beta, dtype=dtype, activation="relu")
    network = DenseNetwork.from_model(model)
    assert network.widths == (7, 5, 4, 3)
    assert (network.beta, network.activation) == (beta, "relu")
    x = np.random.default_rng(0).standard_normal((6, 7))
    np.testing.assert_allclose(
        model(x).numpy(), network(x), atol=1e-6 if dtype == "float32" else 1e-14
    )
    ours = [isinstance(layer, HomogeneousDense) for layer in model.layers]
    assert all(ours) if beta == 0.3 else not any(ours)


def test_loads_without_this_package_when_beta_is_one(tmp_path):
    path = tmp_path / "m.keras"
    mlp(7, (5,), 3, lam=1e-3).save(path)
    assert keras.saving.load_model(path, custom_objects={}).count_params() == 8 * 5 + 6 * 3


def test_seed_decides_the_weights():
    one, same, other = mlp(7, (5,), 3, seed=1), mlp(7, (5,), 3, seed=1), mlp(7, (5,), 3, seed=2)
    np.testing.assert_array_equal(one.get_weights()[0], same.get_weights()[0])
    assert not np.array_equal(one.get_weights()[0], other.get_weights()[0])
    assert not np.array_equal(one.get_weights()[0][:5, :3], one.get_weights()[2])


def test_no_hidden_layer():
    assert DenseNetwork.from_model(mlp(7, (), 3)).widths == (7, 3)


def test_abs_survives_saving(tmp_path):
    from keras_l2feat.files import load_model, save_model

    model = mlp(4, (3,), 2, activation="abs", seed=1)
    save_model(model, tmp_path / "abs.keras")
    x = np.random.default_rng(0).standard_normal((5, 4))
    np.testing.assert_array_equal(
        np.asarray(load_model(tmp_path / "abs.keras")(x)), np.asarray(model(x))
    )
