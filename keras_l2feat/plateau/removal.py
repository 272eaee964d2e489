"""Taking neurons out of a trained network where it costs least, the rest making up for them.

When neuron i leaves hidden layer l, the outgoing weights of the others are refitted by ridge
regression, V' = V − P_{·i} v_i / P_ii with P = (HᵀH/N + ρ)^{-1}, so that the next pre-activations
move by r_i v_iᵀ only, r_i the residual of i's activations regressed on the other neurons'. A dead
neuron, one aligned with another, or one that is a combination of others leaves for nothing; merging
the closest pair is the special case of two neurons. Each neuron is judged by the loss of the whole
network without it.
"""

from collections.abc import Sequence

import numpy as np

from keras_l2feat.training.gradient import Objective
from keras_l2feat.types import Arrays

__all__ = ["remove"]

# relative to the mean square activation; the best for the loss is taken
RIDGES = (1e-6, 1e-3, 1e-1)
SHARE = 0.1  # of a layer that leaves in one round, before neurons are judged again


def remove(objective: Objective, weights: Arrays, widths: Sequence[int]) -> Arrays:
    """Shrink the hidden layers to `widths`, the cheapest neurons first.

    Args:
        objective: the `training.Objective` whose loss counts; neurons are judged on its first
            batch.
        weights: `W_1 … W_L` as from `objective.encode`.
        widths: hidden widths to reach, each at most what it is.

    Returns: the smaller weights, a list of arrays.
    """
    weights = [np.asarray(weight, dtype=np.float64) for weight in weights]
    while any(weight.shape[1] > width for weight, width in zip(weights, widths)):
        for layer, width in enumerate(widths):
            excess = weights[layer].shape[1] - width
            if excess > 0:
                count = min(excess, max(1, int(SHARE * weights[layer].shape[1])))
                losses, ridge = removal_losses(objective, weights, layer)
                weights = without(
                    objective, weights, layer, np.argsort(losses, kind="stable")[:count], ridge
                )
    return [weight.astype(objective.dtype) for weight in weights]


def removal_losses(objective, weights, layer):
    """The loss without each neuron of hidden layer `layer` (0-based), the rest refitted.

    Returns: `(n,)` losses at the best of `RIDGES`, and that ridge.
    """
    best = None
    for ridge in RIDGES:
        losses = _losses(objective, weights, layer, ridge)
        if best is None or losses.min() < best[0].min():
            best = losses, ridge
    return best


def without(objective, weights, layer, neurons, ridge):
    """The weights without `neurons` of hidden layer `layer`, the outgoing weights of the others
    refitted."""
    inverse = _hidden(objective, weights, layer, ridge)[1]
    keep = np.setdiff1d(np.arange(len(weights[layer + 1])), neurons)
    upper = weights[layer + 1]
    coefficients = np.linalg.solve(inverse[np.ix_(neurons, neurons)], upper[neurons])
    refitted = upper[keep] - inverse[np.ix_(keep, neurons)] @ coefficients
    columns = np.setdiff1d(np.arange(weights[layer].shape[1]), neurons)
    return [*weights[:layer], weights[layer][:, columns], refitted, *weights[layer + 2 :]]


def _hidden(objective, weights, layer, ridge):
    """`A_l = [σ(Z_l), β]`, the regularized inverse of its Gram matrix, and Z_{l+1}."""
    hidden = objective.representation(weights[: layer + 1])
    gram = hidden.T @ hidden / len(hidden)
    gram[np.diag_indices_from(gram)] += (
        ridge * np.trace(gram) / len(gram) + np.finfo(np.float64).tiny
    )
    return hidden, np.linalg.inv(gram), hidden @ weights[layer + 1]


def _losses(objective, weights, layer, ridge):
    hidden, inverse, above = _hidden(objective, weights, layer, ridge)
    lam = objective.problem.lam
    lower, upper = weights[layer], weights[layer + 1]
    count = lower.shape[1]
    residuals = hidden @ (inverse / np.diag(inverse))[:, :count]
    norms = np.linalg.norm(lower, axis=0)
    rest = sum(np.vdot(w, w) for k, w in enumerate(weights) if k not in (layer, layer + 1))
    losses = np.empty(count)
    for neuron in range(count):
        moved = above - residuals[:, [neuron]] * upper[neuron]
        refitted = upper - np.outer(inverse[:, neuron] / inverse[neuron, neuron], upper[neuron])
        sizes = np.linalg.norm(refitted, axis=1)
        # balanced, a neuron costs 2‖w‖‖v‖; a bias row stays what it is
        norm = rest + 2 * norms @ sizes[:count] + np.sum(sizes[count:] ** 2)
        losses[neuron] = objective.cost_above(moved, weights[layer + 2 :]) + lam * norm
    return losses
