"""Balancing: rescale neurons so that ‖w_in‖ = ‖v_out‖, the free progress of L2 regularization."""

import itertools

import numpy as np

from keras_l2feat.activations import scaling
from keras_l2feat.types import Arrays

__all__ = ["balance", "imbalance"]

# one layer's balance moves the next one's; the sweeps contract, a few dozen settle deep chains
SWEEPS = 100
SETTLED = 1e-9  # largest change of log scale after which a sweep is the last


def balance(weights: Arrays, activation: str = "relu") -> Arrays:
    """Rescale every hidden neuron to balance: incoming column (bias entry included) and outgoing
    row of one norm.

    For σ(t z) = t σ(z), t > 0, the function is unchanged, and Σ‖W_l‖² never rises; at any
    stationary point of the regularized loss neurons are balanced already. A neuron with w = 0 or v
    = 0 adds nothing and becomes all zero.

    Args:
        weights: `W_1 … W_L`, each `(n_{l-1} + 1, n_l)` or without the bias row, or with leading
            dimensions.
        activation: σ of the hidden layers; one that is not homogeneous leaves the weights as they
            are.

    Returns: a list of new arrays, dtypes as given.

    Example:
    >>> balanced = balance([np.array([[4.0]]), np.array([[1.0]])])
    >>> [float(w[0, 0]) for w in balanced]
    [2.0, 2.0]
    """
    if not scaling(activation).homogeneous:
        return list(weights)
    balanced = [np.array(weight, dtype=np.float64) for weight in weights]
    for _ in range(SWEEPS):
        change = 0.0
        for lower, upper in itertools.pairwise(balanced):
            incoming, outgoing = _norms(lower, upper)
            alive = (incoming > 0) & (outgoing > 0)
            factor = np.sqrt(
                np.divide(outgoing, incoming, out=np.zeros_like(incoming), where=alive)
            )
            width = lower.shape[-1]
            lower *= factor[..., None, :]
            upper[..., :width, :] *= np.divide(1.0, factor, out=np.zeros_like(factor), where=alive)[
                ..., None
            ]
            change = max(change, np.abs(np.log(factor[alive])).max(initial=0.0))
        if change < SETTLED:
            break
    return [new.astype(np.asarray(old).dtype) for new, old in zip(balanced, weights)]


def imbalance(weights: Arrays) -> float:
    """The largest |log(‖w_in‖ / ‖v_out‖)| over the live hidden neurons; 0 when balanced or without
    any."""
    worst = 0.0
    for lower, upper in itertools.pairwise(weights):
        incoming, outgoing = _norms(np.asarray(lower, np.float64), np.asarray(upper, np.float64))
        alive = (incoming > 0) & (outgoing > 0)
        worst = max(worst, np.abs(np.log(incoming[alive] / outgoing[alive])).max(initial=0.0))
    return float(worst)


def _norms(lower, upper):
    """‖w_in‖ and ‖v_out‖ of each neuron between two weight matrices, `(…, n)`."""
    incoming = np.linalg.norm(lower, axis=-2)
    return incoming, np.linalg.norm(upper[..., : lower.shape[-1], :], axis=-1)
