"""`l2feat certify`."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from keras_l2feat.cli.certify import command
from keras_l2feat.errors import InputError
from keras_l2feat.files import save_model
from keras_l2feat.network import DenseNetwork
from keras_l2feat.training import covariance


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certify")
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((8, 2)), generator.standard_normal((8, 1))
    np.savez(folder / "toy.npz", x_train=x, y_train=y)
    fitted = covariance.fit(DenseNetwork.random((2, 0, 1)), (x, y), lam=1e-2, quiet=True)
    save_model(fitted.network.to_model(dtype="float64", lam=1e-2), folder / "best.keras")
    save_model(DenseNetwork.random((2, 3, 3, 1), seed=1).to_model(), folder / "deep.keras")
    save_model(DenseNetwork.random((5, 3, 1)).to_model(), folder / "other.keras")
    return folder


def call(*args):
    return CliRunner().invoke(command, [str(arg) for arg in args], catch_exceptions=True)


def test_table_and_json(paths):
    result = call(paths / "best.keras", "--data", paths / "toy.npz", "--json", paths / "out.json")
    assert result.exit_code == 0, result.output
    assert "enumerated" in result.output
    assert "any width reaches at least" in result.output
    written = json.loads((paths / "out.json").read_text())
    assert written["lam"] == pytest.approx(1e-2)  # read from the model
    assert written["layers"][0]["enumerated"] is True
    assert abs(written["relative_gap"]) <= 2e-4


def test_json_on_stdout_and_searched_layers(paths):
    result = call(
        paths / "deep.keras",
        "--data",
        paths / "toy.npz",
        "--lam",
        "1e-2",
        "--method",
        "search",
        "--json",
        "-",
    )
    assert result.exit_code == 0, result.output
    written = json.loads(result.stdout)
    assert [layer["layer"] for layer in written["layers"]] == [1, 2]
    assert written["lower_bound"] is None
    assert written["enumerated"] is False


def test_mistakes(paths):
    for args, message in [
        ((paths / "deep.keras", "--data", paths / "toy.npz"), "'--lam X' is needed"),
        (
            (paths / "deep.keras", "--data", paths / "toy.npz", "--lam", "-1"),
            "Invalid value for '--lam'",
        ),
        ((paths / "other.keras", "--data", paths / "toy.npz", "--lam", "1"), "has 2 inputs"),
    ]:
        result = call(*args)
        assert isinstance(result.exception, InputError) or result.exit_code == 2
        assert message in f"{result.output}{result.exception}"
