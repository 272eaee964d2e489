"""Planted redundancy goes without a trace whatever reads it, and a walk is what the model does."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from keras_l2feat.pruning import prune  # noqa: E402
from keras_l2feat.pruning.channels.read import read  # noqa: E402
from keras_l2feat.pruning.evaluate import outputs  # noqa: E402
from keras_l2feat.pruning.takeover.engine import Takeover  # noqa: E402
from keras_l2feat.pruning.takeover.readings import readings  # noqa: E402
from keras_l2feat.pruning.takeover.sizes import Sizes  # noqa: E402
from keras_l2feat.pruning.takeover.walk import walk  # noqa: E402

layers = keras.layers


def dense():
    x = keras.Input((6,))
    h = layers.Dense(10, "relu", name="planted")(x)
    return keras.Model(x, layers.Dense(3)(layers.Dense(7, "relu")(h)))


def convolution(padding="same", **options):
    x = keras.Input((9, 9, 2))
    h = layers.Conv2D(10, 3, activation="relu", name="planted")(x)
    h = layers.AveragePooling2D(2)(h)
    h = layers.Conv2D(5, 2, padding=padding, activation="relu", **options)(h)
    return keras.Model(x, layers.Dense(3)(layers.Flatten()(h)))


def flattened():
    x = keras.Input((6, 2))
    h = layers.Conv1D(10, 3, activation="relu", name="planted")(x)
    return keras.Model(x, layers.Dense(3)(layers.Flatten()(h)))


def causal():
    x = keras.Input((8, 2))
    h = layers.Conv1D(10, 1, activation="relu", name="planted")(x)
    h = layers.Conv1D(4, 3, padding="causal", dilation_rate=2)(h)
    return keras.Model(x, layers.GlobalAveragePooling1D()(h))


def normalized():
    """No bias anywhere: the mean of the normalization takes the constant."""
    x = keras.Input((7, 7, 2))
    h = layers.Conv2D(10, 3, activation="relu", name="planted")(x)
    h = layers.Conv2D(5, 3, padding="valid", use_bias=False)(h)
    h = layers.ReLU()(layers.BatchNormalization()(h))
    return keras.Model(x, layers.Dense(3)(layers.GlobalAveragePooling2D()(h)))


def separable(size=1):
    """Sums of channels are still sums once each is scaled; with a filter, they are not."""
    x = keras.Input((7, 7, 2))
    h = layers.Conv2D(10, 3, activation="relu", name="planted")(x)
    options = dict(depth_multiplier=2, strides=2, padding="same")
    h = layers.SeparableConv2D(5, size, activation="relu", **options)(h)
    return keras.Model(x, layers.Dense(3)(layers.GlobalAveragePooling2D()(h)))


def residual():
    """A stream with two writers and three readers."""
    x = keras.Input((5,))
    a = layers.Dense(10, "relu", name="planted")(x)
    b = layers.Add()([a, layers.Dense(10, name="also")(layers.Dense(6, "tanh")(a))])
    return keras.Model(x, [layers.Dense(2)(b), layers.Dense(2)(b)])


def concatenated():
    x = keras.Input((5,))
    a = layers.Dense(10, "relu", name="planted")(x)
    b = layers.Dense(4, "tanh")(x)
    return keras.Model(x, layers.Dense(3)(layers.Concatenate()([a, b])))


def recurrent():
    x = keras.Input((6, 3))
    h = layers.Dense(10, "relu", name="planted")(x)
    return keras.Model(x, layers.LSTM(4)(h))


def bidirectional():
    x = keras.Input((6, 3))
    h = layers.Dense(10, "relu", name="planted")(x)
    return keras.Model(x, layers.Bidirectional(layers.GRU(3))(h))


def attention():
    """The values are not what the queries are: each reader sees its own."""
    x = keras.Input((6, 3))
    h = layers.Dense(10, "relu", name="planted")(x)
    other = layers.Dense(4)(x)
    return keras.Model(x, layers.MultiHeadAttention(2, 3)(other, h))


def embedded():
    """The units of a table of tokens."""
    x = keras.Input((6,), dtype="int32")
    h = layers.Embedding(40, 10, name="planted")(x)
    return keras.Model(x, layers.LSTM(4)(h))


def nested():
    inner = keras.Sequential([keras.Input((10,)), layers.Dense(4, "relu"), layers.Dense(2)])
    x = keras.Input((5,))
    return keras.Model(x, inner(layers.Dense(10, "relu", name="planted")(x)))


def called_twice():
    shared = layers.Dense(4, "relu")
    x, y = keras.Input((5,)), keras.Input((5,))
    first = layers.Dense(10, "relu", name="planted")
    h = layers.Add()([shared(first(x)), shared(first(y))])
    return keras.Model([x, y], layers.Dense(2)(h))


MODELS = [
    dense,
    convolution,
    pytest.param(lambda: convolution(padding="valid", strides=2), id="strides"),
    flattened,
    causal,
    normalized,
    residual,
    concatenated,
    separable,
    recurrent,
    pytest.param(bidirectional, marks=pytest.mark.slow),
    attention,
    embedded,
    nested,
    called_twice,
]


def planted(make, seed=0):
    """A float64 model whose units 5 and 6 are sums of others where the data are, and 7 a copy."""
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy("float64")
    try:
        model = make()
    finally:
        keras.config.set_dtype_policy("float32")
    random = np.random.default_rng(seed)
    for layer in model._flatten_layers(include_self=False):
        if layer.weights and not hasattr(layer, "layers"):
            layer.set_weights(
                [
                    random.uniform(0.5, 1.5, w.shape)
                    if layer.name.startswith("batch_norm")
                    else w + 0.1 * random.standard_normal(w.shape)
                    for w in layer.get_weights()
                ]
            )
    for name in ("planted", "also"):
        if name in [layer.name for layer in model.layers]:
            layer = model.get_layer(name)
            weights = layer.get_weights()
            if name == "planted":  # on positive data these are linear where they act
                weights = [np.abs(weights[0]), *(np.full_like(w, 0.1) for w in weights[1:])]
            for w in weights:
                w[..., 5] = w[..., 0] + w[..., 1]
                w[..., 6] = w[..., 2] + 2 * w[..., 3]
                w[..., 7] = 3 * w[..., 4]
            layer.set_weights(weights)
    shapes = [tuple(t.shape[1:]) for t in model.inputs]
    if "int" in str(model.inputs[0].dtype):
        return model, [random.integers(0, 40, (300, *shape)) for shape in shapes]
    return model, [random.uniform(0, 1, (300, *shape)) for shape in shapes]


@pytest.mark.parametrize("make", MODELS)
def test_units_that_others_can_compute_go_whatever_reads_them(make):
    model, x = planted(make)
    pruned, certificate = prune(model, "bounded", x, tolerance=1e-6)
    (layer,) = [one for one in certificate.layers if one["name"] == "planted"]
    assert layer["units_after"] <= 7
    assert sum(layer["removed"].values()) >= 3
    assert certificate.verified
    assert np.abs(outputs(model, x) - outputs(pruned, x)).max() <= 1e-6


@pytest.mark.parametrize("make", [convolution, residual, attention, nested, called_twice])
def test_a_walk_is_what_the_model_does(make):
    model, x = planted(make)
    graph = read(model)
    reading = next(iter(readings(graph).values()))
    other = [2 * w for w in graph.layers[reading.layer].get_weights()]
    batches = [[a[start : start + 100] for a in x] for start in (0, 100, 200)]
    expected = outputs(model, x)
    layer = graph.layers[reading.layer]
    for weights in (None, other):
        outs = walk(
            graph, batches, lambda name, *_, w=weights: w if name == reading.layer else None
        )
        if weights is not None:
            old = layer.get_weights()
            layer.set_weights(weights)
            expected = outputs(model, x)
            layer.set_weights(old)
        rows = [np.concatenate([np.asarray(p) for p in out.parts]) for out in outs]
        flat = np.concatenate([r.reshape(len(r), -1) for r in rows], axis=1)
        assert np.allclose(flat, expected, atol=1e-12)
        assert [out.changed for out in outs] == [weights is not None] * len(outs)


@pytest.mark.parametrize("make", [*MODELS[:8], pytest.param(lambda: separable(3), id="filter")])
def test_a_reading_is_what_its_layer_computes(make):
    """Rows times the matrix of the kernel, bias included, is the layer before its activation."""
    model, x = planted(make)
    graph = read(model)
    for reading in readings(graph).values():
        layer = graph.layers[reading.layer]
        given = keras.ops.convert_to_numpy(keras.Model(model.inputs[0], layer.input)(x[0]))
        weights = {name: one.get_weights() for name, one in graph.layers.items()}
        rows = reading.rows(given, reading.reader.inputs[0].axis)
        old, layer.activation = layer.activation, keras.activations.linear
        expected = keras.ops.convert_to_numpy(layer(given))
        layer.activation = old
        found = rows @ reading.kernel(weights)
        assert np.allclose(found, expected.reshape(found.shape), atol=1e-10)
        matrix = reading.kernel(weights)
        matrix[0] += 1.0
        reading.store(weights, matrix)
        if reading.constant is None or reading.constant[0] == reading.layer:
            assert np.allclose(reading.kernel(weights), matrix)


@pytest.mark.parametrize("make", MODELS)
def test_sizes_are_those_of_the_rewritten_model(make):
    model, x = planted(make)
    graph = read(model)
    sizes = Sizes(graph)
    whole = sizes.of(np.ones(len(graph.pinned), dtype=bool))
    assert whole["flops"] == graph.flops()
    assert whole["parameters"] == model.count_params()
    pruned, certificate = prune(model, "bounded", x, units=0.7, balance=False)
    kept = np.ones(len(graph.pinned), dtype=bool)
    for removal in certificate.removals:
        if certificate.plans[0].guarantee == "exact":
            return  # names are those of what that left
        kept[graph.unit(removal["layer"], removal["unit"])] = False
    assert sizes.of(kept)["parameters"] == pruned.count_params()
    assert sizes.of(kept)["flops"] == read(pruned).flops()


def test_a_flattened_layer_wider_than_there_are_points():
    """No matrix of all 640 columns: what is planted goes, and the sums are the points."""
    x = keras.Input((10, 2))
    h = layers.Conv1D(80, 3, activation="relu", name="planted")(x)
    model, (points,) = planted(lambda: keras.Model(x, layers.Dense(3)(layers.Flatten()(h))))
    engine = Takeover(read(model), [points[:100]])
    (site,) = engine.sites
    assert engine.grams[site.readers[0].reader.name].few
    pruned, certificate = prune(model, "bounded", points[:100], tolerance=1e-6)
    (layer,) = [one for one in certificate.layers if one["name"] == "planted"]
    assert layer["units_after"] <= 77
    assert np.abs(outputs(model, [points[:100]]) - outputs(pruned, [points[:100]])).max() <= 1e-6
