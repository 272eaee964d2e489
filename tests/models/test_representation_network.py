"""The Keras model of representations: its loss, both conversions, training by fit, files."""

import keras
import numpy as np
import pytest

from keras_l2feat import models, objectives
from keras_l2feat.errors import InputError
from keras_l2feat.network import DenseNetwork


def data(seed=0):
    generator = np.random.default_rng(seed)
    return generator.standard_normal((12, 5)), generator.integers(0, 3, 12)


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_its_loss_is_the_tikhonov_objective(beta):
    x, y = data()
    network = DenseNetwork.random((5, 6, 4, 3), beta=beta, seed=1)
    model = models.RepresentationNetwork.from_network(
        network, x, lam=0.1, ridge=1e-3, dtype="float64"
    )
    logits = model(np.arange(12))
    np.testing.assert_allclose(logits, network(x), atol=1e-12)
    expected = objectives.representation(network, (x, y), lam=0.1, ridge=1e-3, relative=True)
    assert float(sum(model.losses)) == pytest.approx(
        float(expected.total - expected.cost), rel=1e-10
    )


def test_weights_to_representations_and_back():
    x, _ = data()
    network = DenseNetwork.random((5, 4, 3), seed=1)
    model = models.RepresentationNetwork.from_network(
        network.to_model(dtype="float64"), x, lam=0.1, ridge=1e-9, dtype="float64"
    )
    back = model.to_network()
    np.testing.assert_allclose(back(x), network(x), atol=1e-5)
    assert back.squared_norm <= network.squared_norm
    with pytest.raises(InputError, match="do not fit"):
        model._assign(DenseNetwork.random((5, 7, 3)))


@pytest.mark.slow
def test_fit_trains_it_and_the_file_comes_back(tmp_path):
    x, y = data()
    model = models.RepresentationNetwork(x, (8,), 3, lam=1e-2, seed=2)
    model.compile(
        keras.optimizers.Adam(3e-2), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    before = model.evaluate(np.arange(12), y, batch_size=12, verbose=0)
    model.fit(np.arange(12), y, batch_size=4, epochs=40, verbose=0)
    after = model.evaluate(np.arange(12), y, batch_size=12, verbose=0)
    assert after < 0.7 * before
    weights = objectives.weight_space(model.to_network(), (x, y), lam=1e-2)
    assert float(weights.total) < before  # what was learned survives conversion
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(np.arange(12)), model(np.arange(12)))
    assert again.evaluate(np.arange(12), y, batch_size=12, verbose=0) == pytest.approx(
        after, rel=1e-5
    )


def test_bad_arguments_are_named():
    x, _ = data()
    for name, options in {"lam": {"lam": -1.0}, "ridge": {"lam": 1.0, "ridge": 0.0}}.items():
        with pytest.raises(InputError, match=f"'{name}' must be"):
            models.RepresentationNetwork(x, (4,), 2, **options)
    with pytest.raises(InputError, match="'inputs' must be a matrix"):
        models.RepresentationNetwork(x[0], (4,), 2, lam=1.0)
