"""Attraction and repulsion: what pulls the hidden representations to the origin, and what pushes
them out.

Attraction on layer l is ∂‖A_{l-1}⁺Z_l‖²/∂Z_l = 2M_l, repulsion ∂‖A_l⁺Z_{l+1}‖²/∂Z_l =
−2(M_{l+1}W_{l+1}ᵀ)·σ'(Z_l). At a stationary point they cancel on every hidden layer, and λ times
the attraction balances ∂C/∂Z_L at the output. For a positively homogeneous σ their radial parts are
a neuron's squared norms: ⟨attraction_k, Z_k⟩ = 2‖w_in‖², ⟨repulsion_k, Z_k⟩ = −2‖v_out‖² (Euler's
identity). [Jacot et al. 2022, §3.1 and Fig. 1]

Two things stand between these formulas and a trained network, and are taken care of here:

- Its layers span few dimensions, and col(Z_l) ⊂ col(A_{l-1}) is a constraint. AᵀM = W fixes M on
  col(A) only; outside, attraction is the reaction of the constraint (what the Tikhonov form has as
  ρ → 0), and it balances the rest.
- At a minimum many points lie on a ReLU kink, where σ' is any number between the slopes of the two
  sides. There the slopes are taken that come nearest to stationarity.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from scipy import optimize

from keras_l2feat.activations import ACTIVATIONS
from keras_l2feat.errors import require
from keras_l2feat.objectives.forms import representation
from keras_l2feat.objectives.loss import read_data, read_network
from keras_l2feat.types import Cost, Data, Sigma

__all__ = ["Forces", "forces"]


@dataclass(frozen=True)
class Forces:
    """Gradients of the layers' norms with respect to the representations; the forces are their
    negatives times λ.

    Attributes:
        representations: Z_1 … Z_L, (N, n_l) float64 arrays.
        attraction: on Z_l for l = 1 … L, (N, n_l).
        repulsion: on Z_l for l = 1 … L−1, (N, n_l).
        output_gradient: ∂C/∂Z_L, (N, n_L).
        lam: λ.
    """

    representations: tuple
    attraction: tuple
    repulsion: tuple
    output_gradient: np.ndarray
    lam: float

    @property
    def total(self) -> tuple:
        """Attraction plus repulsion on each hidden layer, (N, n_l); 0 at a stationary point."""
        return tuple(a + r for a, r in zip(self.attraction, self.repulsion))

    @property
    def stationarity(self) -> tuple:
        """How far from a stationary point, 0 at one: on each hidden layer ‖sum‖ / max(‖attraction‖,
        ‖repulsion‖), then at the output ‖∂C + λ attraction‖ / max(‖∂C‖, λ‖attraction‖)."""
        layers = [_cancellation(a, r) for a, r in zip(self.attraction, self.repulsion)]
        return (*layers, _cancellation(self.output_gradient, self.lam * self.attraction[-1]))

    @property
    def balance(self) -> tuple:
        """For each hidden layer the (n_l,) ratios ‖w_in‖ / ‖v_out‖ of its neurons, 1 at a
        stationary point for a positively homogeneous σ; NaN for neurons with a share below 1e-6 of
        the layer's largest ‖w_in‖‖v_out‖."""
        ratios = []
        for z, a, r in zip(self.representations, self.attraction, self.repulsion):
            incoming, outgoing = np.sum(a * z, axis=0), -np.sum(r * z, axis=0)
            alive = (np.minimum(incoming, outgoing) > 0) & (
                incoming * outgoing > 1e-12 * np.max(incoming * outgoing)
            )
            nobody = np.full_like(incoming, np.nan)
            ratios.append(np.sqrt(np.divide(incoming, outgoing, out=nobody, where=alive)))
        return tuple(ratios)


def forces(
    subject: Any,
    data: Data,
    lam: float,
    ridge: float = 1e-4,
    *,
    activation: Sigma | None = None,
    beta: float | None = None,
    cost: Cost | None = None,
    kink: float = 1e-3,
) -> Forces:
    """The forces on every layer's representations.

    Args:
        subject: a Keras chain of Dense layers or a `DenseNetwork`, whose forces hold the reaction
            of the constraint; or the list of Z_1 … Z_L, `(N, n_l)` each, free representations with
            the forces of the Tikhonov form.
        data: a `Dataset` (its training part), its name, or a pair `(x, y)`.
        lam: λ > 0.
        ridge: relative ridge of every layer, at least 0 for free representations and positive for a
            network, whose directions below it count as outside col(A).
        activation, beta, cost: as for `objectives.weight_space`.
        kink: for a network, points with |Z| below this share of the layer's root mean square lie on
            a kink.

    Returns: `Forces`, float64.

    Raises:
        InputError: as for `objectives.representation`, or λ or a network's ridge is not positive.
    """
    require(lam > 0, "lam", "positive", lam)
    network, data, activation, beta, cost = read_network(subject, data, activation, beta, cost)
    if network is None:
        return _free_forces(subject, data, lam, ridge, activation, beta, cost)
    require(ridge > 0, "ridge", "positive for a network", ridge)
    x, y, term = read_data(data, cost, tf.float64)
    z, a = network.forward(x.numpy())
    output = tf.constant(z[-1])
    with tf.GradientTape() as tape:
        tape.watch(output)
        value = term(output, y)
    output_gradient = tape.gradient(value, output).numpy()
    attraction, repulsion = [], []
    opposite = output_gradient / lam  # what the attraction has to balance
    for layer in range(network.depth - 1, -1, -1):
        if layer < network.depth - 1:
            above = network.weights[layer + 1][: network.widths[layer + 1]]
            raw = -attraction[0] @ above.T
            slopes = _slopes(network, z[layer], raw, a[layer], network.weights[layer], kink)
            opposite = slopes * raw
            repulsion.insert(0, opposite)
        attraction.insert(0, _attraction(a[layer], network.weights[layer], opposite, ridge))
    return Forces(tuple(z), tuple(attraction), tuple(repulsion), output_gradient, float(lam))


def _attraction(a, w, opposite, ridge):
    """2M: the solution of AᵀM = W nearest to −opposite, in the directions of col(A) that the ridge
    lets through."""
    target = -opposite / 2
    u, s, vt = np.linalg.svd(a, full_matrices=False)
    rho = ridge * np.sum(s**2) / len(a) or 1.0
    missing = vt @ (w - a.T @ target)
    return 2 * (target + u @ ((s / (s**2 + rho))[:, None] * missing))


def _slopes(network, z, raw, a, w, kink):
    """σ'(Z); on kinks that between the two sides for which AᵀM = W, M = −σ'·raw/2, holds best,
    neuron by neuron."""
    slope = ACTIVATIONS[network.activation].slope
    slopes = slope(z)
    left, right = slope(np.array([-1.0, 1.0]))
    if network.activation == "tanh" or left == right:
        return slopes
    on_kink = np.abs(z) <= kink * np.sqrt(np.mean(z**2))
    for neuron in np.flatnonzero(on_kink.any(axis=0)):
        rows = np.flatnonzero(on_kink[:, neuron] & (raw[:, neuron] != 0))
        if len(rows):
            slopes[rows, neuron] = 0.0
            system = -a[rows].T * raw[rows, neuron] / 2
            rest = w[:, neuron] + a.T @ (slopes[:, neuron] * raw[:, neuron]) / 2
            bounds = min(left, right), max(left, right)
            slopes[rows, neuron] = optimize.lsq_linear(system, rest, bounds, method="bvls").x
    return slopes


def _free_forces(subject, data, lam, ridge, activation, beta, cost):
    """The gradients of the Tikhonov form at free representations."""
    representations = [tf.cast(z, tf.float64) for z in subject]
    options = {"activation": activation, "beta": beta, "cost": cost}
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(representations)
        loss = representation(representations, data, lam=lam, ridge=ridge, relative=True, **options)
    attraction = [tape.gradient(norm, z) for norm, z in zip(loss.norms, representations)]
    repulsion = [tape.gradient(norm, z) for norm, z in zip(loss.norms[1:], representations)]
    return Forces(
        tuple(z.numpy() for z in representations),
        tuple(gradient.numpy() for gradient in attraction),
        tuple(gradient.numpy() for gradient in repulsion),
        tape.gradient(loss.cost, representations[-1]).numpy(),
        float(lam),
    )


def _cancellation(one, other) -> float:
    size = max(np.linalg.norm(one), np.linalg.norm(other))
    return float(np.linalg.norm(one + other) / size) if size > 0 else 0.0
