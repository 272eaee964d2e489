"""Numbers at the ends of what dtypes hold, and inputs of any size: a wrong pair is never accepted,
and a right one is."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_l2feat.checking import Maps, check, roundoff
from keras_l2feat.pruning import prune
from keras_l2feat.pruning.channels.read import read

UNITS, INPUTS, OUTPUTS = 6, 5, 3


def network(units, *, dtype="float32", activation="relu", end=None, first=()):
    parts = [layers.Dense(units, activation, name="units"), layers.Dense(OUTPUTS, end, name="end")]
    keras.backend.clear_session()
    model = keras.Sequential([keras.Input((INPUTS,)), *first, *parts], name="network")
    for part in parts:
        assert all(str(w.dtype) == "float32" for w in part.weights)
    if dtype != "float32":
        made = [type(layer).from_config({**layer.get_config(), "dtype": dtype}) for layer in parts]
        model = keras.Sequential(
            [keras.Input((INPUTS,), dtype=dtype), *first, *made], name="network"
        )
    return model


def pairs(*, sizes=(1.0, 1.0), factor=2.0, wrong=None, noise=0.0, seed=0, **options):
    """Graphs and maps of a network whose unit 1 is `factor` times unit 0, and of the same without
    it: right ones, or with one weight that is wrong by this part of itself."""
    random = np.random.default_rng(seed)
    kernel = random.uniform(0.5, 1.5, (INPUTS, UNITS)) * random.choice([-1, 1], (INPUTS, UNITS))
    bias, second = random.uniform(0.5, 1.5, UNITS), random.standard_normal((UNITS, OUTPUTS))
    kernel, bias, second = kernel * sizes[0], bias * sizes[0], second * sizes[1]
    wide, small = network(UNITS, **options), network(UNITS - 1, **options)
    stored = wide.get_layer("units").get_weights()[0].dtype
    kernel, bias, second = (a.astype(stored).astype(np.float64) for a in (kernel, bias, second))
    kernel[:, 1] = factor * kernel[:, 0] * (1 + noise * random.choice([-1, 1], INPUTS))
    bias[1] = factor * bias[0]
    end = np.zeros(OUTPUTS)
    wide.get_layer("units").set_weights([kernel.astype(stored), bias.astype(stored)])
    wide.get_layer("end").set_weights([second.astype(stored), end.astype(stored)])
    keep = [0, *range(2, UNITS)]
    merged = second.copy()
    merged[0] += factor * merged[1]
    kernel, bias, merged = kernel[:, keep], bias[keep], merged[keep]
    if wrong is not None:
        kernel[2, 3] *= 1 + wrong
    small.get_layer("units").set_weights([kernel.astype(stored), bias.astype(stored)])
    small.get_layer("end").set_weights([merged.astype(stored), end.astype(stored)])
    maps = Maps({"units": [1]}, {("units", 1): [{("units", 0): factor}]})
    return read(wide), read(small), maps


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_each_dtype_has_its_own_roundoff(dtype):
    assert check(*pairs(dtype=dtype)).accepted
    for wrong in (64, -64):
        assert not check(*pairs(dtype=dtype, wrong=wrong * roundoff(dtype))).accepted


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(
    "sizes",
    [(1e-38, 1e37), (1e38, 1e-38), (1e-30, 1e-5), (1e19, 1e19), (1e-44, 1e30), (1.0, 1e-42)],
    ids=lambda sizes: f"{sizes[0]:.0e} then {sizes[1]:.0e}",
)
def test_entries_of_any_size(sizes, exact):
    """Subnormal numbers too: there a wrong weight is off by half."""
    assert check(*pairs(sizes=sizes), exact=exact).accepted
    wrong = 64 * 2.0**-24 if sizes[0] > 1e-37 else 0.5
    assert not check(*pairs(sizes=sizes, wrong=wrong), exact=exact).accepted


@pytest.mark.parametrize("exact", [False, True])
def test_units_of_subnormal_weights_are_not_nothing(exact):
    """The least numbers that there are, read with the largest: without them nothing is left."""
    graph, pruned, maps = pairs()
    for model in (graph.model, pruned.model):
        kernel, bias = model.get_layer("units").get_weights()
        kernel[:, -1], bias[-1] = 1.4e-45, 0.0
        model.get_layer("units").set_weights([kernel, bias])
        second, end = model.get_layer("end").get_weights()
        second[-1] = 3e38
        model.get_layer("end").set_weights([second, end])
    assert check(graph, pruned, maps, exact=exact).accepted
    kernel, bias = pruned.model.get_layer("units").get_weights()
    kernel[:, -1] = 0.0
    pruned.model.get_layer("units").set_weights([kernel, bias])
    assert not check(graph, pruned, maps, exact=exact).accepted


@pytest.mark.parametrize(("noise", "accepted"), [(2, True), (12, True), (40, False), (1000, False)])
def test_units_aligned_inside_and_outside_of_the_tolerance(noise, accepted):
    """Noise in roundoffs; a difference of n shows as n / 2 of both."""
    assert check(*pairs(noise=noise * 2.0**-24)).accepted is accepted


@pytest.mark.parametrize(("outgoing", "accepted"), [(1.0, True), (1e3, False), (1e7, False)])
def test_outgoing_weights_that_nearly_cancel(outgoing, accepted):
    """Two units that are equal up to 4 roundoffs, read with large weights of either sign."""
    graph, pruned, maps = pairs(factor=1.0, noise=4 * 2.0**-24)
    second, end = graph.model.get_layer("end").get_weights()
    rest = second[0] + second[1]
    second[0], second[1] = rest / 2 + outgoing, rest / 2 - outgoing
    graph.model.get_layer("end").set_weights([second, end])
    merged = pruned.model.get_layer("end").get_weights()[0]
    merged[0] = second[0] + second[1]
    pruned.model.get_layer("end").set_weights([merged, end])
    assert check(graph, pruned, maps).accepted is accepted


@pytest.mark.parametrize("size", [1e5, 1e9, 1e12])
@pytest.mark.parametrize("first", ["none", "normalizing"])
def test_inputs_of_any_size(size, first):
    """What is accepted does not depend on the units that inputs are measured in: a weight of
    1 / size matters as much as others."""

    def parts():
        if first == "none":
            return {}
        return {"first": [layers.Rescaling(1 / size)]}

    sizes = (1 / size, size) if first == "none" else (1.0, 1.0)
    assert check(*pairs(sizes=sizes, **parts())).accepted
    assert not check(*pairs(sizes=sizes, wrong=64 * 2.0**-24, **parts())).accepted
    graph, pruned, maps = pairs(**parts())
    for part in (graph, pruned):  # one weight acts on the large input alone
        kernel, bias = part.model.get_layer("units").get_weights()
        kernel[0] /= size
        part.model.get_layer("units").set_weights([kernel, bias])
    assert check(graph, pruned, maps).accepted
    kernel[0, 2] *= 1 + 1e-4
    pruned.model.get_layer("units").set_weights([kernel, bias])
    assert not check(graph, pruned, maps).accepted


def test_a_saturated_softmax_hides_nothing():
    """Outputs are the same numbers, since one class has all: the weights tell."""
    graph, pruned, maps = pairs(sizes=(1.0, 1e4), end="softmax")
    assert check(graph, pruned, maps).accepted
    x = np.random.default_rng(0).standard_normal((50, INPUTS)).astype("float32")
    kernel, bias = pruned.model.get_layer("units").get_weights()
    pruned.model.get_layer("units").set_weights([kernel * (1 + 1e-4), bias])
    before, after = (part.model.predict(x, verbose=0) for part in (graph, pruned))
    assert np.abs(before - after).max() < 1e-3  # the second witness sees nothing
    assert not check(graph, pruned, maps).accepted


# ---- what is right and was refused


def merged_units(model):
    """How many units `prune` leaves, verified."""
    pruned, certificate = prune(model)
    assert certificate.verified
    return pruned.get_layer("units").units


@pytest.mark.parametrize("activation", ["exponential", "relu"])
def test_outputs_that_overflow_on_some_inputs(activation):
    size = 100.0 if activation == "exponential" else 1e19
    graph, *_ = pairs(sizes=(size, size), factor=1.0, activation=activation)
    assert merged_units(graph.model) == UNITS - 1


@pytest.mark.parametrize("spread", [5, 15])
def test_units_of_very_different_scale(spread):
    graph, *_ = pairs()
    kernel, bias = graph.model.get_layer("units").get_weights()
    second, end = graph.model.get_layer("end").get_weights()
    scale = np.float32(10.0) ** np.random.default_rng(1).uniform(-spread, spread, UNITS)
    graph.model.get_layer("units").set_weights([kernel * scale, bias * scale])
    graph.model.get_layer("end").set_weights([second / scale[:, None], end])
    assert merged_units(graph.model) == UNITS - 1


def test_many_linear_units_on_few_inputs():
    random = np.random.default_rng(0)
    model = keras.Sequential(
        [keras.Input((8,)), layers.Dense(2000, name="units"), layers.Dense(3, name="end")]
    )
    model.set_weights([random.standard_normal(w.shape) for w in model.get_weights()])
    assert merged_units(model) == 8


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_raw_pixels_in_half_precision(dtype):
    options = {"first": [layers.Rescaling(1 / 255, dtype=dtype)], "dtype": dtype}
    graph, *_ = pairs(sizes=(1.0, 1.0), **options)
    assert merged_units(graph.model) == UNITS - 1


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_weights_are_compared_as_stored_and_outputs_as_summed(policy):
    """In mixed precision, what is proved of float32 weights is witnessed by sums in half of it."""
    random = np.random.default_rng(0)
    parts = [layers.Dense(n, a, dtype=policy) for n, a in ((64, "relu"), (64, "relu"), (10, None))]
    model = keras.Sequential([keras.Input((20,)), *parts])
    weights = [random.normal(size=w.shape) / 8 for w in model.get_weights()]
    weights[0][:, 32:], weights[1][32:] = 2 * weights[0][:, :32], 2 * weights[1][:32]
    model.set_weights(weights)
    small, certificate = prune(model, data=10 * random.normal(size=(200, 20)).astype("float32"))
    assert certificate.verified
    assert [layer.units for layer in small.layers] == [32, 64, 10]
