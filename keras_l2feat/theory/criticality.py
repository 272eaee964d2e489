"""Loss, gradient and Hessian of small networks on plain float64 arrays, and Newton's way to a
critical point."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from keras_l2feat.costs import cost_with_gradient
from keras_l2feat.network import DenseNetwork
from keras_l2feat.types import Arrays

__all__ = ["critical_point", "flatten", "gradient", "hessian", "loss_and_gradient", "unflatten"]

# Central differences of the gradient with step h err by h² (third derivatives) and ε/h (rounding):
# ε^{1/3} balances.
STEP = np.finfo(np.float64).eps ** (1 / 3)


def loss_and_gradient(
    network: DenseNetwork, x: ArrayLike, y: ArrayLike, *, cost: str = "squared", lam: float = 0.0
) -> tuple[float, Arrays]:
    """`C(Z_L) + lam Σ_l ‖W_l‖²` and its gradient.

    Args:
        network: the weights.
        x, y: data, `(N, n_0)` and labels `(N,)` or targets `(N, n_L)`.
        cost: `"squared"` or `"crossentropy"`.
        lam: λ ≥ 0.

    Returns: a float, and a list of float64 arrays shaped like `network.weights`.
    """
    of_outputs = cost_with_gradient(cost)
    value, gradients = network.gradients(x, lambda z: of_outputs(z, y))
    gradients = [g + 2 * lam * w for g, w in zip(gradients, network.weights)]
    return value + lam * network.squared_norm, gradients


def gradient(
    network: DenseNetwork, x: ArrayLike, y: ArrayLike, *, cost: str = "squared", lam: float = 0.0
) -> np.ndarray:
    """The gradient of the loss as one vector `(P,)`, in the order of `flatten`."""
    return flatten(loss_and_gradient(network, x, y, cost=cost, lam=lam)[1])


def hessian(
    network: DenseNetwork, x: ArrayLike, y: ArrayLike, *, cost: str = "squared", lam: float = 0.0
) -> np.ndarray:
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
        above = gradient(unflatten(point + shift, network), x, y, cost=cost, lam=lam)
        below = gradient(unflatten(point - shift, network), x, y, cost=cost, lam=lam)
        columns.append((above - below) / (2 * shift[index]))
    matrix = np.stack(columns, axis=1)
    return (matrix + matrix.T) / 2


def critical_point(
    network: DenseNetwork,
    x: ArrayLike,
    y: ArrayLike,
    *,
    cost: str = "squared",
    lam: float = 0.0,
    steps: int = 50,
    tolerance: float = 1e-13,
) -> DenseNetwork:
    """The critical point of the loss near `network`: Newton steps with the pseudo-inverse, each
    kept only while the gradient shrinks. It may be a minimum or a saddle; the caller looks at the
    norm of `gradient` there."""
    options: dict = {"cost": cost, "lam": lam}
    point = flatten(network.weights)
    slope = gradient(network, x, y, **options)
    for _ in range(steps):
        step = np.linalg.lstsq(
            hessian(unflatten(point, network), x, y, **options), -slope, rcond=1e-10
        )[0]
        scale = 1.0
        while scale > 1e-6:
            trial = gradient(unflatten(point + scale * step, network), x, y, **options)
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
