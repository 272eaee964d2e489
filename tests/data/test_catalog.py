"""Data sets by name: contents, determinism, options, and what a malformed file says."""

import numpy as np
import pytest

from keras_l2feat import data
from keras_l2feat.data.digits import SUBSET
from keras_l2feat.errors import InputError


def test_embedded_subset():
    digits = data.load("mnist-1k")
    assert digits.x_train.shape == digits.x_test.shape == (1000, 784)
    assert digits.y_train[:5].tolist() == [5, 0, 4, 1, 9]  # the original order
    assert digits.y_test[:5].tolist() == [7, 2, 1, 0, 4]
    assert digits.classes == 10
    assert digits.x_train.min() == 0
    assert digits.x_train.max() == 1
    assert "CC BY-SA 3.0" in digits.licence
    assert SUBSET.stat().st_size < 500_000


def test_figure_one_data():
    digits = data.load("mnist-789-42")
    everything = data.load("mnist-1k")
    kept = np.isin(everything.y_train, (7, 8, 9))
    np.testing.assert_array_equal(digits.x_train, everything.x_train[kept][:42])
    np.testing.assert_array_equal(digits.y_train + 7, everything.y_train[kept][:42])
    assert digits.classes == 3


def test_full_mnist_starts_with_the_subset(full_mnist):
    subset = data.load("mnist-1k")
    assert full_mnist.x_train.shape == (60000, 784)
    np.testing.assert_array_equal(full_mnist.x_train[:1000], subset.x_train)
    np.testing.assert_array_equal(full_mnist.y_test[:1000], subset.y_test)


def test_full_mnist_from_a_missing_file(monkeypatch, tmp_path):
    monkeypatch.setenv("L2FEAT_MNIST", str(tmp_path / "none.npz"))
    with pytest.raises(InputError, match="no such file"):
        data.load("mnist")


def test_teacher_is_its_seed():
    one, same, other = data.load("teacher"), data.load("teacher"), data.load("teacher:seed=1")
    assert one.x_train.shape == (1000, 10)
    assert one.y_train.shape == (1000, 1)
    assert one.sha256 == same.sha256 != other.sha256
    assert abs(one.y_train.std() - 1) < 1e-5
    assert data.load("teacher:width=3,n=20").x_train.shape == (20, 10)


@pytest.mark.parametrize(
    "name, words",
    [
        ("mnist-2k", "Known: mnist-1k"),
        ("mnist-1k:digits=7a", "whole number"),
        ("mnist-1k:colour=3", "Options: digits, n"),
        ("mnist-1k:n=5000", "between 1 and 1000"),
        ("teacher:width=0", "'width'"),
        ("missing.npz", "no such file"),
    ],
)
def test_bad_names(name, words):
    with pytest.raises(InputError, match=words):
        data.load(name)


def good_arrays():
    generator = np.random.default_rng(0)
    return {
        "x_train": generator.standard_normal((6, 2, 2)),
        "y_train": generator.integers(0, 3, 6),
        "x_test": generator.standard_normal((4, 2, 2)),
        "y_test": generator.integers(0, 3, 4),
    }


def test_npz_of_labels_and_of_targets(tmp_path):
    arrays = good_arrays()
    np.savez(tmp_path / "a.npz", **arrays)
    loaded = data.load(tmp_path / "a.npz")
    assert (loaded.classes, loaded.input_shape, loaded.x_train.shape) == (3, (2, 2), (6, 4))
    np.savez(tmp_path / "b.npz", x_train=arrays["x_train"], y_train=np.linspace(0, 1, 6))
    loaded = data.load(tmp_path / "b.npz")
    assert loaded.task == "regression"
    assert loaded.y_train.shape == (6, 1)
    assert loaded.x_test is None


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "float64", "bool"])
def test_arrays_are_fed_as_they_are_and_scaled_only_on_demand(tmp_path, dtype):
    x = np.random.default_rng(0).integers(0, 256, (6, 2, 2)).astype(dtype)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=np.arange(6) % 3)
    plain = data.load(tmp_path / "a.npz")
    np.testing.assert_array_equal(plain.x_train, x.reshape(6, 4).astype("float32"))
    assert f"inputs as they are, from {x.min():g} to {x.max():g}" in str(plain)
    scaled = data.load(tmp_path / "a.npz", scale="1/255")
    np.testing.assert_array_equal(scaled.x_train, plain.x_train / 255)
    assert "a.npz:scale=1/255: 6 points, inputs multiplied by 1/255" in str(scaled)
    assert scaled.facts == {"data": "a.npz:scale=1/255", "scale": "1/255"}
    assert data.load(scaled.reference).sha256 == scaled.sha256 != plain.sha256


def test_mnist_is_scaled_unless_told_otherwise():
    pixels = data.load("mnist-1k:n=5,scale=1")
    assert pixels.x_train.max() == 255
    assert data.load("mnist-1k", scale=1).x_train.max() == 255
    np.testing.assert_array_equal(pixels.x_train / 255, data.load("mnist-1k:n=5").x_train)


@pytest.mark.parametrize(
    "name, scale, words",
    [
        ("mnist-1k", "0", "'scale' must be positive"),
        ("mnist-1k", "1/0", "a fraction, as in 1/255"),
        ("mnist-1k", "nan", "a fraction, as in 1/255"),
        ("mnist-1k:n=5", "x", "a fraction, as in 1/255"),
        ("teacher", "1/2", "no option 'scale=1/2'"),
        ("a.npz:colour=3", None, "an .npz file has no option 'colour=3'"),
    ],
)
def test_bad_scales(name, scale, words):
    with pytest.raises(InputError, match=words):
        data.load(name, scale=scale)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"x_train": None}, "lacks x_train"),
        ({"y_test": None}, "lacks y_test"),
        ({"y_train": np.zeros(5, int)}, "6 points"),
        ({"x_train": np.full((6, 2, 2), np.nan)}, "not finite"),
        ({"x_train": np.array(["a"] * 6)}, "real numbers"),
        ({"x_train": np.array([None] * 6, dtype=object)}, "plain arrays"),
        ({"x_train": np.zeros((0, 4)), "y_train": np.zeros(0, int)}, "empty"),
        ({"y_train": np.array([0, 1, -2, 0, 1, 2])}, "labels"),
        ({"x_test": np.zeros((4, 3, 2))}, "shape"),
    ],
)
def test_malformed_npz(tmp_path, change, words):
    arrays = {key: value for key, value in {**good_arrays(), **change}.items() if value is not None}
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(InputError, match=words):
        data.load(tmp_path / "bad.npz")


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 truncated"])
def test_npz_that_is_none(tmp_path, content):
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(InputError, match="npz"):
        data.load(tmp_path / "bad.npz")


def test_inputs_take_the_shape_of_the_model():
    import keras

    digits = data.load("mnist-789-42")
    flat = keras.Sequential([keras.Input((784,)), keras.layers.Dense(3)])
    image = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten()])
    free = keras.Sequential([keras.Input((None, None, 1)), keras.layers.GlobalMaxPooling2D()])
    wrong = keras.Sequential([keras.Input((10,)), keras.layers.Dense(3)])
    assert digits.inputs(flat).shape == (42, 784)
    assert digits.inputs(image, "test").shape == (282, 28, 28, 1)
    assert digits.inputs(free).shape == (42, 28, 28, 1)
    with pytest.raises(InputError, match="784 values per point"):
        digits.inputs(wrong)
