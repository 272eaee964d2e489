"""The representation cost over batches: memory that does not grow with N.

Two passes: the first accumulates AᵀA and AᵀZ, which give the weights; the second sums the residual
and gives the gradients of each batch as they are asked for. The residual is summed over the points
rather than taken as ‖Z‖² − ⟨AᵀZ, W⟩, which cancels.
"""

from typing import NamedTuple

import tensorflow as tf

from keras_l2feat.errors import InputError, bad_argument
from keras_l2feat.kernels.ridge import read_ridge, total

__all__ = ["Gram", "StreamedCost", "accumulate_gram", "streamed_representation_cost"]


class Gram(NamedTuple):
    """AᵀA (n, n), AᵀZ (n, k) and the number of points N (scalar), float64."""

    aa: tf.Tensor
    az: tf.Tensor
    points: tf.Tensor


class StreamedCost(NamedTuple):
    """What `streamed_representation_cost` returns.

    Attributes:
        cost: f_ρ(Z, A), float64 scalar.
        weights: W (n, k), float64.
        ridge: the absolute ρ, float64 scalar.
        gradients: a `tf.data.Dataset` of pairs (∂f/∂Z, ∂f/∂A) in the order and the dtype of the
            batches.
    """

    cost: tf.Tensor
    weights: tf.Tensor
    ridge: tf.Tensor
    gradients: tf.data.Dataset


def accumulate_gram(batches: tf.data.Dataset) -> Gram:
    """AᵀA, AᵀZ and N over a `tf.data.Dataset` of pairs `(z (B, k), a (B, n))`, summed in float64.

    Raises:
        InputError: the dataset has no batch, or its elements are no such pairs.
    """
    z, a = _element(batches)
    aa, az = ([a.shape[-1], side.shape[-1]] for side in (a, z))
    start = Gram(tf.zeros(aa, tf.float64), tf.zeros(az, tf.float64), tf.zeros([], tf.int64))

    def add(gram, batch):
        z, a = (tf.cast(x, tf.float64) for x in batch)
        return Gram(
            gram.aa + tf.matmul(a, a, transpose_a=True),
            gram.az + tf.matmul(a, z, transpose_a=True),
            gram.points + tf.shape(a, tf.int64)[0],
        )

    gram = batches.reduce(start, add)
    if gram.points == 0:
        raise InputError(
            "Argument 'batches' must hold at least one batch. Received: an empty dataset"
        )
    return gram


def streamed_representation_cost(
    batches: tf.data.Dataset, ridge: float, *, relative: bool = False
) -> StreamedCost:
    """`representation_cost` of a data set that is read in batches, with its weights and gradients.

    Args:
        batches: a `tf.data.Dataset` of pairs `(z (B, k), a (B, n))`, float32 or float64, the same
            at every pass.
        ridge: ρ > 0, a number.
        relative: the ridge is a multiple of the mean eigenvalue of A Aᵀ; its dependence on A is
            part of the gradient.

    Returns: a `StreamedCost`; memory is that of one batch and of the (n, n) Gram matrix.

    Raises:
        InputError: no batches, other elements, or a ridge that is not positive.
    """
    gram = accumulate_gram(batches)
    unit = tf.linalg.trace(gram.aa) / tf.cast(gram.points, tf.float64)
    rho = read_ridge(ridge, tf.float64, unit if relative else None)
    if rho is None:
        raise bad_argument("ridge", "positive where batches are streamed", ridge)
    factor = tf.linalg.cholesky(gram.aa + rho * tf.eye(tf.shape(gram.aa)[0], dtype=tf.float64))
    weights = tf.linalg.cholesky_solve(factor, gram.az)

    def multipliers(z, a):
        return (tf.cast(z, tf.float64) - tf.matmul(tf.cast(a, tf.float64), weights)) / rho

    squares = batches.reduce(
        tf.zeros([], tf.float64), lambda sum_, batch: sum_ + total(tf.square(multipliers(*batch)))
    )

    def gradients(z, a):
        m = multipliers(z, a)
        a_bar = tf.matmul(m, -2.0 * weights, transpose_b=True)
        if relative:
            a_bar -= 2.0 * squares * rho / tf.linalg.trace(gram.aa) * tf.cast(a, tf.float64)
        return tf.cast(2.0 * m, z.dtype), tf.cast(a_bar, a.dtype)

    return StreamedCost(
        total(tf.square(weights)) + rho * squares, weights, rho, batches.map(gradients)
    )


def _element(batches):
    element = batches.element_spec
    if not isinstance(element, tuple) or len(element) != 2:
        raise InputError(
            f"Argument 'batches' must yield pairs (z, a). Received elements: {element}"
        )
    return element
