"""What a user of Keras finds at the root, what it takes, and that one name means one thing."""

import ast
import importlib
import inspect
import re
import types
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import keras_l2feat
from keras_l2feat.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
VERBS = ("prune", "inspect", "diff", "expand", "fit", "mlp")


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A model of which half the hidden neurons are multiples of the others, and its file."""
    model = keras_l2feat.mlp(4, (8,), 3, seed=1)
    kernel, bias, *rest = model.get_weights()
    kernel[:, 4:], bias[4:] = 2 * kernel[:, :4], 2 * bias[:4]
    model.set_weights([kernel, bias, *rest])
    path = tmp_path_factory.mktemp("models") / "wide.keras"
    model.save(path)
    return model, path


def test_the_verbs_are_functions_and_the_packages_are_packages():
    for name in VERBS:
        assert inspect.isfunction(getattr(keras_l2feat, name)), name
        assert name in dir(keras_l2feat)
    for name in ("plots", "theory", "errors", "exports", "data", "zoo"):
        assert isinstance(getattr(keras_l2feat, name), types.ModuleType), name


@pytest.mark.parametrize("kind", [str, Path])
def test_every_verb_takes_the_path_of_a_model(wide, kind):
    path = kind(wide[1])
    pruned, certificate = keras_l2feat.prune(path)
    assert pruned.layers[0].units == 4
    assert certificate.verified
    assert keras_l2feat.inspect(path)["layers"][0]["units"] == 8
    assert keras_l2feat.diff(path, pruned)["equivalent"]
    assert keras_l2feat.expand(path, factor=2).layers[0].units == 16


X = np.random.default_rng(0).standard_normal((20, 4)).astype("float32")
Y = np.arange(20) % 3


@pytest.mark.parametrize(
    "points",
    [
        X,
        [X],
        (X, Y),
        tf.data.Dataset.from_tensor_slices((X, Y)).batch(7),
        tf.data.Dataset.from_tensor_slices(X).batch(7),
    ],
    ids=["array", "list", "pair", "batches of pairs", "batches"],
)
def test_data_come_in_every_form(wide, points):
    _, certificate = keras_l2feat.prune(wide[0], data=points)
    (found,) = [e for e in certificate.evaluations if e.inputs.startswith("data")]
    assert found.count == 20
    assert found.max_abs <= found.bound


def test_what_is_no_model_and_no_data_is_told(wide):
    for verb in ("prune", "inspect", "expand"):
        with pytest.raises(InputError, match=r"'model' must be a Keras model or the path"):
            getattr(keras_l2feat, verb)(3)
    with pytest.raises(InputError, match="no such file"):
        keras_l2feat.prune("nowhere.keras")
    repeating = tf.data.Dataset.from_tensor_slices(X).batch(7).repeat()
    with pytest.raises(InputError, match="must end"):
        keras_l2feat.prune(wide[0], data=repeating)
    with pytest.raises(InputError, match="'data' must be a name"):
        keras_l2feat.fit(wide[0], 3)


def test_fit_takes_a_pair_of_arrays():
    model = keras_l2feat.mlp(4, (5,), 3, lam=1e-2)
    fitted = keras_l2feat.fit(model, (X, Y), iterations=5, quiet=True)
    assert fitted.network is model
    assert fitted.history["loss"][-1] < fitted.history["loss"][0]


def public_classes():
    """Classes that their module lists, and where."""
    for folder in ("keras_l2feat", "zoo", "cli"):
        for path in (ROOT / folder).rglob("*.py"):
            if {"channels", "guarantees", "takeover", "values"} & set(path.parts):
                continue  # the pruner's inner rooms
            text = path.read_text()
            listed = re.search(r"__all__ = \[(.*?)\]", text, re.DOTALL)
            for node in ast.parse(text).body:
                if isinstance(node, ast.ClassDef) and listed and f'"{node.name}"' in listed[1]:
                    yield node.name, path.relative_to(ROOT)


def test_no_two_classes_share_a_name():
    places = defaultdict(list)
    for name, path in public_classes():
        places[name].append(str(path))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_the_package_is_typed():
    assert (Path(keras_l2feat.__file__).parent / "py.typed").exists()


PACKAGES = ["zoo", *(p.parent.name for p in (ROOT / "keras_l2feat").glob("*/__init__.py"))]


def public_functions(path):
    """The functions and methods that a module lists, by name."""
    text = path.read_text()
    listed = re.search(r"__all__ = \[(.*?)\]", text, re.DOTALL)
    for node in ast.parse(text).body:
        if not listed or f'"{getattr(node, "name", "")}"' not in listed[1]:
            continue
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for one in node.body:
                public = re.match(r"[a-z]|__init__|__call__", getattr(one, "name", "_"))
                if isinstance(one, ast.FunctionDef) and public:
                    yield f"{node.name}.{one.name}", one


@pytest.mark.parametrize("folder", [*PACKAGES, "cli"])
def test_every_public_signature_is_typed(folder):
    untyped = []
    own = ROOT / folder if folder in ("zoo", "cli") else ROOT / "keras_l2feat" / folder
    for path in [*own.rglob("*.py"), *(ROOT / "keras_l2feat").glob("*.py")]:
        for name, function in public_functions(path):
            given = function.args
            named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
            bare = [a.arg for a in named if a.annotation is None and a.arg not in ("self", "cls")]
            if bare or (function.returns is None and function.name != "__init__"):
                untyped.append(f"{path.name}: {name}({', '.join(bare)})")
    assert untyped == []


# What saved models name cannot move any more.
HIDDEN = {("layers", "absolute")}


@pytest.mark.parametrize("folder", PACKAGES)
def test_no_module_is_hidden_by_what_it_defines(folder):
    package = importlib.import_module(f"keras_l2feat.{folder}")
    for path in Path(package.__file__).parent.glob("[a-z]*.py"):
        importlib.import_module(f"keras_l2feat.{folder}.{path.stem}")
        module = isinstance(getattr(package, path.stem), types.ModuleType)
        assert module or (folder, path.stem) in HIDDEN, path.stem


def test_a_misspelt_option_of_a_method_is_told():
    model = keras_l2feat.mlp(4, (5,), 3, lam=1e-2)
    for options, words in (
        ({"windw": 3}, "Method 'lbfgs' has no option 'windw'. Options: window."),
        ({"adam_share": 0.5}, "Method 'lbfgs' has no option 'adam_share'. Options: window."),
        ({"method": "adam", "rate": 1}, "Options: adam_share, optimizer, window."),
    ):
        with pytest.raises(InputError) as error:
            keras_l2feat.fit(model, (X, Y), quiet=True, **options)
        assert words in str(error.value)
