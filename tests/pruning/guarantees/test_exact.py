"""Planted redundancy in dense networks: all of it is found, nothing else, and the function
stays."""

import keras
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from keras_l2feat.activations import Scaling, scaling
from keras_l2feat.models import mlp
from keras_l2feat.pruning import prune
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.evaluate import outputs, precise
from keras_l2feat.pruning.guarantees.exact import exact_plan

ACTIVATIONS = ["relu", "leaky_relu", "tanh", "softsign", "gelu", "sigmoid", "relu6", "linear"]
INPUTS, OUTPUTS = 7, 4


def network(widths, activation, beta, dtype, generator):
    """A network with generic weights; nothing is redundant, linear layers no wider than what they
    read."""
    model = mlp(INPUTS, widths, OUTPUTS, activation=activation, beta=beta, dtype=dtype)
    model.set_weights(
        [generator.standard_normal(w.shape) / np.sqrt(len(w)) for w in model.get_weights()]
    )
    return model


def with_units(model, layer, columns, rows):
    """The model with units appended to a hidden layer: columns (inputs + bias, k) and rows (k,
    outputs)."""
    dense = [item for item in model.layers if hasattr(item, "kernel")]
    widths = [item.units + (len(rows) if n == layer else 0) for n, item in enumerate(dense[:-1])]
    beta = float(getattr(dense[0], "beta", 1.0)) if dense[0].use_bias else 0.0
    activation, dtype = dense[0].activation, dense[0].dtype
    wider = mlp(INPUTS, widths, OUTPUTS, activation=activation, beta=beta, dtype=dtype)
    weights, step = model.get_weights(), 2 if dense[0].use_bias else 1
    at = step * layer
    if step == 2:
        weights[at + 1] = np.concatenate([weights[at + 1], columns[-1]])
        columns = columns[:-1]
    weights[at] = np.concatenate([weights[at], columns], axis=1)
    weights[at + step] = np.concatenate([weights[at + step], rows])
    wider.set_weights(weights)
    return wider


def plant(model, layer, kind, generator, among=None):
    """One redundant unit of a kind in a hidden layer, if a copy then one of the first `among`."""
    dense = [item for item in model.layers if hasattr(item, "kernel")]
    weights = [w.astype(np.float64) for w in dense[layer].get_weights()]
    incoming = np.vstack([weights[0], *[b[None] for b in weights[1:]]])
    source = generator.integers(among or incoming.shape[1])
    rows = generator.standard_normal((1, dense[layer + 1].units))
    amount = generator.uniform(0.3, 3.0)
    if kind == "aligned":
        columns = amount * incoming[:, [source]]
    elif kind == "identical":
        columns = incoming[:, [source]]
    elif kind == "mirrored":
        columns = -incoming[:, [source]]
    elif kind == "dead":  # nobody reads it
        columns, rows = generator.standard_normal((len(incoming), 1)), 0 * rows
    elif kind == "zero":  # a group of no one, whose outgoing weights sum to 0
        columns = generator.standard_normal((len(incoming), 1)) * [[1.0, 1.0]]
        rows = np.concatenate([rows, -rows])
    elif kind == "constant":
        columns = np.zeros((len(incoming), 1))
        columns[-1] = 0.7 if len(weights) > 1 else 0.0
    elif kind == "dependent":
        columns = incoming[:, :among] @ generator.standard_normal((incoming[:, :among].shape[1], 1))
    return with_units(model, layer, columns, rows)


def kinds(activation, beta):
    """What can be planted where: each is redundant for this activation."""
    scale = scaling(keras.activations.get(activation))
    found = ["identical", "dead", "zero"]
    if scale in (Scaling.POSITIVE, Scaling.LINEAR):
        found.append("aligned")
    if scale in (Scaling.ODD, Scaling.LINEAR):
        found.append("mirrored")
    if scale is Scaling.LINEAR:
        found.append("dependent")
    at_zero = float(np.asarray(keras.activations.get(activation)(keras.ops.zeros((1,))))[0])
    if beta or at_zero == 0:  # else a constant has no bias to go to
        found.append("constant")
    return found


def deviation(first, second, generator):
    """Largest difference over largest output, in float64."""
    x = [generator.standard_normal((40, INPUTS)) * generator.choice([0.01, 1, 30], (40, 1))]
    a, b = outputs(precise(first), x), outputs(precise(second), x)
    return np.abs(a - b).max() / max(np.abs(a).max(), 1e-300)


@settings(
    max_examples=25, phases=[Phase.explicit, Phase.generate]
)  # shrinking would rebuild models for minutes
@given(st.data())
def test_planted_units_are_found_and_no_others(data):
    activation = data.draw(st.sampled_from(ACTIVATIONS))
    beta = data.draw(st.sampled_from([0, 0.3, 1]))
    depth = data.draw(st.integers(2, 5))
    largest = INPUTS if activation == "linear" else 64
    widths = data.draw(st.lists(st.integers(2, largest), min_size=depth - 1, max_size=depth - 1))
    if activation == "linear":
        widths = sorted(widths, reverse=True)  # else a layer depends on the narrow one before it
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    small = network(widths, activation, beta, "float64", generator)
    wide, planted = small, 0
    # layer by layer: what a later layer reads of a new unit is random, so copies there are made
    # afterwards
    for layer in sorted(data.draw(st.lists(st.integers(0, depth - 2), min_size=1, max_size=6))):
        kind = data.draw(st.sampled_from(kinds(activation, beta)))
        wide = plant(wide, layer, kind, generator, widths[layer])
        planted += 1 + (kind == "zero")
    pruned, certificate = prune(wide)
    assert [layer.units for layer in pruned.layers] == [*widths, OUTPUTS]
    assert sum(sum(layer["removed"].values()) for layer in certificate.layers) == planted
    assert certificate.verified
    assert deviation(wide, pruned, generator) <= 1e-12


def test_units_that_cancel_are_no_part_of_a_combination():
    """Two equal units whose outgoing weights cancel span a direction more than a linear layer's
    inputs have: it is theirs that goes, not another unit that they could be made part of."""
    generator = np.random.default_rng(0)
    small = network((INPUTS,), "linear", 0, "float64", generator)
    wide = plant(small, 0, "zero", generator, INPUTS)
    pruned, certificate = prune(wide)
    gone = {removal["unit"]: removal["reason"] for removal in certificate.removals}
    assert set(gone) == {INPUTS, INPUTS + 1}
    assert deviation(wide, pruned, generator) <= 1e-12


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_nothing_redundant_nothing_changed(activation):
    model = network((20, 64), activation, 1, "float32", np.random.default_rng(0))
    pruned, certificate = prune(model)
    assert pruned is model
    assert certificate.max_abs_deviation == 0
    assert certificate.removals == []


def with_many(model, generator):
    for layer in range(3):
        for _ in range(4):
            model = plant(model, layer, "aligned", generator)
    return model


def test_float32_within_its_rounding_and_balanced():
    generator = np.random.default_rng(1)
    model = network((30, 40, 20), "relu", 1, "float32", generator)
    model = with_many(model, generator)
    pruned, certificate = prune(model)
    assert [layer.units for layer in pruned.layers[:-1]] == [30, 40, 20]
    assert certificate.verified
    assert certificate.max_rel_deviation < 1e-6
    for below, above in zip(pruned.layers[:-1], pruned.layers[1:]):
        inward = np.linalg.norm(np.vstack([w for w in below.get_weights()]), axis=0)
        np.testing.assert_allclose(
            inward, np.linalg.norm(above.get_weights()[0], axis=1), rtol=1e-5
        )


def test_almost_aligned_is_not_aligned():
    generator = np.random.default_rng(2)
    model = network((10,), "relu", 1, "float32", generator)
    weights = [w.copy() for w in model.get_weights()]
    weights[0][:, 3] = 2 * weights[0][:, 5] * (1 + 1e-5 * generator.standard_normal(INPUTS))
    weights[1][3] = 2 * weights[1][5]
    model.set_weights(weights)
    assert prune(model)[0] is model


def test_a_row_that_sums_to_zero_is_not_a_zero_row():
    model = network((6,), "relu", 1, "float64", np.random.default_rng(3))
    weights = model.get_weights()
    weights[2][2] = [1.0, -1.0, 2.0, -2.0]
    model.set_weights(weights)
    assert prune(model)[0] is model


def test_dead_units_go_before_groups_are_formed():
    """A unit that only a dead unit reads is dead, and must not decide what is aligned."""
    generator = np.random.default_rng(4)
    model = network((8, 8), "relu", 1, "float64", generator)
    weights = model.get_weights()
    weights[4][3] = 0.0  # unit 3 of layer 2 is not read
    weights[2][5] = 0.0
    weights[2][5, 3] = 1.0  # and the only one that reads unit 5 of layer 1
    model.set_weights(weights)
    pruned, certificate = prune(model)
    assert [layer.units for layer in pruned.layers] == [7, 7, OUTPUTS]
    assert {(r["layer"], r["unit"], r["reason"]) for r in certificate.removals} == {
        ("hidden_1", 5, "dead"),
        ("hidden_2", 3, "dead"),
    }


def test_one_unit_stays_in_a_layer_that_is_constant():
    model = network((5, 6), "relu", 1, "float64", np.random.default_rng(5))
    weights = model.get_weights()
    weights[2][:] = 0.0
    model.set_weights(weights)
    pruned, certificate = prune(model)
    assert [layer.units for layer in pruned.layers] == [1, 1, OUTPUTS]
    assert certificate.verified
    assert prune(pruned)[0] is pruned


def test_pruning_twice_changes_nothing_more():
    generator = np.random.default_rng(6)
    model = network((12, 9), "leaky_relu", 0.3, "float32", generator)
    for kind in ("aligned", "zero", "constant", "dead"):
        model = plant(model, 1, kind, generator)
    pruned, _ = prune(model)
    assert prune(pruned)[0] is pruned


def test_the_model_keeps_what_it_was():
    generator = np.random.default_rng(7)
    model = plant(network((6,), "relu", 1, "float32", generator), 0, "aligned", generator)
    model.compile(
        keras.optimizers.SGD(0.25),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        ["accuracy"],
    )
    before = [w.copy() for w in model.get_weights()]
    pruned, _ = prune(model)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights()))
    assert type(pruned) is keras.Sequential
    assert [type(layer) for layer in pruned.layers] == [keras.layers.Dense] * 2
    assert [layer.name for layer in pruned.layers] == ["hidden_1", "output"]
    assert pruned.name == model.name
    assert float(pruned.optimizer.learning_rate) == 0.25
    assert pruned.loss.from_logits


def test_reasons_say_where_a_unit_went():
    generator = np.random.default_rng(8)
    model = network((5,), "relu", 1, "float64", generator)
    weights = with_units(
        model, 0, 0.5 * np.vstack(model.get_weights()[:2])[:, [2]], np.ones((1, OUTPUTS))
    ).get_weights()
    wide = mlp(INPUTS, (6,), OUTPUTS, dtype="float64")
    wide.set_weights(weights)
    (removal,) = exact_plan(read(wide)).removed
    assert (removal.layer, removal.unit, removal.reason) == ("hidden_1", 5, "aligned")
    ((layer, unit, factor),) = removal.into
    assert (layer, unit) == ("hidden_1", 2)
    assert factor == pytest.approx(0.5, rel=1e-12)
