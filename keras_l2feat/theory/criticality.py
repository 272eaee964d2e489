"""Loss, gradient and Hessian of small networks on plain float64 arrays, and Newton's way to a
critical point."""

from collections.abc import Sequence

import numpy as np

from keras_l2feat.costs import cost_with_gradient
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives import Problem
from keras_l2feat.training.lbfgs import minimize
from keras_l2feat.training.run import Budget
from keras_l2feat.types import Arrays

__all__ = [
    "critical_point",
    "descend",
    "flatten",
    "gradient",
    "hessian",
    "loss_and_gradient",
    "unflatten",
]

# Central differences of the gradient with step h err by h² (third derivatives) and ε/h (rounding):
# ε^{1/3} balances.
STEP = np.finfo(np.float64).eps ** (1 / 3)


def loss_and_gradient(network: DenseNetwork, problem: Problem) -> tuple[float, Arrays]:
    """The problem's loss `C(Z_L) + λ Σ_l ‖W_l‖²` and its gradient.

    Args:
        network: the weights; its σ and β count, not the problem's.
        problem: its cost is `"squared"` or `"crossentropy"`.

    Returns: a float, and a list of float64 arrays shaped like `network.weights`.
    """
    of_outputs = cost_with_gradient(problem.cost)
    value, gradients = network.gradients(problem.x, lambda z: of_outputs(z, problem.y))
    gradients = [g + 2 * problem.lam * w for g, w in zip(gradients, network.weights)]
    return value + problem.lam * network.squared_norm, gradients


def gradient(network: DenseNetwork, problem: Problem) -> np.ndarray:
    """The gradient of the loss as one vector `(P,)`, in the order of `flatten`."""
    return flatten(loss_and_gradient(network, problem)[1])


def descend(
    network: DenseNetwork, problem: Problem, budget: Budget, *, quiet: bool = True
) -> tuple[DenseNetwork, list]:
    """Minimize the loss by L-BFGS, starting from `network`.

    Returns: the network where it ended, and the loss after each iteration.
    """

    def evaluate(weights):
        return loss_and_gradient(network.with_weights(weights), problem)

    start = list(network.weights)
    found = minimize(evaluate, start, budget, quiet=quiet, description="training")
    return network.with_weights(found.arrays), found.values


def hessian(network: DenseNetwork, problem: Problem) -> np.ndarray:
    """The Hessian of the loss, `(P, P)` float64, symmetric, by central differences of the exact
    gradient.

    Its entries err by about 1e-10 of their size where σ is smooth; across a kink of σ it has no
    meaning.
    """
    point = flatten(network.weights)
    columns = []
    for index in range(len(point)):
        shift = np.zeros_like(point)
        shift[index] = STEP * max(1.0, abs(float(point[index])))
        above = gradient(unflatten(point + shift, network), problem)
        below = gradient(unflatten(point - shift, network), problem)
        columns.append((above - below) / (2 * shift[index]))
    matrix = np.stack(columns, axis=1)
    return (matrix + matrix.T) / 2


def critical_point(
    network: DenseNetwork, problem: Problem, *, steps: int = 50, tolerance: float = 1e-13
) -> DenseNetwork:
    """The critical point of the loss near `network`: Newton steps with the pseudo-inverse, each
    kept only while the gradient shrinks. It may be a minimum or a saddle; the caller looks at the
    norm of `gradient` there."""
    point = flatten(network.weights)
    slope = gradient(network, problem)
    for _ in range(steps):
        matrix = hessian(unflatten(point, network), problem)
        step = np.linalg.lstsq(matrix, -slope, rcond=1e-10)[0]
        scale = 1.0
        while scale > 1e-6:
            trial = gradient(unflatten(point + scale * step, network), problem)
            if np.linalg.norm(trial) < np.linalg.norm(slope):
                break
            scale /= 2
        else:
            break
        point, slope = point + scale * step, trial
        if np.linalg.norm(slope) <= tolerance:
            break
    return unflatten(point, network)


def flatten(weights: Sequence[np.ndarray]) -> np.ndarray:
    """One vector `(P,)` from a list of weight matrices."""
    return np.concatenate([np.ravel(weight) for weight in weights])


def unflatten(vector: np.ndarray, like: DenseNetwork) -> DenseNetwork:
    """The network shaped as `like` whose weights are the entries of `vector`."""
    pieces = np.split(vector, np.cumsum([weight.size for weight in like.weights])[:-1])
    return like.with_weights(
        piece.reshape(weight.shape) for piece, weight in zip(pieces, like.weights)
    )
