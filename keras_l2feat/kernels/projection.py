"""From representations to weights: least-norm regression, the projection onto col(A), whole
networks.

Legend as in `ridge`: Z (..., N, k), A (..., N, n), W (..., n, k), ρ the ridge.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from keras_l2feat.errors import bad_argument, require
from keras_l2feat.kernels.representation import append_bias
from keras_l2feat.kernels.ridge import (
    as_matrices,
    mean_square,
    rank_tolerance,
    read_ridge,
    ridge_solution,
)
from keras_l2feat.types import Ridge, Tensor

__all__ = [
    "column_coordinates",
    "coordinate_weights",
    "least_norm_weights",
    "project",
    "weights_from_representations",
]


def least_norm_weights(
    z: Tensor, a: Tensor, ridge: Ridge = 0.0, *, relative: bool = False
) -> tf.Tensor:
    """W = argmin ‖W‖² + ‖Z − A W‖²/ρ, the weights behind the representation cost; A⁺Z for ρ = 0.

    Differentiable in `z`, `a` and a tensor `ridge` to any order by closed forms. With ρ > 0: by one
    Cholesky factorization. With the Python number 0: by singular values, for `a` of any rank
    (values below `rank_tolerance` count as 0); the gradient is then that along changes of `a` that
    keep its rank.

    Args:
        z: (..., N, k) float32 or float64.
        a: (..., N, n) of the same dtype, with its bias column.
        ridge: ρ, a number at least 0 or a positive tensor of no or of the leading dimensions.
        relative: the ridge is a multiple of the mean eigenvalue of A Aᵀ, see `mean_square`.

    Returns: (..., n, k) tensor.

    Raises:
        InputError: shapes or dtypes disagree, or the ridge is negative.

    Reference: [Jacot et al. 2022, Prop. 1], the map W(Z).
    """
    z, a = as_matrices(z, a)
    ridge = read_ridge(ridge, a.dtype, mean_square(a) if relative else None)
    if ridge is None:
        value = tf.linalg.pinv(
            tf.stop_gradient(a), rcond=tf.fill(tf.shape(a)[:-2], rank_tolerance(a))
        )
        return tf.matmul(_pseudo_inverse(a, value), z)
    return ridge_solution(z, a, ridge)[1]


def project(z: Tensor, a: Tensor, ridge: Ridge = 0.0, *, relative: bool = False) -> tf.Tensor:
    """A A⁺Z, the part of each column of `z` that lies in col(A); with a ridge the shrunken A (AᵀA +
    ρI)⁻¹Aᵀ Z.

    Arguments and errors as for `least_norm_weights`.

    Returns: (..., N, k) tensor.

    Reference: [Jacot et al. 2022, §3.1], the projection P of projected gradient descent.
    """
    z, a = as_matrices(z, a)
    return tf.matmul(a, least_norm_weights(z, a, ridge, relative=relative))


def coordinate_weights(v: Tensor, a: Tensor, ridge: Ridge, *, relative: bool = False) -> tf.Tensor:
    """W = R⁻¹V, where RᵀR = AᵀA + ρI is a Cholesky factorization: weights from coordinates of Z in
    col(A).

    As ρ → 0 the columns of A R⁻¹ are an orthonormal basis of col(A), and V = RW are the coordinates
    of Z = A W in it: a representation that satisfies col(Z) ⊂ col(A) by construction. As ρ → ∞ they
    are the weights, up to scale. A gradient step in V is one in W preconditioned by (AᵀA + ρI)⁻¹.

    Args:
        v: (..., n, k) float32 or float64.
        a: (..., N, n) of the same dtype, with its bias column.
        ridge, relative: ρ > 0, as for `least_norm_weights`.

    Returns: (..., n, k) tensor, differentiable.
    """
    return tf.linalg.triangular_solve(_gram_root(a, ridge, relative), v, adjoint=True)


def column_coordinates(w: Tensor, a: Tensor, ridge: Ridge, *, relative: bool = False) -> tf.Tensor:
    """V = RW, the inverse of `coordinate_weights`; shapes and arguments alike."""
    return tf.matmul(_gram_root(a, ridge, relative), w, transpose_a=True)


def _gram_root(a, ridge, relative):
    """The lower factor Rᵀ of AᵀA + ρI."""
    ridge = read_ridge(ridge, a.dtype, mean_square(a) if relative else None)
    if ridge is None:
        raise bad_argument("ridge", "positive", 0)
    gram = tf.matmul(a, a, transpose_a=True)
    return tf.linalg.cholesky(
        gram + ridge[..., None, None] * tf.eye(tf.shape(gram)[-1], dtype=a.dtype)
    )


def weights_from_representations(
    x: Tensor,
    representations: Sequence[Tensor],
    activation: Callable,
    *,
    beta: float = 1.0,
    ridge: Ridge = 0.0,
    relative: bool = False,
) -> list[tf.Tensor]:
    """The weights that produce given representations, layer by layer: W_l = A_{l-1}⁺ Z_l.

    What lies outside col(A_{l-1}) cannot be produced. Each layer is projected before the next is
    solved, so a network with these weights has exactly the projected representations.

    Args:
        x: (N, n_0) inputs, without bias column.
        representations: Z_1 … Z_L, (N, n_l) each; leading dimensions are allowed throughout.
        activation: σ, a function of a tensor.
        beta: amount of bias.
        ridge, relative: as for `least_norm_weights`. The pseudo-inverse (0) amplifies what leaves
            col(A): convert what was optimized under a ridge with that ridge.

    Returns: list W_1 … W_L, (n_{l-1} + 1, n_l) each, or (n_{l-1}, n_l) for `beta` = 0.

    Reference: [Jacot et al. 2022, Prop. 1].
    """
    representations = [tf.convert_to_tensor(z) for z in representations]
    require(representations, "representations", "at least one array Z_1", representations)
    weights = []
    a = append_bias(tf.cast(x, representations[0].dtype), beta)
    for z in representations:
        weights.append(least_norm_weights(z, a, ridge, relative=relative))
        a = append_bias(activation(tf.matmul(a, weights[-1])), beta)
    return weights


@tf.custom_gradient
def _pseudo_inverse(a, value):
    """`value`, which is the pseudo-inverse P of `a`, as a differentiable function of `a` at
    constant rank.

    dP = −P dA P + P Pᵀ dAᵀ (I − A P) + (I − P A) dAᵀ Pᵀ P  [Golub and Pereyra 1973, eq. 4.12]
    """

    def gradient(upstream):
        p = _pseudo_inverse(a, value)
        left = tf.matmul(p, upstream, transpose_b=True)
        outside = tf.matmul(upstream, tf.matmul(p, p, transpose_b=True), transpose_a=True)
        inside = left - tf.linalg.matrix_transpose(left) - tf.matmul(tf.matmul(left, p), a)
        return outside - tf.matmul(a, tf.matmul(p, outside)) + tf.matmul(
            p, inside, transpose_a=True
        ), None

    return value, gradient
