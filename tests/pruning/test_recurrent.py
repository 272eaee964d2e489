"""Recurrent layers: units that never differ, or never move, go; the checker shows it by induction
over time."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_l2feat.checking import check
from keras_l2feat.pruning import prune
from keras_l2feat.pruning.channels.read import read

UNITS = 6
GATES = {"SimpleRNN": (1, 0), "GRU": (3, 2), "LSTM": (4, 2)}  # how many, and the state's


def recurrent(kind, *, both=None, **options):
    """A float64 model around one recurrent layer, its weights random."""
    keras.config.set_dtype_policy("float64")
    try:
        x = keras.Input((5, 3))
        layer = getattr(layers, kind)(UNITS, name="memory", return_sequences=True, **options)
        if both is not None:
            layer = layers.Bidirectional(layer, merge_mode=both, name="both")
        y = layer(layers.Dense(4, "tanh", name="before")(x))
        y = layers.Concatenate()(y) if both == "" else y
        model = keras.Model(x, layers.Dense(2)(y))
    finally:
        keras.config.set_dtype_policy("float32")
    random = np.random.default_rng(0)
    model.set_weights([0.5 * random.standard_normal(w.shape) for w in model.get_weights()])
    return model


def change(layer, function):
    """Apply a function to kernel, recurrent kernel and bias, by gate: (..., gates, units)."""
    cell, (gates, state) = layer.cell, GATES[type(layer).__name__]
    for variable in (cell.kernel, cell.recurrent_kernel, cell.bias):
        array = variable.numpy().reshape(*variable.shape[:-1], gates, UNITS)
        function(array, state)
        variable.assign(array.reshape(variable.shape))


def multiple(unit, source, factor=1.0):
    def function(array, state):
        array[..., unit] = array[..., source]
        array[..., state, unit] *= factor

    return function


def still(unit):
    def function(array, state):
        array[..., state, unit] = 0.0

    return function


def proved(model):
    pruned, certificate = prune(model)
    assert certificate.verified
    assert check(read(model), read(pruned), certificate.maps, exact=True).accepted
    x = np.random.default_rng(1).standard_normal((4, *model.input_shape[1:]))
    expected = keras.ops.convert_to_numpy(model(x))
    np.testing.assert_allclose(pruned(x), expected, atol=1e-12 * np.abs(expected).max())
    return pruned, certificate


@pytest.mark.parametrize(
    ("kind", "options", "factor"),
    [
        ("LSTM", {}, -1.0),
        ("GRU", {}, -1.0),
        ("GRU", {"reset_after": False}, -1.0),
        ("SimpleRNN", {"use_bias": True}, -1.0),
        ("SimpleRNN", {"activation": "relu"}, 2.5),
        pytest.param("LSTM", {"go_backwards": True}, 1.0, marks=pytest.mark.slow),
    ],
)
def test_units_that_are_multiples_or_still_go(kind, options, factor):
    model = recurrent(kind, **options)
    layer = model.get_layer("memory")
    change(layer, multiple(3, 0))
    change(layer, multiple(4, 1, factor))
    change(layer, still(5))
    pruned, certificate = proved(model)
    assert pruned.get_layer("memory").units == UNITS - 3
    graphs = read(model), read(pruned)
    for variable in pruned.get_layer("memory").weights:  # every one matters
        before = variable.numpy()
        moved = before.copy()
        moved.flat[moved.size // 2] += 1e-12
        variable.assign(moved)
        assert not check(*graphs, certificate.maps).accepted
        variable.assign(before)
    assert check(*graphs, certificate.maps).accepted


def test_planted_after_planted():
    """Units that are equal once what they read is added up: inputs, and each other."""
    model = recurrent("LSTM")
    before, layer = model.get_layer("before"), model.get_layer("memory")
    for variable in (before.kernel, before.bias):
        array = variable.numpy().copy()
        array[..., 3] = array[..., 2]
        variable.assign(array)
    change(layer, multiple(3, 0))
    change(layer, multiple(4, 1))
    kernel, again = layer.cell.kernel.numpy().copy(), layer.cell.recurrent_kernel.numpy().copy()
    kernel[2, 3::UNITS] += 0.3
    kernel[3, 3::UNITS] -= 0.3
    again[0, 4::UNITS] += 0.25
    again[3, 4::UNITS] -= 0.25
    layer.cell.kernel.assign(kernel)
    layer.cell.recurrent_kernel.assign(again)
    pruned, _ = proved(model)
    assert pruned.get_layer("memory").units == UNITS - 2
    assert pruned.get_layer("before").units == 3


def test_units_that_nobody_reads_go():
    model = recurrent("GRU")
    end, layer = model.layers[-1], model.get_layer("memory")
    kernel, again = end.kernel.numpy().copy(), layer.cell.recurrent_kernel.numpy().copy()
    kernel[[2, 4]] = 0.0
    again[np.ix_([2, 4], [k for k in range(3 * UNITS) if k % UNITS not in (2, 4)])] = 0.0
    end.kernel.assign(kernel)
    layer.cell.recurrent_kernel.assign(again)
    assert proved(model)[0].get_layer("memory").units == UNITS - 2


def test_what_differs_at_the_first_step_only_stays():
    """Equal gates for what comes in, another way to go on."""
    model = recurrent("SimpleRNN")
    layer = model.get_layer("memory")
    for variable in (layer.cell.kernel, layer.cell.bias):
        array = variable.numpy().copy()
        array[..., 3] = array[..., 0]
        variable.assign(array)
    assert prune(model)[0] is model


def test_a_mirrored_unit_needs_an_odd_activation():
    model = recurrent("SimpleRNN", activation="sigmoid")
    change(model.get_layer("memory"), multiple(4, 1, -1.0))
    change(model.get_layer("memory"), still(5))  # 1/2, but not at first
    assert prune(model)[0] is model


@pytest.mark.parametrize("both", ["concat", "sum", pytest.param("mul", marks=pytest.mark.slow)])
def test_both_directions(both):
    model = recurrent("LSTM", both=both)
    layer = model.get_layer("both")
    for side in (layer.forward_layer, layer.backward_layer):
        change(side, multiple(3, 0))
        change(side, still(5))
    change(layer.backward_layer, multiple(4, 1))  # alone: both directions stay of one size
    layer = proved(model)[0].get_layer("both")
    assert layer.forward_layer.units == layer.backward_layer.units == UNITS - 2


@pytest.mark.parametrize("wrong", ["another unit", "another sign", "not still"])
def test_wrong_plans_are_refused(wrong):
    model = recurrent("LSTM")
    layer = model.get_layer("memory")
    change(layer, multiple(3, 0))
    change(layer, multiple(4, 1, -1.0))
    change(layer, still(5))
    pruned, certificate = proved(model)
    maps = certificate.maps
    if wrong == "another unit":
        maps.sources["memory", 3] = [{("memory", 2): 1.0}]
    elif wrong == "another sign":
        maps.sources["memory", 4] = [{("memory", 1): 1.0}]
    else:
        maps.sources.pop(("memory", 3))
    verdict = check(read(model), read(pruned), maps)
    assert not verdict.accepted
    assert verdict.blamed
