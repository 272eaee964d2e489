import warnings

import keras
import numpy as np
import pytest

from keras_l2feat.errors import InputError
from keras_l2feat.models import mlp
from keras_l2feat.network import DenseNetwork
from keras_l2feat.regularizers import amount, layer_arguments, regularize


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
    inner = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4, **layer_arguments(0.2))])
    model = keras.Sequential(
        [keras.Input((6,)), inner, keras.layers.Dense(2, **layer_arguments(0.2))]
    )
    assert amount(model) == 0.2
    regularize(model, 0.5)
    model.save(tmp_path / "m.keras")
    assert amount(keras.saving.load_model(tmp_path / "m.keras")) == 0.5


def test_what_carries_no_single_lambda_is_refused():
    mixed = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(4, **layer_arguments(0.2)), keras.layers.Dense(2)]
    )
    with pytest.raises(InputError, match="one λ is expected"):
        amount(mixed)
    other = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(4, kernel_regularizer="l1", name="sparse")]
    )
    with pytest.raises(InputError, match="'sparse': kernel_regularizer is no"):
        amount(other)
    with pytest.raises(InputError, match="no weights that L2 regularizes"):
        regularize(keras.Sequential([keras.layers.BatchNormalization()]), 0.1)
    with pytest.raises(InputError, match="'lam' must be at least 0"):
        layer_arguments(-1)


layers = keras.layers
# layers, the shape of an input, the weights that are regularized, and the layers that are named
KINDS = {
    "dense": ([layers.Dense(4), layers.Dense(2, use_bias=False)], (6,), 3, []),
    "normalized": (
        [layers.Dense(4), layers.BatchNormalization(name="b"), layers.LayerNormalization(name="l")],
        (6,),
        2,
        ["'b' (BatchNormalization)", "'l' (LayerNormalization)"],
    ),
    "recurrent": ([layers.LSTM(3, return_sequences=True), layers.GRU(2)], (5, 4), 6, []),
    "both ways": ([layers.Bidirectional(layers.SimpleRNN(3)), layers.Dense(1)], (5, 4), 8, []),
    "in time": ([layers.TimeDistributed(layers.Dense(3))], (5, 4), 2, []),
    "depthwise": ([layers.DepthwiseConv2D(2), layers.PReLU(name="p")], (6, 6, 2), 2, ["'p'"]),
    "separable": ([layers.SeparableConv2D(3, 2)], (6, 6, 2), 3, []),
    "transposed": ([layers.Conv1DTranspose(3, 2)], (6, 2), 2, []),
    "convolutional recurrent": ([layers.ConvLSTM1D(2, 2)], (3, 6, 2), 3, []),
    "tokens": ([layers.Embedding(9, 4), layers.Flatten(), layers.Dense(2)], (5,), 3, []),
    "nested": ([keras.Sequential([layers.Dense(4)]), layers.Dense(2)], (6,), 4, []),
}


@pytest.mark.parametrize("built", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_every_linear_map_is_regularized_built_or_not_and_the_rest_is_named(kind, built, tmp_path):
    chain, shape, count, named = KINDS[kind]
    model = keras.Sequential([layer.__class__.from_config(layer.get_config()) for layer in chain])
    if built:
        model.build((None, *shape))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        regularize(model, 0.25)
    assert [name for name in named if name in str(said[0].message)] == named if named else not said
    assert amount(model) == 0.25
    model.build((None, *shape))
    random = np.random.default_rng(0)
    for weight in model.trainable_variables:
        weight.assign(random.standard_normal(weight.shape))
    covered = [w for w in model.trainable_variables if w.name not in ("gamma", "beta", "alpha")]
    assert len(covered) == count
    norm = sum(float(np.square(weight.numpy()).sum()) for weight in covered)
    assert sum(float(loss) for loss in model.losses) == pytest.approx(0.25 * norm, rel=1e-5)
    assert amount(model) == 0.25
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    assert amount(again) == 0.25
    assert len(again.losses) == count


@pytest.mark.parametrize("built", [False, True])
def test_attention_is_regularized(built, tmp_path):
    attention = layers.MultiHeadAttention(2, 3)
    inputs = keras.Input((4, 6))
    if built:
        model = keras.Model(inputs, attention(inputs, inputs))
        regularize(model, 0.25)
    else:
        holder = keras.Sequential([attention])
        assert amount(regularize(holder, 0.25)) == 0.25
        model = keras.Model(inputs, attention(inputs, inputs))
    assert len(model.losses) == 8  # query, key, value, output: a kernel and a bias each
    model.save(tmp_path / "m.keras")
    assert amount(keras.saving.load_model(tmp_path / "m.keras")) == 0.25


def test_a_model_that_has_no_layers_yet_is_told():
    class Later(keras.Model):
        def build(self, shape):
            self.dense = layers.Dense(2)
            self.dense.build(shape)

    with pytest.raises(InputError, match="has to be built first"):
        regularize(Later(), 0.1)
