"""Independent trials at each width and seed, as the paper ran them; seeds of one width are one
computation."""

import time
from collections.abc import Sequence

from keras_l2feat.objectives.problem import Problem
from keras_l2feat.plateau.trial import Trial, measure
from keras_l2feat.training.balancing import balance
from keras_l2feat.training.gradient import Objective
from keras_l2feat.training.lbfgs import minimize_many
from keras_l2feat.training.run import Budget

__all__ = ["independent_trials"]


def independent_trials(
    problem: Problem,
    width: int | Sequence[int],
    seeds: Sequence[int],
    *,
    depth: int = 3,
    budget: Budget = Budget(),
    dtype: str = "float32",
    batch_size: int | None = None,
) -> list[Trial]:
    """Networks of one width trained from random starts by L-BFGS, all seeds at once.

    Args:
        problem: what is minimized.
        width: of every hidden layer, or a tuple of hidden widths.
        seeds: one run each.
        depth: L, where `width` is a number.
        budget: when each run ends.
        dtype: of training; losses are measured in float64.
        batch_size: points in memory at a time.

    Returns: a `Trial` for each seed; their `seconds` are an equal share of the whole.
    """
    hidden = (width,) * (depth - 1) if isinstance(width, int) else tuple(width)
    began = time.monotonic()
    objective = Objective(problem, dtype=dtype, batch_size=batch_size)
    starts = [objective.encode(problem.random(hidden, seed)) for seed in seeds]
    starts = [balance(start, problem.activation) for start in starts]
    results = minimize_many(objective, starts, budget)
    networks = [objective.decode(balance(result.arrays, problem.activation)) for result in results]
    seconds = (time.monotonic() - began) / len(networks)
    return [
        measure(network, problem, method="sweep", seed=seed, seconds=seconds)
        for network, seed in zip(networks, seeds)
    ]
