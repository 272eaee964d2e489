"""Broken or hostile `.keras` and HDF5 files: each is refused in one clear line, or is a model that
works.

They are loaded one after the other in a process of its own, so that a crash is seen as such, memory
can be measured, and an audit hook sees every file that is opened for writing, every process and
every connection.
"""

import io
import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest

MEGABYTES = 300  # the process may grow by this much after loading its first good model

WORKER = """
import json, os, resource, sys, tempfile
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
from keras_l2feat.errors import InputError
from keras_l2feat.files import load_model

def use(path):
    model = load_model(path)
    for shape in [tuple(model.inputs[0].shape)]:
        if all(isinstance(size, int) and 0 < size < 10000 for size in shape[1:]):
            model(np.zeros((2, *shape[1:]), "float32"))

use(sys.argv[1])
seen = []
def hook(event, arguments):
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        seen.append([event, str(arguments[0])])
    elif event in {"os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect",
                   "os.mkdir", "os.remove", "os.rename", "pickle.find_class", "marshal.loads",
                   "marshal.load"}:
        seen.append([event, str(arguments)])
sys.addaudithook(hook)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.stdin.read().split():
    seen.clear()
    print(path, end=" ", flush=True)
    try:
        use(path)
        outcome = "loaded"
    except InputError as error:
        outcome = f"refused {error}"
    except BaseException as error:
        outcome = f"CRASHED {type(error).__name__}: {error}"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    # A folder is opened for writing for a file without a name alone: what is loaded is copied there
    nameless = ["open", tempfile.gettempdir()]
    others = [one for one in seen if not one[1].endswith(".pyc") and one != nameless]
    print(json.dumps([outcome, grown, others]), flush=True)
"""

NUMBERS = [0, -1, 1, 2, 7, 10**6, 2**31, 2**63, 10**30, 0.5, 1e300]
CODE = [
    {"class_name": "Lambda", "module": "keras.layers", "config": {"function": "lambda x: x"}},
    {"class_name": "__lambda__", "config": {"value": "4wAAAA=="}},
    {"class_name": "function", "module": "os", "config": "system", "registered_name": "system"},
    {"class_name": "function", "module": "builtins", "config": "eval", "registered_name": "eval"},
    {
        "class_name": "system",
        "module": "os",
        "config": {"command": "touch executed"},
        "registered_name": None,
    },
    {
        "class_name": "Popen",
        "module": "subprocess",
        "config": {"args": "touch executed"},
        "registered_name": "x",
    },
    {
        "class_name": "get_file",
        "module": "keras.utils",
        "config": {"origin": "http://127.0.0.1:9/x"},
    },
    {
        "class_name": "function",
        "module": "keras.utils",
        "config": "get_file",
        "registered_name": "get_file",
    },
    {"class_name": "TFSMLayer", "module": "keras.layers", "config": {"filepath": "saved"}},
    {
        "class_name": "TextVectorization",
        "module": "keras.layers",
        "config": {"vocabulary": "/etc/passwd"},
    },
    {
        "class_name": "function",
        "module": "keras.models",
        "config": "load_model",
        "registered_name": None,
    },
]
NAMES = [
    "../evil",
    "/tmp/evil",
    "assets/../../evil",
    "..\\evil",
    "assets/./x",
    "evil.py",
    "model.weights.npz",
]


def flip(content, generator, most=8):
    content = bytearray(content)
    for place in generator.integers(len(content), size=generator.integers(1, most + 1)):
        content[place] ^= 1 << generator.integers(8)
    return bytes(content)


def paths(value, before=()):
    """The keys that lead to every node of a configuration."""
    yield before
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in items:
        yield from paths(inner, (*before, key))


def replaced(config, generator, value):
    """`config` with one random node replaced."""
    config = json.loads(json.dumps(config))
    places = [path for path in paths(config) if path]
    *way, last = places[generator.integers(len(places))]
    node = config
    for key in way:
        node = node[key]
    node[last] = value
    return config


def resized(config, generator):
    """`config` with one number, or one entry of a shape, replaced by another."""
    config = json.loads(json.dumps(config))
    places = [path for path in paths(config) if path and isinstance(at(config, path), int | float)]
    *way, last = places[generator.integers(len(places))]
    at(config, way)[last] = NUMBERS[generator.integers(len(NUMBERS))]
    return config


def at(value, path):
    for key in path:
        value = value[key]
    return value


def rewritten_weights(content, generator):
    """The weights with one array swapped for another shape, most of them without storage."""
    import h5py

    stream = io.BytesIO(content)
    with h5py.File(stream, "r+") as weights:
        found = []
        weights.visititems(
            lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None
        )
        name = found[generator.integers(len(found))]
        del weights[name]
        shape = tuple(int(2 ** generator.integers(0, 30)) for _ in range(generator.integers(0, 3)))
        weights.create_dataset(name, shape=shape, dtype=generator.choice(["f4", "f8", "u1", "i8"]))
    return stream.getvalue()


def case(index, good, generator):
    """The bytes of one broken file."""
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(contents["config.json"])
    extra = []
    match index % 10:
        case 0 | 1:
            return flip(good, generator)
        case 2:
            return good[: generator.integers(1, len(good))]
        case 3 | 4:  # with a right checksum, as a hostile file has
            contents["model.weights.h5"] = flip(contents["model.weights.h5"], generator)
        case 5:
            contents["model.weights.h5"] = rewritten_weights(
                contents["model.weights.h5"], generator
            )
        case 6:
            config = resized(config, generator)
        case 7:
            values = [
                None,
                [],
                {},
                "relu",
                "",
                NUMBERS[generator.integers(len(NUMBERS))],
                [[]],
                True,
            ]
            config = replaced(config, generator, values[generator.integers(len(values))])
        case 8:
            config = replaced(config, generator, CODE[generator.integers(len(CODE))])
        case 9:
            kind = generator.integers(4)
            if kind == 0:
                extra = [(NAMES[generator.integers(len(NAMES))], b"evil")]
            elif kind == 1:
                extra = [("assets/zeros", bytes(100 << 20))]
            elif kind == 2:
                del contents[list(contents)[generator.integers(len(contents))]]
            else:
                contents["model.weights.h5"] = contents["model.weights.h5"][
                    : generator.integers(1, 5000)
                ]
    if "config.json" in contents and index % 10 in {6, 7, 8}:
        contents["config.json"] = json.dumps(config).encode()
    stream = io.BytesIO()
    with zipfile.ZipFile(
        stream, "w", zipfile.ZIP_DEFLATED if extra else zipfile.ZIP_STORED
    ) as archive:
        for name, content in [*contents.items(), *extra]:
            archive.writestr(name, content)
    return stream.getvalue()


OLD_CODE = [
    {"class_name": "Lambda", "config": {"name": "l", "function": ["4wEAAAA=", None, None]}},
    {"class_name": "Lambda", "config": {"name": "l", "function": "eval", "module": "builtins"}},
    {"class_name": "TFOpLambda", "config": {"name": "t", "function": "io.read_file"}},
    {"class_name": "Merge", "config": {"name": "m", "mode": "os.system", "layers": []}},
    {"type": "ndarray", "value": "os.system"},
    {"class_name": "TypeSpec", "type_spec": "x", "serialized": []},
    {"class_name": "__tuple__", "items": [["x"]]},
]


def hdf5_case(index, good, generator):
    """The bytes of one broken HDF5 file of a whole model."""
    import h5py

    match index % 10:
        case 0 | 1:
            return flip(good, generator)
        case 2:
            return good[: generator.integers(1, len(good))]
        case 3:
            return rewritten_weights(good, generator)
    stream = io.BytesIO(good)
    with h5py.File(stream, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        code = [*CODE, *OLD_CODE]
        values = [None, [], {}, "relu", "", [[]], True, NUMBERS[generator.integers(len(NUMBERS))]]
        match index % 10:
            case 4:
                config = resized(config, generator)
            case 5:
                config = replaced(config, generator, values[generator.integers(len(values))])
            case 6 | 7:
                config = replaced(config, generator, code[generator.integers(len(code))])
            case 8:
                misnamed(file["model_weights"], generator)
            case 9:
                elsewhere(file["model_weights"], generator)
        file.attrs["model_config"] = json.dumps(config).encode()
    return stream.getvalue()


def misnamed(weights, generator):
    """Names of layers or arrays that are others, no text, or far more than there is."""
    item, name = weights, "layer_names"
    if generator.integers(2):
        groups = [group for group in weights.values() if len(group.attrs.get("weight_names", ()))]
        item, name = groups[generator.integers(len(groups))], "weight_names"
    names = list(item.attrs[name])
    choices = [
        [*names[1:], names[0]],
        names * 1000,
        ["../evil"],
        ["/"],
        [7],
        [[names[0]]],
        ["x" * (1 << 16)] * 50,
        "no list",
    ]
    item.attrs[name] = choices[generator.integers(len(choices))]


def elsewhere(weights, generator):
    """An array that is not in the file."""
    import h5py

    found = []
    weights.visititems(lambda n, item: found.append(n) if isinstance(item, h5py.Dataset) else None)
    name = found[generator.integers(len(found))]
    shape = weights[name].shape
    del weights[name]
    match generator.integers(4):
        case 0:
            weights[name] = h5py.ExternalLink("/etc/passwd", "/")
        case 1:
            weights[name] = h5py.SoftLink("/model_weights")
        case 2:
            external = [("/etc/passwd", 0, h5py.h5f.UNLIMITED)]
            weights.create_dataset(name, shape=shape, dtype="f4", external=external)
        case 3:
            layout = h5py.VirtualLayout(shape=shape, dtype="f4")
            layout[...] = h5py.VirtualSource("/etc/passwd", "x", shape=shape)
            weights.create_virtual_dataset(name, layout)


def good_archive(path):
    import keras

    from keras_l2feat.layers import HomogeneousDense

    inputs = keras.Input((6, 6, 1))
    x = keras.layers.Conv2D(3, 3, activation="relu")(inputs)
    x = keras.layers.Flatten()(keras.layers.BatchNormalization()(x))
    model = keras.Model(
        inputs, keras.layers.Dense(3)(HomogeneousDense(4, beta=0.5, activation="relu")(x))
    )
    model.save(path)


def good_hdf5(path):
    """As Keras 2 wrote it: a model in a model, called twice."""
    import h5py

    def layer(kind, name, calls, **settings):
        config = {"name": name, "trainable": True, **settings}
        return {"class_name": kind, "name": name, "config": config, "inbound_nodes": calls}

    def model(layers, start, end):
        return {"layers": layers, "input_layers": [[start, 0, 0]], "output_layers": [end]}

    shape = {"batch_input_shape": [None, 4, 3], "dtype": "float32"}
    zeros = {"class_name": "Zeros", "config": {"dtype": "float32"}}
    inner = [
        layer("InputLayer", "i", [], **shape),
        layer("Dense", "d", [[["i", 0, 0, {}]]], units=3, bias_initializer=zeros),
        layer("BatchNormalization", "n", [[["d", 0, 0, {}]]], axis=[2], fused=True),
    ]
    twice = [[["x", 0, 0, {}]], [["m", 1, 0, {}]]]
    outer = [
        layer("InputLayer", "x", [], **shape),
        layer("Model", "m", twice, **model(inner, "i", ["n", 0, 0])),
        layer(
            *("LSTM", "l", [[["m", 2, 0, {}]]]),
            **{"units": 2, "recurrent_activation": "hard_sigmoid", "implementation": 1},
        ),
    ]
    shapes = {
        "m": {"d/kernel:0": (3, 3), "d/bias:0": 3, "n/gamma:0": 3, "n/beta:0": 3}
        | {"n/moving_mean:0": 3, "n/moving_variance:0": 3},
        "l": {"l/kernel:0": (3, 8), "l/recurrent_kernel:0": (2, 8), "l/bias:0": 8},
    }
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = b"2.4.0"
        config = {"class_name": "Model", "config": model(outer, "x", ["l", 0, 0])}
        file.attrs["model_config"] = json.dumps(config).encode()
        weights = file.create_group("model_weights")
        weights.attrs["layer_names"] = [b"x", b"m", b"l"]
        weights.attrs["keras_version"] = b"2.4.0"
        weights.create_group("x").attrs["weight_names"] = []
        for name, arrays in shapes.items():
            group = weights.create_group(name)
            group.attrs["weight_names"] = [one.encode() for one in arrays]
            for one, size in arrays.items():
                group[one] = np.full(size, 0.5, "float32")


@pytest.mark.slow
@pytest.mark.parametrize(
    "suffix, make, broken",
    [(".keras", good_archive, case), (".h5", good_hdf5, hdf5_case)],
    ids=["archives", "hdf5"],
)
def test_broken_and_hostile_files(suffix, make, broken, attack, tmp_path):
    make(tmp_path / f"good{suffix}")
    good = (tmp_path / f"good{suffix}").read_bytes()
    files = tmp_path / "cases"
    files.mkdir()
    names, count = [], attack.count(300, 5000)
    for index in range(attack.seed, attack.seed + count):
        names.append(files / f"{index}{suffix}")
        names[-1].write_bytes(broken(index, good, np.random.default_rng(index)))
    work = tmp_path / "work"
    work.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(tmp_path / f"good{suffix}")],
        input="\n".join(map(str, names)),
        capture_output=True,
        text=True,
        cwd=work,
        timeout=60 + 2 * count,
    )
    lines = [line.split(" ", 1) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (done.returncode, lines[-1:], done.stderr[-2000:])
    outcomes = {path: json.loads(rest) for path, rest in lines}
    assert len(outcomes) == count
    for path, (outcome, _, seen) in outcomes.items():
        assert outcome == "loaded" or outcome.startswith(f"refused Cannot load {path!r}"), (
            path,
            outcome,
        )
        assert not seen, (path, seen)
    print(f"{count} files, {sum(o == 'loaded' for o, _, _ in outcomes.values())} loaded")
    refusals = [outcome for outcome, _, _ in outcomes.values() if outcome != "loaded"]
    assert len(refusals) > count // 2
    assert len(refusals) < count  # a loader that refuses everything would pass all else
    assert max(grown for _, grown, _ in outcomes.values()) < MEGABYTES
    assert list(work.iterdir()) == []  # nothing executed, nothing extracted
    assert len(list(files.iterdir())) == count
