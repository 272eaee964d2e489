"""Subclassed models: read where their call is symbolic, and told which line stops them
where not."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_l2feat.errors import InputError
from keras_l2feat.pruning import prune
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.expand import expand
from keras_l2feat.pruning.inspect import inspect
from keras_l2feat.pruning.table import table


class Block(layers.Layer):
    """An own layer, called twice: its inner names come twice too."""

    def __init__(self, units):
        super().__init__()
        self.first, self.second = layers.Dense(6, activation="relu"), layers.Dense(units)

    def call(self, x):
        return x + self.second(self.first(x))


class Net(keras.Model):
    def __init__(self):
        super().__init__(name="net")
        self.hidden = layers.Dense(5, activation="relu", name="hidden")
        self.drop = layers.Dropout(0.5)
        self.blocks = [Block(5), Block(5)]
        self.end = layers.Dense(2, name="end")

    def call(self, x, training=False):
        x = self.drop(self.hidden(x), training=training)
        if training:
            x = ops.zeros_like(x)
        for block in self.blocks:
            x = block(x)
        return self.end(x)


class Pair(keras.Model):
    def __init__(self):
        super().__init__()
        self.one, self.two = layers.Dense(5, activation="relu"), layers.Dense(2)

    def call(self, inputs):
        return {"y": self.two(self.one(inputs["a"]) + 0.0), "z": 3 * inputs["b"]}


def double(layer):
    kernel, bias = layer.get_weights()
    kernel[:, 1], bias[1] = 2 * kernel[:, 0], 2 * bias[0]
    layer.set_weights([kernel, bias])


def test_a_subclassed_model_is_pruned_through_its_own_layers(tmp_path):
    model = Net()
    x = np.random.default_rng(0).standard_normal((20, 3)).astype("float32")
    model(x)
    for block in model.blocks:
        double(block.first)
    before = [w.copy() for w in model.get_weights()]
    pruned, certificate = prune(model, data=x)
    assert certificate.verified
    assert not certificate.barriers
    removed = [sum(layer["removed"].values()) for layer in certificate.layers]
    assert removed == [0, 1, 0, 1, 0, 0]
    assert "The result is Functional." in table(certificate)
    np.testing.assert_allclose(pruned(x), model(x), atol=1e-5)
    for old, new in zip(before, model.get_weights()):  # the model itself is not changed
        np.testing.assert_array_equal(old, new)
    keras.saving.save_model(pruned, tmp_path / "pruned.keras")  # and its classes are not needed
    loaded = keras.saving.load_model(tmp_path / "pruned.keras")
    np.testing.assert_allclose(loaded(x), model(x), atol=1e-5)


def test_inspect_and_expand_read_it_too_and_nothing_to_do_changes_nothing():
    model = Net()
    with pytest.raises(InputError, match="it is not known what it takes"):
        inspect(model)
    found = inspect(model, input_shape=(3,))
    assert [layer["units"] for layer in found["layers"]] == [5, 6, 5, 6, 5, 2]
    assert prune(model, input_shape=(3,))[0] is model
    x = np.ones((2, 3), "float32")
    model(x)
    np.testing.assert_allclose(expand(model, factor=2)(x), model(x), atol=1e-5)


def test_dicts_of_inputs_and_of_outputs():
    model = Pair()
    x = {"a": np.ones((2, 3), "float32"), "b": np.ones((2, 1), "float32")}
    model(x)
    double(model.one)
    pruned, certificate = prune(model)
    assert certificate.verified
    assert sum(layer["removed"].get("aligned", 0) for layer in certificate.layers) == 1
    answers = pruned(x), model(x)
    np.testing.assert_allclose(answers[0]["y"], answers[1]["y"], atol=1e-6)
    np.testing.assert_allclose(answers[0]["z"], 3.0)


class Numbers(Net):
    def call(self, x):
        x = self.hidden(x)
        return self.end(np.asarray(x) * 2)


class Loose(Net):
    def build(self, shape):
        self.gain = self.add_weight(shape=(5,), name="gain")

    def call(self, x):
        return self.end(self.hidden(x) * self.gain)


class Chance(Net):
    def call(self, x):
        return self.end(self.hidden(x) * float(np.random.default_rng().random()))


class Two(Net):
    def call(self, x, y):
        return self.end(self.hidden(x) + self.hidden(y))


@pytest.mark.parametrize(
    "kind, message",
    [
        (
            Numbers,
            r"line \d+ of .*test_symbolic\.py is not symbolic, `return self\.end\(np\.asarray",
        ),
        (Loose, "uses its weight '.*gain' outside of a layer"),
        (Chance, "depends on chance"),
        (Two, "missing 1 required positional argument"),
    ],
)
def test_what_cannot_be_read_is_said(kind, message):
    with pytest.raises(InputError, match=message):
        read(kind(), (3,))


def test_own_layers_of_a_functional_model_are_opened():
    """Inner names come twice; the given model keeps its own, and its layers."""
    inputs = keras.Input((5,))
    model = keras.Model(inputs, layers.Dense(2)(Block(5)(Block(5)(inputs))))
    blocks = model.layers[1:3]
    for block in blocks:
        double(block.first)
        block.first.name = "first"
    pruned, certificate = prune(model)
    assert certificate.verified
    assert certificate.read_as.endswith("The result is Functional.")
    assert [f.units for f in pruned.layers if isinstance(f, layers.Dense)] == [5, 5, 5, 5, 2]
    assert [block.first.name for block in blocks] == ["first", "first"]
    assert [block.first.units for block in blocks] == [6, 6]
    x = np.random.default_rng(0).standard_normal((4, 5)).astype("float32")
    np.testing.assert_allclose(pruned(x), model(x), atol=1e-5)


class Stuck(layers.Layer):
    """An own layer made of a layer, whose call needs numbers."""

    def __init__(self):
        super().__init__(name="stuck")
        self.inner = layers.Dense(5)

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x):
        return self.inner(x) if float(ops.sum(x)) > 0 else self.inner(-x)

    def compute_output_spec(self, x):
        return keras.KerasTensor((x.shape[0], 5), x.dtype)


def test_own_layers_that_cannot_be_opened_say_why():
    inputs = keras.Input((5,))
    model = keras.Model(inputs, layers.Dense(2)(Stuck()(inputs)))
    graph = read(model)
    assert graph.model is model
    assert "float(ops.sum(x)) > 0" in graph.barriers["stuck"]
