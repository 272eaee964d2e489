"""Bounds hold for every input of the box, and are tight enough to matter."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from keras_l2feat.errors import InputError  # noqa: E402
from keras_l2feat.network import DenseNetwork  # noqa: E402
from keras_l2feat.pruning.channels.interpret import interpret  # noqa: E402
from keras_l2feat.pruning.channels.read import read  # noqa: E402
from keras_l2feat.pruning.values import intervals as interval  # noqa: E402
from keras_l2feat.pruning.values import relaxation  # noqa: E402

layers = keras.layers


def dense(activation):
    hidden = [
        layers.Dense(24),
        layers.Activation(activation),
        layers.Dense(24),
        layers.Activation(activation),
    ]
    return keras.Sequential([keras.Input((6,)), *hidden, layers.Dense(4)])


def residual_dense():
    x = keras.Input((6,))
    a = layers.Dense(12, "relu")(x)
    b = layers.Add()([a, layers.LeakyReLU()(layers.Dense(12)(a))])
    c = layers.Concatenate()([layers.BatchNormalization()(b), layers.Dense(5, "relu")(x), x])
    return keras.Model(x, layers.Subtract()([layers.Dense(4)(c), layers.Dense(4)(b)]))


def branches():
    x = keras.Input((6,))
    a, b = layers.Dense(8, "relu")(x), layers.Dense(8, "sigmoid")(x)
    merged = [
        layers.Multiply()([a, b]),
        layers.Maximum()([a, b]),
        layers.Average()([a, b]),
        layers.Minimum()([a, b]),
    ]
    return keras.Model(
        x, [layers.Dense(3)(layers.Concatenate()(merged)), layers.Dense(2)(layers.PReLU()(b))]
    )


def convolutional(padding):
    x = keras.Input((8, 8, 2))
    h = layers.Conv2D(5, 3, padding=padding, activation="relu")(x)
    h = layers.BatchNormalization()(h)
    h = layers.DepthwiseConv2D(3, padding=padding, depth_multiplier=2)(h)
    h = layers.MaxPooling2D(2, strides=1, padding="same")(h)
    h = layers.Add()([h, layers.Conv2D(10, 1, activation="tanh")(h)])
    h = layers.PReLU(shared_axes=(1, 2))(h)
    h = layers.AveragePooling2D(2)(h)
    return keras.Model(x, layers.Dense(4)(layers.Dense(7, "relu")(layers.Flatten()(h))))


MODELS = {
    **{
        a: (lambda a=a: dense(a))
        for a in ("relu", "leaky_relu", "tanh", "relu6", "softplus", "linear")
    },
    "residual": residual_dense,
    "branches": branches,
    "same": lambda: convolutional("same"),
    "valid": lambda: convolutional("valid"),
}


def randomize(model, random):
    """Weights of every kind, with negative and zero batch normalization scales and both signs of
    slopes."""
    for layer in model.layers:
        for weight in layer.weights:
            value = random.standard_normal(weight.shape) / np.sqrt(
                max(1, np.prod(weight.shape[:-1]))
            )
            weight.assign(np.abs(value) + 0.1 if "variance" in weight.path else value)


def corners(random, count, low, high):
    """Points of a box, most of them with coordinates on its faces."""
    inside = random.uniform(0, 1, (count, *low.shape))
    face = random.integers(0, 2, inside.shape)
    return low + (high - low) * np.where(
        random.random((count, *[1] * low.ndim)) < 0.3, inside, face
    )


@pytest.mark.parametrize("name", MODELS)
def test_no_input_leaves_the_bounds(name):
    random = np.random.default_rng(0)
    model = MODELS[name]()
    randomize(model, random)
    graph = read(model)
    shape = model.inputs[0].shape[1:]
    low = random.uniform(-1, 0.5, shape)
    high = low + random.uniform(0, 1, shape)
    found = relaxation.boxes(graph, interval.box_of_inputs(graph, low, high))
    outputs = model.predict(corners(random, 300, low, high).astype("float32"), verbose=0)
    for tensor, y in zip(graph.outputs, outputs if isinstance(outputs, list) else [outputs]):
        box = found[tensor.number]
        assert np.isfinite(box.low).all()
        assert np.isfinite(box.high).all()
        slack = 1e-5 * np.maximum(np.abs(box.low), np.abs(box.high)) + 1e-6
        assert (y >= box.low - slack).all()
        assert (y <= box.high + slack).all()


@pytest.mark.parametrize("between", [(), ("scaled",), ("pooled",), ("scaled", "pooled")])
def test_bounds_by_place_are_of_the_places_that_are_there(between):
    """Rows of an image that never vary: each place keeps its bounds until pooling makes others."""
    parts = {"scaled": layers.Rescaling(-2.0, 1.0), "pooled": layers.AveragePooling2D(2)}
    chosen = [parts[name] for name in between]
    model = keras.Sequential([keras.Input((4, 4, 1)), *chosen, layers.Flatten(), layers.Dense(3)])
    low, high = np.zeros((4, 4, 1)), np.zeros((4, 4, 1))
    high[2:] = 1.0
    graph = read(model)
    found = relaxation.boxes(graph, interval.box_of_inputs(graph, low, high))
    y = model.predict(corners(np.random.default_rng(0), 300, low, high), verbose=0)
    box = found[graph.outputs[0].number]
    assert (y >= box.low - 1e-5).all()
    assert (y <= box.high + 1e-5).all()
    if "pooled" not in between:
        flat = found[graph.ops[-2].out.number]
        assert np.array_equal(flat.low == flat.high, np.arange(16) < 8)


def test_a_single_point_is_bounded_by_its_value():
    model = residual_dense()
    randomize(model, np.random.default_rng(1))
    point = np.random.default_rng(2).standard_normal(6)
    graph = read(model)
    box = relaxation.boxes(graph, interval.box_of_inputs(graph, point, point))[
        graph.outputs[0].number
    ]
    y = model.predict(point[None].astype("float32"), verbose=0)[0]
    np.testing.assert_allclose(box.low, y, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(box.high, box.low, atol=1e-9)


def test_linear_layers_are_bounded_exactly():
    """A chain of linear layers takes its bounds at corners; intervals alone would be far wider."""
    network = DenseNetwork.random((5, 30, 30, 3), activation="linear", seed=3)
    model = network.to_model(dtype="float64")
    graph = read(model)
    box = relaxation.boxes(graph, interval.box_of_inputs(graph, -1.0, 1.0))[graph.outputs[0].number]
    corners = np.stack(np.meshgrid(*[[-1.0, 1.0]] * 5), -1).reshape(-1, 5)
    y = network(corners)
    np.testing.assert_allclose(box.low, y.min(axis=0), atol=1e-12)
    np.testing.assert_allclose(box.high, y.max(axis=0), atol=1e-12)


def test_relaxation_is_much_tighter_than_intervals_on_relu_networks():
    model = DenseNetwork.random((10, 50, 50, 50, 2), seed=4).to_model()
    graph = read(model)
    inputs = interval.box_of_inputs(graph, 0.4, 0.6)
    both = relaxation.boxes(graph, inputs)[graph.outputs[0].number]
    found = {t.number: b for t, b in zip(graph.inputs, inputs)}
    interpret(graph, interval.Intervals(graph), found)
    alone = found[graph.outputs[0].number]
    assert ((both.high - both.low) < (alone.high - alone.low) / 4).all()


def test_ranges_by_feature_reach_a_flattened_image():
    model = keras.Sequential(
        [keras.Input((2, 3)), layers.Flatten(), layers.Dense(4, use_bias=False)]
    )
    graph = read(model)
    low, high = np.zeros((2, 3)), np.zeros((2, 3))
    high[1, 2] = 2.0
    box = relaxation.boxes(graph, interval.box_of_inputs(graph, low, high))[graph.outputs[0].number]
    row = (
        2.0
        * np.asarray(
            graph.weight("dense" if "dense" in graph.layers else model.layers[-1].name, 0)
        )[5]
    )
    np.testing.assert_allclose(box.high, np.maximum(row, 0), rtol=1e-6)
    np.testing.assert_allclose(box.low, np.minimum(row, 0), rtol=1e-6)


def test_what_is_not_known_is_infinite_and_stays_so_only_where_it_matters():
    x = keras.Input((6,))
    unknown = layers.LayerNormalization()(x)
    y = layers.Concatenate()(
        [layers.Activation("tanh")(unknown), layers.Dense(3, "gelu")(x), unknown]
    )
    graph = read(keras.Model(x, y))
    box = relaxation.boxes(graph, interval.box_of_inputs(graph, 0.0, 1.0))[graph.outputs[0].number]
    np.testing.assert_array_equal(box.high[:6], 1.0)
    assert np.isinf(box.high[6:]).all()


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        (0.0, np.inf, "finite, low <= high"),
        (1.0, 0.0, "finite, low <= high"),
        (np.zeros(5), np.ones(5), "arrays of shape"),
    ],
)
def test_bad_ranges_are_named(low, high, message):
    graph = read(dense("relu"))
    with pytest.raises(InputError, match=f"'input_range' must be .*{message}"):
        interval.box_of_inputs(graph, low, high)
