"""What a model is fed is what the user gave: no command scales data by itself, all say what they
did."""

import json

import keras
import numpy as np
import pytest

from keras_l2feat.cli.main import COMMANDS, main
from keras_l2feat.files import load_model, save_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pixels 0 … 255, and a network that rescales them itself; 3 of 8 neurons do not act."""
    folder = tmp_path_factory.mktemp("pixels")
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (40, 6), dtype="uint8")
    np.savez(folder / "pixels.npz", x_train=x, y_train=random.integers(0, 3, 40))
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Rescaling(1 / 255),
            layers.Dense(8, activation="relu"),
            layers.Dense(3),
        ]
    )
    kernel, bias = (np.asarray(w) for w in model.layers[1].get_weights())
    kernel[:, 5:], bias[5:] = 1.0, [-0.2, -0.3, -0.4]  # silent below a mean pixel of 0.05 · 255
    model.layers[1].set_weights([kernel, bias])
    save_model(model, folder / "model.keras")
    return folder


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    assert not ended.value.code, said.err
    return said.out


def test_a_guarantee_on_data_holds_on_the_arrays_themselves(folder, capsys):
    out = call(
        capsys, "prune", folder / "model.keras", "--guarantee", "data", "--data",
        folder / "pixels.npz", "-o", folder / "small.keras", "--no-latency", "--json",
        folder / "result.json",
    )  # fmt: skip
    assert "Data pixels.npz: 40 points, inputs as they are, from 0 to 25" in out
    facts = json.loads((folder / "result.json").read_text())["facts"]
    assert (facts["data"], facts["scale"]) == ("pixels.npz", "1")
    x = np.load(folder / "pixels.npz")["x_train"]
    before, after = (
        load_model(folder / name).predict(x, verbose=0) for name in ("model.keras", "small.keras")
    )
    np.testing.assert_allclose(after, before, atol=1e-4 * np.abs(before).max())


def test_the_scale_is_an_option_and_is_printed(folder, capsys):
    out = call(
        capsys, "diff", folder / "model.keras", folder / "model.keras", "--data",
        folder / "pixels.npz", "--scale", "1/255",
    )  # fmt: skip
    assert "pixels.npz:scale=1/255: 40 points, inputs multiplied by 1/255, from 0 to 1" in out
    assert "(40)" in out  # the table may shorten the name


def test_every_command_that_takes_data_takes_a_scale():
    from importlib import import_module

    import click

    def commands(command):
        yield command
        for one in getattr(command, "commands", {}).values():
            yield from commands(one)

    modules = [import_module(f"keras_l2feat.cli.{name}") for name in COMMANDS]
    for command in (one for module in modules for one in commands(module.command)):
        options = {option for parameter in command.params for option in parameter.opts}
        if {"--data", "data"} & options:
            assert "--scale" in options, command.name
            assert isinstance(command, click.Command)


def test_a_scale_without_data_is_told(folder, capsys):
    with pytest.raises(SystemExit):
        main(["prune", str(folder / "model.keras"), "--scale", "1/255"])
    assert "Option '--scale' needs '--data'" in capsys.readouterr().err
