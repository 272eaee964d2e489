"""The loss of the weights, C(Z_L) + λ Σ_l ‖W_l‖² [Jacot et al. 2022, eq. 2.1]."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from numpy.typing import ArrayLike

from keras_l2feat.kernels import append_bias
from keras_l2feat.objectives.loss import Loss, activation_function, read_data, read_network
from keras_l2feat.types import Arrays, Cost, Data, Sigma

__all__ = ["forward", "weight_space"]


def weight_space(
    subject: Any,
    data: Data,
    *,
    lam: float,
    activation: Sigma | None = None,
    beta: float | None = None,
    ridge: float = 0.0,
    relative: bool = False,
    cost: Cost | None = None,
) -> Loss:
    """L_w: the data term, and the squared norm of each layer's weights, bias rows included.

    Args:
        subject: a Keras chain of Dense layers, a `DenseNetwork`, or the list of W_1 … W_L,
            `(n_{l-1} + 1, n_l)` each (`(n_{l-1}, n_l)` for β = 0), float32 or float64 arrays or
            tensors.
        data: a `Dataset` (its training part) or a pair `(x (N, n_0), y)`.
        lam: λ.
        activation: σ by name or as a function, for arrays (default "relu"); a model brings its own.
        beta: amount of bias, for arrays (default 1).
        ridge, relative: without meaning here; the other two forms take them.
        cost: "crossentropy", "squared" or a function `(z, y) -> scalar`; default: the data's own.

    Returns: a `Loss`.

    Raises:
        InputError: a model without array form, unknown names, or data of no use.
    """
    network, activation, beta, cost = read_network(subject, data, activation, beta, cost)
    weights = [
        tf.convert_to_tensor(weight) for weight in (subject if network is None else network.weights)
    ]
    x, y, term = read_data(data, cost, weights[0].dtype)
    output = forward(weights, x, activation_function(activation), beta)[-1]
    return Loss.of(term(output, y), [tf.reduce_sum(tf.square(weight)) for weight in weights], lam)


def forward(weights: Arrays, x: ArrayLike, activation: Callable, beta: float) -> list:
    """The pre-activations Z_1 … Z_L of tensors W_1 … W_L on inputs `x` (N, n_0); σ is a
    function."""
    a = append_bias(x, beta)
    representations = []
    for weight in weights:
        representations.append(tf.matmul(a, weight))
        a = append_bias(activation(representations[-1]), beta)
    return representations
