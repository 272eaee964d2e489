"""prune(guarantee="bounded"): what is asked for is held, on data and in a box, and the bound
bounds."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from keras_l2feat.data import Dataset  # noqa: E402
from keras_l2feat.errors import InputError  # noqa: E402
from keras_l2feat.network import DenseNetwork  # noqa: E402
from keras_l2feat.pruning import prune  # noqa: E402
from keras_l2feat.pruning.channels.read import read  # noqa: E402
from keras_l2feat.pruning.channels.sites import sites  # noqa: E402
from keras_l2feat.pruning.evaluate import outputs  # noqa: E402
from keras_l2feat.pruning.guarantees.box_errors import Bound, Local  # noqa: E402
from keras_l2feat.pruning.guarantees.within_box import box_plan  # noqa: E402
from keras_l2feat.pruning.plan import load_plans, save_plans  # noqa: E402
from keras_l2feat.pruning.rewrite import rewrite  # noqa: E402
from keras_l2feat.pruning.takeover.sizes import Sizes  # noqa: E402
from keras_l2feat.pruning.values.intervals import box_of_inputs  # noqa: E402
from keras_l2feat.pruning.values.relaxation import boxes  # noqa: E402

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
    plan = box_plan(graph, tolerance=tolerance, input_range=(-0.5, 0.5))
    box = (box_of_inputs(graph, -0.5, 0.5), boxes(graph, box_of_inputs(graph, -0.5, 0.5)))
    bound = Bound(graph, box, [Local(graph, site, box[1]) for site in sites(graph, graph.pinned)])(
        plan
    )
    inside = np.clip(random.uniform(-1, 1, (300, *model.inputs[0].shape[1:])), -0.5, 0.5)
    small = rewrite(graph, plan)
    assert np.abs(outputs(model, [inside]) - outputs(small, [inside])).max() <= bound
    assert bound <= tolerance


def test_what_it_needs_is_asked_for():
    model = nearly(0.1)
    with pytest.raises(InputError, match="needs data"):
        prune(model, "bounded", tolerance=0.1)
    with pytest.raises(InputError, match="'tolerance' must be a positive number"):
        prune(model, "bounded", np.zeros((2, 5)), tolerance=-1)
    with pytest.raises(InputError, match=r"One target is expected, of tolerance,.* Received: none"):
        prune(model, "bounded", np.zeros((2, 5)))
    with pytest.raises(InputError, match="'data' must be finite"):
        prune(model, "bounded", np.full((2, 5), np.nan), tolerance=0.1)


# ---- on data: taken over by all that stay


def labelled(seed=0, count=400):
    """Points of three classes with the labels that a network with 2 × 20 units gives them."""
    model = nearly(0.3, seed)
    x = np.random.default_rng(seed).uniform(-1, 1, (count, 5)).astype("float32")
    y = outputs(model, [x]).argmax(axis=1)
    half = count // 2
    return model, Dataset("own", x[:half], y[:half], x[half:], y[half:], (5,), 3)


@pytest.mark.parametrize(
    "target",
    [
        {"agree": "97%"},
        {"keep_accuracy": "3%"},
        {"keep_loss": 0.1},
        {"relative_tolerance": 0.1},
        {"units": 0.6},
        {"flops": "50%"},
        {"parameters": 0.5},
    ],
)
def test_each_target_is_held_and_both_parts_are_reported(target):
    model, points = labelled()
    pruned, certificate = prune(model, "bounded", points, **target)
    ((name, value),) = certificate.account.target.items()
    parts = certificate.account.measured
    held = parts["held out"]
    assert list(parts) == ["fitted", "held out", "test"]
    assert [part["points"] for part in parts.values()] == [160, 40, 200]
    assert sum(widths(certificate)) < 40
    if name in ("units", "flops", "parameters"):
        sizes = [Sizes(read(m)) for m in (pruned, model)]
        after, before = (s.of(np.ones(s.count, dtype=bool))[name] for s in sizes)
        assert after <= value * before
    assert name != "agree" or held["agree"] >= 0.97
    assert name != "keep_accuracy" or held["accuracy_before"] - held["accuracy"] <= 0.03
    assert name != "keep_loss" or held["loss"] <= 1.1 * held["loss_before"]
    if name == "relative_tolerance":
        assert max(part["max_rel"] for part in (parts["fitted"], held)) <= 0.1
    assert certificate.verified == (name == "relative_tolerance")  # else no output is bounded
    x = points.x_test
    answers = outputs(pruned, [x]).argmax(axis=1)
    assert parts["test"]["accuracy"] == pytest.approx(np.mean(answers == points.y_test))


def test_a_derivative_in_disguise_survives():
    """Nearly equal incoming and large opposite outgoing weights are not redundant [arXiv
    2506.14951]: 20 pairs each in five networks."""
    for seed in range(5):
        random = np.random.default_rng(seed)
        network = DenseNetwork.random((6, 40, 3), seed=seed)
        first, second = (w.copy() for w in network.weights)
        first[:, 20:] = first[:, :20] + 1e-3 * random.standard_normal((7, 20))
        second[20:40] = 1000.0 * random.standard_normal((20, 3))
        second[:20] = -second[20:40]
        model = DenseNetwork((first, second)).to_model(dtype="float64")
        x = random.uniform(-1, 1, (600, 6))
        _, certificate = prune(model, "bounded", x, tolerance=1e-4)
        assert certificate.layers[0]["units_after"] == 40


def test_a_stream_of_batches_is_a_data_set():
    tf = pytest.importorskip("tensorflow")
    model, points = labelled()
    x, y = points.x_train, points.y_train
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(32)
    first = prune(model, "bounded", batches, keep_accuracy="3%")
    second = prune(model, "bounded", (x, y), keep_accuracy="3%")
    for a, b in zip(first[0].get_weights(), second[0].get_weights(), strict=True):
        assert np.array_equal(a, b)
    assert first[1].account.measured == second[1].account.measured


def test_the_same_call_gives_the_same_model():
    model, points = labelled()
    first, second = (prune(model, "bounded", points, flops=0.4)[0] for _ in range(2))
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        assert np.array_equal(a, b)


def test_a_plan_is_carried_out_again_from_its_file(tmp_path):
    model, points = labelled()
    pruned, certificate = prune(model, "bounded", points, units=0.5)
    save_plans(certificate.plans, tmp_path / "plan.json")
    again, _ = prune(model, "bounded", plans=load_plans(tmp_path / "plan.json"), certificate=False)
    for a, b in zip(pruned.get_weights(), again.get_weights(), strict=True):
        assert np.array_equal(a, b)
    other = nearly(0.1)
    plans = load_plans(tmp_path / "plan.json")
    plans[-1].weights = {"hidden_2": {0: np.zeros((3, 3))}}
    with pytest.raises(InputError, match="weight 0 of layer 'hidden_2' with the shape"):
        prune(other, plans=plans)


def test_without_data_inputs_are_taken_to_be_gaussian():
    model = nearly(1e-7)
    pruned, certificate = prune(model, "bounded", gaussian=True, tolerance=1e-3)
    assert all(after <= 10 for after in widths(certificate))
    x = np.random.default_rng(99).standard_normal((500, 5))
    assert np.abs(outputs(model, [x]) - outputs(pruned, [x])).max() <= 2e-3


def test_the_curve_goes_from_all_to_one_unit_a_layer():
    model, points = labelled()
    _, certificate = prune(model, "bounded", points, units=0.9, curve=True)
    curve = certificate.account.curve
    assert curve[0]["max_abs"] == 0.0
    assert curve[0]["agree"] == 1.0
    assert curve[-1]["units"] == 1 + 1 + 3
    sizes = [record["units"] for record in curve]
    assert sizes == sorted(sizes, reverse=True)


def test_targets_that_make_no_sense_are_refused():
    model, points = labelled()
    regression = Dataset("r", points.x_train, np.zeros((200, 3), "float32"))
    for options, data, message in (
        ({"agree": 2}, points, "'agree' must be a share of at most 1"),
        ({"units": "many"}, points, "'units' must be a part such as"),
        ({"units": 0.5, "flops": 0.5}, points, "One target"),
        ({"keep_loss": "1%"}, points.x_train, "needs data with labels"),
        ({"keep_accuracy": "1%"}, regression, "needs a model with one output of classes"),
        ({"units": 0.5, "per": "watts"}, points, "'per' must be one of"),
        ({"polish": True}, points, "no option 'polish'. .* see `l2feat shrink`"),
        ({"units": 0.5}, None, "needs data"),
        ({"units": 0.5, "gaussian": True}, points, "one of the two"),
    ):
        with pytest.raises(InputError, match=message):
            prune(model, "bounded", data, **options)
