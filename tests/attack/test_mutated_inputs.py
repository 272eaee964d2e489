"""Data sets, bounds of inputs, plans and certificates, mutated at random and given to commands:
each command ends with 0, 1 or 2 and at most one sentence, never a traceback, its model stays as it
was, and no certificate shows two models to be equal that differ."""

import io
import json
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest

from keras_l2feat.cli.main import main
from keras_l2feat.files import sha256

WORKER = """
import contextlib, io, json, os, sys, traceback
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from keras_l2feat.cli.main import main
for line in sys.stdin:
    said, out = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(out):
            main(json.loads(line))
    except SystemExit as error:
        code, trace = error.code, ""
    except BaseException:
        code, trace = "raised", traceback.format_exc()[-1500:]
    print(json.dumps([code, said.getvalue()[-2000:], trace]), flush=True)
"""
VALUES = [
    None,
    [],
    {},
    "",
    "relu",
    True,
    -1,
    0,
    1,
    7,
    10**6,
    2**63,
    10**400,
    1e300,
    0.5,
    [[]],
    "\x1b",
]


NUMBERS = [
    -2,
    -1,
    0,
    1,
    2,
    4,
    5,
    6,
    99,
    10**9,
    0.5,
    -1.0,
    1e-300,
    1e38,
    1e300,
    float("nan"),
    float("inf"),
]


def at(value, place):
    for key in place:
        value = value[key]
    return value


def flip(content, generator):
    content = bytearray(content)
    for place in generator.integers(len(content), size=generator.integers(1, 9)):
        content[place] ^= 1 << generator.integers(8)
    return bytes(content)


def places(value, before=()):
    yield before
    items = []
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, inner in items:
        yield from places(inner, (*before, key))


def mutated_json(content, generator):
    """One node replaced, removed, nested deeply or repeated; or bytes flipped. As often a number
    becomes another, so that what is wrong is the sense and not the form."""
    kind = generator.integers(12)
    if kind == 0:
        return flip(content, generator)
    if kind == 1:
        return content[: generator.integers(len(content))]
    value = json.loads(content)
    found = [place for place in places(value) if place]
    if kind > 5:
        found = [place for place in found if isinstance(at(value, place), int | float)]
    *way, last = found[generator.integers(len(found))]
    node = at(value, way)
    if kind > 5:
        node[last] = NUMBERS[generator.integers(len(NUMBERS))]
    elif kind == 2:
        del node[last]
    elif kind == 3:
        node[last] = [node[last]] * int(generator.integers(2, 2000))
    elif kind == 4:
        return json.dumps(value).replace("[", "[" * 100_000, 1).encode()
    else:
        node[last] = VALUES[generator.integers(len(VALUES))]
    return json.dumps(value).encode()


def mutated_npz(content, generator):
    """Bytes flipped, also inside members with right checksums; arrays replaced by others. As often
    only a number, or the type of the numbers, becomes another."""
    kind = generator.integers(10)
    if kind == 0:
        return flip(content, generator)
    if kind == 1:
        return content[: generator.integers(len(content))]
    if kind > 4:
        return changed_numbers(content, generator)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = list(members)[generator.integers(len(members))]
    if kind == 2:
        members[name] = flip(members[name][:128], generator) + members[name][128:]
    elif kind == 3:
        del members[name]
    else:
        shape = tuple(int(n) for n in generator.integers(0, 6, generator.integers(0, 4)))
        dtype = generator.choice(["f4", "f8", "i8", "u8", "c8", "U3", "?", "M8[s]", "f2"])
        stream = io.BytesIO()
        np.save(stream, (1e3 * generator.normal(size=shape)).astype(float).astype(dtype))
        members[name] = stream.getvalue()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for member, body in members.items():
            archive.writestr(member, body)
    return stream.getvalue()


def changed_numbers(content, generator):
    with np.load(io.BytesIO(content)) as archive:
        arrays = dict(archive)
    names = list(arrays)
    name = names[generator.integers(len(names))]
    with np.errstate(all="ignore"):
        if generator.integers(2):
            dtype = generator.choice(["f2", "f4", "f8", "i1", "i8", "u1", "u8", "?", ">f4", "g"])
            arrays[name] = arrays[name].astype(dtype)
        if generator.integers(2):
            number = np.float64(NUMBERS[generator.integers(len(NUMBERS))])
            arrays[name].flat[generator.integers(arrays[name].size)] = number.astype(
                arrays[name].dtype
            )
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def run(command):
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model with a planted redundancy, and the good files."""
    folder = tmp_path_factory.mktemp("good")
    generator = np.random.default_rng(0)
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(6, activation="relu"), keras.layers.Dense(2)]
    )
    weights = model.get_weights()
    weights[0][:, 5], weights[1][5] = 2 * weights[0][:, 0], 2 * weights[1][0]
    model.set_weights(weights)
    model.save(folder / "wide.keras")
    x = generator.normal(size=(8, 3)).astype("f4")
    np.savez(folder / "data.npz", x_train=x, y_train=np.arange(8) % 2, x_test=x, y_test=[1] * 8)
    np.savez(folder / "range.npz", low=-np.ones(3), high=np.ones(3))
    good = [str(folder / "wide.keras"), "-q", "--no-latency"]
    domain = ["--guarantee", "domain", "--input-range", f"{folder}/range.npz"]
    run(["prune", *good, "--dry-run", "--plan", f"{folder}/plan.json"])
    for name, level in [("exact", []), ("domain", domain)]:
        outputs = ["-o", f"{folder}/{name}.keras", "--certificate", f"{folder}/{name}.json"]
        run(["prune", *good, *level, *outputs])
    small = keras.saving.load_model(folder / "exact.keras")
    small.layers[-1].bias.assign([0.0, 0.01])  # differs on every input
    small.save(folder / "wrong.keras")
    return folder


@pytest.mark.slow
def test_mutated_inputs_of_commands(attack, folder, tmp_path):
    model, hashed = folder / "wide.keras", sha256(folder / "wide.keras")
    out = tmp_path / "out.keras"
    prune = ["prune", model, "-q", "--no-latency", "-o", out]
    kinds = [
        ("plan.json", mutated_json, [*prune, "--apply-plan"]),
        ("data.npz", mutated_npz, [*prune, "--data"]),
        ("data.npz", mutated_npz, ["diff", model, model, "-q", "--data"]),
        ("range.npz", mutated_npz, [*prune, "--guarantee", "domain", "--input-range"]),
        ("data.npz", mutated_npz, ["train", "--iterations", "3", "-q", "--widths", "2", "-o", out]),
        ("exact.json", mutated_json, ["check", model, folder / "exact.keras", "-q"]),
        ("exact.json", mutated_json, ["check", model, folder / "wrong.keras", "-q"]),
        ("domain.json", mutated_json, ["check", model, folder / "domain.keras", "-q"]),
        ("domain.json", mutated_json, ["check", model, folder / "wrong.keras", "-q"]),
    ]
    count, calls = attack.count(72, 3000), []
    for index in range(attack.seed, attack.seed + count):
        good, mutate, command = kinds[index % len(kinds)]
        path = tmp_path / f"{index}-{good}"
        path.write_bytes(mutate((folder / good).read_bytes(), np.random.default_rng(index)))
        calls.append([str(part) for part in [*command, path]])
    done = subprocess.run(
        [sys.executable, "-c", WORKER],
        input="".join(json.dumps(call) + "\n" for call in calls),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120 + 5 * count,
    )
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(outcomes) == count, (calls[len(outcomes)], done.stderr[-2000:])
    wrong = [
        (" ".join(call[:2] + call[-2:]), code, said, trace)
        for call, (code, said, trace) in zip(calls, outcomes)
        if code not in {0, 1, 2} or (code and (said.count("\n") > 8 or "Traceback" in said))
    ]
    wrong += [
        (" ".join(call), code)
        for call, (code, *_) in zip(calls, outcomes)
        if call[0] == "check" and call[2].endswith("wrong.keras") and code == 0
    ]
    codes = [code for code, _, _ in outcomes]
    print(f"{count} files: {[(code, codes.count(code)) for code in sorted(set(codes), key=str)]}")
    for one in wrong:
        print(*one, sep="\n")
    assert not wrong
    assert sha256(model) == hashed
    assert {0, 2} <= set(codes)
