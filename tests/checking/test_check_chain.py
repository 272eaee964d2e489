"""The stand-alone checker of dense chains says what `l2feat check --exact` says."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_l2feat import files
from keras_l2feat.checking import Maps, check
from keras_l2feat.pruning.certificate import Certificate, load_certificate, save_certificate
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.zoo.recipe import recipe
from keras_l2feat.zoo.registry import FOLDER

SCRIPT = Path(__file__).parents[2] / "tools" / "check_chain.py"
PAIRS = ["teacher-5", "deep-linear", "one-dim", "bipartite-4", "mnist-60k-5pct"]


def pair(name):
    """Original, pruned model and certificate of a pair that is shipped."""
    folder = Path(FOLDER)
    wide, small = recipe(name).models.values()
    weights = [folder / "weights" / f"{model}.keras" for model in (wide, small)]
    return [*weights, folder / "certificates" / f"{small}.json"]


def said(*paths):
    """Exit code and answer of the script."""
    done = subprocess.run(
        [sys.executable, SCRIPT, *map(str, paths)], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def verdict(original, pruned, certificate):
    graphs = [read(files.load_model(path)) for path in (original, pruned)]
    return check(*graphs, load_certificate(certificate)[1], exact=True)


@pytest.mark.parametrize("name", PAIRS)
def test_it_agrees_on_what_is_shipped(name):
    code, answer = said(*pair(name))
    assert code == 0, answer
    assert str(verdict(*pair(name))) in answer


def moved(layer):
    kernel, bias = layer.get_weights()
    kernel[0, 0] += 64 * 2.0**-24 * np.linalg.norm(kernel[:, 0])
    return kernel, bias


def swapped(layer):
    kernel, bias = layer.get_weights()
    order = [1, 0, *range(2, len(bias))]
    return kernel[:, order], bias[order]


def negated(layer):
    return [-array for array in layer.get_weights()]


@pytest.mark.parametrize("change", [moved, swapped, negated])
@pytest.mark.parametrize("at", [0, 1])
def test_a_pruned_model_that_was_changed_is_refused(change, at, tmp_path):
    original, pruned, certificate = pair("teacher-5")
    model = files.load_model(pruned)
    model.layers[at].set_weights(change(model.layers[at]))
    changed = tmp_path / "changed.keras"
    files.save_model(model, changed)
    assert not verdict(original, changed, certificate).accepted
    code, answer = said(original, changed, certificate)
    assert (code, "Not shown to be equal" in answer) == (1, True)


def test_wrong_hints_are_not_believed(tmp_path):
    """A wrong scale is refused; a wrong factor is found anew; a unit too few is refused."""
    original, pruned, certificate = pair("teacher-5")
    wrong = tmp_path / "wrong.json"
    told = json.loads(certificate.read_text())
    for row in told["maps"]["sources"]["hidden_1"]:
        row[1][0][1] *= 1.5
    wrong.write_text(json.dumps(told))
    assert said(original, pruned, wrong)[0] == 0
    for part in ("scale", "removed", "sources"):
        told = json.loads(certificate.read_text())
        found = told["maps"][part]["hidden_1"]
        if part == "scale":
            found[0][1] *= 1.0 + 2.0**-16
        else:
            del found[0]
        wrong.write_text(json.dumps(told))
        assert said(original, pruned, wrong)[0] == 1, part
        assert not verdict(original, pruned, wrong).accepted


@pytest.mark.parametrize("size", [1e20, 1e8, 1.0])
def test_what_cancels_hides_nothing(size, tmp_path):
    """Unit 3, told to be `size` times unit 0 less unit 1: these are equal, or unit 3 is that."""
    random = np.random.default_rng(0)
    kernel, bias, outgoing = (random.integers(-8, 9, n) / 8 for n in ((4, 4), 4, (4, 2)))
    column = (1, 0) if size > 1 else (3, -1)
    kernel[:, column[0]] = kernel[:, 0] + column[1] * kernel[:, 1]
    bias[column[0]] = bias[0] + column[1] * bias[1]
    paths = [tmp_path / name for name in ("wide.keras", "thin.keras", "certificate.json")]
    for units, path in zip((4, 3), paths):
        parts = [keras.layers.Dense(units, name="a"), keras.layers.Dense(2, name="b")]
        model = keras.Sequential([keras.Input((4,), name="x"), *parts], name="model")
        merged = outgoing[:units] + 0.0
        if units == 3:
            merged[:2] += np.outer([size, -size], outgoing[3])
        model.set_weights([kernel[:, :units], bias[:units], merged, np.zeros(2)])
        model.save(path)
    maps = Maps({"a": [3]}, {("a", 3): [{("a", 0): size, ("a", 1): -size}]})
    save_certificate(Certificate("exact", [], [], {}, [], maps=maps), paths[-1])
    assert said(*paths)[0] == (size > 1)
    assert verdict(*paths).accepted is (size == 1)


def test_what_it_cannot_answer(tmp_path):
    code, answer = said(*pair("mnist-60k-conv"))
    assert (code, "Conv2D" in answer, "Traceback" in answer) == (2, True, False)
    assert said()[0] == 2
    assert said(*pair("teacher-5")[:2], tmp_path / "none.json")[0] == 2


def test_constants_and_mirrored_units(tmp_path):
    """Dead, constant, mirrored and dependent units of a chain with tanh and linear layers."""
    from keras import layers

    from keras_l2feat.pruning import prune
    from keras_l2feat.pruning.certificate import save_certificate

    random = np.random.default_rng(0)
    widths = [(5, "tanh"), (6, "relu"), (5, "linear"), (3, "softmax")]
    model = keras.Sequential([keras.Input((4,)), *(layers.Dense(n, f) for n, f in widths)])
    for layer in model.layers:
        layer.set_weights([random.standard_normal(w.shape) for w in layer.get_weights()])
    for layer, p, q, factor in zip(model.layers, (1, 1, 1), (0, 0, 0), (-1.0, 2.0, -0.7)):
        kernel, bias = layer.get_weights()
        kernel[:, p], bias[p] = factor * kernel[:, q], factor * bias[q]
        kernel[:, 2], bias[2] = 0.0, 0.75
        layer.set_weights([kernel, bias])
    paths = [tmp_path / name for name in ("wide.keras", "small.keras", "told.json")]
    pruned, certificate = prune(model)
    assert len(certificate.maps.removed) == 3
    files.save_model(model, paths[0])
    files.save_model(pruned, paths[1])
    save_certificate(certificate, paths[2])
    code, answer = said(*paths)
    assert verdict(*paths).accepted
    assert code == 0, answer


def test_it_can_be_read_whole():
    """It is short, and imports nothing but NumPy, h5py and the standard library."""
    text = SCRIPT.read_text()
    assert len(text.splitlines()) <= 300
    names = [
        name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [n.name for n in node.names]
        )
    ]
    assert {name.split(".")[0] for name in names} <= {"numpy", "h5py", *sys.stdlib_module_names}
