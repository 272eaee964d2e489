"""prune(guarantee="domain") and prune(guarantee="data"): kept where promised, redundant there and
nowhere else."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from keras_l2feat.errors import InputError  # noqa: E402
from keras_l2feat.network import DenseNetwork  # noqa: E402
from keras_l2feat.pruning import prune  # noqa: E402
from keras_l2feat.pruning.evaluate import outputs  # noqa: E402

layers = keras.layers


def dense(widths, seed=0, dtype="float64", activation="relu"):
    network = DenseNetwork.random(widths, seed=seed, activation=activation)
    random = np.random.default_rng(seed + 1)
    return network.with_weights(
        [w + 0.1 * random.standard_normal(w.shape) for w in network.weights]
    ).to_model(dtype=dtype)


def difference(first, second, x):
    return np.abs(outputs(first, [x]) - outputs(second, [x])).max()


def squared_norm(model):
    return sum(float((w.astype("float64") ** 2).sum()) for w in model.get_weights())


# ---- domain


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_inside_the_domain_nothing_changes_and_outside_it_may(activation):
    model = dense((3, 60, 20, 2), activation=activation)
    weights = model.get_weights()
    weights[1][:] = np.random.default_rng(5).normal(0, 2, 60)
    model.set_weights(weights)
    exact, _ = prune(model)
    pruned, certificate = prune(model, "domain", input_range=(-0.2, 0.6))
    assert certificate.verified
    assert certificate.to_json()["facts"]["low"] == -0.2
    assert pruned.layers[0].units < exact.layers[0].units
    random = np.random.default_rng(6)
    assert difference(model, pruned, random.uniform(-0.2, 0.6, (500, 3))) < 1e-12
    assert difference(model, pruned, random.uniform(-20, 60, (500, 3))) > 1e-3


def test_stably_inactive_and_dependent_units_go_by_name():
    """On [0, 1]²: unit 0 never acts, 1 to 4 always do (rank 2 up to constants), 5 changes sign."""
    model = dense((2, 6, 2))
    kernel = np.array([[-1.0, 1.0, 2.0, 1.0, 3.0, 1.0], [-1.0, 1.0, 0.0, -1.0, -1.0, 1.0]])
    model.layers[0].set_weights([kernel, np.array([-0.5, 1.0, 0.5, 2.0, 4.0, -1.0])])
    pruned, certificate = prune(model, "domain", input_range=(0.0, 1.0))
    assert certificate.layers[0]["removed"] == {"inactive": 1, "dependent": 2}
    assert pruned.layers[0].units == 3
    assert certificate.verified


def test_convolutions_lose_channels_that_never_act():
    x = keras.Input((6, 6, 1))
    h = layers.Conv2D(5, 3, padding="same", activation="relu", name="conv")(x)
    model = keras.Model(x, layers.Dense(2)(layers.Flatten()(layers.BatchNormalization()(h))))
    random = np.random.default_rng(7)
    for layer in model.layers:
        for weight in layer.weights:
            weight.assign(np.abs(random.standard_normal(weight.shape)) + 0.1)
    kernel, bias = (
        w.numpy() if hasattr(w, "numpy") else np.asarray(w) for w in model.get_layer("conv").weights
    )
    kernel[..., 1], bias[1] = -np.abs(kernel[..., 1]), -0.1
    kernel[..., 3], bias[3] = kernel[..., 3] / kernel[..., 3].sum(), -1.01
    model.get_layer("conv").set_weights([kernel, bias])
    pruned, certificate = prune(model, "domain", input_range=(0.0, 1.0))
    assert pruned.get_layer("conv").filters == 3
    assert certificate.verified


def test_a_domain_needs_its_range():
    model = dense((2, 6, 2))
    with pytest.raises(InputError, match="input_range"):
        prune(model, "domain")


# ---- data


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 1e-5)])
def test_wide_networks_come_down_on_their_data(dtype, tolerance):
    model = dense((4, 150, 80, 2), dtype=dtype)
    x = np.random.default_rng(8).standard_normal((9, 4)).astype(dtype)
    pruned, certificate = prune(model, "data", x)
    assert certificate.verified
    assert pruned.layers[0].units <= 9 * 10 // 2
    assert pruned.layers[1].units <= 9 * 2
    reach = np.abs(model.predict(x, verbose=0)).max()
    assert difference(model, pruned, x) <= tolerance * reach
    assert squared_norm(pruned) <= squared_norm(model) * (1 + 1e-6)
    facts = certificate.to_json()["facts"]
    assert (facts["points"], len(facts["data_sha256"])) == (9, 64)


def test_a_data_set_is_kept_on_its_training_points():
    from keras_l2feat.data import Dataset

    random = np.random.default_rng(9)
    x, y = random.standard_normal((12, 5)).astype("float32"), random.integers(0, 2, 12)
    data = Dataset("toy", x[:8], y[:8], x[8:], y[8:], classes=2)
    pruned, certificate = prune(dense((5, 100, 2)), "data", data)
    assert [e.count for e in certificate.evaluations] == [8]
    assert pruned.layers[0].units <= 16


def test_graphs_with_branches_shared_layers_and_convolutions():
    x = keras.Input((4,))
    shared = layers.Dense(3, name="shared")
    a = layers.Dense(60, "relu", name="a")(x)
    b = layers.Dense(60, "relu", name="b")(x)
    y = [shared(a), layers.Dense(2)(a), shared(b)]
    image = keras.Input((3, 3, 1))
    conv = layers.Conv2D(40, 2, activation="relu", name="conv")(image)
    z = layers.Conv2D(2, 1)(layers.Dropout(0.5)(conv))
    model = keras.Model([x, image], [*y, z])
    random = np.random.default_rng(10)
    points = [random.standard_normal((3, *t.shape[1:])).astype("float32") for t in model.inputs]
    pruned, certificate = prune(model, "data", points)
    assert certificate.verified
    assert pruned.get_layer("conv").filters <= 3 * 4 * 2
    assert pruned.get_layer("a").units == pruned.get_layer("b").units < 60


def test_what_must_not_be_rescaled_is_left():
    model = dense((3, 50, 2), activation="tanh")
    _, certificate = prune(model, "data", np.zeros((2, 3)))
    assert certificate.layers[0]["units_after"] == 50
    with pytest.raises(InputError, match="needs data"):
        prune(model, "data")


def test_a_layer_that_is_dead_on_the_data_keeps_one_unit():
    model = dense((3, 10, 2))
    kernel, bias = model.layers[0].get_weights()
    model.layers[0].set_weights([kernel, bias - 100])
    pruned, certificate = prune(model, "data", np.random.default_rng(0).uniform(-1, 1, (5, 3)))
    assert pruned.layers[0].units == 1
    assert certificate.verified


@pytest.mark.parametrize("kind", ["constant", "two constants", "identical tanh", "dependent"])
def test_what_is_redundant_everywhere_does_not_raise_the_norm_either(kind):
    """A constant of 30 read with weights of 10 would be a bias of 300."""
    activation = {"identical tanh": "tanh", "dependent": "linear"}.get(kind, "relu")
    model = dense((4, 6, 5, 2), activation=activation)
    kernel, bias, outgoing, *rest = model.get_weights()
    if kind == "dependent":  # unit 2 = 1000 (unit 1 − unit 0), and unit 1 is shorter than it
        kernel[:, :2] *= 1e-3
        kernel[:, 2], bias[2] = 1000 * (kernel[:, 1] - kernel[:, 0]), 1000 * (bias[1] - bias[0])
    elif kind == "identical tanh":
        kernel[:, 1], bias[1] = kernel[:, 0], bias[0]
        outgoing[:2] = 10.0
    else:
        kernel[:, 0], bias[0], outgoing[0] = 0.0, 30.0, 10.0
        if kind == "two constants":
            kernel[:, 1], bias[1], outgoing[1] = 0.0, 3.0, 20.0
    model.set_weights([kernel, bias, outgoing, *rest])
    x = np.random.default_rng(7).standard_normal((40, 4))
    pruned, certificate = prune(model, "data", x)
    assert certificate.verified
    assert squared_norm(pruned) <= squared_norm(model) * (1 + 1e-12)
    if kind == "two constants":
        assert pruned.layers[0].units < model.layers[0].units
