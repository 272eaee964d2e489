"""Model files are untrusted: what is refused, with which words; what is written is whole or
absent."""

import io
import json
import marshal
import os
import zipfile

import h5py
import keras
import numpy as np
import pytest

from keras_l2feat.errors import InputError
from keras_l2feat.files import atomic_path, load_model, save_model, sha256, write_json


def small_model():
    keras.utils.set_random_seed(0)
    layers = [keras.Input((6,)), keras.layers.Dense(5, activation="relu"), keras.layers.Dense(3)]
    model = keras.Sequential(layers)
    model.compile(
        "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    return model


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model.keras"
    save_model(small_model(), path)
    return path


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path, contents, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in contents.items() if isinstance(contents, dict) else contents:
            archive.writestr(name, content)
    return path


def with_config(original, path, change):
    contents = members(original)
    config = json.loads(contents["config.json"])
    change(config)
    return write(path, contents | {"config.json": json.dumps(config)})


def with_weights(original, path, change):
    contents = members(original)
    stream = io.BytesIO(contents["model.weights.h5"])
    with h5py.File(stream, "r+") as weights:
        change(weights)
    return write(path, contents | {"model.weights.h5": stream.getvalue()})


def refused(path, message):
    with pytest.raises(InputError, match=message) as caught:
        load_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_saved_comes_back(original):
    x = np.random.default_rng(0).normal(size=(4, 6))
    model = load_model(original)
    np.testing.assert_array_equal(model(x), small_model()(x))
    assert isinstance(model.optimizer, keras.optimizers.Adam)  # compile settings are kept


def test_a_packed_archive_loads(original, tmp_path):
    load_model(write(tmp_path / "packed.keras", members(original), zipfile.ZIP_DEFLATED))


def test_registered_classes_load(tmp_path):
    @keras.saving.register_keras_serializable("planted")
    class Doubling(keras.layers.Layer):
        def call(self, x):
            return 2 * x

    path = tmp_path / "custom.keras"
    keras.Sequential([keras.Input((3,)), Doubling()]).save(path)
    np.testing.assert_array_equal(load_model(path)(np.ones((1, 3))), [[2, 2, 2]])
    del keras.saving.get_custom_objects()["planted>Doubling"]
    refused(path, "'Doubling' of module .* not registered")
    np.testing.assert_array_equal(
        load_model(path, {"planted>Doubling": Doubling})(np.ones((1, 3))), [[2, 2, 2]]
    )


@pytest.mark.slow
def test_a_real_architecture_loads(tmp_path):
    model = keras.applications.MobileNetV2(weights=None, input_shape=(32, 32, 3), include_top=False)
    save_model(model, tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert loaded.count_params() == model.count_params()


def test_layers_with_state_of_many_kinds_load(tmp_path):
    inputs = keras.Input((8,))
    x = keras.layers.Normalization()(inputs)
    x = keras.layers.Dense(6, activation="leaky_relu", kernel_regularizer="l2")(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.ops.relu(keras.layers.Dropout(0.2)(x)) + 1.0
    x = keras.layers.Reshape((6, 1))(x)
    x = keras.layers.Bidirectional(keras.layers.GRU(3))(x)
    x = keras.layers.Concatenate()([x, x[:, 1:3]])
    model = keras.Model(
        inputs, [keras.layers.Dense(2)(x), keras.layers.Dense(1, dtype="float64")(x)]
    )
    save_model(model, tmp_path / "model.keras")
    data = np.random.default_rng(0).normal(size=(4, 8))
    for expected, found in zip(model(data), load_model(tmp_path / "model.keras")(data)):
        np.testing.assert_array_equal(found, expected)


def test_no_usable_file(tmp_path):
    refused(tmp_path / "none.keras", "no such file")
    refused(tmp_path, "directory")
    (tmp_path / "empty.keras").touch()
    refused(tmp_path / "empty.keras", "empty")
    (tmp_path / "foreign.keras").write_bytes(b"\x89PNG" * 100)
    refused(tmp_path / "foreign.keras", "not a '.keras' archive")
    (tmp_path / "old.h5").write_bytes(b"\x89HDF")
    refused(tmp_path / "old.h5", "signature not found")


def test_other_kinds_of_models_are_told_what_to_do_instead(tmp_path):
    for name, said in {
        "m.json": "--weights FILE.h5",
        "m.tflite": "--export tflite",
        "m.onnx": "--export onnx",
        "m.pth": "PyTorch",
        "saved_model.pb": "--export saved_model",
    }.items():
        (tmp_path / name).write_bytes(b"x")
        refused(tmp_path / name, said)
    refused(tmp_path, "--export saved_model")  # the folder of a SavedModel


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "/tmp/evil",
        "assets/../../evil",
        "C:\\evil",
        "assets/..\\evil",
        "model.weights.npz",
        "evil.py",
    ],
)
def test_members_that_do_not_belong(name, original, tmp_path):
    refused(
        write(tmp_path / "m.keras", members(original) | {name: b"x"}), "no part of a '.keras' file"
    )


def test_a_member_named_twice(original, tmp_path):
    contents = [*members(original).items(), ("config.json", b"{}")]
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = write(tmp_path / "m.keras", contents)
    refused(path, "two members of one name")


def test_a_symbolic_link(original, tmp_path):
    path = write(tmp_path / "m.keras", members(original))
    link = zipfile.ZipInfo("assets/link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    refused(path, "no ordinary file")


def test_a_bomb(original, tmp_path):
    contents = members(original) | {"assets/zeros": bytes(200 << 20)}
    path = write(tmp_path / "m.keras", contents, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 20
    refused(path, "unpacks to")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b"[" * 100_000, b'{"class_name": "x", "config": 3}']
)
def test_a_configuration_that_is_none(content, original, tmp_path):
    refused(
        write(tmp_path / "m.keras", members(original) | {"config.json": content}), "Cannot load"
    )


@pytest.mark.parametrize("units", [10**6, 10**12, 10**30, -5, "many", None, 1.5])
def test_declared_units(units, original, tmp_path):
    def change(config):
        config["config"]["layers"][1]["config"]["units"] = units

    refused(with_config(original, tmp_path / "m.keras", change), "Cannot load")


def test_a_huge_input(original, tmp_path):
    def change(config):
        config["config"]["layers"][0]["config"]["batch_shape"] = [None, 1 << 20, 1 << 20]

    refused(with_config(original, tmp_path / "m.keras", change), "beyond")


def test_a_huge_output(tmp_path):
    path = tmp_path / "m.keras"
    keras.Sequential([keras.Input((2,)), keras.layers.RepeatVector(1 << 30)]).save(path)
    refused(path, "the number 1073741824")


def array(weights):
    """The first array of a weights file, with its group."""
    found = []
    weights.visititems(
        lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None
    )
    name = next(name for name in sorted(found) if name.startswith("layers"))
    return weights[name].parent, name.rsplit("/", 1)[1]


def huge(weights):
    group, name = array(weights)
    del group[name]
    group.create_dataset(
        name, shape=(1 << 20, 1 << 20), dtype="f4"
    )  # not a byte of it is allocated


def chunked(weights):
    group, name = array(weights)
    del group[name]
    group.create_dataset(
        name, shape=(1 << 15, 1 << 15), dtype="f4", chunks=(1 << 14, 1 << 14), compression="gzip"
    )


def elsewhere(weights):
    group, name = array(weights)
    shape = group[name].shape
    del group[name]
    group.create_dataset(
        name, shape=shape, dtype="f4", external=[("/etc/passwd", 0, 4 * int(np.prod(shape)))]
    )


def virtual(weights):
    group, name = array(weights)
    shape = group[name].shape
    del group[name]
    layout = h5py.VirtualLayout(shape=shape, dtype="f4")
    layout[...] = h5py.VirtualSource("/tmp/other.h5", "data", shape=shape)
    group.create_virtual_dataset(name, layout)


def linked(weights):
    group, name = array(weights)
    del group[name]
    group[name] = h5py.ExternalLink("/tmp/other.h5", "/data")


def soft(weights):
    group, name = array(weights)
    del group[name]
    group[name] = h5py.SoftLink("/")


def circle(weights):
    weights["layers/again"] = weights["layers"]


def words(weights):
    group, name = array(weights)
    del group[name]
    group[name] = np.array([["a", "b"]], dtype=h5py.string_dtype())


@pytest.mark.parametrize(
    "change, message",
    [
        (huge, "cannot hold"),
        (chunked, "cannot hold"),
        (elsewhere, "in another file"),
        (virtual, "in another file"),
        (linked, "link"),
        (soft, "link"),
        (circle, "twice"),
        (words, "not numeric"),
    ],
)
def test_weights_that_are_not_what_they_seem(change, message, original, tmp_path):
    refused(with_weights(original, tmp_path / "m.keras", change), message)


def foreign(class_name, module, **config):
    def change(model):
        layer = {
            "class_name": class_name,
            "module": module,
            "registered_name": None,
            "config": config,
        }
        model["config"]["layers"].append(layer)

    return change


def lambda_layer(model):
    code = marshal.dumps((lambda x: __import__("os").system("touch executed")).__code__).hex()
    function = {"class_name": "__lambda__", "config": {"value": [code, None, None]}}
    foreign("Lambda", "keras.layers", function=function)(model)


def activation(model):
    function = {
        "class_name": "function",
        "module": "os",
        "config": "system",
        "registered_name": "system",
    }
    model["config"]["layers"][1]["config"]["activation"] = function


def download(model):
    function = {
        "class_name": "function",
        "module": "keras.utils",
        "config": "get_file",
        "registered_name": None,
    }
    model["config"]["layers"][1]["config"]["activation"] = function


def unsafe_switch(model):
    function = {
        "class_name": "enable_unsafe_deserialization",
        "module": "keras.config",
        "config": {},
    }
    model["config"]["layers"].insert(0, function | {"registered_name": None})


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda_layer, "runs code of its own"),
        (activation, "not registered"),
        (download, "not registered"),
        (unsafe_switch, "not registered"),
        (foreign("Popen", "subprocess", args="touch executed"), "not registered"),
        (foreign("TFSMLayer", "keras.layers", filepath="/tmp"), "runs code of its own"),
        (foreign("TorchModuleWrapper", "keras.src.utils.torch_utils"), "runs code of its own"),
        (
            foreign("StringLookup", "keras.layers", vocabulary="/etc/passwd"),
            "from the path '/etc/passwd'",
        ),
        (foreign("Mine", "my.package"), "'Mine' of module 'my.package', which is not registered"),
    ],
)
def test_code_that_comes_along(change, message, original, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(with_config(original, tmp_path / "m.keras", change), message)
    assert os.listdir(tmp_path) == ["m.keras"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "result.json"
    write_json(path, {"old": 1})
    with pytest.raises(ValueError):
        write_json(path, {"new": float("nan")})

    def fail_halfway():
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_halfway()
    assert json.loads(path.read_text()) == {"old": 1}
    assert os.listdir(tmp_path) == ["result.json"]


def test_names_that_cannot_be_written(tmp_path):
    for path, message in [
        (tmp_path, "directory"),
        (tmp_path / "no" / "file.json", "does not exist"),
    ]:
        with pytest.raises(InputError, match=message):
            write_json(path, {})
    with pytest.raises(InputError, match=r"ends in '\.keras'"):
        save_model(None, tmp_path / "model.h5")


def test_sha256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert (
        sha256(tmp_path / "abc")
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
