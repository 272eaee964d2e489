"""The covariance form of one layer's cost, with closed-form gradients.

Legend: K (..., N, N) = Z Zᵀ the covariance of a layer, S (..., N, N) = A Aᵀ that of the activations
that feed it, ρ ≥ 0 the ridge, P = (S + ρI)⁻¹:

    tr[K P],   ∂/∂K = P,   ∂/∂S = −P K P.

It equals `representation_cost(z, a, ridge)`. [Jacot et al. 2022, §3.2]
"""

import tensorflow as tf

from keras_l2feat.kernels.ridge import as_matrices, rank_tolerance, read_ridge, total
from keras_l2feat.types import Ridge, Tensor

__all__ = ["covariance_cost", "covariance_inverse"]


def covariance_cost(
    k: Tensor, s: Tensor, ridge: Ridge = 0.0, *, relative: bool = False
) -> tf.Tensor:
    """tr[K (S + ρI)⁻¹], one number per pair of matrices.

    Differentiable in `k`, `s` and a tensor `ridge` to any order by closed forms.

    Args:
        k: (..., N, N) float32 or float64, symmetric positive semi-definite.
        s: (..., N, N) of the same dtype, symmetric positive semi-definite.
        ridge: ρ, a number at least 0 or a positive tensor of no or of the leading dimensions. The
            Python number 0 asks for tr[K S⁺] by the eigenvalues of S (those below `rank_tolerance`
            count as 0), for Im K ⊂ Im S.
        relative: the ridge is a multiple of tr(S)/N; its dependence on `s` is part of the gradient.

    Returns: (...) tensor.

    Raises:
        InputError: shapes or dtypes disagree, or the ridge is negative.

    Reference: [Jacot et al. 2022, §3.2].
    """
    k, s = as_matrices(k, s, names=("k", "s"))
    return total(k * covariance_inverse(s, ridge, relative=relative))


def covariance_inverse(s: Tensor, ridge: Ridge = 0.0, *, relative: bool = False) -> tf.Tensor:
    """P = (S + ρI)⁻¹ from one Cholesky factorization, or S⁺ from eigenvalues for the Python number
    0.

    Arguments as for `covariance_cost`. Returns: (..., N, N) tensor. Its derivative is −P dS P: that
    of the inverse, and of S⁺ along changes of S that keep its image.
    """
    s = tf.convert_to_tensor(s)
    unit = tf.linalg.trace(s) / tf.cast(tf.shape(s)[-1], s.dtype)
    ridge = read_ridge(ridge, s.dtype, unit if relative else None)
    if ridge is None:
        return _inverse(s, tf.stop_gradient(_pseudo_inverse(s)))
    eye = tf.eye(tf.shape(s)[-1], batch_shape=tf.shape(s)[:-2], dtype=s.dtype)
    shifted = s + ridge[..., None, None] * eye
    return _inverse(
        shifted, tf.stop_gradient(tf.linalg.cholesky_solve(tf.linalg.cholesky(shifted), eye))
    )


@tf.custom_gradient
def _inverse(s, value):
    """`value`, which is the inverse of `s`, as a differentiable function of `s`."""

    def gradient(upstream):
        p = _inverse(s, value)
        return -tf.matmul(p, tf.matmul(upstream, p)), None

    return value, gradient


def _pseudo_inverse(s):
    values, vectors = tf.linalg.eigh(s)
    kept = values > rank_tolerance(s) * values[..., -1:]
    inverse = tf.where(
        kept, 1.0 / tf.where(kept, values, tf.ones_like(values)), tf.zeros_like(values)
    )
    return tf.matmul(vectors * inverse[..., None, :], vectors, transpose_b=True)
