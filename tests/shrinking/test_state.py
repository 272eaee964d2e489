"""What goes with the units that stay: optimizer state and statistics."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_l2feat.pruning.channels.read import read
from keras_l2feat.shrinking.cut import recalibrate
from keras_l2feat.shrinking.points import Points
from keras_l2feat.shrinking.state import Settings, State, carry

SIZE = 8


def network():
    """Convolutions with batch normalization and a sum; channels 3 to 5 of each are dead."""
    given = layers.Input((SIZE, 2))
    x = layers.Conv1D(6, 3, padding="same", use_bias=False)(given)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    y = layers.Conv1D(6, 3, padding="same")(x)
    x = layers.ReLU()(layers.Add()([x, y]))
    model = keras.Model(given, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))
    convolved, normal, inner, dense = (layer for layer in model.layers if layer.weights)
    generator = np.random.default_rng(1)
    kernel = generator.standard_normal((3, 2, 6))
    convolved.set_weights([kernel])
    scale, shift = np.ones(6), 0.1 * generator.standard_normal(6)
    scale[3:], shift[3:] = 1e-3, -10.0
    normal.set_weights([scale, shift, np.zeros(6), np.ones(6)])
    kernel, bias = generator.standard_normal((3, 6, 6)), np.zeros(6)
    kernel[:, :, 3:], bias[3:] = 0.0, -10.0
    inner.set_weights([kernel, bias])
    dense.set_weights([generator.standard_normal((6, 3)), np.zeros(3)])
    return model


def recurrent():
    """A GRU, whose kernel is stored with three parts side by side, reads dead units."""
    given = layers.Input((SIZE, 2))
    hidden = layers.Dense(6, "relu")
    model = keras.Model(given, layers.Dense(3)(layers.GRU(4)(hidden(given))))
    kernel, bias = hidden.get_weights()
    bias[3:] = -30.0
    hidden.set_weights([kernel, bias])
    return model


def batches(seed):
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((32, SIZE, 2)).astype("float32")
    return x, generator.integers(0, 3, 32)


def without_dead(model):
    """The same without the dead channels, through a `State`, with the optimizer's state."""
    graph = read(model)
    units = np.ones(len(graph.pinned), dtype=bool)
    for own in graph.writers.values():
        if len(own) == 6:
            units[own[3:]] = False
    settings = Settings.of(model, None, decay=False)
    kept = {layer: np.flatnonzero(units[u]) for layer, u in graph.writers.items()}
    cut = {}
    for layer, index in ((layer, i) for layer in graph.layers for i in range(9)):
        if index >= len(graph.layers[layer].weights):
            continue
        array, variable = graph.weight(layer, index), graph.layers[layer].weights[index]
        for slot in graph.slots.values():
            if (slot.layer, slot.index) == (layer, index):
                array = np.compress(units[slot.units], array, slot.axis)
        alike = array.ndim == len(variable.shape)
        cut[id(variable)] = array if alike else array.reshape(-1, variable.shape[-1])
    cut = [cut.get(id(variable), variable.numpy()) for variable in model.variables]
    small = State(kept, cut, []).model(graph, settings)
    carry(graph, units, model, small)
    return small


@pytest.mark.parametrize(
    "make, optimizer",
    [
        (network, lambda: keras.optimizers.AdamW(0.01)),
        pytest.param(
            network, lambda: keras.optimizers.SGD(0.05, momentum=0.9), marks=pytest.mark.slow
        ),
        pytest.param(
            network,
            lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01)),
            marks=pytest.mark.slow,
        ),
        pytest.param(recurrent, lambda: keras.optimizers.Adam(0.01), marks=pytest.mark.slow),
    ],
    ids=["adamw", "momentum", "scaled", "recurrent"],
)
def test_a_network_without_its_dead_units_trains_as_with_them(make, optimizer):
    keras.backend.clear_session()
    model = make()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer(), loss)
    for step in range(3):
        model.train_on_batch(*batches(step))
    small = without_dead(model)
    assert small.count_params() < model.count_params()
    for step in range(3, 6):
        model.train_on_batch(*batches(step))
        small.train_on_batch(*batches(step))
    x, _ = batches(9)
    assert np.allclose(model(x), small(x), atol=2e-5)
    assert int(small.optimizer.iterations) == 6


@pytest.mark.slow
def test_without_the_optimizers_state_training_would_differ():
    keras.backend.clear_session()
    model = network()
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "mse")
    y = np.zeros((32, 3))
    for step in range(3):
        model.train_on_batch(batches(step)[0], y)
    small = without_dead(model)
    for variable in small.optimizer.variables[2:]:
        variable.assign(0 * variable)
    model.train_on_batch(batches(3)[0], y)
    small.train_on_batch(batches(3)[0], y)
    x, _ = batches(9)
    assert not np.allclose(model(x), small(x), atol=1e-3)


def test_statistics_are_the_mean_over_batches():
    model = network()
    model.compile("adam", "mse")
    x = np.concatenate([batches(seed)[0] for seed in range(4)])
    points = Points(model, (x, np.zeros((len(x), 3))), 0, batch_size=32)
    normal = next(n for n in model.layers if isinstance(n, layers.BatchNormalization))
    before = normal.momentum
    recalibrate(model, points.batches)
    seen = np.asarray(model.layers[1](x))
    assert np.allclose(normal.moving_mean, seen.mean(axis=(0, 1)), atol=1e-5)
    assert normal.momentum == before
    normal.trainable = False
    normal.moving_mean.assign(np.zeros(6))
    recalibrate(model, points.batches)
    assert not np.asarray(normal.moving_mean).any()


@pytest.mark.parametrize("end", ["linear", "softmax", "sigmoid"])
def test_the_usual_loss_takes_outputs_for_what_they_are(end):
    """Probabilities that are taken for logits train to something else."""
    width = 1 if end == "sigmoid" else 3
    model = keras.Sequential([keras.Input((4,)), layers.Dense(width, end)])
    y = np.arange(12) % (2 if width == 1 else 3)
    loss = Settings.of(model, Points(model, (np.zeros((12, 4)), y), 0)).rest["loss"]
    if end == "sigmoid":
        assert loss == "binary_crossentropy"
    else:
        assert loss.get_config()["from_logits"] == (end == "linear")


def test_a_schedule_gives_its_first_rate_and_comes_back():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    schedule = keras.optimizers.schedules.CosineDecay(0.03, 10)
    model.compile(keras.optimizers.Adam(schedule), "mse")
    points = Points(model, (np.zeros((5, 4)), np.zeros((5, 3))), 0)
    settings = Settings.of(model, points)
    assert settings.rate == pytest.approx(0.03)
    settings.compile(model, plain=True)
    assert isinstance(model.optimizer._learning_rate, type(schedule))
    assert Settings.of(model, points, decay=False).rate is None
