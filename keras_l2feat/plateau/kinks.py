"""Gradients at minima that lie on kinks.

Where a point has pre-activation 0, σ has every slope between those of its two sides, and the
minimum itself decides which of them counts: the one for which every layer is stationary. A gradient
that takes one side makes such a minimum look far from stationary, and neurons look useful that are
not. Here the slopes at points on a kink, or next to it, are those that leave the least of
2λ W_l + A_{l-1}ᵀ G_l: a bounded least squares problem for each neuron, whose residual is the least
gradient nearby [Goldstein 1977, the ε-subdifferential; docs/theory.md §5.2].
"""

import numpy as np

from keras_l2feat.activations import slopes
from keras_l2feat.network import DenseNetwork
from keras_l2feat.types import Arrays

__all__ = ["KINK", "stationary_gradients"]

# A point counts as on the kink up to this share of the neuron's largest |z|. L-BFGS in float64 ends
# some 1e-5 of it away; at 1e-2 the live scores of a trained network are no nearer to 1 than here.
KINK = 1e-3


def stationary_gradients(
    network: DenseNetwork, z: Arrays, a: Arrays, upstream: np.ndarray, lam: float
) -> list[np.ndarray]:
    """The gradients of C with respect to `Z_1 … Z_L` with which a network is nearest to stationary.

    Args:
        network: a `DenseNetwork` with a positively homogeneous σ.
        z, a: `Z_1 … Z_L` and `A_0 … A_{L-1}` on the data, as from `network.forward`.
        upstream: (N, n_L), ∂C/∂Z_L.
        lam: λ > 0.

    Returns: a list of (N, n_l) arrays, float64.
    """
    negative, positive = slopes(network.activation)
    bounds = min(negative, positive), max(negative, positive)
    found = [upstream]
    for layer in range(network.depth - 1, 0, -1):
        values, below, weight = z[layer - 1], a[layer - 1], network.weights[layer - 1]
        outside = found[0] @ network.weights[layer][: network.widths[layer]].T  # ∂C/∂σ(Z_l)
        gradient = outside * np.where(values > 0, positive, negative)
        near = np.abs(values) <= KINK * np.abs(values).max(axis=0, initial=0.0)
        near &= outside != 0
        for unit in np.flatnonzero(near.any(axis=0)) if bounds[0] < bounds[1] else ():
            on = near[:, unit]
            gradient[on, unit] = 0.0
            rest = 2 * lam * weight[:, unit] + below.T @ gradient[:, unit]
            free = below[on].T * outside[on, unit]
            gradient[on, unit] = outside[on, unit] * _bounded(free, -rest, bounds)
        found.insert(0, gradient)
    return found


def _bounded(columns, target, bounds):
    """The s between bounds with the least ‖columns s − target‖, by L-BFGS-B on the Gram matrix: on
    60 000 points a neuron has hundreds of columns."""
    from scipy.optimize import minimize

    gram, cross = columns.T @ columns, columns.T @ target
    unit = max(float(np.trace(gram)), np.finfo(np.float64).tiny)  # of the steps
    gram, cross = gram / unit, cross / unit

    def value_and_gradient(s):
        ahead = gram @ s
        return s @ ahead / 2 - s @ cross, ahead - cross

    found = minimize(
        value_and_gradient,
        np.full(len(cross), sum(bounds) / 2),
        jac=True,
        method="L-BFGS-B",
        bounds=[bounds] * len(cross),
        options={"ftol": 1e-12, "gtol": 1e-12, "maxiter": 200},
    )
    return found.x
