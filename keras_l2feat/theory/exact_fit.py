"""From a start to a network that fits Y on X exactly at the least norm: by multipliers, or by the
limit of small λ (`theory.norm` says what they minimize)."""

import numpy as np

from keras_l2feat.network import DenseNetwork
from keras_l2feat.training.lbfgs import minimize
from keras_l2feat.training.run import Budget

__all__ = ["constrained", "limit", "misfit"]


ROUNDS = 40  # of multipliers; the residual falls about tenfold in each, so ten or so are used


# first μ, in units of cost per squared residual: the first residual is then about 1/20 of Y
STIFFNESS = 20.0


# Beyond two layers R is concave near 0: what a soft start gives up never comes back, so the start
# is stiff.
DEEP_STIFFNESS = 2e4


GIVE_UP = 1e7  # a fit that has not come after μ grew so much does not come


def constrained(
    network: DenseNetwork,
    x: np.ndarray,
    y: np.ndarray,
    tolerance: float,
    *,
    accuracy: float,
    multipliers: np.ndarray | None = None,
) -> tuple[DenseNetwork, np.ndarray, float]:
    """Fit Y by the method of multipliers.

    Returns: the network, its multipliers M, and ‖W‖².
    """
    stiffness = first = _stiffness(network, y)
    multipliers = np.zeros_like(y) if multipliers is None else multipliers
    before = np.inf
    for _ in range(ROUNDS):
        network = _minimize(network, x, y, multipliers, stiffness, accuracy)
        multipliers = multipliers + stiffness * (network(x) - y)
        residual = misfit(network, x, y)
        if residual <= tolerance or stiffness > GIVE_UP * first:
            break
        if residual > before / 4:
            stiffness *= 4
        before = residual
    return network, multipliers, network.squared_norm


def limit(
    network: DenseNetwork,
    x: np.ndarray,
    y: np.ndarray,
    tolerance: float,
    *,
    accuracy: float,
    multipliers: np.ndarray | None = None,
) -> tuple[DenseNetwork, np.ndarray, float]:
    """Fit Y in the limit λ → 0: μ = 2/(λN) rises tenfold a step.

    Returns: the network, its multipliers M, and the extrapolated min(C/λ + ‖W‖²).
    """
    stiffness = _stiffness(network, y)
    values = []
    for _ in range(12):
        network = _minimize(network, x, y, np.zeros_like(y), stiffness, accuracy)
        gap = network(x) - y
        values.append(network.squared_norm + stiffness / 2 * float(np.vdot(gap, gap)))
        # f(μ) = R − c/μ + O(1/μ²): the error left after extrapolation is about the square of the
        # step's share
        if len(values) > 1 and (values[-1] - values[-2]) ** 2 <= tolerance * values[-1] ** 2:
            break
        stiffness *= 10
    cost = (10 * values[-1] - values[-2]) / 9
    return network, stiffness * (network(x) - y), cost


def _stiffness(network, y):
    unit = network.depth * np.linalg.norm(y) ** (2 / network.depth - 2)  # cost over squared outputs
    return unit * (STIFFNESS if network.depth <= 2 else DEEP_STIFFNESS)


def _minimize(network, x, y, multipliers, stiffness, accuracy):
    def lagrangian(weights):
        def of_outputs(z):
            gap = z - y
            return float(
                np.vdot(multipliers + stiffness / 2 * gap, gap)
            ), multipliers + stiffness * gap

        at = network.with_weights(weights)
        value, gradients = at.gradients(x, of_outputs)
        return value + at.squared_norm, [g + 2 * w for g, w in zip(gradients, at.weights)]

    # The Lagrangian may be near 0 or negative, so the relative decrease is measured on it plus a
    # constant.
    offset = network.squared_norm + float(np.vdot(multipliers, multipliers)) / stiffness

    def shifted(weights):
        value, gradients = lagrangian(weights)
        return value + offset, gradients

    result = minimize(shifted, list(network.weights), Budget(2000, accuracy), quiet=True)
    return network.with_weights(result.arrays)


def misfit(network: DenseNetwork, x: np.ndarray, y: np.ndarray) -> float:
    """max |Z_L − Y| / max |Y|."""
    return float(np.abs(network(x) - y).max() / np.abs(y).max())
