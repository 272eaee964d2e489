"""prune(guarantee="bounded"): what is promised is held, cheap merges go first, and the bound
bounds."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from keras_l2feat.errors import InputError  # noqa: E402
from keras_l2feat.network import DenseNetwork  # noqa: E402
from keras_l2feat.pruning import prune  # noqa: E402
from keras_l2feat.pruning.channels.read import read  # noqa: E402
from keras_l2feat.pruning.evaluate import outputs  # noqa: E402
from keras_l2feat.pruning.guarantees.bounded import _Bound, _Local, bounded_plan  # noqa: E402
from keras_l2feat.pruning.guarantees.on_data import sites  # noqa: E402
from keras_l2feat.pruning.rewrite import rewrite  # noqa: E402
from keras_l2feat.pruning.values.intervals import box_of_inputs, boxes  # noqa: E402

layers = keras.layers


def nearly(noise, seed=0, dtype="float64"):
    """20 + 20 units of which the second half of each layer is nearly a multiple of the first."""
    random = np.random.default_rng(seed)
    weights = [w.copy() for w in DenseNetwork.random((5, 20, 20, 3), seed=seed).weights]
    for w in weights[:2]:
        w[:, 10:] = w[:, :10] * random.uniform(0.5, 2, 10) + noise * random.standard_normal(
            (len(w), 10)
        )
    return DenseNetwork(tuple(weights)).to_model(dtype=dtype)


def widths(certificate):
    return [layer["units_after"] for layer in certificate.layers[:2]]


@pytest.mark.parametrize("where", ["data", "range"])
def test_planted_near_copies_go_and_the_tolerance_holds(where):
    model = nearly(1e-7)
    x = np.random.default_rng(1).uniform(0, 1, (200, 5))
    options = {"data": x} if where == "data" else {"input_range": (0.0, 1.0)}
    pruned, certificate = prune(model, "bounded", tolerance=1e-4, **options)
    assert certificate.verified
    assert all(after <= 10 for after in widths(certificate))
    assert np.abs(outputs(model, [x]) - outputs(pruned, [x])).max() <= 1e-4
    assert certificate.bound == 1e-4


@pytest.mark.slow
def test_a_larger_tolerance_removes_more_and_never_less():
    model = nearly(1e-3)
    x = np.random.default_rng(2).uniform(-1, 1, (100, 5))
    sizes, deviations = [], []
    for tolerance in (1e-9, 1e-3, 1e-2, 0.3, 3.0):
        _, certificate = prune(model, "bounded", x, tolerance=tolerance)
        assert certificate.max_abs_deviation <= tolerance
        sizes.append(sum(widths(certificate)))
        deviations.append(certificate.max_abs_deviation)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] >= 36  # a few never act on the data
    assert sizes[-1] < 20


def test_negligible_units_go_by_name():
    model = nearly(1.0)
    kernel, bias = model.layers[1].get_weights()
    kernel[:, 3], bias[3] = 1e-9, 1e-9
    model.layers[1].set_weights([kernel, bias])
    _, certificate = prune(model, "bounded", tolerance=1e-6, input_range=(-1.0, 1.0))
    assert certificate.layers[1]["removed"] == {"negligible": 1}


def convolutional():
    x = keras.Input((6, 6, 2))
    h = layers.Conv2D(12, 3, padding="same")(x)
    h = layers.ReLU()(layers.BatchNormalization()(h))
    h = layers.MaxPooling2D(2)(h)
    return keras.Model(x, layers.Dense(3)(layers.Dense(10, "relu")(layers.Flatten()(h))))


def residual():
    x = keras.Input((4,))
    a = layers.Dense(12, "relu")(x)
    b = layers.Add()([a, layers.Dense(12, "tanh")(a)])
    return keras.Model(x, [layers.Dense(2)(b), layers.Dense(2, "softmax")(layers.LeakyReLU()(b))])


@pytest.mark.parametrize("make", [convolutional, residual, lambda: nearly(0.01, dtype="float32")])
@pytest.mark.parametrize("tolerance", [pytest.param(0.01, marks=pytest.mark.slow), 0.5])
def test_the_bound_is_above_what_happens_in_the_box(make, tolerance):
    keras.utils.set_random_seed(3)
    model = make()
    graph = read(model)
    random = np.random.default_rng(4)
    x = random.uniform(-0.5, 0.5, (50, *model.inputs[0].shape[1:]))
    plan = bounded_plan(graph, tolerance=tolerance, inputs=[x])
    box = (box_of_inputs(graph, -0.5, 0.5), boxes(graph, box_of_inputs(graph, -0.5, 0.5)))
    bound = _Bound(
        graph, box, [_Local(graph, site, box[1]) for site in sites(graph, graph.pinned)]
    )(plan)
    inside = np.clip(random.uniform(-1, 1, (300, *model.inputs[0].shape[1:])), -0.5, 0.5)
    small = rewrite(graph, plan)
    assert np.abs(outputs(model, [inside]) - outputs(small, [inside])).max() <= bound
    assert np.abs(outputs(model, [x]) - outputs(small, [x])).max() <= tolerance * 1.001
    if tolerance == 0.5:
        assert plan.removed


def test_what_it_needs_is_asked_for():
    model = nearly(0.1)
    with pytest.raises(InputError, match="needs data"):
        prune(model, "bounded", tolerance=0.1)
    with pytest.raises(InputError, match="'tolerance' must be a positive number"):
        prune(model, "bounded", np.zeros((2, 5)), tolerance=-1)
    with pytest.raises(InputError, match="'tolerance' must be a positive number"):
        prune(model, "bounded", np.zeros((2, 5)))
