"""One loss in three forms, C(Z_L) + λ times a norm of each layer:

- of the weights, ‖W_l‖² [Jacot et al. 2022, eq. 2.1];
- of the hidden representations, ‖A_{l-1}⁺ Z_l‖² [eq. 3.1];
- of their covariances, tr[K_l (K^σ_{l-1})⁺] [§3.2].
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
from numpy.typing import ArrayLike

from keras_l2feat.errors import require
from keras_l2feat.kernels import (
    append_bias,
    covariance_cost,
    least_norm_weights,
    representation_cost,
)
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives.loss import (
    Loss,
    activation_function,
    read_data,
    read_network,
    require_homogeneous,
)
from keras_l2feat.types import Arrays, Cost, Data, Sigma, Tensor

__all__ = [
    "Covariances",
    "covariance",
    "covariances_of",
    "forward",
    "layer_cost",
    "representation",
    "representations_of",
    "weight_space",
]


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
        data: a `Dataset` (its training part), its name, or a pair `(x (N, n_0), y)`.
        lam: λ.
        activation: σ by name or as a function, for arrays (default "relu"); a model brings its own.
        beta: amount of bias, for arrays (default 1).
        ridge, relative: without meaning here; the other two forms take them.
        cost: "crossentropy", "squared" or a function `(z, y) -> scalar`; default: the data's own.

    Returns: a `Loss`.

    Raises:
        InputError: a model without array form, matrices that are no chain, unknown names, or data
            of no use.
    """
    network, data, activation, beta, cost = read_network(subject, data, activation, beta, cost)
    weights = [
        tf.convert_to_tensor(weight) for weight in (subject if network is None else network.weights)
    ]
    x, y, term = read_data(data, cost, weights[0].dtype)
    output = forward(weights, x, activation_function(activation), beta)[-1]
    return Loss.of(term(output, y), [tf.reduce_sum(tf.square(weight)) for weight in weights], lam)


def forward(weights: Arrays, x: ArrayLike, activation: Callable, beta: float) -> list:
    """The pre-activations Z_1 … Z_L of tensors W_1 … W_L on inputs `x` (N, n_0); σ is a
    function.

    Raises:
        InputError: the matrices are no chain from the inputs.
    """
    a = append_bias(x, beta)
    representations: list = []
    for weight in weights:
        known = None in (a.shape[-1], weight.shape[0]) or a.shape[-1] == weight.shape[0]
        expected = f"a chain: W_{len(representations) + 1} needs {a.shape[-1]} rows"
        require(known, "weights", expected, tuple(weight.shape))
        representations.append(tf.matmul(a, weight))
        a = append_bias(activation(representations[-1]), beta)
    return representations


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
    network, data, activation, beta, cost = read_network(subject, data, activation, beta, cost)
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
    network, data, activation, beta, cost = read_network(subject, data, activation, beta, cost)
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
    before, after = (
        tuple(tf.matmul(x, x, transpose_b=True) for x in side) for side in (hidden, activated)
    )
    return Covariances(before, after, output)
