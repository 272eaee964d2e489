"""Only layers that filters choose lose units, and each layer says why it keeps what it keeps."""

import json

import keras
import numpy as np
import pytest
from click.testing import CliRunner

from keras_l2feat import prune
from keras_l2feat.cli.prune import command
from keras_l2feat.errors import InputError

layers = keras.layers


def planted(*names, conv=False):
    """A network in which the last unit of each named layer does the same as its first."""
    keras.utils.set_random_seed(3)
    x = keras.Input((6, 6, 1) if conv else (5,))
    if conv:
        h = layers.Conv2D(4, 3, activation="relu", name="conv")(x)
        h = layers.Flatten()(h)
    else:
        h = layers.Dense(6, "relu", name="first")(x)
    h = layers.Dense(7, "relu", name="second")(h)
    h = layers.Dense(8, "tanh", name="third")(h)
    model = keras.Model(x, layers.Dense(3, name="out")(h))
    for layer in map(model.get_layer, names):
        kernel, bias = layer.get_weights()
        kernel[..., -1], bias[-1] = kernel[..., 0], bias[0]
        layer.set_weights([kernel, bias])
    return model


def left(certificate):
    return {row["name"]: row["units_before"] - row["units_after"] for row in certificate.layers}


@pytest.mark.parametrize(
    "filters", ["sec", ["^second$"], ("nothing", "econ"), lambda layer: layer.units == 7]
)
def test_only_the_chosen_layers_change(filters):
    model = planted("first", "second", "third")
    small, certificate = prune(model, filters=filters)
    assert certificate.verified
    assert left(certificate) == {"first": 0, "second": 1, "third": 0, "out": 0}
    for one, two in zip(model.get_layer("first").weights, small.get_layer("first").weights):
        np.testing.assert_array_equal(one, two)
    assert small.get_layer("third").units == 8
    assert left(prune(model)[1]) == {"first": 1, "second": 1, "third": 1, "out": 0}


@pytest.mark.parametrize(
    "guarantee, options",
    [("data", {}), ("domain", {"input_range": (-1, 1)}), ("bounded", {"units": 0.7})],
)
def test_every_level_keeps_to_the_filters(guarantee, options):
    x = np.random.default_rng(0).standard_normal((200, 5)).astype("float32")
    model = planted("first", "second", "third")
    small, certificate = prune(model, guarantee, data=x, filters="third", **options)
    assert left(certificate)["third"] >= 1
    assert (small.get_layer("first").units, small.get_layer("second").units) == (6, 7)
    for one, two in zip(model.get_layer("first").weights, small.get_layer("first").weights):
        np.testing.assert_array_equal(one, two)


def test_a_sum_keeps_its_units_where_one_branch_is_left_out():
    x = keras.Input((4,))
    h = layers.Add()([layers.Dense(5, name="left")(x), layers.Dense(5, name="right")(x)])
    model = keras.Model(x, layers.Dense(2, name="out")(h))
    for name in ("left", "right", "out"):
        kernel, bias = model.get_layer(name).get_weights()
        if name == "out":
            kernel[4] = 0.0
        model.get_layer(name).set_weights([kernel, bias])
    assert left(prune(model)[1])["left"] >= 1
    assert set(left(prune(model, filters="left")[1]).values()) == {0}


def reasons(model, *arguments, **options):
    return {row["name"]: row["kept"] for row in prune(model, *arguments, **options)[1].layers}


def test_each_layer_says_why():
    found = reasons(planted("second"), filters="second|out")
    assert found == {
        "first": "left out by the filters",
        "second": "not redundant for every input",
        "third": "left out by the filters",
        "out": "an output of the model",
    }
    x = np.random.default_rng(0).standard_normal((50, 6, 6, 1)).astype("float32")
    found = reasons(planted(conv=True), "data", data=x)
    assert found["conv"] == "not redundant for every input, and out of reach of 'data'"
    assert found["second"] == "not redundant on the data"
    found = reasons(planted(), "bounded", data=x.reshape(-1, 36)[:, :5], units=0.9)
    assert found["first"] == "needed for what was asked"


@keras.saving.register_keras_serializable("test_filters")
class Odd(layers.Layer):
    def call(self, x):
        return x[:, ::-1]


def test_what_stands_beside_a_barrier_names_it():
    x = keras.Input((4,))
    h = Odd(name="odd")(layers.Dense(5, name="before")(x))
    found = reasons(keras.Model(x, layers.Dense(2, name="out")(h)))
    assert found["before"] == "next to odd, which is not understood"


def test_a_layer_whose_activation_ends_the_model_is_an_output():
    x = keras.Input((4,))
    h = layers.Dense(5, "relu", name="before")(x)
    out = layers.Dense(2, "softmax", name="out")(h)
    assert reasons(keras.Model(x, out))["out"] == "an output of the model"


BAD = [("x", "No layer is chosen"), ("(", "unterm"), (3, "int")]


@pytest.mark.parametrize("filters, said", BAD)
def test_filters_that_cannot_be(filters, said):
    with pytest.raises(InputError, match=said):
        prune(planted(), filters=filters)


def test_a_plan_that_takes_what_the_filters_keep_is_refused():
    model = planted("first")
    plans = prune(model)[1].plans
    with pytest.raises(InputError):
        prune(model, plans=plans, filters="second")


def test_the_command_says_the_same(tmp_path):
    planted("first", "second", "third").save(tmp_path / "wide.keras")
    arguments = [str(tmp_path / "wide.keras"), "--no-latency", "--filter", "fir", "--filter", "thi"]
    told = CliRunner().invoke(command, [*arguments, "--report", str(tmp_path / "page.html")])
    assert told.exit_code == 0, told.output
    assert "Unchanged: second, out (left out by the filters)." in told.output
    assert "left out by the filters" in (tmp_path / "page.html").read_text()
    found = json.loads(CliRunner().invoke(command, [*arguments, "--json", "-"]).stdout)
    assert [row["units_after"] for row in found["layers"]] == [5, 7, 7, 3]
    assert found["layers"][1]["kept"] == "left out by the filters"
