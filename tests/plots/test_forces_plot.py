"""The table behind the picture of forces, and the files of `l2feat forces`."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from keras_l2feat import data, files, objectives
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives import Problem
from keras_l2feat.plots.forces import force_table, principal_planes
from keras_l2feat.report.forces import measure, write

L2FEAT = Path(sys.executable).with_name("l2feat")


@pytest.fixture(scope="module")
def network():
    first, second, last = DenseNetwork.random((784, 5, 4, 3), seed=0).weights
    first = np.column_stack([first, 3 * first[:, 0]])  # a sixth neuron on the first one's ray
    second = np.vstack([second[:5], 3 * second[0], second[5:]])
    return DenseNetwork((first, second, last))


def test_projection_keeps_the_origin_rays_and_sizes(network):
    digits = data.load("mnist-789-42")
    forces = objectives.forces(network, digits, 1e-2)
    planes = principal_planes(forces)
    for plane in planes.values():
        np.testing.assert_allclose(plane.T @ plane, np.eye(2), atol=1e-12)
    table = force_table(forces, digits.y_train)
    assert len(table) == 2 * 42 + 6 + 4
    neurons = table[(table["layer"] == 1) & (table["kind"] == "neuron")]
    first, copy = neurons.iloc[0], neurons.iloc[5]
    for column in ("x", "y", "repulsion_x", "repulsion_y"):
        assert copy[column] == pytest.approx(3 * first[column], rel=1e-6, abs=1e-9)
    points = table[(table["layer"] == 1) & (table["kind"] == "point")]
    sizes = np.sum(forces.representations[0] ** 2)
    assert np.sum(points[["x", "y"]].to_numpy() ** 2) == pytest.approx(
        points["share"].iloc[0] * sizes
    )
    np.testing.assert_allclose(
        points[["attraction_x", "attraction_y"]],
        -forces.attraction[0] @ planes[1, "point"],
        atol=1e-12,
    )
    assert list(points["class"]) == list(digits.y_train)


def test_rays_are_counted_and_files_written(network, tmp_path):
    picture = measure(network, Problem("mnist-789-42", 1e-2))
    assert [layer["rays"] for layer in picture.summary["layers"]] == [5, 4]
    write(picture, tmp_path)
    assert {name for name in picture.table["class"].dropna()} == {"7", "8", "9"}
    assert (tmp_path / "forces.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "forces.svg").read_text()
    frame = pd.read_csv(tmp_path / "forces.csv")
    assert len(frame) == len(picture.table)


@pytest.mark.slow
def test_the_command(network, tmp_path):
    files.save_model(network.to_model(lam=1e-2), tmp_path / "model.keras")
    call = [
        L2FEAT,
        "forces",
        "model.keras",
        "--data",
        "mnist-789-42",
        "-o",
        "out",
        "--json",
        "forces.json",
    ]
    outcome = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr
    assert "Written to out/" in outcome.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "forces.csv",
        "forces.png",
        "forces.svg",
    }
    result = json.loads((tmp_path / "forces.json").read_text())
    assert result["lam"] == pytest.approx(1e-2)
    assert [layer["width"] for layer in result["layers"]] == [6, 4]
    outcome = subprocess.run(
        [L2FEAT, "forces", "model.keras", "--data", "mnist-1k"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 2
    assert "10 outputs" in outcome.stderr


@pytest.mark.slow
def test_train_in_the_form_of_representations(tmp_path):
    call = [
        L2FEAT,
        "train",
        "mnist-789-42",
        "--widths",
        "6,5",
        "--lam",
        "1e-2",
        "--form",
        "representation",
    ]
    call += ["--iterations", "30", "-o", "model.keras", "--json", "-"]
    outcome = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr
    result = json.loads(outcome.stdout)
    assert result["form"] == "representation"
    assert result["iterations"] == 30
    again = objectives.weight_space(
        files.load_model(tmp_path / "model.keras"), data.load("mnist-789-42"), lam=1e-2
    )
    assert float(again.total) == pytest.approx(result["loss"], rel=1e-4)
