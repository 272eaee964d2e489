"""The data term C of the loss, by name: `"crossentropy"`, `"squared"`, or any callable
`(z, y) -> scalar`."""

from collections.abc import Callable

import numpy as np

from keras_l2feat.errors import bad_argument, require
from keras_l2feat.types import Cost

__all__ = ["COSTS", "cost_function", "cost_of_task", "cost_with_gradient"]


def _crossentropy(z, y):
    import tensorflow as tf

    labels = tf.broadcast_to(tf.cast(y, tf.int32), tf.shape(z)[:-1])
    return tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=z), axis=-1
    )


def _squared(z, y):
    import tensorflow as tf

    targets = tf.reshape(tf.cast(y, z.dtype), tf.shape(z)[-2:])
    return tf.reduce_mean(tf.reduce_sum(tf.square(z - targets), axis=-1), axis=-1)


COSTS = {"crossentropy": _crossentropy, "squared": _squared}


def cost_function(cost: Cost) -> Callable:
    """The TensorFlow function `(z, y) -> scalar` behind a name.

    `"crossentropy"`: mean over the N points of the cross-entropy from logits z `(N, k)`, integer
    labels y `(N,)`. `"squared"`: squared error summed over outputs, mean over points; y `(N, k)`,
    or `(N,)` when k = 1. Both take leading dimensions of z too, `(seeds, N, k)`, and return one
    value for each.

    Raises:
        InputError: an unknown name.
    """
    if callable(cost):
        return cost
    require(cost in COSTS, "cost", f"one of {sorted(COSTS)} or a function (z, y) -> scalar", cost)
    return COSTS[cost]


def _crossentropy_with_gradient(z, y):
    labels = np.asarray(y, dtype=np.int64)
    rows = np.arange(len(z))
    shifted = z - z.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    gradient = np.exp(logs)
    gradient[rows, labels] -= 1.0
    return float(-logs[rows, labels].mean()), gradient / len(z)


def _squared_with_gradient(z, y):
    residual = z - np.reshape(np.asarray(y, dtype=np.float64), z.shape)
    return float(np.vdot(residual, residual)) / len(z), 2.0 * residual / len(z)


_WITH_GRADIENT = {"crossentropy": _crossentropy_with_gradient, "squared": _squared_with_gradient}


def cost_with_gradient(cost: Cost) -> Callable:
    """The same costs in NumPy: `(z, y) -> (value, ∂C/∂z)`, float64, z and the gradient of shape
    `(N, k)`.

    Raises:
        InputError: an unknown name, or a callable, which carries no gradient.
    """
    if cost not in _WITH_GRADIENT:
        raise bad_argument("cost", f"one of {sorted(_WITH_GRADIENT)}", cost)
    return _WITH_GRADIENT[cost]


def cost_of_task(task: str) -> str:
    """The name of the usual cost of a data set's task, `"classification"` or `"regression"`."""
    return {"classification": "crossentropy", "regression": "squared"}[task]
