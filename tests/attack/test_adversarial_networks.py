"""Networks made to be pruned wrongly, over weights and inputs of 1e-9 to 1e12: `exact` must leave
the function what it was, as an independent evaluation in float64 sees it.

The judge is NumPy on the weights alone: nothing of the pruner takes part. A stored network may
deviate by what float32 rounds: a small multiple of 2⁻²⁴ times the magnitudes |W| … |W| |x| + … of
the original, layer by layer.
"""

import itertools

import keras
import numpy as np
import pytest

from keras_l2feat import prune
from keras_l2feat.errors import CheckFailed

ROUNDINGS = 16  # of float32, for each layer: a merge, a fold into a bias, balancing, and their sums
ACTIVATIONS = {
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.2 * z),
    "tanh": np.tanh,
    "linear": lambda z: z,
}


def weights_of(model):
    return [
        [np.asarray(weight, dtype=np.float64) for weight in layer.get_weights()]
        for layer in model.layers
    ]


def outputs(weights, activation, x):
    """What a chain of dense layers answers, and the magnitudes that its roundings scale with."""
    size = np.abs(x)
    for index, (kernel, bias) in enumerate(weights):
        x, size = x @ kernel + bias, size @ np.abs(kernel) + np.abs(bias)
        if index < len(weights) - 1:
            x = ACTIVATIONS[activation](x)
    return x, size


def planted(generator, activation):
    """Weights `[(kernel, bias), …]` of a random chain with traps, and how many units are surely
    redundant."""
    depth = int(generator.integers(1, 4))
    widths = [int(n) for n in generator.integers(2, 12, depth + 2)]
    scales = 10.0 ** generator.uniform(-4, 4, depth + 1)
    weights = [
        [s * generator.normal(size=(n, m)), s * generator.normal(size=m)]
        for s, n, m in zip(scales, widths, widths[1:])
    ]
    redundant = 0
    for (kernel, bias), (out, _) in itertools.pairwise(weights):
        width = len(bias)
        for _ in range(int(generator.integers(0, 4))):
            i, j = generator.choice(width, 2, replace=False)
            homogeneous = activation != "tanh"
            t = 2.0 ** generator.integers(-20, 20) if homogeneous else 1.0
            match generator.integers(6):
                case 0:  # the same ray, exactly
                    kernel[:, j], bias[j] = t * kernel[:, i], t * bias[i]
                    redundant += 1
                case 1:  # almost the same ray: a trap
                    tilt = 10.0 ** generator.uniform(-5, -2)
                    kernel[:, j] = (
                        t * kernel[:, i] * (1 + tilt * generator.normal(size=len(kernel)))
                    )
                    bias[j] = t * bias[i]
                case 2:  # the same direction and another bias: a trap
                    kernel[:, j], bias[j] = t * kernel[:, i], t * bias[i] * (1 + 1e-3)
                case 3:  # opposite: a trap unless the activation is odd
                    kernel[:, j], bias[j] = -kernel[:, i], -bias[i]
                case 4:  # read by nobody
                    out[j] = 0
                    redundant += 1
                case 5:  # read weakly, and large: a trap
                    kernel[:, j] *= 1e6
                    bias[j] *= 1e6
                    out[j] *= 1e-6
    return weights, redundant


def network(generator):
    activation = ["relu", "leaky_relu", "tanh", "linear"][generator.integers(4)]
    weights, redundant = planted(generator, activation)
    # The same network for inputs of another size.
    size = 10.0 ** generator.uniform(-9, 12)
    weights[0][0] /= size
    layers = [keras.Input((len(weights[0][0]),))]
    layers += [keras.layers.Dense(len(b), activation=activation) for _, b in weights[:-1]]
    model = keras.Sequential([*layers, keras.layers.Dense(len(weights[-1][1]))])
    model.set_weights([w.astype("float32") for pair in weights for w in pair])
    return model, activation, size, redundant


def deviation(model, pruned, activation, x):
    """Of the pruned network from the original, in units of what rounding may do."""
    before, after = weights_of(model), weights_of(pruned)
    wanted, magnitude = outputs(before, activation, x)
    found, _ = outputs(after, activation, x)
    allowed = ROUNDINGS * len(before) * 2.0**-24 * magnitude + np.finfo(np.float32).tiny
    return (np.abs(found - wanted) / allowed).max()


@pytest.mark.slow
def test_networks_stay_what_they_were(attack):
    wrong, refused, removed, surely = [], [], 0, 0
    count = attack.count(12, 500)
    for index in range(attack.seed, attack.seed + count):
        generator = np.random.default_rng(index)
        model, activation, size, redundant = network(generator)
        try:
            pruned, certificate = prune(model)
        except CheckFailed as error:  # nothing is written, and yet it should not happen
            refused.append((index, str(error)))
            continue
        units = sum(len(bias) for _, bias in weights_of(model))
        removed += units - sum(len(bias) for _, bias in weights_of(pruned))
        surely += redundant
        for scale in (size, 1e-9, 1e-3, 1e3 * size, 1e12):
            x = scale * generator.normal(size=(64, model.input_shape[1]))
            if (off := deviation(model, pruned, activation, x)) > 1:
                wrong.append((index, activation, f"inputs {scale:.0e}", f"{off:.3g} times too far"))
        assert certificate.verified, index
        keras.backend.clear_session()
    print(f"{count} networks, {removed} units removed, {len(wrong)} wrong, {len(refused)} refused")
    assert wrong == []
    assert refused == []
    assert removed > surely / 2  # who removes nothing is never wrong


def test_the_judge_sees_a_wrong_network():
    model, activation, size, _ = network(np.random.default_rng(1))
    other = keras.models.clone_model(model)
    other.set_weights(model.get_weights())
    x = size * np.random.default_rng(0).normal(size=(64, model.input_shape[1]))
    assert deviation(model, other, activation, x) == 0
    weights = other.get_weights()
    weights[-2] = weights[-2] * (1 + 1e-4)
    other.set_weights(weights)
    assert deviation(model, other, activation, x) > 1


def test_folds_that_amplify_the_roundings_of_balancing():
    model, activation, size, _ = network(np.random.default_rng(9065))
    pruned, certificate = prune(model)
    assert certificate.verified
    assert [layer.units for layer in pruned.layers] == [8, 4, 4, 8]
    x = size * np.random.default_rng(0).normal(size=(64, 8))
    assert deviation(model, pruned, activation, x) < 1


def test_weights_whose_squares_float32_does_not_hold():
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(6, activation="relu"), keras.layers.Dense(2)]
    )
    generator = np.random.default_rng(0)
    weights = [generator.normal(size=w.shape) for w in model.get_weights()]
    weights[0] *= 1e25
    weights[1] *= 1e25
    weights[0][:, 5], weights[1][5] = 2 * weights[0][:, 0], 2 * weights[1][0]
    weights[2] *= 1e-25
    model.set_weights([w.astype("float32") for w in weights])
    pruned, certificate = prune(model)
    assert certificate.verified
    assert pruned.layers[0].units == 5
    assert deviation(model, pruned, "relu", generator.normal(size=(64, 3))) < 1
