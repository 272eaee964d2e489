"""`l2feat check`: what prune --certificate wrote is shown again from the weights."""

import json

import keras
import pytest
from click.testing import CliRunner

from keras_l2feat.cli.main import cli
from keras_l2feat.files import save_model
from keras_l2feat.models import mlp


def run(*arguments):
    return CliRunner().invoke(cli, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("check")
    model = mlp(4, (6,), 2)
    weights = model.get_weights()
    weights[0][:, 5] = 3 * weights[0][:, 0]
    model.set_weights(weights)
    save_model(model, folder / "wide.keras")
    arguments = ("-o", folder / "small.keras", "--certificate", folder / "small.json")
    result = run("prune", folder / "wide.keras", *arguments, "-q", "--no-latency")
    assert result.exit_code == 0, result.output
    return folder


@pytest.mark.parametrize("exact", [(), ("--exact",)])
def test_it_is_shown_again(folder, exact):
    files = (folder / name for name in ("wide.keras", "small.keras", "small.json"))
    result = run("check", *files, *exact)
    assert result.exit_code == 0, result.output
    assert "for every input" in result.output
    assert "units in the last place" in result.output


def test_another_model_is_not(folder):
    other = keras.saving.load_model(folder / "small.keras")
    weights = other.get_weights()
    weights[0][0, 0] *= 1.001
    other.set_weights(weights)
    save_model(other, folder / "other.keras")
    files = (folder / name for name in ("wide.keras", "other.keras", "small.json"))
    result = run("check", *files)
    assert result.exit_code == 1
    assert "not shown to be equal" in str(result.exception) + result.output


@pytest.mark.parametrize("change", [{"format": "x"}, {"claim": 3}, {"maps": []}, None])
def test_what_is_no_certificate_is_said(folder, change):
    value = json.loads((folder / "small.json").read_text())
    broken = folder / "broken.json"
    broken.write_text(json.dumps([] if change is None else value | change))
    result = run("check", folder / "wide.keras", folder / "small.keras", broken)
    assert result.exit_code != 0
    assert "certificate" in str(result.exception) + result.output
