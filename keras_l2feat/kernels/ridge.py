"""The ridge system behind every kernel of the representations: one factorization, closed-form
gradients of every order.

Legend: A (..., N, n) activations that feed a layer (bias column included), Z (..., N, k) its
pre-activations, ρ > 0 the ridge, M (..., N, k) multipliers, W (..., n, k) weights. The saddle
system

    ρ M + A W = Z
    Aᵀ M − W = C

has a symmetric matrix, so the derivative of its solution is the solution of the same system for
another right side. With C = 0: M = (A Aᵀ + ρI)⁻¹ Z and W = AᵀM = argmin ‖W‖² + ‖Z − A W‖²/ρ.
"""

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from keras_l2feat.errors import bad_argument, require
from keras_l2feat.types import Ridge, Tensor

__all__ = [
    "as_matrices",
    "by_features",
    "mean_square",
    "rank_tolerance",
    "read_ridge",
    "ridge_solution",
    "total",
]

SMALLEST_RIDGE = 1e-30  # what an all-zero A gets, so that its cost is large and finite


def ridge_solution(z: Tensor, a: Tensor, ridge: Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """M = (A Aᵀ + ρI)⁻¹ Z and W = AᵀM, from one Cholesky factorization of the smaller Gram matrix.

    Differentiable in `z`, `a` and `ridge` to any order: no decomposition is differentiated.

    Args:
        z: (..., N, k) float32 or float64 tensor.
        a: (..., N, n) tensor of the same dtype and leading dimensions.
        ridge: ρ > 0, absolute, a tensor of the same dtype and of no or of the leading dimensions.

    Returns: the pair M (..., N, k), W (..., n, k). The relative rounding error of W is about
        eps·‖A‖²/ρ, and that of M in addition eps·‖Z‖/ρ absolute.
    """
    nothing = tf.zeros(
        tf.concat([tf.shape(a)[:-2], [tf.shape(a)[-1], tf.shape(z)[-1]]], axis=0), a.dtype
    )
    return _saddle(z, nothing, a, ridge, tf.stop_gradient(_gram_factor(a, ridge)))


@tf.custom_gradient
def _saddle(z, c, a, ridge, factor):
    # `factor` only spares work: that it depends on A and ρ is accounted for in the gradients of `a`
    # and `ridge`.
    rho = ridge[..., None, None]
    if by_features(a):
        w = tf.linalg.cholesky_solve(factor, tf.matmul(a, z, transpose_a=True) - rho * c)
        m = (z - tf.matmul(a, w)) / rho
    else:
        m = tf.linalg.cholesky_solve(factor, z + tf.matmul(a, c))
        w = tf.matmul(a, m, transpose_a=True) - c

    def gradient(m_bar, w_bar):
        # once more, in differentiable form; a graph computes it once
        m, w = _saddle(z, c, a, ridge, factor)
        u, v = _saddle(m_bar, w_bar, a, ridge, factor)
        a_bar = -tf.matmul(u, w, transpose_b=True) - tf.matmul(m, v, transpose_b=True)
        return u, v, a_bar, unbroadcast(-total(u * m), ridge), None

    return (m, w), gradient


def _gram_factor(a, ridge):
    """The Cholesky factor of AᵀA + ρI or A Aᵀ + ρI, whichever is smaller."""
    features = by_features(a)
    gram = tf.matmul(a, a, transpose_a=features, transpose_b=not features)
    return tf.linalg.cholesky(
        gram + ridge[..., None, None] * tf.eye(tf.shape(gram)[-1], dtype=a.dtype)
    )


def by_features(a: Tensor) -> bool:
    """Whether AᵀA is the smaller Gram matrix. An unknown number of points (a batch) counts as
    large; both forms are valid."""
    points, features = a.shape[-2:]
    return points is None or (features is not None and features < points)


def mean_square(a: Tensor) -> tf.Tensor:
    """‖A‖²/N, the mean eigenvalue of A Aᵀ or mean squared norm of a point: what a relative ridge
    multiplies.

    It scales with `a` (..., N, n), and neither dead columns (a wider layer) nor repeated points
    change it.
    """
    return total(tf.square(a)) / tf.cast(tf.shape(a)[-2], a.dtype)


def rank_tolerance(a: Tensor) -> tf.Tensor:
    """max(N, n)·eps: singular values below this fraction of the largest are rounding
    [`numpy.linalg.matrix_rank`]."""
    return tf.cast(tf.reduce_max(tf.shape(a)[-2:]), a.dtype) * np.finfo(a.dtype.as_numpy_dtype).eps


def read_ridge(ridge: Ridge, dtype: tf.DType, unit: Tensor | None = None) -> tf.Tensor | None:
    """The absolute ridge ρ as a tensor, or `None` where the Python number 0 asks for the exact
    limit.

    Args:
        ridge: a number, or a tensor of no or of the leading dimensions.
        dtype: of the result.
        unit: the tensor (...) that a relative ridge multiplies; `None` where the ridge is absolute
            already.

    Raises:
        InputError: a number that is negative or not finite.
    """
    if not isinstance(ridge, (tf.Tensor, tf.Variable)):
        array = np.asarray(ridge, dtype=np.float64)
        if not np.all(np.isfinite(array)) or np.any(array < 0):
            raise bad_argument("ridge", "a finite number, at least 0", ridge)
        if array.ndim == 0 and array == 0:
            return None
        ridge = tf.constant(array)
    ridge = tf.cast(ridge, dtype)
    return ridge if unit is None else tf.maximum(ridge * unit, SMALLEST_RIDGE)


def as_matrices(
    z: ArrayLike, a: ArrayLike, names: tuple[str, str] = ("z", "a")
) -> tuple[tf.Tensor, tf.Tensor]:
    """`z` (..., N, k) and `a` (..., N, n) as tensors that go together; `names` are what the caller
    has for them.

    Raises:
        InputError: shapes or dtypes do not.
    """
    z, a = tf.convert_to_tensor(z), tf.convert_to_tensor(a)
    first, other = names
    require(z.dtype in (tf.float32, tf.float64), first, "of dtype float32 or float64", z.dtype.name)
    require(a.dtype == z.dtype, other, f"of the dtype of {first}, {z.dtype.name}", a.dtype.name)
    matrices = "a matrix or a batch of matrices, of shape (..., N, k)"
    require(z.shape.rank is not None and z.shape.rank >= 2, first, matrices, z.shape)
    fits = a.shape.rank == z.shape.rank and z.shape[:-1].is_compatible_with(a.shape[:-1])
    expected = f"of shape {(*z.shape[:-1], 'n')}, to go with {first} of shape {z.shape}"
    require(fits, other, expected, a.shape)
    return z, a


def total(x: Tensor) -> tf.Tensor:
    """The sum over the last two dimensions."""
    return tf.reduce_sum(x, axis=[-2, -1])


def unbroadcast(gradient, ridge):
    """The gradient of a ridge that the leading dimensions share is the sum over them."""
    return gradient if ridge.shape.rank == gradient.shape.rank else tf.reduce_sum(gradient)
