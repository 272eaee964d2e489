"""The loss of the layers' covariances, C(Z_L) + λ Σ_l tr[K_l (K^σ_{l-1})⁺] [Jacot et al. 2022,
§3.2]."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from keras_l2feat.kernels import append_bias, covariance_cost
from keras_l2feat.objectives.loss import (
    Loss,
    activation_function,
    read_data,
    read_network,
    require_homogeneous,
)
from keras_l2feat.objectives.representations import representations_of
from keras_l2feat.types import Cost, Data, Sigma, Tensor

__all__ = ["Covariances", "covariance", "covariances_of"]


class Covariances(NamedTuple):
    """The variables of the covariance form, tensors of one float dtype.

    Attributes:
        before: K_1 … K_{L-1}, `Z_l Z_lᵀ`, (N, N) each.
        after: K^σ_1 … K^σ_{L-1}, `A_l A_lᵀ` with the bias's β²·11ᵀ, (N, N) each.
        output: Z_L, (N, n_L).
    """

    before: tuple
    after: tuple
    output: tf.Tensor


def covariance(
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
    """L_k: the data term, and tr[K_l (K^σ_{l-1} + ρI)⁻¹] of each layer; K^σ_0 = XXᵀ + β²11ᵀ, K_L =
    Z_L Z_Lᵀ.

    Equal to `representation` at the same ridge. Convex in each (K_l, K^σ_l) and in Z_L, the rest
    fixed; for L = 2 jointly convex.

    Args:
        subject: a Keras chain of Dense layers, a `DenseNetwork`, or `Covariances`.
        ridge: ρ ≥ 0 of every layer; 0 is the pseudo-inverse.
        relative: the ridge is a multiple of tr(K^σ_{l-1})/N.
        data, lam, activation, beta, cost: as for `weight_space`.

    Returns: a `Loss`, differentiable in the covariances and the output.

    Raises:
        InputError: as for `weight_space`, a negative ridge, or an activation that is not positively
            homogeneous.
    """
    network, activation, beta, cost = read_network(subject, data, activation, beta, cost)
    require_homogeneous(activation)
    if network is not None:
        subject = covariances_of(representations_of(network, data), activation, beta)
    x, y, term = read_data(data, cost, tf.convert_to_tensor(subject.output).dtype)
    first = append_bias(x, beta)
    below = [tf.matmul(first, first, transpose_b=True), *subject.after]
    above = [*subject.before, tf.matmul(subject.output, subject.output, transpose_b=True)]
    norms = [
        covariance_cost(k, s, ridge, relative=relative) for k, s in zip(above, below, strict=True)
    ]
    return Loss.of(term(subject.output, y), norms, lam)


def covariances_of(
    representations: Sequence[Tensor], activation: Sigma, beta: float
) -> Covariances:
    """The covariances of representations Z_1 … Z_L, `(N, n_l)` each, with σ by name or as a
    function."""
    sigma = activation_function(activation)
    *hidden, output = [tf.convert_to_tensor(z) for z in representations]
    activated = [append_bias(sigma(z), beta) for z in hidden]
    return Covariances(
        tuple(tf.matmul(z, z, transpose_b=True) for z in hidden),
        tuple(tf.matmul(a, a, transpose_b=True) for a in activated),
        output,
    )
