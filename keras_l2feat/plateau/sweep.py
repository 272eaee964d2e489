"""Independent trials at each width and seed, as the paper ran them; seeds of one width are one
computation."""

import time

from keras_l2feat.network import DenseNetwork
from keras_l2feat.plateau.trial import measure
from keras_l2feat.training.balancing import balance
from keras_l2feat.training.gradient import Objective
from keras_l2feat.training.lbfgs import minimize_many

__all__ = ["independent_trials"]


def independent_trials(
    data,
    lam,
    width,
    seeds,
    *,
    depth=3,
    cost=None,
    activation="relu",
    beta=1.0,
    dtype="float32",
    iterations=3000,
    tolerance=1e-6,
    batch_size=None,
) -> list:
    """Networks of one width trained from random starts by L-BFGS, all seeds at once.

    Args:
        data: a `data.Dataset`.
        lam: λ ≥ 0.
        width: of every hidden layer, or a tuple of hidden widths.
        seeds: one run each.
        depth: L, where `width` is a number.
        cost, activation, beta, batch_size: as for `training.Objective`.
        dtype: of training; losses are measured in float64.
        iterations, tolerance: of L-BFGS.

    Returns: a `Trial` for each seed; their `seconds` are an equal share of the whole.
    """
    hidden = (width,) * (depth - 1) if isinstance(width, int) else tuple(width)
    sizes = (data.x_train.shape[1], *hidden, data.outputs)
    began = time.monotonic()
    objective = Objective(
        data, lam, cost=cost, activation=activation, beta=beta, dtype=dtype, batch_size=batch_size
    )
    starts = [
        objective.encode(DenseNetwork.random(sizes, activation=activation, beta=beta, seed=seed))
        for seed in seeds
    ]
    results = minimize_many(
        objective,
        [balance(start, activation) for start in starts],
        max_iterations=iterations,
        tolerance=tolerance,
    )
    networks = [objective.decode(balance(result.arrays, activation)) for result in results]
    seconds = (time.monotonic() - began) / len(networks)
    return [
        measure(network, data, lam, method="sweep", seed=seed, seconds=seconds, cost=cost)
        for network, seed in zip(networks, seeds)
    ]
