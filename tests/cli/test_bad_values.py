"""Whatever a command is given, it answers with one sentence in its own words, and writes
nothing."""

import os
import resource

import click
import numpy as np
import pytest

from keras_l2feat.cli.main import cli
from keras_l2feat.errors import InputError
from keras_l2feat.files import save_model

LONG = "n" * 300
TRAIN = ("train", "--widths", "3", "--iterations", "3", "-o", "new.keras")
PRUNE = ("prune", "wide.keras", "--no-latency", "-o", "new.keras")
DOMAIN = (*PRUNE, "--guarantee", "domain", "--input-range")
BOUNDED = (*PRUNE, "--guarantee", "bounded")
SHRINK = ("shrink", "wide.keras", "--data", "good.npz", "-o", "new.keras")
PLATEAU = ("plateau", "good.npz", "--iterations", "3", "--widths", "1,2", "-o", "new")
CASES = [
    *((*TRAIN, f"{name}.npz") for name in ("huge", "no_y", "label", "label_u64", "negative")),
    *((*TRAIN, f"{name}.npz") for name in ("nan", "no_points", "lengths", "text", "complex")),
    *((*TRAIN, f"{name}.npz") for name in ("objects", "scalar", "empty", "broken", "cut", "dir")),
    *((*TRAIN, name) for name in ("", LONG, "teacher:n=-1", "teacher:x=1", "mnist-9", "dir")),
    (*TRAIN, "good.npz", "--activation", "foo"),
    *((*TRAIN, "good.npz", "--widths", text) for text in ("0", "x", "3,,3", "10000000000")),
    *((*TRAIN, "good.npz", "--lam", text) for text in ("nan", "inf", "-1", "x")),
    *((*TRAIN, "good.npz", "--beta", text) for text in ("nan", "inf", "-1")),
    *((*TRAIN, "good.npz", "--align", text) for text in ("nan", "-1", "9")),
    *((*TRAIN, "good.npz", "--scale", text) for text in ("x", "0", "-1", "1e400", "1/0", "1e39")),
    *((*TRAIN, "good.npz", "--seconds", text) for text in ("nan", "-1", "x")),
    *((*TRAIN, "good.npz", "--tolerance", text) for text in ("nan", "-1")),
    (*TRAIN, "good.npz", "--seed", "99999999999999999999"),
    (*TRAIN, "good.npz", "--form", "covariance", "--lam", "0"),
    (*TRAIN, "good.npz", "--form", "covariance", "--activation", "tanh"),
    ("train", "good.npz", "-o", f"{LONG}.keras"),
    ("train", "good.npz", "-o", "no/new.keras"),
    ("train", "good.npz", "-o", "new.h5"),
    *((*PRUNE, "--apply-plan", name) for name in ("deep.json", "inf.json", "types.json")),
    *((*PRUNE, "--apply-plan", name) for name in ("number.json", "lists.json", "empty.json")),
    *((*PRUNE, "--apply-plan", name) for name in ("bytes.json", "none.json", "dir", "wide.keras")),
    *((*DOMAIN, f"{name}.npz") for name in ("empty", "broken", "cut", "none", "dir", "good")),
    *((*DOMAIN, f"range_{name}.npz") for name in ("shape", "text", "nan", "empty", "objects")),
    *((*DOMAIN, text) for text in ("nan,1", "1,0", "x", "0", "0,1,2", "-inf,inf", "0,1e400", "")),
    (*PRUNE, "--guarantee", "domain"),
    (*PRUNE, "--guarantee", "data"),
    (*PRUNE, "--data", "huge.npz"),
    (*PRUNE, "--data", "mnist-1k"),
    (*PRUNE, "--rays", "new.bmp"),
    (*PRUNE, "--report", "dir"),
    (*PRUNE, "--report", LONG),
    (*PRUNE, "--export", "onnx", "--dry-run"),
    BOUNDED,
    *((*BOUNDED, "--tolerance", text) for text in ("nan", "-1", "0", "x")),
    (*BOUNDED, "--data", "good.npz", "--keep-loss", "x"),
    (*BOUNDED, "--polish"),
    *(
        (*SHRINK, *o)
        for o in ((), ("--loss", "x"), ("--units", "0"), ("--units", "1", "--rate", "nan"))
    ),
    ("shrink", "wide.keras", "--data", "many.npz", "--units", "0.5", "-o", "new.keras"),
    *(("prune", f"{name}.keras", "-o", "new.keras") for name in ("text", "dir", "hello", "none")),
    *(("inspect", name) for name in ("", "zoo:", "zoo:../x", LONG, "none.keras", "hello.keras")),
    ("inspect", "wide.keras", "--json", "/dev/full"),
    *(("check", "wide.keras", "wide.keras", f"{n}.json") for n in ("deep", "inf", "types", "none")),
    *(("check", "wide.keras", "wide.keras", f"{n}.json") for n in ("number", "lists", "empty")),
    *(("check", "wide.keras", "wide.keras", name) for name in ("bytes.json", "dir", "wide.keras")),
    ("check", "none.keras", "wide.keras", "empty.json"),
    ("diff", "wide.keras", "none.keras"),
    ("diff", "wide.keras", "text.keras"),
    ("diff", "wide.keras", "wide.keras", "--data", "mnist-1k"),
    ("expand", "wide.keras", "-o", "new.keras"),
    *(("expand", "wide.keras", "-o", "new.keras", "--widths", text) for text in ("3", "9,9", "x")),
    ("expand", "text.keras", "--factor", "2", "-o", "new.keras"),
    ("certify", "zoo:mnist-1k-1pct-narrow", "--data", "mnist-1k", "--method", "enumerate"),
    *(("certify", "wide.keras", "--data", "good.npz", "--lam", text) for text in ("nan", "-1")),
    ("certify", "text.keras", "--data", "good.npz", "--lam", "1"),
    ("certify", "wide.keras", "--data", "label.npz"),
    *(("forces", "wide.keras", "--data", "good.npz", "--ridge", text) for text in ("0", "nan")),
    ("forces", "wide.keras", "--data", "good.npz", "-o", "good.npz"),
    ("forces", "text.keras", "--data", "good.npz", "-o", "new"),
    *(("rank", "wide.keras", "--data", "good.npz", "--tolerance", text) for text in ("0", "nan")),
    ("rank", "text.keras", "--data", "good.npz"),
    ("symmetries", "count", "--least", "3", "--width", "2"),
    ("symmetries", "count", "--least", "3,3", "--width", "6"),
    ("symmetries", "expand", "wide.keras", "--widths", "2", "-o", "new.keras"),
    ("symmetries", "connect", "wide.keras", "text.keras", "--data", "good.npz", "-o", "new"),
    ("plateau", "good.npz"),
    *((*PLATEAU, "--lam", text) for text in ("0", "nan", "x")),
    *((*PLATEAU, "--widths", text) for text in ("0:4", "2:9:0", "2:9:99999999999", "1:9999999999")),
    *((*PLATEAU, "--epsilon", text) for text in ("nan", "2")),
    (*PLATEAU, "--depth", "1"),
    (*PLATEAU, "--start", "1"),
    (*PLATEAU, "--continuation", "1e-9"),
    (*PLATEAU, "--points", "5"),
    (*PLATEAU, "--method", "growth", "--per-layer"),
    ("zoo", "list", "--family", "none"),
    ("zoo", "info", "none"),
    ("zoo", "download", "none", "-o", "new"),
    ("zoo", "verify"),
    ("zoo", "verify", "none"),
    ("zoo", "build", "none", "-o", "new"),
    ("zoo", "publish", "good.npz"),
    ("zoo", "gallery", "-o", "no/new.html"),
    ("reproduce", "none"),
    ("reproduce", "prop14", "--seed", "-1"),
    ("none",),
]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory, small_model):
    """A folder of good and of bad files."""
    import keras

    folder = tmp_path_factory.mktemp("hostile")
    save_model(small_model, folder / "wide.keras")
    text = keras.Input((), dtype="string")
    looked_up = keras.layers.StringLookup(vocabulary=["a", "b"])(text)
    save_model(keras.Model(text, looked_up), folder / "text.keras")
    x = np.random.default_rng(0).standard_normal((12, 5)).astype("float32")
    y = np.arange(12) % 3
    for name, arrays in {
        "good": (x, y),
        "huge": (np.full((12, 5), 1e300), y),
        "no_y": (x, np.zeros((12, 0))),
        "label": (x, np.where(np.arange(12) == 3, 10**9, y)),
        "label_u64": (x, y.astype("uint64") + np.uint64(2**63)),
        "negative": (x, y - 1),
        "many": (x, y + 9),
        "nan": (x * np.nan, y),
        "no_points": (x[:0], y[:0]),
        "lengths": (x, y[:3]),
        "text": (np.array(["a"] * 12), y),
        "complex": (x * 1j, y),
        "objects": (np.array([None] * 12), y),
        "scalar": (np.float32(3), y),
    }.items():
        np.savez(folder / f"{name}.npz", x_train=arrays[0], y_train=arrays[1])
    for name, low, high in [
        ("shape", np.zeros(3), np.ones(5)),
        ("text", np.array(["a"]), np.ones(5)),
        ("nan", np.full(5, np.nan), np.ones(5)),
        ("empty", np.zeros(0), np.zeros(0)),
        ("objects", np.array([None]), np.ones(5)),
    ]:
        np.savez(folder / f"range_{name}.npz", low=low, high=high)
    for name, content in {
        "empty.npz": b"",
        "broken.npz": b"hello",
        "cut.npz": (folder / "good.npz").read_bytes()[:200],
        "hello.keras": b"hello",
        "deep.json": b"[" * 100_000 + b"]" * 100_000,
        "inf.json": b'[{"guarantee": "exact", "removed": [{"layer": "hidden_1", "unit": 1e400}]}]',
        "types.json": b'[{"guarantee": 3, "removed": {"layer": 5}}]',
        "number.json": b"3",
        "lists.json": b"[[]]",
        "empty.json": b"",
        "bytes.json": b"\xff\xfe\x00",
    }.items():
        (folder / name).write_bytes(content)
    for name in ("dir", "dir.npz", "dir.keras"):
        (folder / name).mkdir()
    return folder


def contents(folder):
    return {
        path: path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("arguments", CASES, ids=lambda words: " ".join(words)[-60:])
def test_a_bad_value_is_one_sentence_and_writes_nothing(l2feat, hostile, monkeypatch, arguments):
    monkeypatch.chdir(hostile)
    before = contents(hostile)
    code, _, err = l2feat(*arguments)
    assert code == 2, err
    *usage, sentence = err.rstrip("\n").split("\n")
    assert sentence.startswith("Error: ")
    assert not usage or usage[0].startswith("Usage: l2feat")
    assert "input_range" not in err
    assert "Argument '" not in sentence
    assert contents(hostile) == before


def test_every_command_is_in_the_table():
    named = {" ".join(words[:2]) for words in CASES} | {words[0] for words in CASES}
    for name in cli.list_commands(None):
        command = cli.get_command(None, name)
        if name == "reproduce":
            continue  # each figure takes the same few options
        inner = command.list_commands(None) if isinstance(command, click.Group) else [""]
        for word in inner:
            assert f"{name} {word}".strip() in named, (name, word)


@pytest.mark.parametrize(
    "call",
    [
        lambda k, m: k.prune("none.keras"),
        lambda k, m: k.prune(m, "nothing"),
        lambda k, m: k.prune(m, "bounded", tolerance=-1),
        lambda k, m: k.prune(m, "domain", input_range=(1, 0)),
        lambda k, m: k.prune(m, data=np.zeros((3, 7))),
        lambda k, m: k.data.load(3),
        lambda k, m: k.models.mlp(4, (3,), 2, activation="foo"),
        lambda k, m: k.models.mlp(4, (3,), 2, lam=float("inf")),
        lambda k, m: k.training.fit(m, "mnist-1k", lam=1e-3),
        lambda k, m: k.training.fit(m, "teacher:inputs=5,outputs=3,n=9", lam=float("nan")),
        lambda k, m: k.training.fit(3, "mnist-1k"),
        lambda k, m: k.files.save_model(m, "x.h5"),
        lambda k, m: k.files.load_model("none.keras"),
        lambda k, m: k.zoo.load("none"),
    ],
)
def test_public_functions_say_what_is_wrong(call, small_model, tmp_path, monkeypatch):
    import keras_l2feat
    import keras_l2feat.data
    import keras_l2feat.files
    import keras_l2feat.models
    import keras_l2feat.training
    import keras_l2feat.zoo

    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        call(keras_l2feat, small_model)
    assert "\n" not in str(error.value)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "teacher:n=20", "--widths", "90,90", "--iterations", "2", "-o", "out/m.keras"),
        ("prune", "wide.keras", "--no-latency", "-o", "out/m.keras", "--report", "out/r.html"),
        ("expand", "wide.keras", "--widths", "3000", "-o", "out/m.keras"),
        ("zoo", "gallery", "-o", "out/zoo.html"),
        ("zoo", "download", "mnist-1k-1pct-narrow", "-o", "out"),
        ("zoo", "publish", "out"),
        ("forces", "zoo:mnist-789-42-wide", "--data", "mnist-789-42", "-o", "out"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    l2feat, hostile, tmp_path, monkeypatch, arguments
):
    monkeypatch.chdir(tmp_path)
    os.mkdir("out")
    os.link(hostile / "wide.keras", "wide.keras")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, limits[1]))
    try:
        code, _, err = l2feat(*arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 2
    assert err.startswith("Error: Cannot write 'out")
    assert err.endswith("File too large.\n")
    assert err.count("\n") == 1
    assert not [path for path in (tmp_path / "out").iterdir() if path.suffix != ".md"]
