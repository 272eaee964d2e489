"""Advice says what is in the model, and its commands work."""

import importlib
import shlex

import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components

from keras_l2feat import data as catalog
from keras_l2feat.models import mlp
from keras_l2feat.pruning import prune
from keras_l2feat.pruning.advice import advice
from keras_l2feat.pruning.inspect import ANGLES, BLOCK, inspect


@pytest.fixture(scope="module")
def data():
    return catalog.load("teacher:inputs=4,n=30,width=3")


def shifted(bias):
    """A network whose 40 hidden units see inputs of size 1 and have this bias."""
    model = mlp(4, (40,), 3, seed=1)
    weights = model.get_weights()
    weights[1][:] = bias
    model.set_weights(weights)
    return model


def test_it_counts_rays_and_dead_units():
    model = shifted(0.0)
    weights = model.get_weights()
    weights[0][:, 0] = 0
    model.set_weights(weights)
    first, *_ = advice(model, "m.keras", removed=0)
    assert first == "Nothing can go: 43 units lie on 42 rays (42 at 0.1 radians), 1 of them dead."


def test_rays_and_angles_are_those_of_brute_force():
    model, random = mlp(4, (2 * BLOCK + 9,), 3, seed=1), np.random.default_rng(0)
    kernel, bias, *rest = model.get_weights()
    for start, apart in ((40, 0.0), (300, 1e-4), (500, 3e-2)):
        copies = np.r_[start : start + 9]
        kernel[:, copies] = 2 * kernel[:, :9] * (1 + apart * random.uniform(-1, 1, (4, 9)))
    model.set_weights([kernel, bias, *rest])
    vectors = np.vstack([kernel, bias]).astype(np.float64).T
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    angles = 2 * np.arcsin(np.linalg.norm(vectors[:, None] - vectors, axis=2) / 2)
    rays = {f"{a:g}": connected_components(angles <= a)[0] for a in ANGLES}
    np.fill_diagonal(angles, np.inf)
    found, _ = inspect(model)["layers"]
    assert found["rays"] == rays
    assert len({*rays.values()}) == 4
    assert found["smallest_angle"] == pytest.approx(angles.min(), abs=1e-7)
    assert found["median_angle"] == pytest.approx(np.median(angles.min(axis=1)), rel=1e-6)


def test_units_that_never_switch_on_the_range_of_the_data_are_found_and_go(data):
    model = shifted(-1000.0)
    lines = advice(model, "m.keras", data=data, removed=0)
    assert any("39 units never switch or are not needed" in line for line in lines)
    command = next(line for line in lines if "--guarantee domain" in line)
    low, high = command.split("--input-range ")[1].split(" ")[0].split(",")
    assert f"l2feat prune m.keras --guarantee domain --input-range {low},{high}" in command
    pruned, _ = prune(model, "domain", input_range=(float(low), float(high)))
    assert pruned.layers[0].units < 40


def test_it_is_silent_where_enough_goes():
    model = mlp(4, (40,), 3, seed=1)
    weights = model.get_weights()
    weights[0][:, 20:] = 2 * weights[0][:, :20]
    model.set_weights(weights)
    assert advice(model, "m.keras") == []
    assert advice(model, "m.keras", removed=20) == []
    assert advice(model, "m.keras", removed=0) != []


def test_every_command_is_one(data):
    """Options are read as they stand, with the weights of an architecture in JSON."""
    lines = advice(shifted(-1000.0), "m.json", data=data, removed=0, weights="w.h5")
    commands = [shlex.split(line) for line in lines if line.startswith("  l2feat ")]
    assert [words[1] for words in commands] == ["prune", "prune", "shrink", "train"]
    for _, name, *words in commands:
        command = importlib.import_module(f"keras_l2feat.cli.{name}").command
        command.make_context(name, list(words))
        assert ("--weights" in words) == (name != "train")


def test_names_with_spaces_are_quoted(data):
    assert any("'my model.keras'" in line for line in advice(shifted(0.0), "my model.keras"))
    assert np.isfinite(data.x_train).all()
