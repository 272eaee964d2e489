"""The loss of the hidden representations, C(Z_L) + λ Σ_l ‖A_{l-1}⁺ Z_l‖² [Jacot et al. 2022, eq.
3.1]."""

from typing import Any

import tensorflow as tf

from keras_l2feat.kernels import append_bias, least_norm_weights, representation_cost
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives.loss import Loss, activation_function, read_data, read_network
from keras_l2feat.objectives.weights import forward
from keras_l2feat.types import Cost, Data, Sigma, Tensor

__all__ = ["layer_cost", "representation", "representations_of"]


def representation(
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
    """L_z: the data term, and the least norm of weights that lead from each representation to the
    next.

    With ridge 0 each term is ‖A⁺Z‖², of any rank of A; what leaves col(A) is not seen, so it means
    L_z only where col(Z_l) ⊂ col(A_{l-1}), as for the representations of a network. With a ridge ρ
    > 0 it is the Tikhonov form, which needs no such constraint. Never above `weight_space`; equal
    iff no weight has a part that does nothing.

    Args:
        subject: a Keras chain of Dense layers, a `DenseNetwork`, or the list of Z_1 … Z_L,
            `(N, n_l)` each.
        ridge: ρ ≥ 0 of every layer.
        relative: the ridge is a multiple of the mean squared norm of a row of A_{l-1}.
        data, lam, activation, beta, cost: as for `weight_space`.

    Returns: a `Loss`, differentiable in the representations.

    Raises:
        InputError: as for `weight_space`, or a negative ridge.
    """
    network, activation, beta, cost = read_network(subject, data, activation, beta, cost)
    if network is None:
        representations = [tf.convert_to_tensor(z) for z in subject]
    else:
        representations = representations_of(network, data)
    x, y, term = read_data(data, cost, representations[0].dtype)
    sigma = activation_function(activation)
    norms = []
    a = append_bias(x, beta)
    for z in representations:
        norms.append(layer_cost(z, a, ridge, relative))
        a = append_bias(sigma(z), beta)
    return Loss.of(term(representations[-1], y), norms, lam)


def layer_cost(z: Tensor, a: Tensor, ridge: float, relative: bool) -> Tensor:
    """One layer's term: the ridge kernel, or for ridge 0 ‖A⁺Z‖² with A of any rank."""
    if isinstance(ridge, (int, float)) and ridge == 0:
        return tf.reduce_sum(tf.square(least_norm_weights(z, a)))
    return representation_cost(z, a, ridge, relative=relative)


def representations_of(network: DenseNetwork, data: Data) -> list:
    """Z_1 … Z_L of a `DenseNetwork` on the training inputs of `data`, float64 tensors."""
    x, _, _ = read_data(data, None, tf.float64)
    weights = [tf.convert_to_tensor(weight) for weight in network.weights]
    return forward(weights, x, activation_function(network.activation), network.beta)
