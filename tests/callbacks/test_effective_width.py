"""The effective width while model.fit runs: rays that were planted, and the certificate's gap."""

import keras
import numpy as np
import pytest

from keras_l2feat import data, models
from keras_l2feat.callbacks import EffectiveWidth
from keras_l2feat.errors import InputError
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives import Problem

CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def split(network, copies):
    """Every hidden neuron of a two-layer network replaced by aligned copies that share its outgoing
    weights."""
    first, last = network.weights
    return network.with_weights(
        [np.tile(first, copies), np.vstack([np.tile(last[:-1] / copies, (copies, 1)), last[-1:]])]
    )


def test_rays_in_history_are_the_planted_ones():
    digits = data.load("mnist-789-42")
    model = split(DenseNetwork.random((784, 4, 3), seed=0), 3).to_model(lam=1e-2)
    model.compile(keras.optimizers.SGD(1e-3), CROSS_ENTROPY)
    history = model.fit(
        digits.x_train,
        digits.y_train,
        batch_size=42,
        epochs=3,
        verbose=0,
        callbacks=[EffectiveWidth(angle=1e-4)],
    )
    assert history.history["rays_1"] == [
        4,
        4,
        4,
    ]  # aligned neurons stay aligned under gradient descent


def test_gap_is_that_of_the_certificate():
    from keras_l2feat.plateau.insertion import certify

    digits = data.load("mnist-789-42")
    model = models.mlp(784, (3,), 3, lam=1e-2, seed=0)
    model.compile(keras.optimizers.SGD(0.0), CROSS_ENTROPY)
    watch = EffectiveWidth(data=digits, starts=20)
    history = model.fit(
        digits.x_train, digits.y_train, batch_size=42, epochs=1, verbose=0, callbacks=[watch]
    )
    [layer] = certify(DenseNetwork.from_model(model), Problem(digits, 1e-2), starts=20).layers
    assert history.history["gap_1"][0] == pytest.approx(layer.gap, rel=1e-6)
    assert layer.gap > 0.1  # an untrained network of three neurons is too narrow


def test_bad_use_is_refused():
    with pytest.raises(InputError, match="'every'"):
        EffectiveWidth(every=0)
