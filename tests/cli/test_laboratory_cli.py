"""`l2feat rank` and `l2feat symmetries`: what they print, write and refuse."""

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner

from keras_l2feat.cli.main import cli
from keras_l2feat.errors import InputError
from keras_l2feat.files import load_model, save_model
from keras_l2feat.network import DenseNetwork
from keras_l2feat.theory import constructions, manifold


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models: bipartite 4 at its plateau, the same expanded, and a tanh one."""
    folder = tmp_path_factory.mktemp("models")
    narrow = constructions.bipartite(4).network
    save_model(narrow.to_model(dtype="float64", lam=1e-3), folder / "narrow.keras")
    save_model(
        manifold.widen(narrow, [7]).to_model(dtype="float64", lam=1e-3), folder / "wide.keras"
    )
    tanh = DenseNetwork.random((4, 3, 4), activation="tanh", beta=0.0)
    save_model(tanh.to_model(), folder / "tanh.keras")
    return folder


def run(*args):
    result = CliRunner().invoke(cli, [str(arg) for arg in args], catch_exceptions=True)
    if isinstance(result.exception, InputError):
        raise result.exception
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def test_rank_finds_the_plateau_of_a_wider_network(folder):
    output = run("rank", folder / "wide.keras", "--data", "bipartite:n=4")
    assert output.splitlines()[2].split()[-1] == "4"
    answer = json.loads(
        run("rank", folder / "wide.keras", "--data", "bipartite:n=4", "--json", "-")
    )
    layer = answer["layers"][0]
    assert (layer["units"], layer["rays"], layer["lower"], layer["upper"]) == (7, 4, 4, 4)


def test_rank_refuses_other_data_and_other_activations(folder):
    with pytest.raises(InputError, match="6 inputs"):
        run("rank", folder / "narrow.keras", "--data", "bipartite:n=6")
    with pytest.raises(InputError, match="positively homogeneous"):
        run("rank", folder / "tanh.keras", "--data", "bipartite:n=4")


def test_count_prints_exact_numbers(tmp_path):
    assert "T = 450" in run("symmetries", "count", "--least", "3", "--width", "5")
    file = tmp_path / "counts.json"
    run("symmetries", "count", "--least", "1,2", "--width", "3,4", "--json", file, "--quiet")
    assert json.loads(file.read_text())["minima"] == str(10 * 62)
    listed = run("symmetries", "count", "--least", "2", "--width", "4", "--list").splitlines()
    assert len(set(listed)) == 3 + 62
    with pytest.raises(InputError, match="at least r"):
        run("symmetries", "count", "--least", "3", "--width", "2")
    with pytest.raises(InputError, match="100000"):
        run("symmetries", "count", "--least", "9", "--width", "12", "--list")


@pytest.mark.parametrize("sharing", ["balanced", "fractions", "free"])
def test_expand_writes_an_equivalent_model(folder, tmp_path, sharing):
    out = tmp_path / "out.keras"
    options = ("--widths", "9", "--zero-types", "2", "--sharing", sharing)
    run("symmetries", "expand", folder / "narrow.keras", *options, "-o", out)
    narrow, wide = (
        DenseNetwork.from_model(load_model(path)) for path in (folder / "narrow.keras", out)
    )
    assert wide.hidden == (9,)
    np.testing.assert_allclose(wide(np.eye(4)), narrow(np.eye(4)), atol=1e-12)


def test_connect_of_a_permutation_moves_at_constant_loss(folder, tmp_path):
    # as wide as before, so all that is drawn is an order of the neurons
    run(
        "symmetries",
        "expand",
        folder / "wide.keras",
        "--widths",
        "7",
        "--seed",
        3,
        "-o",
        tmp_path / "permuted.keras",
    )
    paths = (folder / "wide.keras", tmp_path / "permuted.keras")
    options = ("--data", "bipartite:n=4", "-o", tmp_path / "paths")
    answer = json.loads(run("symmetries", "connect", *paths, *options, "--json", "-"))
    assert answer["permutation"]
    assert answer["lam"] == pytest.approx(1e-3)
    assert answer["barriers"]["moves"] < 1e-10 < answer["barriers"]["straight"]
    assert answer["max_deviation"] < 1e-10
    with open(tmp_path / "paths" / "paths.csv") as stream:
        moves = [float(row["loss"]) for row in csv.DictReader(stream) if row["path"] == "moves"]
    assert max(moves) - min(moves) < 1e-10
    waypoints = np.load(tmp_path / "paths" / "waypoints.npz")
    assert waypoints["waypoint_0_layer_1"].shape == (4, 8)
    assert (tmp_path / "paths" / "paths.png").stat().st_size > 1000


def test_connect_refuses_networks_that_do_not_fit(folder):
    with pytest.raises(InputError, match="widths"):
        run(
            "symmetries",
            "connect",
            folder / "narrow.keras",
            folder / "wide.keras",
            "--data",
            "bipartite:n=4",
        )
    with pytest.raises(InputError, match="inputs"):
        run(
            "symmetries",
            "connect",
            folder / "wide.keras",
            folder / "wide.keras",
            "--data",
            "bipartite:n=6",
        )
