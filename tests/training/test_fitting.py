import keras
import numpy as np
import pytest

from keras_l2feat import models, regularizers, training
from keras_l2feat.data import load
from keras_l2feat.errors import InputError
from keras_l2feat.network import DenseNetwork
from keras_l2feat.training import imbalance

DATA = load("mnist-789-42")


def total(model, lam, data=DATA):
    """C + λ Σ‖W‖² in float64, from scratch."""
    network = DenseNetwork.from_model(model) if isinstance(model, keras.Model) else model
    z = network(data.x_train)
    shifted = z - z.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -logs[np.arange(len(z)), data.y_train].mean() + lam * network.squared_norm


@pytest.mark.parametrize("method", ["lbfgs", "adam"])
def test_a_keras_model_is_trained_in_place_and_keeps_its_lambda(method):
    model = models.mlp(784, (8, 6), 3, lam=0.5, seed=1)
    before = total(model, 1e-2)
    fitted = training.fit(model, DATA, lam=1e-2, method=method, iterations=150, quiet=True)
    assert fitted.network is model
    assert regularizers.amount(model) == 1e-2
    assert fitted.loss < 0.3 * before
    assert total(model, 1e-2) == pytest.approx(fitted.loss, rel=1e-5)  # the model stores float32
    assert len(fitted.history["loss"]) == len(fitted.history["seconds"]) == fitted.iterations + 1
    assert fitted.loss <= min(fitted.history["loss"]) * (1 + 1e-9)  # balancing is free progress
    assert imbalance(DenseNetwork.from_model(model).weights) < 1e-3


def test_array_networks_stay_and_the_same_call_gives_the_same_result():
    network = DenseNetwork.random((784, 8, 3), beta=0.3, seed=0)
    first, second = (
        training.fit(network, DATA, lam=1e-2, iterations=60, quiet=True) for _ in range(2)
    )
    assert first.loss == second.loss
    for one, two, start in zip(first.network.weights, second.network.weights, network.weights):
        np.testing.assert_array_equal(one, two)
        assert not np.array_equal(one, start)
    assert first.loss == pytest.approx(total(first.network, 1e-2), rel=1e-12)
    assert first.network.beta == 0.3


def test_keras_evaluates_to_the_same_loss():
    model = models.mlp(784, (8,), 3, lam=1e-2)
    fitted = training.fit(model, DATA, iterations=40, quiet=True)
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    value = model.evaluate(DATA.x_train, DATA.y_train, batch_size=42, verbose=0)
    assert value == pytest.approx(fitted.loss, rel=1e-5)


@pytest.mark.slow
def test_other_models_train_too():
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(3, 7, strides=5, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(1e-2)),
        ]
    )
    statistics = model.layers[1].moving_mean.numpy()
    fitted = training.fit(model, DATA, iterations=30, batch_size=20, quiet=True)
    assert fitted.loss < 0.5 * fitted.history["loss"][0]
    np.testing.assert_array_equal(model.layers[1].moving_mean.numpy(), statistics)


def test_frozen_layers_stay_frozen():
    model = models.mlp(784, (5,), 3, lam=1e-2)
    model.layers[0].trainable = False
    kernel = model.layers[0].kernel.numpy()
    fitted = training.fit(model, DATA, iterations=20, quiet=True)
    np.testing.assert_array_equal(model.layers[0].kernel.numpy(), kernel)
    assert fitted.loss < fitted.history["loss"][0]


def test_callbacks_see_iterations_change_the_model_and_stop():
    class Meddler(keras.callbacks.Callback):
        epochs = ()
        ended = False

        def on_epoch_end(self, epoch, logs=None):
            self.epochs += (epoch,)
            logs["twice"] = 2 * logs["loss"]
            if epoch == 4:
                kernel = self.model.layers[0].kernel
                kernel.assign(1.5 * kernel)
            if epoch == 9:
                self.model.stop_training = True

        def on_train_end(self, logs=None):
            self.ended = True

    meddler = Meddler()
    model = models.mlp(784, (5,), 3, lam=1e-2, dtype="float64")
    fitted = training.fit(model, DATA, callbacks=[meddler], quiet=True)
    assert meddler.epochs == tuple(range(10))
    assert meddler.ended
    assert fitted.reason == "callback"
    assert len(fitted.history["twice"]) == fitted.iterations == 10
    assert fitted.loss == pytest.approx(total(model, 1e-2), rel=1e-9)


def test_mistakes_are_named():
    network = DenseNetwork.random((784, 5, 3))
    with pytest.raises(InputError, match="'lam' must be given"):
        training.fit(network, DATA)
    with pytest.raises(InputError, match="'method' must be one of"):
        training.fit(network, DATA, lam=1e-2, method="sgd")
    with pytest.raises(InputError, match="784 inputs and 3 outputs"):
        training.fit(DenseNetwork.random((784, 5, 2)), DATA, lam=1e-2)
    with pytest.raises(InputError, match="'network' must be a Keras model"):
        training.fit([1, 2], DATA)
