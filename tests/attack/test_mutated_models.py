"""Broken or hostile `.keras` files: each is refused in one clear line, or is a model that
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
import json, os, resource, sys
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
    others = [one for one in seen if not one[1].endswith(".pyc")]
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


@pytest.mark.slow
def test_broken_and_hostile_files(attack, tmp_path):
    import keras

    from keras_l2feat.layers import HomogeneousDense

    inputs = keras.Input((6, 6, 1))
    x = keras.layers.Conv2D(3, 3, activation="relu")(inputs)
    x = keras.layers.Flatten()(keras.layers.BatchNormalization()(x))
    model = keras.Model(
        inputs, keras.layers.Dense(3)(HomogeneousDense(4, beta=0.5, activation="relu")(x))
    )
    model.save(tmp_path / "good.keras")
    good = (tmp_path / "good.keras").read_bytes()
    files = tmp_path / "cases"
    files.mkdir()
    names, count = [], attack.count(300, 5000)
    for index in range(attack.seed, attack.seed + count):
        names.append(files / f"{index}.keras")
        names[-1].write_bytes(case(index, good, np.random.default_rng(index)))
    work = tmp_path / "work"
    work.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(tmp_path / "good.keras")],
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
