"""A network with an amount of bias, in Keras' own layers: the same function, the same loss."""

import json
import zipfile

import keras
import numpy as np
import pytest

from keras_l2feat.cli.main import main
from keras_l2feat.layers import HomogeneousDense, absolute
from keras_l2feat.models import mlp
from keras_l2feat.pruning import plain

X = np.random.default_rng(0).normal(size=(20, 5)).astype("f4")


def planted(beta, **options):
    model = mlp(5, (4, 6), 3, beta=beta, lam=1e-2, **options)
    generator = np.random.default_rng(1)
    model.set_weights([generator.normal(size=w.shape) for w in model.get_weights()])
    return model


@pytest.mark.parametrize("beta", [0.25, 0.1, 3.0])
def test_function_and_loss_stay(beta):
    model = planted(beta)
    folded = plain(model)
    assert {type(layer) for layer in folded.layers} == {keras.layers.Dense}
    np.testing.assert_allclose(folded(X), model(X), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(sum(folded.losses), sum(model.losses), rtol=1e-6)
    assert type(model.layers[0]) is HomogeneousDense  # as it was


def test_what_is_plain_or_cannot_be_folded_stays():
    for beta in (0.0, 1.0):
        model = planted(beta)
        assert plain(model) is model
    bound = HomogeneousDense(2, beta=0.5, bias_constraint="non_neg")
    model = keras.Sequential([keras.Input((5,)), bound])
    assert plain(model) is model
    other = plain(planted(0.5, activation="abs"))
    assert other.layers[0].activation is absolute


def test_nested_models_too():
    inputs = keras.Input((5,))
    model = keras.Model(inputs, keras.layers.ReLU()(planted(0.5)(inputs)))
    folded = plain(model)
    np.testing.assert_allclose(folded(X), model(X), rtol=1e-5, atol=1e-5)
    types = {type(layer).__name__ for layer in folded._flatten_layers(include_self=False)}
    assert "HomogeneousDense" not in types


@pytest.mark.parametrize("option, own", [((), True), (("--plain",), False)])
def test_the_file_names_nothing_of_this_package(option, own, tmp_path):
    model = planted(0.5)
    weights = model.get_weights()
    weights[0][:, 3], weights[1][3] = 2 * weights[0][:, 0], 2 * weights[1][0]
    model.set_weights(weights)
    model.save(tmp_path / "wide.keras")
    out = tmp_path / "small.keras"
    with pytest.raises(SystemExit) as ended:
        main(["prune", str(tmp_path / "wide.keras"), "-q", "--no-latency", *option, "-o", str(out)])
    assert ended.value.code == 0
    with zipfile.ZipFile(out) as archive:
        text = archive.read("config.json").decode()
    assert ("keras_l2feat" in text) is own
    assert json.loads(text)["config"]["layers"][1]["config"]["units"] == 3
    np.testing.assert_allclose(keras.saving.load_model(out)(X), model(X), rtol=1e-4, atol=1e-4)
