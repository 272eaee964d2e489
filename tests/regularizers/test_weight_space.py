import keras
import numpy as np
import pytest

from keras_l2feat.errors import InputError
from keras_l2feat.models import mlp
from keras_l2feat.network import DenseNetwork
from keras_l2feat.regularizers import amount, regularize, weight_space


@pytest.mark.parametrize("beta", [0, 0.3, 1])
def test_losses_are_lambda_times_the_squared_norm_biases_included(beta):
    model = mlp(6, (5, 4), 3, beta=beta, lam=0.1)
    for weight in model.trainable_variables:
        weight.assign(np.random.default_rng(0).standard_normal(weight.shape))
    norm = DenseNetwork.from_model(model).squared_norm
    assert sum(float(loss) for loss in model.losses) == pytest.approx(0.1 * norm, rel=1e-5)
    assert amount(model) == 0.1
    assert regularize(model, 0.3) is model
    assert sum(float(loss) for loss in model.losses) == pytest.approx(0.3 * norm, rel=1e-5)
    assert amount(regularize(model, 0)) == 0.0
    assert not model.losses


def test_plain_dense_and_nested_models(tmp_path):
    inner = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4, **weight_space(0.2))])
    model = keras.Sequential([keras.Input((6,)), inner, keras.layers.Dense(2, **weight_space(0.2))])
    assert amount(model) == 0.2
    regularize(model, 0.5)
    model.save(tmp_path / "m.keras")
    assert amount(keras.saving.load_model(tmp_path / "m.keras")) == 0.5


def test_what_carries_no_single_lambda_is_refused():
    mixed = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(4, **weight_space(0.2)), keras.layers.Dense(2)]
    )
    with pytest.raises(InputError, match="one λ is expected"):
        amount(mixed)
    other = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(4, kernel_regularizer="l1", name="sparse")]
    )
    with pytest.raises(InputError, match="'sparse': kernel_regularizer is no"):
        amount(other)
    normalized = keras.Sequential([keras.Input((6,)), keras.layers.BatchNormalization(name="norm")])
    with pytest.raises(InputError, match=r"'norm'.*has no kernel_regularizer"):
        regularize(normalized, 0.1)
    with pytest.raises(InputError, match="'lam' must be at least 0"):
        weight_space(-1)
