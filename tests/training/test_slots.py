"""An optimizer's variables are found by the variable that they belong to."""

import keras
import numpy as np
import pytest

from keras_l2feat.training.slots import slots

KEPT = {
    "adam": (lambda: keras.optimizers.Adam(), {"momentum", "velocity"}),
    "amsgrad": (
        lambda: keras.optimizers.Adam(amsgrad=True),
        {"momentum", "velocity", "velocity_hat"},
    ),
    "adamw": (lambda: keras.optimizers.AdamW(), {"momentum", "velocity"}),
    "sgd": (lambda: keras.optimizers.SGD(), set()),
    "momentum": (lambda: keras.optimizers.SGD(momentum=0.9), {"momentum"}),
    "lion": (lambda: keras.optimizers.Lion(), {"momentum"}),
    "rmsprop": (
        lambda: keras.optimizers.RMSprop(momentum=0.9, centered=True),
        {"velocity", "momentum", "average_gradient"},
    ),
    "loss scale": (
        lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()),
        {"momentum", "velocity"},
    ),
    "average": (lambda: keras.optimizers.SGD(use_ema=True), {"average"}),
}


def network():
    """Layers of one shape, whose names begin with each other's, one of them in a model of its own
    under a name that another has."""
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="a")], name="inner")
    twin = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="a")], name="twin")
    given = keras.Input((4,))
    x = given
    for layer in (inner, twin, *(keras.layers.Dense(4, name=n) for n in ("a", "a_kernel", "a_2"))):
        x = layer(x)
    return keras.Model(given, x)


@pytest.mark.parametrize("name", KEPT)
def test_each_slot_is_found_by_the_step_that_it_takes(name):
    """After one step with gradients of 1, 2, 3, … the slots of variable n are functions of n."""
    make, expected = KEPT[name]
    optimizer, model = make(), network()
    variables = model.trainable_variables
    assert all(not found for found in slots(optimizer, variables))  # nothing is built yet
    optimizer.build(variables)
    found = slots(optimizer, variables)
    assert [set(kept) for kept in found] == [expected] * len(variables)
    assert len({id(slot) for kept in found for slot in kept.values()}) == len(expected) * len(found)
    optimizer.apply(
        [keras.ops.full(v.shape, n) for n, v in enumerate(variables, start=1)], variables
    )
    for key in expected - {"average"}:
        values = [np.unique(np.asarray(kept[key])) for kept in found]
        assert all(len(value) == 1 for value in values)
        if key != "velocity_hat" and not (name == "rmsprop" and key == "momentum"):
            assert (np.diff(np.abs(values), axis=0) > 0).all()


def test_what_has_another_shape_is_no_slot():
    model = network()
    optimizer = keras.optimizers.Adafactor()
    optimizer.build(model.trainable_variables)
    for variable, kept in zip(
        model.trainable_variables, slots(optimizer, model.trainable_variables)
    ):
        assert all(tuple(slot.shape) == tuple(variable.shape) for slot in kept.values())


def test_variables_of_one_path_are_told_apart_by_their_order():
    layers = [keras.layers.Dense(4, name="same") for _ in range(3)]
    for layer in layers:
        layer.build((None, 4))
    variables = [v for layer in layers for v in layer.trainable_variables]
    assert len({v.path for v in variables}) == 2
    optimizer = keras.optimizers.SGD(momentum=0.5)
    optimizer.build(variables)
    optimizer.apply([keras.ops.full(v.shape, n) for n, v in enumerate(variables)], variables)
    found = [float(np.asarray(kept["momentum"]).ravel()[0]) for kept in slots(optimizer, variables)]
    assert np.all(np.diff(np.abs(found)) > 0)
