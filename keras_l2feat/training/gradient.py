"""The weight-space loss of dense networks: value and gradient from one compiled step that all
widths share.

    L_w(W) = C(Z_L) + λ Σ_l ‖W_l‖²,   Z_l = A_{l-1} W_l,   A_l = [σ(Z_l), β·1]

[Jacot et al. 2022, §2.1]

Inputs that span fewer dimensions than they have are first written in an orthonormal basis Q of
their row space: A_0 = U Qᵀ, W_1 = Q V. What of W_1 is orthogonal to Q changes no output on the data
and only costs norm, so no minimum is lost, norms and angles stay what they are, and the step is the
smaller the fewer dimensions there are (785 → 591 for 1000 digits, 785 → 42 for 42).
"""

import copy
import functools
from collections.abc import Iterator

import numpy as np

from keras_l2feat.activations import ACTIVATIONS, append_bias
from keras_l2feat.backend import require_tensorflow
from keras_l2feat.costs import cost_function
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives.problem import Problem
from keras_l2feat.types import Arrays, Tensor

__all__ = ["Objective", "pieces_of"]

SAMPLE = 2000  # points of the first batch on which neurons are judged
PIECE = 10_000  # points in float64 at a time while the basis is sought
BASIS_LIMIT = 4096  # inputs beyond which the basis is not sought: its cost grows with their cube


class Objective:
    """The loss of a problem, for dense networks of every width, alone or many at once.

    Args:
        problem: what is minimized. Each evaluation is one pass over its data; of a
            `tf.data.Dataset` one batch is in memory at a time.
        dtype: "float64" or "float32", of everything computed.
        batch_size: points a piece, `None` for all at once; a smaller number bounds the memory for
            activations.

    Attributes: `problem` and `dtype` as given.
    """

    def __init__(
        self, problem: Problem, *, dtype: str = "float64", batch_size: int | None = None
    ) -> None:
        require_tensorflow()
        import tensorflow as tf

        self.problem, self.dtype = problem, dtype
        self._basis = None
        data, beta = problem.data, problem.beta
        if problem.streamed:
            self._batches = data.map(
                lambda x, y: (_flat_with_bias(tf.cast(x, dtype), beta), y)
            ).prefetch(2)
        else:
            self._basis = _basis(data.x_train, beta)
            pieces = zip(*(pieces_of(side, batch_size) for side in (data.x_train, data.y_train)))
            self._batches = [
                (tf.constant(self._inputs(x), dtype), tf.constant(y)) for x, y in pieces
            ]
        x, y = next(iter(self._batches))
        self._sample = np.asarray(x[:SAMPLE], dtype=np.float64), y[:SAMPLE]

    def at(self, lam: float) -> "Objective":
        """The loss at another λ, on the same tensors."""
        other = copy.copy(self)
        other.problem = self.problem.at(lam)
        return other

    def __call__(self, weights: Arrays) -> tuple:
        """Value and gradient.

        Args:
            weights: list of arrays `W_l` from `encode`, or each with a leading dimension
                `(seeds, …)`.

        Returns: the value, a float or `(seeds,)` array, and the gradients, a list of arrays like
            `weights`.
        """
        import tensorflow as tf

        problem, tensors = self.problem, [tf.constant(weight) for weight in weights]
        beta = tf.constant(problem.beta, self.dtype)
        kind = problem.cost, problem.activation, self.dtype, len(weights), weights[0].ndim
        count, value, gradients = 0, 0.0, [0.0] * len(weights)
        for x, y in self._batches:
            size = len(x)
            step = _compiled_step(*kind, y.dtype, y.shape.rank)
            piece, slopes = step(tensors, x, y, beta)
            value = value + size * piece.numpy()
            gradients = [g + size * slope.numpy() for g, slope in zip(gradients, slopes)]
            count += size
        norm = sum(np.square(weight).sum(axis=(-1, -2)) for weight in weights)
        gradients = [g / count + 2 * problem.lam * weight for g, weight in zip(gradients, weights)]
        return value / count + problem.lam * norm, gradients

    def _inputs(self, x):
        """A_0 in the basis, float64."""
        a = append_bias(x, self.problem.beta)
        return a if self._basis is None else a @ self._basis

    def representation(self, weights: Arrays) -> np.ndarray:
        """`A_l = [σ(Z_l), β]` above the given first `W_1 … W_l`, on a sample of the data,
        `(n, n_l + 1)` float64."""
        a = self._sample[0]
        for weight in weights:
            a = self._activated(a @ weight)
        return a

    def cost_above(self, z: Tensor, weights: Arrays) -> float:
        """C on the sample of `representation` where the layer below the given last weights has
        pre-activation z."""
        for weight in weights:
            z = self._activated(z) @ weight
        return float(cost_function(self.problem.cost)(z, self._sample[1]))

    def _activated(self, z):
        values = ACTIVATIONS[self.problem.activation].values(z)
        return append_bias(values, self.problem.beta)

    def encode(self, network: DenseNetwork) -> list:
        """A network's weights as this objective takes them: in its dtype, W_1 in the basis of the
        inputs."""
        first, *rest = network.weights
        first = first if self._basis is None else self._basis.T @ first
        return [np.asarray(weight, dtype=self.dtype) for weight in (first, *rest)]

    def decode(self, weights: Arrays) -> DenseNetwork:
        """The network of weights from `encode`; it has no part of W_1 that the data do not see."""
        first, *rest = (np.asarray(weight, dtype=np.float64) for weight in weights)
        first = first if self._basis is None else self._basis @ first
        return DenseNetwork((first, *rest), self.problem.activation, self.problem.beta)


def _flat_with_bias(x, beta):
    """`[x, β·1]` of points of any shape, as tensors."""
    import tensorflow as tf

    from keras_l2feat.kernels import append_bias

    return append_bias(tf.reshape(x, [tf.shape(x)[0], -1]), beta)


def _basis(x, beta):
    """Orthonormal columns Q that span the rows of `[x, β·1]`, or None where that saves nothing.

    The triangle of a QR decomposition is carried from piece to piece, so that only a piece is
    copied in float64.
    """
    columns = x.shape[1] + (beta > 0)
    if columns > BASIS_LIMIT:
        return None
    triangle = np.empty((0, columns))
    for piece in pieces_of(x, PIECE):
        triangle = np.concatenate([triangle, append_bias(piece, beta)])
        if len(triangle) > columns:
            triangle = np.linalg.qr(triangle, mode="r")
    _, sizes, rows = np.linalg.svd(triangle, full_matrices=False)
    rank = int(np.sum(sizes > sizes[0] * max(len(x), columns) * np.finfo(np.float64).eps))
    return None if rank == columns else rows[:rank].T.copy()


def pieces_of(array: np.ndarray, size: int | None) -> Iterator[np.ndarray]:
    """The array in pieces of `size` points, in one where `size` is None."""
    size = size or len(array)
    return (array[start : start + size] for start in range(0, len(array), size))


@functools.cache
def _compiled_step(cost, activation, dtype, depth, rank, y_dtype, y_rank):
    """The compiled `(weights, A_0, y, β) -> (C, ∂C/∂W)`; its sizes are unknown, so one trace serves
    all widths."""
    import tensorflow as tf

    activate, loss = ACTIVATIONS[activation].tensor, cost_function(cost)

    def outputs(weights, a, beta):
        # one product for all runs, where matmul makes one for each
        z = tf.einsum("ni,...ij->...nj", a, weights[0])
        for weight in weights[1:]:
            width = tf.shape(z)[-1]
            # the bias row, or 0 where there is none
            bias = tf.reduce_sum(weight[..., width:, :], axis=-2, keepdims=True)
            z = tf.matmul(activate(z), weight[..., :width, :]) + beta * bias
        return z

    def value_of(z, y):
        if callable(cost) and rank > 2:
            return tf.map_fn(lambda each: loss(each, y), z, fn_output_signature=z.dtype)
        return loss(z, y)

    @tf.function(
        input_signature=[
            [tf.TensorSpec([None] * rank, dtype)] * depth,
            tf.TensorSpec([None, None], dtype),
            tf.TensorSpec([None] * y_rank, y_dtype),
            tf.TensorSpec([], dtype),
        ]
    )
    def step(weights, a, y, beta):
        with tf.GradientTape() as tape:
            tape.watch(weights)
            value = value_of(outputs(weights, a, beta), y)
        return value, tape.gradient(value, weights)

    return step.get_concrete_function()
