"""The second witness: both models run on random inputs."""

import keras
import numpy as np
import pytest

from keras_l2feat.pruning import prune
from keras_l2feat.pruning.certificate import PLACES, Claim, compare
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.expand import expand


def network(*ends, size=2 * PLACES):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Conv2D(4, 3, strides=4, activation="relu", padding="same")]
    return keras.Sequential([keras.Input((size, size, 1)), *layers, *ends, keras.layers.Dense(2)])


@pytest.mark.parametrize("kind", [keras.layers.GlobalMaxPooling2D, keras.layers.Flatten])
def test_fewer_places_where_all_layers_take_them(kind):
    model = network(kind())
    pruned, certificate = prune(expand(model, {model.layers[0].name: 6}))
    assert certificate.verified
    assert pruned.layers[0].filters == 4
    fewer = {f"size {PLACES}" in e.inputs for e in certificate.evaluations}
    assert fewer == {kind is keras.layers.GlobalMaxPooling2D}


class Sized(keras.layers.Layer):
    """A layer that depends on how large images are."""

    def __init__(self, amount, **options):
        super().__init__(**options)
        self.amount = amount

    def call(self, x):
        return x * (1 if x.shape[1] > PLACES / 4 else self.amount)


def test_what_disagrees_on_fewer_places_is_asked_at_full_size():
    pool = keras.layers.GlobalMaxPooling2D
    first, second = (network(Sized(amount), pool()) for amount in (1, 2))
    second.set_weights(first.get_weights())
    found = compare(read(first), second)
    assert {(e.passed, "size" in e.inputs) for e in found} == {(True, False)}


def test_a_wrong_model_disagrees():
    first, second = (network(keras.layers.GlobalAveragePooling2D()) for _ in range(2))
    weights = first.get_weights()
    second.set_weights([weights[0] * np.array([1.01, 1, 1, 1], "float32"), *weights[1:]])
    assert not any(e.passed for e in compare(read(first), second, Claim("exact")))
