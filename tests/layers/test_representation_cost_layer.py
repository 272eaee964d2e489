"""The Z-space term as a layer and as a regularizer: values, training, files, errors."""

import keras
import numpy as np
import pytest

from keras_l2feat import files, layers, regularizers
from keras_l2feat.errors import InputError
from keras_l2feat.kernels import append_bias, representation_cost


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def model_with_costs(lam=1e-2):
    keras.utils.set_random_seed(0)
    x = keras.Input((5,))
    z = keras.layers.Dense(4)(x)
    z = layers.RepresentationCost(lam, name="cost_1")((x, z))
    a = keras.layers.ReLU()(z)
    out = layers.RepresentationCost(lam, name="cost_2")((a, keras.layers.Dense(2)(a)))
    return keras.Model(x, out)


def test_it_hands_on_z_and_adds_lambda_times_the_cost():
    a, z = draw(9, 4), draw(9, 3, seed=1)
    layer = layers.RepresentationCost(0.5, ridge=0.1, beta=0.3, dtype="float64")
    np.testing.assert_array_equal(layer((a, z)), z)
    expected = 0.5 * representation_cost(
        z, append_bias(keras.ops.convert_to_tensor(a), 0.3), 0.1, relative=True
    )
    assert float(layer.losses[0]) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.slow
def test_fit_lowers_the_objective_and_the_file_comes_back(tmp_path):
    model = model_with_costs()
    x, y = draw(30, 5).astype("float32"), np.arange(30) % 2
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = model.fit(x, y, batch_size=30, epochs=20, shuffle=False, verbose=0).history["loss"]
    assert history[-1] < history[0]
    files.save_model(model, tmp_path / "model.keras")
    again = files.load_model(tmp_path / "model.keras")
    assert again.get_layer("cost_2").get_config() == model.get_layer("cost_2").get_config()
    np.testing.assert_allclose(again(x), model(x))
    assert float(sum(again.losses)) == pytest.approx(float(sum(model.losses)))


def test_bad_layer_arguments_are_named():
    with pytest.raises(InputError, match=r"'lam' must be at least 0. Received: lam=-1"):
        layers.RepresentationCost(-1)
    with pytest.raises(InputError, match="'ridge' must be positive"):
        layers.RepresentationCost(1, ridge=0)
    with pytest.raises(InputError, match=r"takes the pair \(a, z\)"):
        layers.RepresentationCost(1)(np.zeros((3, 2)))


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("shape", [(8, 3), (3, 8), (4, 4)])
def test_the_regularizer_is_the_cost_at_fixed_features(shape, relative):
    a, z = draw(*shape), draw(shape[0], 2, seed=1)
    regularizer = regularizers.RepresentationPenalty(a, 0.7, ridge=0.2, relative=relative)
    expected = 0.7 * representation_cost(z, a, 0.2, relative=relative)
    assert float(regularizer(keras.ops.convert_to_tensor(z))) == pytest.approx(
        float(expected), rel=1e-12
    )


def test_the_regularizer_serves_an_embedding_and_is_serializable():
    features = draw(6, 3)
    regularizer = regularizers.RepresentationPenalty(features, 0.1)
    again = keras.regularizers.deserialize(keras.regularizers.serialize(regularizer))
    z = keras.ops.convert_to_tensor(draw(6, 2))
    assert float(again(z)) == float(regularizer(z))
    embedding = keras.layers.Embedding(6, 2, embeddings_regularizer=regularizer)
    embedding(np.arange(6))
    assert float(embedding.losses[0]) == pytest.approx(
        float(regularizer(embedding.embeddings)), rel=1e-5
    )
    for bad, message in ((np.zeros(3), "features"), (np.zeros((0, 2)), "features")):
        with pytest.raises(InputError, match=message):
            regularizers.RepresentationPenalty(bad, 0.1)
