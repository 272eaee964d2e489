"""Loading, saving and cards: every shipped model works without this package's help and is what its
card says."""

import json

import keras
import numpy as np
import pytest

from keras_l2feat import data, files, zoo
from keras_l2feat.errors import CheckFailed, InputError
from keras_l2feat.objectives import Problem
from keras_l2feat.zoo import cards, registry
from keras_l2feat.zoo.families import FAMILIES
from keras_l2feat.zoo.measure import metrics, probe

SHIPPED = [one.name for one in zoo.entries() if one.shipped]


@pytest.mark.parametrize("name", SHIPPED)
def test_plain_keras_loads_it_and_computes_what_was_stored(name):
    one = zoo.entry(name)
    model = keras.saving.load_model(registry.FOLDER / "weights" / one.file)
    expected = np.array(one.facts["probe"])
    np.testing.assert_allclose(
        probe(model), expected, rtol=0, atol=1e-6 * max(1.0, np.abs(expected).max())
    )


@pytest.mark.parametrize("name", SHIPPED)
def test_the_card_is_made_from_the_registry(name):
    text = (registry.FOLDER / "cards" / f"{name}.md").read_text()
    assert text == cards.card_text(zoo.entry(name))


def test_cards_say_what_they_must():
    text = cards.card_text(zoo.entry("mnist-1k-1pct-narrow"))
    for part in [
        "CC BY-SA 3.0",
        "Depth L",
        "Widths",
        "| λ | 0.001 |",
        "β",
        "Training loss",
        "Test accuracy",
        "Narrowest widths within ε",
        "certificate",
        "Largest deviation",
        "Guarantee | exact",
        "Parameters",
        "FLOPs",
        "Bytes",
        "Latency",
        "recipes/mnist-1k-1pct.yaml",
        "Seed",
        "Package version",
        "SHA-256",
        "@inproceedings{jacot2022feature",
    ]:
        assert part in text, part


def test_a_pair_is_exactly_equivalent_and_three_times_narrower():
    wide, plateau = (zoo.load(f"mnist-1k-1pct-{role}") for role in ("wide", "narrow"))
    for before, after in zip(wide.layers[:-1], plateau.layers[:-1]):
        assert before.units >= 3 * after.units
    digits = data.load("mnist-1k")
    expected, found = (np.asarray(model(digits.x_test)) for model in (wide, plateau))
    np.testing.assert_allclose(found, expected, atol=2e-5)
    np.testing.assert_array_equal(found.argmax(1), expected.argmax(1))


def test_the_bipartite_family_has_the_least_norm():
    for n in (4, 6, 8):
        model = zoo.load(f"bipartite-{n}-plateau")
        assert model.layers[0].units == n * n // 4
        found = metrics(model, Problem(f"bipartite:n={n}", 0.0))
        assert found["train_cost"] < 1e-9
        assert found["squared_norm"] == pytest.approx(n * n, rel=1e-5)


def test_architecture_alone_reads_no_file(monkeypatch):
    monkeypatch.setattr("keras_l2feat.zoo.models.fetch", None)
    model = zoo.load("mnist-1k-1pct-narrow", weights=None)
    trained = keras.saving.load_model(registry.FOLDER / "weights" / "mnist-1k-1pct-narrow.keras")
    assert [w.shape for w in model.weights] == [w.shape for w in trained.weights]
    assert not np.allclose(model.weights[0], trained.weights[0])


def test_loading_errors():
    with pytest.raises(InputError, match="'zoo' or None"):
        zoo.load("mnist-1k-1pct-narrow", weights="imagenet")
    with pytest.raises(InputError, match="No zoo model 'nothing'"):
        zoo.load("nothing")


def test_a_damaged_installation_is_noticed(tmp_path, monkeypatch):
    one = zoo.entry("bipartite-4-plateau")
    content = bytearray((registry.FOLDER / "weights" / one.file).read_bytes())
    content[1000] ^= 1
    (tmp_path / "weights").mkdir()
    monkeypatch.setattr("keras_l2feat.zoo.fetch.FOLDER", tmp_path)
    with pytest.raises(InputError, match="incomplete"):
        zoo.load(one.name)
    (tmp_path / "weights" / one.file).write_bytes(content)
    with pytest.raises(CheckFailed, match="damaged"):
        zoo.load(one.name)


def test_saving_ones_own_and_loading_it_from_its_row(tmp_path, monkeypatch):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, activation="relu"), keras.layers.Dense(2)]
    )
    one = zoo.save(
        model,
        {"data": "mine", "lam": 1e-2, "metrics": {"train_loss": 0.5}},
        tmp_path / "my-model.keras",
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "my-model.json",
        "my-model.keras",
        "my-model.md",
    ]
    assert "| Training loss C + λ Σ‖W‖² | 0.5 |" in (tmp_path / "my-model.md").read_text()
    row = json.loads((tmp_path / "my-model.json").read_text())
    assert zoo.Entry(**row) == one
    monkeypatch.setenv("KERAS_L2FEAT_ZOO_URL", tmp_path.as_uri())
    monkeypatch.setenv("KERAS_L2FEAT_CACHE", str(tmp_path / "cache"))
    zoo.register(one.name, sha256=one.sha256, size=one.size, **one.facts)
    try:
        x = np.ones((2, 4), "float32")
        np.testing.assert_array_equal(zoo.load("my-model")(x), model(x))
        assert zoo.load("my-model", weights=None).count_params() == model.count_params()
    finally:
        registry._registered.clear()
        registry._known.cache_clear()


def test_a_registered_architecture_is_no_more_trusted_than_a_file():
    config = keras.saving.serialize_keras_object(
        keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    )
    config["config"]["layers"][1]["config"]["units"] = 10**6
    one = zoo.Entry("huge", "huge.keras", "0" * 64, 1000, facts={"architecture": config})
    with pytest.raises(InputError, match="declares"):
        zoo.models.architecture(one)
    with pytest.raises(InputError, match="no architecture"):
        zoo.models.architecture(zoo.Entry("bare", "bare.keras", "0" * 64, 1000))


def test_figures_against_keras_own():
    digits = data.load("mnist-1k")
    model = files.load_model(registry.FOLDER / "weights" / "mnist-1k-1pct-narrow.keras")
    model.compile(
        "sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    found = metrics(model, Problem(digits, 1e-3))
    loss, accuracy = model.evaluate(digits.x_train, digits.y_train, batch_size=1000, verbose=0)
    # its layers carry λ = 1e-3 themselves
    assert found["train_loss"] == pytest.approx(loss, rel=1e-5)
    assert found["train_accuracy"] == pytest.approx(accuracy)
    accuracy = model.evaluate(digits.x_test, digits.y_test, batch_size=1000, verbose=0)[1]
    assert found["test_accuracy"] == pytest.approx(accuracy)


def test_a_function_for_each_family():
    assert set(FAMILIES) == {one.family for one in registry.read(registry.FOLDER / "registry.json")}
    for family, function in FAMILIES.items():
        assert all(name in function.__doc__ for name in zoo.list(family)), family
        assert getattr(zoo, function.__name__) is function
        assert function(weights=None).name  # the default exists


def test_a_family_by_its_arguments():
    assert zoo.bipartite(n=8, role="wide").layers[0].units == 48
    assert (
        zoo.mnist_1k(lam=1e-2).layers[0].units
        == zoo.load("mnist-1k-lam1e-2-plateau").layers[0].units
    )
    assert zoo.teacher(outputs=5).layers[-1].units == 5
    assert zoo.shrunk().output_shape == (None, 10)
    with pytest.raises(InputError, match="Argument 'network' must be one of lenet300, lenet5"):
        zoo.shrunk(network="alexnet")
    with pytest.raises(InputError, match="Argument 'width' must be 10 or 5"):
        zoo.teacher(width=7)
    wide = zoo.load(zoo.entry("mnist-789-42-plateau").facts["parent"])
    assert zoo.mnist_789_42(role="wide").count_params() == wide.count_params()
    with pytest.raises(InputError, match=r"Argument 'lam' must be one of .*0.001.*Received: lam=3"):
        zoo.mnist_1k(lam=3)
    with pytest.raises(InputError, match="Argument 'role' must be 'wide' or 'plateau'"):
        zoo.teacher(role="narrow")
    with pytest.raises(TypeError):
        zoo.teacher(10)
