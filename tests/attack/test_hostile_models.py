"""Model files that try to run code, read other files, take gigabytes or minutes, or load as other
numbers: each is refused in one line, at no cost."""

import hashlib
import io
import json
import os
import resource
import zipfile
import zlib
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from keras_l2feat.archive import allowed
from keras_l2feat.errors import CheckFailed, InputError
from keras_l2feat.files import load_model
from keras_l2feat.loading import SMALL

MEGABYTES = 400


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """The members of a good file: config as JSON, weights as bytes, metadata as bytes."""
    path = tmp_path_factory.mktemp("good") / "good.keras"
    inputs = keras.Input((6,), name="in")
    hidden = keras.layers.Dense(5, activation="relu", kernel_regularizer="l2", name="hidden")
    outputs = keras.layers.Dense(3, name="out")(hidden(inputs))
    model = keras.Model(inputs, outputs)
    model.compile("adam", "mse", metrics=["mae"])
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    return members | {"config.json": json.loads(members["config.json"])}


def write(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, json.dumps(content) if isinstance(content, dict) else content)
    return path


def refuse(path, message, **options):
    """The file is refused with `message`, and the process has grown little."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=message) as caught:
        load_model(path, **options)
    assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEGABYTES << 10


def replace(path, content):
    path.with_suffix(".new").write_bytes(content)
    path.with_suffix(".new").replace(path)


def thing(class_name, module, config, registered_name=None, **others):
    return {
        "class_name": class_name,
        "module": module,
        "config": config,
        "registered_name": registered_name,
        **others,
    }


OURS = "keras_l2feat>absolute"  # registered: what hides behind it must be looked at all the same
CODE = [
    thing("function", "os", "system", OURS),
    thing(OURS, "os", "system"),
    thing("function", "builtins", "eval", OURS),
    thing("system", "os", {"command": "touch executed"}, "system"),
    thing("model_from_json", "keras.models", {"json_string": "{}"}),
    thing("load_model", "keras.models", {"filepath": "/etc/passwd"}),
    thing("function", "keras.models", "load_model"),
    thing("function", "keras.utils", "get_file"),
    thing("function", "builtins", "get_file"),
    thing("function", "builtins", "deserialize"),
    thing("function", "keras.activations", "deserialize"),
    thing("function", "keras.src.utils.python_utils", "func_load"),
    thing("func_load", "keras.src.utils.python_utils", {"code": "4wAAAA=="}),
    thing("enable_unsafe_deserialization", "keras.config", {}),
    thing("function", "keras.config", "enable_unsafe_deserialization"),
    thing("import_module", "keras.src.saving.serialization_lib.importlib", {"name": "antigravity"}),
    thing("Popen", "keras.src.utils.io_utils.subprocess", {"args": "touch executed"}),
    thing("__lambda__", "builtins", {"value": ["4wAAAA==", None, None]}),
    thing("__typespec__", "tensorflow", [], spec_name="TensorSpec"),
    thing("Lambda", "keras.layers", {"function": "lambda x: x"}),
    thing("Lambda", "keras.src.layers.core.lambda_layer", {"function": "lambda x: x"}),
    thing("TFSMLayer", "keras.layers", {"filepath": "saved"}),
    thing("TorchModuleWrapper", "keras.src.utils.torch_utils", {"module": "x"}),
    thing("JaxLayer", "keras.layers", {}),
    thing("Map", "keras.src.ops.core", {}),
    thing("WhileLoop", "keras.src.ops.core", {}),
    thing("Operation", "keras.src.ops.operation", {}),
    thing("Layer", "keras.layers", {}),
    thing("FeatureSpace", "keras.utils", {}),
    thing("MLP", "keras.src.models.nowhere", {}),
    thing("StringLookup", "keras.layers", {"vocabulary": "/etc/passwd"}),
    thing("TextVectorization", "keras.layers", {"vocabulary": "http://127.0.0.1:9/x"}),
    {"class_name": "Dense", "config": {"units": 3}},  # no module: the loader of old formats
    {"class_name": "Lambda", "config": {"function": ["4wAAAA==", None, None]}},
    {"class_name": ["Dense"], "module": "keras.layers", "config": {}},
]


def places(model):
    """Where a hostile object can stand: functions that put one there."""
    layer = model["config.json"]["config"]["layers"][1]
    yield lambda found: layer["config"].update(activation=found)
    yield lambda found: layer["config"].update(kernel_initializer=found)
    yield lambda found: layer["config"].update(kernel_regularizer=found)
    yield lambda found: layer["config"].update(dtype=found)
    yield lambda found: layer["config"].update(anything=[{"deep": [found]}])
    yield lambda found: layer["inbound_nodes"][0]["kwargs"].update(extra=found)
    yield lambda found: model["config.json"]["compile_config"].update(loss=found)
    yield lambda found: model["config.json"]["compile_config"].update(metrics=[found])
    yield lambda found: model["config.json"]["compile_config"].update(optimizer=found)
    yield lambda found: model["config.json"]["config"]["layers"].insert(
        1, {"name": "x", "inbound_nodes": []} | found
    )
    yield lambda found: model["config.json"].update(found)


@pytest.mark.parametrize("index", range(len(CODE)))
def test_code_wherever_it_hides(index, good, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(len(list(places(good)))):
        model = json.loads(json.dumps({"config.json": good["config.json"]}))
        list(places(model))[number](CODE[index])
        path = write(tmp_path / f"{number}.keras", good | model)
        refuse(path, "runs code|not registered|from the path|does not name|without class|no model")
        path.unlink()
    assert os.listdir(tmp_path) == []


def test_objects_given_explicitly_and_no_others(tmp_path):
    class Tripled(keras.layers.Dense):
        pass

    path = tmp_path / "m.keras"
    keras.Sequential([keras.Input((6,)), Tripled(3)]).save(path)
    refuse(path, "'Tripled' of module .*, which is not registered")
    assert isinstance(load_model(path, {"Tripled": Tripled}).layers[0], Tripled)


@pytest.mark.parametrize("units", [3, SMALL // 16], ids=["in memory", "on disk"])
@pytest.mark.parametrize("swap", [Path.write_bytes, replace], ids=["written into", "replaced"])
def test_a_file_that_changes_while_it_is_checked(swap, units, tmp_path):
    """What is loaded is what was checked, whatever the path holds by then."""
    path = tmp_path / "m.keras"

    class Swapping(keras.layers.Dense):
        @classmethod
        def from_config(cls, config):
            swap(path, other)
            return cls(**config)

    def model(bias):
        made = keras.Sequential([keras.Input((6,)), Swapping(units, bias_initializer=bias)])
        made.save(path)
        return path.read_bytes()

    other, good = model("ones"), model("zeros")
    loaded = load_model(path, {"Swapping": Swapping}, sha256=hashlib.sha256(good).hexdigest())
    assert path.read_bytes() == other
    assert not np.any(loaded.get_weights()[1])
    with pytest.raises(CheckFailed, match="SHA-256"):
        load_model(path, {"Swapping": Swapping}, sha256=hashlib.sha256(good).hexdigest())


def test_layers_whose_weights_are_not_there(good, tmp_path):
    """Keras warns and goes on with fresh ones."""

    def renamed(model):
        model["config"]["layers"][1]["class_name"] = "EinsumDense"
        model["config"]["layers"][1]["config"] = {
            "name": "hidden", "equation": "ab,bc->ac", "output_shape": 5, "bias_axes": "c"
        }  # fmt: skip

    refuse(write(tmp_path / "m.keras", changed(good, renamed)), "Skipping|could not be loaded")


def test_every_class_of_the_installed_keras_is_decided_upon():
    """What a new Keras brings is neither let in nor left out unseen."""
    left_out = {  # bases, and what holds functions or other objects for training
        *("layers Layer", "layers Wrapper", "layers InputSpec", "initializers Initializer"),
        *("regularizers Regularizer", "constraints Constraint", "quantizers Quantizer"),
        *("optimizers Optimizer", "optimizers MultiOptimizer", "optimizers OptimizerMap"),
        *("losses Loss", "metrics Metric", "quantizers QuantizationConfig"),
        *("quantizers GPTQConfig", "quantizers AWQConfig"),
        "optimizers.schedules LearningRateSchedule",
    }
    undecided = []
    for kind, names in allowed.CLASSES.items():
        if kind.startswith("src."):  # a module of an application, not one of public classes
            continue
        module = keras
        for part in kind.split("."):
            module = getattr(module, part)
        known = {getattr(module, name, None) for name in names | allowed.REFUSED}
        undecided += [
            f"{kind} {name}"
            for name, found in vars(module).items()
            if isinstance(found, type) and found not in known and f"{kind} {name}" not in left_out
        ]
    assert undecided == []


def test_all_losses_metrics_and_optimizers_of_the_lists_load(good, tmp_path):
    """By the lists themselves: an attack on the lists would be to shorten them."""
    inputs = keras.Input((6,))
    model = keras.Model(inputs, keras.layers.Dense(3, activation=keras.ops.tanh)(inputs))
    for number, loss in enumerate(sorted(allowed.FUNCTIONS["losses"] - {"ctc", "circle", "dice"})):
        if not hasattr(keras.losses, loss) or number % 5:
            continue
        model.compile(
            keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 10**9, 0.5)),
            getattr(keras.losses, loss),
            metrics=[keras.metrics.AUC(), keras.metrics.MeanIoU(3), "accuracy"],
        )
        model.save(tmp_path / "m.keras")
        assert load_model(tmp_path / "m.keras").compiled


def changed(good, change):
    model = json.loads(json.dumps({"config.json": good["config.json"]}))
    change(model["config.json"])
    return good | model


def constant(layer_class, config, *values):
    """A layer or operation that is called on a constant."""
    tensor = {"class_name": "__tensor__", "config": {"dtype": "float32", "value": [1.0] * 1000}}

    def change(model):
        call = {"args": [tensor, *values], "kwargs": {}}
        module = "keras.layers" if hasattr(keras.layers, layer_class) else "keras.src.ops.numpy"
        layer = thing(layer_class, module, config, name="bomb", inbound_nodes=[call])
        model["config"]["layers"].append(layer)

    return change


def metric(class_name, **config):
    def change(model):
        model["compile_config"]["metrics"] = [
            thing(class_name, "keras.metrics", {"name": "m", "dtype": "float32", **config})
        ]

    return change


def many_layers(model):
    layers = model["config"]["layers"]
    layers += [
        thing(
            "Dense", "keras.layers", {"units": 1, "name": f"x{i}"}, name=f"x{i}", inbound_nodes=[]
        )
        for i in range(40_000)
    ]


def many_calls(model):
    layer = model["config"]["layers"][1]
    layer["inbound_nodes"] = layer["inbound_nodes"] * 40_000


def repeated(times):
    def change(model):
        repeat = thing("RepeatVector", "keras.layers", {"name": "r", "n": times}, name="r")
        repeat["inbound_nodes"] = [
            json.loads(json.dumps(model["config"]["layers"][2]["inbound_nodes"][0]))
        ]
        repeat["inbound_nodes"][0]["args"][0]["config"]["shape"] = [None, 5]
        model["config"]["layers"].append(repeat)
        model["config"]["output_layers"] = ["r", 0, 0]

    return change


def constant_dtype(dtype, value):
    def change(model):
        model["config"]["layers"][1]["config"]["anything"] = {
            "class_name": "__numpy__",
            "config": {"value": value, "dtype": dtype},
        }

    return change


@pytest.mark.parametrize(
    "change, message",
    [
        (metric("AUC", num_thresholds=10**9), "the number 1000000000"),
        (metric("MeanIoU", num_classes=10**6), "the number 1000000"),
        (constant("Tile", {"name": "bomb", "repeats": [700_000]}), "constants alone"),
        (constant("RepeatVector", {"name": "bomb", "n": 1 << 20}), "constants alone"),
        (repeated(1 << 24), "beyond"),
        (repeated(1 << 27), "at most"),
        (many_layers, "more than"),
        (many_calls, "more than"),
        (constant_dtype("V1000000000", [0]), "numeric dtype"),
        (constant_dtype("object", [0]), "numeric dtype"),
        (constant_dtype("float32", ["a"]), "made of numbers"),
    ],
)
def test_small_files_that_would_take_gigabytes_or_minutes(change, message, good, tmp_path):
    path = write(tmp_path / "m.keras", changed(good, change))
    assert path.stat().st_size < 1 << 20
    refuse(path, message)


def test_without_compiling_nothing_of_it_is_looked_at(good, tmp_path):
    path = write(tmp_path / "m.keras", changed(good, metric("AUC", num_thresholds=10**9)))
    assert not load_model(path, compile=False).compiled


def test_a_model_that_takes_long_to_build_is_given_up(good, tmp_path, monkeypatch):
    monkeypatch.setattr("keras_l2feat.archive.declared.SECONDS", 0.05)

    def slow(model):  # each pass over the layers resolves one of them
        template = json.dumps(model["config"]["layers"][2])
        for index in range(300):
            layer = json.loads(template.replace('"hidden"', f'"x{index + 1}"'))
            layer["name"] = layer["config"]["name"] = f"x{index}"
            model["config"]["layers"].insert(1, layer)

    refuse(write(tmp_path / "m.keras", changed(good, slow)), "to build")


def with_array(good, make):
    """The good file with one array of its weights made anew by `make(group, name, content)`."""
    stream = io.BytesIO(good["model.weights.h5"])
    with h5py.File(stream, "r+") as weights:
        group = weights["layers/dense/vars"]
        content = group["0"][()]
        del group["0"]
        make(group, "0", content)
    return good | {"model.weights.h5": stream.getvalue()}


def never_written(group, name, content):
    group.create_dataset(name, shape=content.shape, dtype="f4", fillvalue=7)


def partly_written(group, name, content):
    array = group.create_dataset(name, shape=content.shape, dtype="f4", chunks=(1, 5))
    array[1:] = content[1:]


def skipped_filter(group, name, content):
    """Chunks that say of themselves that they were not packed: their packed bytes are read as
    numbers."""
    array = group.create_dataset(
        name, shape=content.shape, dtype="f4", chunks=content.shape, compression="gzip"
    )
    array.id.write_direct_chunk((0, 0), zlib.compress(bytes(120)), filter_mask=1)


def missing_filter(group, name, content):
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk(content.shape)
    properties.set_filter(h5py.h5z.FILTER_NBIT, h5py.h5z.FLAG_OPTIONAL, ())
    space = h5py.h5s.create_simple(content.shape)
    kind = h5py.h5t.IEEE_F32LE
    array = h5py.h5d.create(group.id, name.encode(), kind, space, dcpl=properties)
    h5py.Dataset(array)[...] = content


def external(group, name, content):
    group.create_dataset(
        name, shape=content.shape, dtype="f4", external=[("/etc/hostname", 0, content.nbytes)]
    )


def external_link(group, name, content):
    group[name] = h5py.ExternalLink("/tmp/other.h5", "/data")


@pytest.mark.parametrize(
    "make, message",
    [
        (never_written, "not written"),
        (partly_written, "not written"),
        (skipped_filter, "not written"),
        (missing_filter, "the filter"),
        (external, "in another file"),
        (external_link, "link"),
    ],
)
def test_arrays_that_would_load_as_other_numbers(make, message, good, tmp_path):
    refuse(write(tmp_path / "m.keras", with_array(good, make)), message)


def test_arrays_as_others_write_them_load(good, tmp_path):
    """Packed in chunks by gzip, shuffled, with checksums; compact; the right numbers each time."""
    for number, options in enumerate(
        [
            {"chunks": (2, 5), "compression": "gzip", "shuffle": True, "fletcher32": True},
            {"chunks": (4, 3), "compression": "lzf"},
            {"chunks": (6, 5)},
        ]
    ):
        wanted = np.arange(30, dtype="f4").reshape(6, 5)

        def make(group, name, content, options=options, wanted=wanted):
            group.create_dataset(name, data=wanted, **options)

        path = write(tmp_path / f"{number}.keras", with_array(good, make))
        np.testing.assert_array_equal(load_model(path).layers[1].get_weights()[0], wanted)
