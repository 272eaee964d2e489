"""Batches give what the whole data set gives, and memory does not grow with their number."""

import numpy as np
import pytest
import tensorflow as tf

from keras_l2feat.errors import InputError
from keras_l2feat.kernels import accumulate_gram, representation_cost, streamed_representation_cost


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("batch", [1, 7, 100])
def test_batches_give_the_cost_and_gradients_of_the_whole(batch, relative):
    z, a = tf.constant(draw(30, 3)), tf.constant(draw(30, 5, seed=1))
    streamed = streamed_representation_cost(
        tf.data.Dataset.from_tensor_slices((z, a)).batch(batch), 0.2, relative=relative
    )
    with tf.GradientTape() as tape:
        tape.watch([z, a])
        cost = representation_cost(z, a, 0.2, relative=relative)
    whole = tape.gradient(cost, [z, a])
    assert streamed.cost.numpy() == pytest.approx(cost.numpy(), rel=1e-12)
    for ours, theirs in zip(zip(*streamed.gradients), whole):
        np.testing.assert_allclose(np.concatenate(ours), theirs, atol=1e-12)


def test_float32_batches_are_summed_in_float64():
    z, a = draw(20, 2).astype("float32"), draw(20, 3, seed=1).astype("float32")
    batches = tf.data.Dataset.from_tensor_slices((z, a)).batch(8)
    gram = accumulate_gram(batches)
    assert gram.aa.dtype == tf.float64
    assert gram.points == 20
    np.testing.assert_allclose(gram.aa, a.astype(float).T @ a, rtol=1e-14)
    streamed = streamed_representation_cost(batches, 0.1)
    assert next(iter(streamed.gradients))[0].dtype == tf.float32


def test_bad_input_is_named():
    z, a = np.zeros((4, 2)), np.zeros((4, 3))
    batches = tf.data.Dataset.from_tensor_slices((z, a)).batch(2)
    with pytest.raises(InputError, match="'ridge' must be positive where batches are streamed"):
        streamed_representation_cost(batches, 0.0)
    with pytest.raises(InputError, match=r"must yield pairs \(z, a\)"):
        accumulate_gram(tf.data.Dataset.from_tensor_slices(z).batch(2))
    with pytest.raises(InputError, match="at least one batch"):
        accumulate_gram(batches.take(0))
