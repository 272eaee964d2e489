"""The loss as a function of hidden representations, in three forms, for full-batch optimizers.

The variables of layer l are one array V_l; a form turns it, with the activations A_{l-1} that the
layers below gave, into the representation Z_l and the norm that the layer pays:

- `tikhonov`: V_l = Z_l, every Z_l is free and pays f_ρ(Z_l, A_{l-1}); smooth, and L_z itself as ρ →
0.
- `projected`: V_l is a representation that need not lie in col(A_{l-1}): W_l = (AᵀA + ρI)⁻¹Aᵀ V_l,
Z_l = A W_l.
- `coordinates`: V_l holds coordinates of Z_l in col(A_{l-1}), damped by ρ: W_l = R⁻¹V_l, RᵀR = AᵀA
+ ρI, Z_l = A W_l.

The last two reach just what weights reach, at every ρ: the value is the loss of a network at each
step, and ρ only sets how well conditioned the problem is. The first has to lower ρ. [Jacot et al.
2022, §3.1; the three forms are ours]
"""

import functools

import numpy as np

from keras_l2feat.activations import append_bias
from keras_l2feat.backend import require_tensorflow
from keras_l2feat.costs import cost_function
from keras_l2feat.errors import require
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives.problem import Problem
from keras_l2feat.types import Arrays

__all__ = ["FORMS", "RepresentationObjective"]

FORMS = ("coordinates", "projected", "tikhonov")


class RepresentationObjective:
    """The loss of a problem over V_1 … V_L.

    The first layer's inputs never change: its system is diagonal in their singular basis, A_0 = U
    diag(s) Qᵀ, and is solved once.

    Args:
        problem: what is minimized, on a data set in memory.
        form: one of `FORMS`.
        ridge: relative ridge r > 0 of every layer: ρ = r‖A‖²/N.
        dtype: "float64" or "float32", of everything computed.

    Raises:
        InputError: an unknown form, or a ridge that is not positive.
    """

    def __init__(
        self, problem: Problem, *, form: str, ridge: float, dtype: str = "float64"
    ) -> None:
        require_tensorflow()
        import tensorflow as tf

        require(form in FORMS, "form", f"one of {sorted(FORMS)}", form)
        require(0 < ridge < float("inf"), "ridge", "positive", ridge)
        self.problem, self.form = problem, form
        self.ridge, self.dtype = float(ridge), dtype
        inputs = append_bias(problem.x, problem.beta)
        u, s, qt = np.linalg.svd(inputs, full_matrices=False)
        kept = s > s[:1] * max(inputs.shape) * np.finfo(np.float64).eps
        self._u, self._s, self._q = u[:, kept], s[kept], qt[kept].T
        self._rho = self.ridge * np.sum(s**2) / len(inputs)
        self._first = [tf.constant(matrix, dtype) for matrix in self._first_layer()]
        self._y = tf.constant(problem.y)
        # as tensors of the dtype: a Python number would pass through float32
        numbers = (tf.constant(number, dtype) for number in (problem.lam, ridge))
        self._numbers = [*numbers, problem.beta]
        self._step = _compiled_step(form, problem.cost, problem.activation, dtype)

    def __call__(self, arrays: Arrays) -> tuple:
        """Value (float) and gradients (list of arrays) at V_1 … V_L."""
        value, gradients = self._step(arrays, *self._first, self._y, *self._numbers)
        return float(value), [gradient.numpy() for gradient in gradients]

    def _first_layer(self):
        """The matrices of Z_1 and of the norm: Z_1 = P V_1, and layer 1 pays ‖B V_1‖² (B may be
        diagonal)."""
        u, s, rho = self._u, self._s, self._rho
        if self.form == "coordinates":
            return u * (s / np.sqrt(s**2 + rho)), 1 / np.sqrt(s**2 + rho)
        if self.form == "projected":
            return (u * (s**2 / (s**2 + rho))) @ u.T, (u * (s / (s**2 + rho))).T
        eye = np.eye(len(u))
        return eye, (u * (1 / np.sqrt(s**2 + rho) - rho**-0.5)) @ u.T + rho**-0.5 * eye

    def encode(self, network: DenseNetwork) -> list:
        """The V_1 … V_L of a network."""
        from keras_l2feat.kernels import column_coordinates

        s, rho = self._s[:, None], self._rho
        first = self._q.T @ network.weights[0]
        z = self._u @ (s * first)
        if self.form == "coordinates":
            arrays = [np.sqrt(s**2 + rho) * first]
        else:  # (s² + ρ)⁻¹ s Uᵀ V_1 gives the weights back
            arrays = [z if self.form == "tikhonov" else self._u @ ((s + rho / s) * first)]
        for w in network.weights[1:]:
            a = network.augment(network.activate(z))
            z = a @ w
            if self.form == "coordinates":
                arrays.append(column_coordinates(w, a, self.ridge, relative=True).numpy())
                continue
            arrays.append(z)
            if self.form == "projected":
                # (AᵀA + ρI)⁻¹Aᵀ (A + ρ A⁺ᵀ) W = W, for W in the row space of A
                ridge = self.ridge * np.sum(a**2) / len(a)
                arrays[-1] = z + ridge * np.linalg.pinv(a, rcond=1e-12).T @ w
        return [np.asarray(array, self.dtype) for array in arrays]

    def decode(self, arrays: Arrays) -> DenseNetwork:
        """The network of V_1 … V_L; for the Tikhonov form that of the ridge regressions, layer by
        layer."""
        from keras_l2feat.kernels import coordinate_weights, least_norm_weights

        arrays = [np.asarray(array, np.float64) for array in arrays]
        s, rho = self._s[:, None], self._rho
        coordinates = self.form == "coordinates"
        solve = coordinate_weights if coordinates else least_norm_weights
        scale = 1 / np.sqrt(s**2 + rho) if coordinates else s / (s**2 + rho)
        first = scale * (arrays[0] if coordinates else self._u.T @ arrays[0])
        network = DenseNetwork((self._q @ first,), self.problem.activation, self.problem.beta)
        z = self._u @ (s * first)
        for v in arrays[1:]:
            a = network.augment(network.activate(z))
            weight = solve(v, a, self.ridge, relative=True).numpy()
            network = network.with_weights((*network.weights, weight))
            z = a @ network.weights[-1]
        return network


@functools.cache
def _compiled_step(form, cost, activation, dtype):
    """The compiled `(V, P, B, y, λ, r, β) -> (loss, gradients)`."""
    import tensorflow as tf

    from keras_l2feat.kernels import (
        append_bias,
        coordinate_weights,
        least_norm_weights,
        representation_cost,
    )
    from keras_l2feat.objectives.loss import activation_function

    activate, loss = activation_function(activation), cost_function(cost)
    solve = coordinate_weights if form == "coordinates" else least_norm_weights

    def layer(v, a, ridge):
        if form == "tikhonov":
            return v, representation_cost(v, a, ridge, relative=True)
        w = solve(v, a, ridge, relative=True)
        return tf.matmul(a, w), tf.reduce_sum(tf.square(w))

    @tf.function(reduce_retracing=True)
    def step(arrays, p, b, y, lam, ridge, beta):
        with tf.GradientTape() as tape:
            tape.watch(arrays)
            first, *rest = arrays
            z = first if form == "tikhonov" else tf.matmul(p, first)
            paid = b[:, None] * first if b.shape.rank == 1 else tf.matmul(b, first)
            norm = tf.reduce_sum(tf.square(paid))
            for v in rest:
                z, share = layer(v, append_bias(activate(z), beta), ridge)
                norm += share
            value = loss(z, y) + lam * norm
        return value, tape.gradient(value, arrays)

    return step
