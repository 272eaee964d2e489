"""Groups that were made equal copies stay equal while a network trains on, and prune as one."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_l2feat import prune
from keras_l2feat.callbacks import AlignNeurons
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.training.copies import make_copies
from keras_l2feat.training.rays import counted, rays, within_budget
from keras_l2feat.training.slots import slots
from keras_l2feat.training.units import rows, sites

CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
STEPS, BATCH, POINTS = 500, 32, 320


def dense(activation="relu"):
    parts = layers.Dense(16, activation), layers.Dense(12, activation), layers.Dense(3)
    return keras.Sequential([layers.Input((12,)), *parts])


def convolutions():
    parts = (
        layers.Conv2D(8, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(8, 2, padding="same"),
        layers.PReLU(shared_axes=[1, 2]),
        layers.Flatten(),
        layers.Dense(16),
        layers.LeakyReLU(),
        layers.Dense(3),
    )
    return keras.Sequential([layers.Input((8, 8, 2)), *parts])


def normalized(x, filters, stride=1):
    x = layers.Conv2D(filters, 3, stride, padding="same", use_bias=False)(x)
    return layers.BatchNormalization()(x)


def residual():
    """Streams that one and two sums tie, the second with a shortcut of its own."""
    given = layers.Input((8, 8, 2))
    x = layers.ReLU()(normalized(given, 8))
    x = layers.ReLU()(layers.Add()([normalized(layers.ReLU()(normalized(x, 6)), 8), x]))
    short = layers.BatchNormalization()(layers.Conv2D(12, 1, 2, use_bias=False)(x))
    x = layers.Add()([normalized(layers.ReLU()(normalized(x, 12, 2)), 12), short])
    return keras.Model(given, layers.Dense(3)(layers.GlobalAveragePooling2D()(layers.ReLU()(x))))


def branches():
    """Several readers, a filter for each channel, three activations, channels side by side."""
    given = layers.Input((8, 8, 2))
    x = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", use_bias=False)(given))
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu")(layers.ReLU(6)(x))
    y = layers.Conv2D(6, 1, activation="gelu")(given)
    both = layers.Concatenate()([layers.Conv2D(8, 1)(x), y])
    z = layers.Conv2D(10, 1, activation="tanh")(both)
    flat = layers.Concatenate()([layers.Flatten()(z), layers.GlobalAveragePooling2D()(both)])
    return keras.Model(given, layers.Dense(3)(flat))


NETWORKS = {
    "relu": dense,
    "tanh": lambda: dense("tanh"),
    "gelu": lambda: dense("gelu"),
    "linear": lambda: dense(None),
    "convolutions": convolutions,
    "residual": residual,
    "branches": branches,
}
OPTIMIZERS = {
    "adam": lambda: keras.optimizers.Adam(1e-3),
    "adamw": lambda: keras.optimizers.AdamW(1e-3, weight_decay=1e-2),
    "momentum": lambda: keras.optimizers.SGD(1e-2, momentum=0.9),
    "lion": lambda: keras.optimizers.Lion(1e-4),
    "clipped": lambda: keras.optimizers.Adam(1e-3, global_clipnorm=0.5),
    "mixed": lambda: keras.optimizers.Adam(1e-3),
    "compiled": lambda: keras.optimizers.Adam(1e-3),
}


def points(model):
    generator = np.random.default_rng(0)
    x = generator.standard_normal((POINTS, *model.input_shape[1:])).astype("float32")
    return x, generator.integers(0, 3, POINTS)


def begun(name, optimizer="adam"):
    """A network after two epochs, and its data."""
    keras.utils.set_random_seed(1)
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_float16" if optimizer == "mixed" else "float32")
        model = NETWORKS[name]()
    finally:
        keras.config.set_dtype_policy(before)
    model.compile(OPTIMIZERS[optimizer](), CROSS_ENTROPY, jit_compile=optimizer == "compiled")
    if optimizer == "mixed":  # as Keras does on a GPU
        model.optimizer = keras.optimizers.LossScaleOptimizer(model.optimizer)
    x, y = points(model)
    model.fit(x, y, batch_size=BATCH, epochs=2, verbose=0)
    return model, x, y


def halved(model):
    """Half of the units joined, and the labels of each site."""
    graph = read(model)
    found = sites(graph)
    labels = within_budget(graph, found, "units", 0.5)
    make_copies(graph, list(zip(found, labels)), model.optimizer)
    return graph, found, labels


def widths(model):
    return tuple(len(site.units) for site in sites(read(model)))


@pytest.mark.parametrize("name", NETWORKS)
def test_copies_are_equal_in_weights_and_in_what_the_optimizer_keeps(name):
    model, *_ = begun(name)
    graph, found, labels = halved(model)
    trained = model.trainable_variables
    kept = dict(zip(map(id, trained), slots(model.optimizer, trained)))
    assert sum(counted(labels)) <= 0.6 * sum(len(site.units) for site in found)
    for site, own in zip(found, labels):
        leader = np.array([np.flatnonzero(own == label)[0] for label in own])
        for slot, positions in site.places:
            weight = graph.layers[slot.layer].weights[slot.index]
            for variable in (weight, *kept.get(id(weight), {}).values()):
                part = rows(keras.ops.convert_to_numpy(variable), slot.axis, positions)
                np.testing.assert_array_equal(part, part[leader])
    assert rays(model, 1e-4, 0.0) == counted(labels)  # what `EffectiveWidth` logs
    small, certificate = prune(model)
    assert certificate.verified
    assert widths(small) == counted(labels)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tanh", "gelu", "convolutions"])
def test_copies_stay_equal_with_nothing_snapped_again(name):
    model, x, y = begun(name)
    labels = halved(model)[2]
    model.fit(x, y, batch_size=BATCH, epochs=STEPS * BATCH // POINTS, verbose=0)
    small, certificate = prune(model)
    assert certificate.verified
    assert widths(small) == counted(labels)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS.keys() - {"compiled"}))
def test_every_optimizer_keeps_copies_equal(optimizer):
    model, x, y = begun("relu", optimizer)
    labels = halved(model)[2]
    before = model.get_weights()
    model.fit(x, y, batch_size=BATCH, epochs=STEPS * BATCH // POINTS, verbose=0)
    assert max(np.abs(a - b).max() for a, b in zip(before, model.get_weights())) > 1e-3
    if optimizer == "mixed":  # pruned by its weights, which are float32; halves round too coarsely
        wide = NETWORKS["relu"]()
        wide.set_weights(model.get_weights())
        model = wide
    small, certificate = prune(model)
    assert certificate.verified
    assert widths(small) == counted(labels)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, optimizer", [("residual", "adam"), ("branches", "momentum")] + [("relu", "compiled")]
)
def test_where_sums_round_differently_by_channel_groups_are_held(name, optimizer):
    """One epoch of 500 steps: nothing is chosen before its end, groups are averaged on the way."""
    model, x, y = begun(name, optimizer)
    align = AlignNeurons(units=0.5, every=1)
    model.fit(x, y, batch_size=BATCH, epochs=1, verbose=0, callbacks=[align])
    chosen = align._held
    many = np.random.default_rng(1).integers(0, POINTS, STEPS * BATCH)

    class Late(AlignNeurons):
        def _labels(self, found):
            return chosen

        def on_train_begin(self, logs=None):
            super().on_train_begin(logs)
            self._held = chosen

    model.fit(x[many], y[many], batch_size=BATCH, verbose=0, callbacks=[Late(units=0.5)])
    small, certificate = prune(model)
    assert certificate.verified
    assert widths(small) == counted(chosen)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["relu", "gelu", "residual"])
def test_the_function_stays_where_units_are_equal_already(name):
    """Copies planted by a first snap: a second one of the same groups changes nothing."""
    model, x, _ = begun(name)
    graph, _, labels = halved(model)
    before = model.predict(x, verbose=0)
    norm = sum(float((w**2).sum()) for w in model.get_weights())
    make_copies(graph, list(zip(sites(graph), labels)), model.optimizer)
    np.testing.assert_allclose(model.predict(x, verbose=0), before, atol=2e-5, rtol=1e-4)
    assert sum(float((w**2).sum()) for w in model.get_weights()) <= norm * (1 + 1e-5)
