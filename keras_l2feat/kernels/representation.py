"""The representation cost of one layer, with closed-form gradients.

Legend as in `ridge`: Z (..., N, k), A (..., N, n), ρ ≥ 0, and

    f_ρ(Z, A) = tr[Zᵀ (A Aᵀ + ρI)⁻¹ Z] = min_W ‖W‖² + ‖Z − A W‖²/ρ.

One Cholesky factorization of the smaller Gram matrix gives M and W, hence the value ‖W‖² + ρ‖M‖²
and all gradients: ∂f/∂Z = 2M, ∂f/∂A = −2MWᵀ, ∂f/∂ρ = −‖M‖². Nothing N×N is formed where n < N.
[Jacot et al. 2022, eq. 3.1 and Prop. 1; the Tikhonov form is ours.]
"""

import tensorflow as tf

from keras_l2feat.errors import InputError
from keras_l2feat.kernels.ridge import (
    as_matrices,
    by_features,
    mean_square,
    rank_tolerance,
    read_ridge,
    ridge_solution,
    total,
    unbroadcast,
)
from keras_l2feat.types import Ridge, Tensor

__all__ = ["append_bias", "representation_cost"]


def representation_cost(
    z: Tensor, a: Tensor, ridge: Ridge = 0.0, *, relative: bool = False
) -> tf.Tensor:
    """The least squared norm of weights that map `a` to `z`, up to the ridge: f_ρ(Z, A), one number
    per matrix.

    Differentiable in `z`, `a` and `ridge` to any order by closed forms; XLA-compilable, GPU kernels
    throughout.

    Args:
        z: (..., N, k) float32 or float64, pre-activations; leading dimensions (seeds, layers) are
            separate problems.
        a: (..., N, n) of the same dtype, previous activations with their bias column (see
            `append_bias`).
        ridge: ρ, a number at least 0 or a positive tensor of no or of the leading dimensions. The
            Python number 0 asks for the exact limit ‖A⁺Z‖² by a QR decomposition, which needs `a`
            of full rank. The rounding error of the ridge form is about eps·‖A‖²/ρ relative: in
            float32 keep the relative ridge above 1e-5.
        relative: the ridge is a multiple of the mean eigenvalue of A Aᵀ, see `mean_square`; its
            dependence on `a` is part of the gradient.

    Returns: (...) tensor of the dtype of `z`.

    Raises:
        InputError: shapes or dtypes disagree, the ridge is a negative number, or it is 0 and `a` is
            rank-deficient. In a graph the last is a `tf.errors.InvalidArgumentError`; compiled by
            XLA, which cannot raise, it is NaN.

    Reference: [Jacot et al. 2022, eq. 3.1].

    Example:
        >>> import numpy as np
        >>> float(representation_cost(np.array([[2.0], [0.0]]), np.eye(2)))
        4.0
    """
    z, a = as_matrices(z, a)
    ridge = read_ridge(ridge, a.dtype, mean_square(a) if relative else None)
    return _exact_cost(z, a) if ridge is None else _ridge_cost(z, a, ridge)


def append_bias(a: Tensor, beta: float) -> tf.Tensor:
    """[A, β·1]: `a` (..., N, n) with a last column of constants `beta`, or `a` itself if `beta` is
    0."""
    if beta == 0:
        return a
    return tf.concat(
        [a, tf.fill(tf.shape(a[..., :1]), tf.convert_to_tensor(beta, a.dtype))], axis=-1
    )


@tf.custom_gradient
def _ridge_cost(z, a, ridge):
    m, w = ridge_solution(z, a, ridge)
    # A sum of squares rather than ⟨M, Z⟩: it feels the rounding error of M only to second order.
    cost = total(tf.square(w)) + ridge * total(tf.square(m))

    def gradient(upstream):
        scale = 2.0 * upstream[..., None, None]
        a_bar = tf.matmul(m, -scale * w, transpose_b=True)
        return scale * m, a_bar, unbroadcast(-upstream * total(tf.square(m)), ridge)

    return cost, gradient


@tf.custom_gradient
def _exact_cost(z, a):
    """‖A⁺Z‖² for `a` of full rank. QR rather than Cholesky: it feels the condition number, not its
    square."""
    if by_features(a):  # A = Q R; g = (AᵀA)⁻¹W, m = A g
        q, r = tf.linalg.qr(a)
        r = _full_rank(r, a)
        qz = tf.matmul(q, z, transpose_a=True)
        w = tf.linalg.triangular_solve(r, qz, lower=False)
        rg = tf.linalg.triangular_solve(r, w, lower=False, adjoint=True)
        m, g = tf.matmul(q, rg), tf.linalg.triangular_solve(r, rg, lower=False)
        residual = z - tf.matmul(q, qz)
    else:  # Aᵀ = Q R; any Z lies in col(A)
        q, r = tf.linalg.qr(tf.linalg.matrix_transpose(a))
        r = _full_rank(r, a)
        rm = tf.linalg.triangular_solve(r, z, lower=False, adjoint=True)
        w, m = tf.matmul(q, rm), tf.linalg.triangular_solve(r, rm, lower=False)
        residual = None

    def gradient(upstream):
        scale = 2.0 * upstream[..., None, None]
        a_bar = tf.matmul(m, -scale * w, transpose_b=True)
        if residual is not None:  # what lies outside col(A) costs nothing, until A turns towards it
            a_bar += tf.matmul(residual, scale * g, transpose_b=True)
        return scale * m, a_bar

    return total(tf.square(w)), gradient


def _full_rank(r, a):
    """`r`, the triangular factor of `a`, after the check that no pivot of it is negligible."""
    pivots = tf.abs(tf.linalg.diag_part(r))
    deficient = tf.reduce_min(pivots, axis=-1) <= rank_tolerance(a) * tf.reduce_max(pivots, axis=-1)
    message = (
        "Argument 'ridge' must be positive where 'a' is rank-deficient (dead, repeated or "
        "dependent columns, or repeated points): the exact limit needs full rank. Received: "
        f"ridge=0, a of shape {a.shape}"
    )
    if tf.executing_eagerly():
        if tf.reduce_any(deficient):
            raise InputError(message)
        return r
    tf.debugging.Assert(tf.logical_not(tf.reduce_any(deficient)), [message])
    # XLA drops assertions
    return tf.where(deficient[..., None, None], tf.constant(float("nan"), r.dtype), r)
