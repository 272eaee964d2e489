"""The data term of a Keras model: what `model.evaluate` says, training says too."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers

from keras_l2feat import data, regularizers, training
from keras_l2feat.callbacks import EffectiveWidth
from keras_l2feat.errors import InputError
from keras_l2feat.models import mlp
from keras_l2feat.objectives import weight_space
from keras_l2feat.objectives.data_term import data_term, head, predictions

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((30, 8)).astype("float32")
THREE = RANDOM.integers(0, 3, 30)
TWO = RANDOM.integers(0, 2, 30)
TARGETS = RANDOM.standard_normal((30, 2)).astype("float32")


def chain(units, end, seed=0):
    """Dense layers."""
    keras.utils.set_random_seed(seed)
    hidden = layers.Dense(6, "relu", bias_initializer="normal")
    return keras.Sequential([keras.Input((8,)), hidden, layers.Dense(units, end)])


def branches(units, end, seed=0):
    """Two branches that are added, and the activation as a layer of its own."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((8,))
    total = layers.Add()([layers.Dense(units)(inputs), layers.Dense(units, "linear")(inputs)])
    return keras.Model(inputs, layers.Activation(end)(total))


def convolution(units, end, seed=0):
    """A convolution, pooled."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((8,))
    x = layers.Conv1D(5, 3, activation="relu")(layers.Reshape((8, 1))(inputs))
    return keras.Model(inputs, layers.Dense(units, end)(layers.GlobalAveragePooling1D()(x)))


LOSSES = keras.losses
CASES = [
    (3, "softmax", "sparse_categorical_crossentropy", THREE),
    (3, "linear", LOSSES.SparseCategoricalCrossentropy(from_logits=True), THREE),
    (3, "softmax", LOSSES.SparseCategoricalCrossentropy(ignore_class=1), THREE),
    (1, "sigmoid", "binary_crossentropy", TWO),
    (1, "linear", LOSSES.BinaryCrossentropy(from_logits=True), TWO),
    (2, "linear", "mse", TARGETS),
    (2, "tanh", "mse", TARGETS),
    (2, "linear", LOSSES.Huber(), TARGETS),
    (1, "linear", "mean_squared_error", TARGETS[:, :1]),
    (2, "linear", lambda y, z: keras.ops.mean(keras.ops.abs(y - z), axis=-1), TARGETS),
]


BUILDS = itertools.cycle([chain, branches, convolution, chain])


@pytest.mark.parametrize("units, end, loss, y, build", [(*case, next(BUILDS)) for case in CASES])
def test_training_and_evaluate_agree(build, units, end, loss, y):
    model = regularizers.regularize(build(units, end), 1e-3)
    model.compile("adam", loss)
    expected = model.evaluate(X, y, batch_size=30, verbose=0)
    objective = training.fit(model, (X, y), iterations=0, quiet=True)
    # dense chains are balanced before: that leaves the outputs, and lowers λ Σ‖W‖²
    assert objective.loss <= expected + 1e-5
    penalty = float(sum(model.losses))
    model.compile("adam", loss)
    np.testing.assert_allclose(
        objective.loss, model.evaluate(X, y, batch_size=30, verbose=0), rtol=1e-5
    )
    assert penalty > 0


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_labels_are_spread_for_losses_of_one_hot_targets(smoothing):
    model = chain(3, "softmax")
    model.compile("adam", LOSSES.CategoricalCrossentropy(label_smoothing=smoothing))
    expected = model.evaluate(X, np.eye(3)[THREE], batch_size=30, verbose=0)
    fitted = training.fit(model, (X, THREE), iterations=0, quiet=True)
    np.testing.assert_allclose(fitted.loss, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "units, end, loss, y, build",
    [
        (3, "softmax", "sparse_categorical_crossentropy", THREE, chain),
        (3, "softmax", "sparse_categorical_crossentropy", THREE, branches),
        (3, "linear", LOSSES.SparseCategoricalCrossentropy(from_logits=True), THREE, convolution),
        (3, "log_softmax", LOSSES.SparseCategoricalCrossentropy(from_logits=True), THREE, branches),
        (1, "sigmoid", "binary_crossentropy", TWO, chain),
    ],
)
def test_without_a_compiled_loss_the_head_decides(build, units, end, loss, y):
    model = build(units, end)
    fitted = training.fit(model, (X, y), iterations=0, quiet=True)
    model.compile("adam", loss)
    np.testing.assert_allclose(
        fitted.loss, model.evaluate(X, y, batch_size=30, verbose=0), rtol=1e-5
    )


@pytest.mark.parametrize(
    "units, end, y",
    [(3, "relu", THREE), (3, "sigmoid", THREE), (1, "linear", TWO), (3, "exponential", THREE)],
)
def test_what_is_ambiguous_is_refused(units, end, y):
    with pytest.raises(InputError, match=r"Compile the model with its loss|has \d outputs"):
        training.fit(branches(units, end), (X, y), iterations=1, quiet=True)


def test_losses_that_are_no_mean_of_one_output_are_refused():
    model = chain(3, "softmax")
    model.compile("adam", LOSSES.SparseCategoricalCrossentropy(reduction="sum"))
    with pytest.raises(InputError, match="reduction 'sum'"):
        data_term(model, (X, THREE))
    inputs = keras.Input((8,))
    two = keras.Model(inputs, [layers.Dense(1)(inputs), layers.Dense(1)(inputs)])
    with pytest.raises(InputError, match="2 outputs"):
        data_term(two, (X, THREE))


def test_heads():
    def of(*tail):
        return head(keras.Sequential([keras.Input((4,)), *tail]))

    assert of(layers.Dense(3, "softmax"), layers.Dropout(0.1), layers.Reshape((3, 1))) == "softmax"
    assert of(layers.Dense(3, "softmax"), layers.Dense(2)) == "linear"
    assert of(layers.Dense(3), layers.Softmax()) == "softmax"
    assert of(layers.Dense(3, "sigmoid"), layers.BatchNormalization()) == "linear"
    assert of(layers.Dense(3), keras.Sequential([layers.Activation("sigmoid")])) == "sigmoid"
    assert of(layers.Dense(3, lambda z: z + 1)) == "<lambda>"
    inputs = keras.Input((4,))
    probabilities = [layers.Dense(3, "softmax")(inputs) for _ in range(2)]
    assert head(keras.Model(inputs, layers.Average()(probabilities))) is None
    assert head(keras.Model(inputs, keras.ops.softmax(layers.Dense(3)(inputs)))) == "softmax"
    logits = [layers.Dense(3)(inputs) for _ in range(2)]
    assert head(keras.Model(inputs, layers.Average()(logits))) == "linear"


def test_predictions_of_one_output():
    outputs = np.array([[0.4], [0.6], [-1.0]])
    assert predictions(chain(1, "sigmoid"), outputs).tolist() == [0, 1, 0]
    assert predictions(chain(1, "linear"), outputs).tolist() == [1, 1, 0]
    assert predictions(chain(3, "linear"), np.eye(3)).tolist() == [0, 1, 2]


def test_forms_and_certificates_see_the_cost_before_softmax():
    logits, probabilities = chain(3, "linear"), chain(3, "softmax")
    assert float(weight_space(probabilities, (X, THREE), lam=1e-2).cost) == pytest.approx(
        float(weight_space(logits, (X, THREE), lam=1e-2).cost), rel=1e-12
    )
    probabilities.compile("adam", "mse")
    with pytest.raises(InputError, match="the theory does not cover it"):
        weight_space(probabilities, (X, THREE), lam=1e-2)


def test_effective_width_certifies_the_loss_that_is_trained():
    points = data.load((X, TARGETS))
    model = mlp(8, (4,), 2, lam=1e-2)
    found = {}
    for loss in ("mse", "mae"):
        model.compile(keras.optimizers.SGD(0.0), loss)
        callback = EffectiveWidth(data=points, starts=5)
        found[loss] = model.fit(X, TARGETS, callbacks=[callback], verbose=0).history["gap_1"]
    assert found["mse"] != found["mae"]
