"""Break one rule of the pruner at a time: the certificate, or the count of what is found, has to
notice."""

import keras
import numpy as np
import pytest
from gauge import gauge
from keras import layers

from keras_l2feat.activations import Scaling
from keras_l2feat.errors import CheckFailed
from keras_l2feat.pruning import prune, rewrite
from keras_l2feat.pruning.channels import builder, rules
from keras_l2feat.pruning.expand import expand
from keras_l2feat.pruning.guarantees import exact
from keras_l2feat.pruning.plan import BIAS
from keras_l2feat.pruning.values import classes as groups


def model_with_everything():
    """Planted units of every kind, and what each rule is needed for. Returns the model and its
    least widths."""
    generator = np.random.default_rng(0)
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(5, 3, padding="same", name="conv")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU()(x)
    y = layers.Conv2D(5, 1, name="branch")(x)
    x = layers.Add()([x, y])
    x = layers.Activation("relu")(x)
    x = layers.Flatten()(x)
    x = layers.Dense(7, activation="relu", name="hidden")(x)
    x = layers.Dense(6, activation="tanh", name="odd")(x)
    x = layers.Dense(6, activation="gelu", name="even")(x)
    model = keras.Model(inputs, layers.Dense(3, name="end")(x))
    for weight in model.weights:
        if "variance" in weight.path:
            weight.assign(generator.uniform(0.5, 2.0, weight.shape))
        else:
            weight.assign(
                generator.standard_normal(weight.shape)
                / np.sqrt(max(1, np.prod(weight.shape[:-1])))
            )
    wide = gauge(expand(model, {"conv": 8, "hidden": 10}), seed=1)
    odd, even = wide.get_layer("odd"), wide.get_layer("even")
    set_column(
        odd, 5, -odd.kernel.numpy()[:, 2], -odd.bias.numpy()[2]
    )  # mirrored: only tanh may merge it
    set_column(even, 5, 0 * even.kernel.numpy()[:, 2], 0.4)  # constant
    set_column(
        even, 4, -even.kernel.numpy()[:, 1], -even.bias.numpy()[1]
    )  # mirrored, but gelu is not odd
    return wide, {"conv": 5, "branch": 5, "hidden": 7, "odd": 5, "even": 5, "end": 3}


def set_column(layer, unit, kernel, bias):
    new_kernel, new_bias = layer.kernel.numpy().copy(), layer.bias.numpy().copy()
    new_kernel[:, unit], new_bias[unit] = kernel, bias
    layer.kernel.assign(new_kernel)
    layer.bias.assign(new_bias)


@pytest.fixture(scope="module")
def planted():
    return model_with_everything()


def outcome(planted):
    """Whether the pruner, as it is now, does what it should."""
    model, least = planted
    try:
        _, certificate = prune(model)
    except (CheckFailed, ValueError):
        return False
    return (
        certificate.verified and {r["name"]: r["units_after"] for r in certificate.layers} == least
    )


def test_nothing_broken(planted):
    assert outcome(planted)


def wrapped(function, change):
    """The function with its result changed."""
    return lambda *arguments, **options: change(function(*arguments, **options))


def without_factors(plan):
    plan.transfers = {
        reader: [(s, t, f if t == BIAS else float(np.sign(f))) for s, t, f in moves]
        for reader, moves in plan.transfers.items()
    }
    return plan


def without_moves(plan):
    plan.transfers = {}
    return plan


def without_constants(plan):
    plan.transfers = {
        reader: [m for m in moves if m[1] != BIAS] for reader, moves in plan.transfers.items()
    }
    return plan


MUTATIONS = {
    "forget the ratio": (
        lambda m, p: p(m, "exact_plan", wrapped(exact.exact_plan, without_factors)),
        exact,
    ),
    "forget the merged rows": (
        lambda m, p: p(m, "exact_plan", wrapped(exact.exact_plan, without_moves)),
        exact,
    ),
    "forget the constants": (
        lambda m, p: p(m, "exact_plan", wrapped(exact.exact_plan, without_constants)),
        exact,
    ),
    "every activation is odd": (
        lambda m, p: p(m, "scaling", lambda a: scaled(a, Scaling.ODD)),
        rules,
    ),
    "every activation is homogeneous": (
        lambda m, p: p(m, "scaling", lambda a: scaled(a, Scaling.POSITIVE)),
        rules,
    ),
    "a tolerance that is far too large": (lambda m, p: p(m, "tolerance", lambda *a: 2.0), groups),
    "no tolerance at all": (lambda m, p: p(m, "ROUNDINGS", 0), groups),
    "sums do not tie": (lambda m, p: p(m.Builder, "tie", lambda *a: None), builder),
    "outputs are not pinned": (lambda m, p: p(m.Builder, "pin", lambda *a: None), builder),
    "kernels keep their rows": (lambda m, p: p(m, "_transfer", lambda *a: None), rewrite),
}


def scaled(activation, value):
    from keras_l2feat.activations import scaling

    found = scaling(activation)
    return found if found in (Scaling.LINEAR, Scaling.COUPLED) else value


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_rule_is_noticed(planted, name, monkeypatch):
    mutate, module = MUTATIONS[name]
    mutate(module, monkeypatch.setattr)
    assert not outcome(planted)
