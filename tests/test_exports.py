"""Exports run where they are meant to, and agree with the model or are not written."""

import warnings

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from keras_l2feat import exports  # noqa: E402
from keras_l2feat.errors import CheckFailed, InputError  # noqa: E402
from keras_l2feat.exports import export  # noqa: E402
from keras_l2feat.pruning import prune  # noqa: E402
from keras_l2feat.pruning.evaluate import input_shapes  # noqa: E402

layers = keras.layers
SUFFIX = {"onnx": "model.onnx", "saved_model": "model", "tflite": "model.tflite"}


def image_model():
    x = keras.Input((8, 8, 1))
    h = layers.BatchNormalization()(layers.Conv2D(4, 3, activation="relu")(x))
    return keras.Model(x, layers.Dense(3, "softmax")(layers.Flatten()(layers.Dropout(0.5)(h))))


def two_by_two():
    """Two inputs that do not commute, two outputs of one shape."""
    a, b = keras.Input((4,), name="b"), keras.Input((4,), name="a")
    h = layers.Subtract()([layers.Dense(4, "relu")(a), b])
    return keras.Model([a, b], [layers.Dense(3)(h), layers.Dense(3)(h)])


def listed_input():
    x = keras.Input((4,))
    return keras.Model([x], layers.Dense(3)(x))


def named_inputs():
    """Names that do not come in the order of the alphabet, and two that do not commute."""
    x = {name: keras.Input((4,), name=name) for name in ("second", "first")}
    h = layers.Subtract()([layers.Dense(4, "relu")(x["second"]), x["first"]])
    return keras.Model(x, {"out": layers.Dense(3)(h)})


def any_size():
    """Takes images of 12 pixels and more: a valid convolution after two halvings."""
    x = keras.Input((None, None, 1))
    h = layers.MaxPooling2D(2)(layers.MaxPooling2D(2)(layers.Conv2D(4, 1)(x)))
    h = layers.Conv2D(2, 12, activation="relu")(h)
    return keras.Model(x, layers.GlobalAveragePooling2D()(h))


def one_batch():
    x = keras.Input((4,), batch_size=3)
    return keras.Model(x, layers.Dense(3)(x))


def need(format):
    if format == "onnx":
        for package in ("onnx", "tf2onnx", "onnxruntime"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                pytest.importorskip(package)


@pytest.mark.slow
@pytest.mark.parametrize("format", list(exports.FORMATS))
@pytest.mark.parametrize(
    "make", [image_model, two_by_two, listed_input, named_inputs, any_size, one_batch]
)
def test_an_export_computes_what_the_model_does(format, make, tmp_path):
    need(format)
    path = tmp_path / SUFFIX[format]
    result = export(make(), path, format)
    assert result["max_rel_deviation"] <= 1e-5
    files = [f for f in path.rglob("*") if f.is_file()] if path.is_dir() else [path]
    assert result["bytes"] == sum(f.stat().st_size for f in files) > 100
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.slow
def test_an_export_that_differs_is_not_written(tmp_path, monkeypatch):
    write, run = exports.FORMATS["saved_model"]
    monkeypatch.setitem(
        exports.FORMATS, "saved_model", (write, lambda *a: [y + 0.01 for y in run(*a)])
    )
    with pytest.raises(CheckFailed, match=r"differs from the model by 0\.01"):
        export(image_model(), tmp_path / "model", "saved_model")
    assert list(tmp_path.iterdir()) == []


def test_samples_may_be_given_and_mistakes_are_named(tmp_path):
    model = two_by_two()
    with pytest.raises(InputError, match="'format' must be one of"):
        export(model, tmp_path / "m.pb", "pb")
    with pytest.raises(InputError, match="does not exist"):
        export(model, tmp_path / "none" / "m.onnx", "onnx")
    (tmp_path / "taken").mkdir()
    with pytest.raises(InputError, match="exists already"):
        export(model, tmp_path / "taken", "saved_model")
    inputs = exports._samples(model, [np.ones((20, 4)), np.zeros((20, 4))], 0)
    assert [x.shape for x in inputs] == [(8, 4), (8, 4)]


def test_unknown_sizes_are_filled_so_that_the_model_takes_them():
    assert input_shapes(any_size()) == [(48, 48, 1)]
    assert input_shapes(two_by_two()) == [(4,), (4,)]
    x = keras.Input((None, None, 1))
    greedy = keras.Model(x, layers.Conv2D(1, 600)(x))
    assert prune(any_size())[1].verified
    with pytest.raises(InputError, match="no size up to 512 does"):
        input_shapes(greedy)


def test_not_a_number_never_passes():
    assert exports._gap(np.array([1.0, np.nan]), np.array([1.0, 2.0])) == np.inf
    assert exports._gap(np.array([np.inf, np.nan]), np.array([np.inf, np.nan])) == 0.0


@pytest.mark.slow
def test_what_a_runtime_cannot_do_is_said(tmp_path):
    x = keras.Input((4,))
    model = keras.Model(x, keras.ops.erfinv(layers.Dense(2)(x)))
    with pytest.raises(InputError, match="cannot be exported to tflite"):
        export(model, tmp_path / "m.tflite", "tflite")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def pruned():
    """A pruned model of the zoo, and digits to run it on."""
    from keras_l2feat import data, zoo

    model, certificate = prune(zoo.load("mnist-1k-1pct-wide"))
    assert certificate.verified
    return model, data.load("mnist-1k").x_test


def nearly(outputs, expected):
    """int8 moves outputs by a few parts in a hundred of the largest, and hardly a prediction."""
    assert np.abs(outputs - expected).max() <= 0.03 * np.abs(expected).max()
    assert np.mean(outputs.argmax(axis=1) == expected.argmax(axis=1)) >= 0.99


@pytest.mark.slow
def test_a_pruned_model_goes_on_to_int8_and_from_there_to_onnx(pruned, tmp_path):
    from keras_l2feat import files

    need("onnx")
    model, x = pruned
    expected = model.predict(x, verbose=0)
    model = keras.models.clone_model(model)
    model.set_weights(pruned[0].get_weights())
    with warnings.catch_warnings():  # Keras says that an InputLayer has nothing to quantize
        warnings.simplefilter("ignore")
        model.quantize("int8")
    small = model.predict(x, verbose=0)
    nearly(small, expected)
    files.save_model(model, tmp_path / "int8.keras")
    np.testing.assert_array_equal(
        files.load_model(tmp_path / "int8.keras").predict(x, verbose=0), small
    )
    result = export(model, tmp_path / "int8.onnx", "onnx")
    assert result["max_rel_deviation"] <= 1e-5
    nearly(exports._run_onnx(tmp_path / "int8.onnx", model, [x])[0], expected)
    with pytest.raises(InputError, match="cannot be exported to tflite"):
        export(model, tmp_path / "int8.tflite", "tflite")  # it has no product of int8 matrices


@pytest.mark.slow
def test_a_pruned_model_goes_on_to_litert_also_in_int8(pruned, tmp_path):
    import tensorflow as tf

    model, x = pruned
    expected = model.predict(x, verbose=0)
    whole = export(model, tmp_path / "float.tflite", "tflite")
    assert whole["max_rel_deviation"] <= 1e-5
    model.export(
        tmp_path / "int8.tflite",
        format="litert",
        verbose=False,
        optimizations=[tf.lite.Optimize.DEFAULT],
    )
    assert (tmp_path / "int8.tflite").stat().st_size < whole["bytes"] / 2
    with exports._quiet():
        nearly(exports._run_tflite(tmp_path / "int8.tflite", model, [x])[0], expected)
