"""The paper's way: Adam, then full-batch gradient descent [Jacot et al. 2022, Fig. 2]."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from keras_l2feat.backend import require_tensorflow
from keras_l2feat.errors import Interrupted, keeping, require
from keras_l2feat.training.run import Budget, Result, Run
from keras_l2feat.types import Arrays, ValueAndGradient

__all__ = ["minimize"]

LEARNING_RATE = 1e-2  # Adam's at the start, cosine to 0
# of the descent's step, after a step that was accepted and one that was not
GROWTH, SHRINK = 1.2, 0.5
SUFFICIENT = 0.1  # share of the first-order decrease that a step must bring
SMALLEST = 1e-12  # step below which no descent is left in float64


def minimize(
    value_and_gradient: ValueAndGradient,
    start: Arrays,
    budget: Budget = Budget(),
    *,
    optimizer: Any = None,
    adam_share: float = 0.7,
    callback: Callable | None = None,
    quiet: bool = False,
) -> Result:
    """Minimize a function of a list of arrays by Adam, then by gradient descent with backtracking.

    Args:
        value_and_gradient, start, callback, quiet: as for `lbfgs.minimize`.
        budget: when to stop. Its tolerance ends gradient descent only: the loss of the first part
            is not monotone, so that part always runs its share.
        optimizer: any Keras optimizer for the first part; by default Adam with a cosine schedule
            from 1e-2.
        adam_share: share of the iterations given to it, between 0 and 1.

    Returns: a `Result`.

    Raises:
        Interrupted: by Ctrl-C; its `best` is the `Result` so far.
    """
    require(0 <= adam_share <= 1, "adam_share", "between 0 and 1", adam_share)
    steps = round(adam_share * budget.iterations)
    shown: dict = {"callback": callback, "quiet": quiet}
    share = replace(budget, iterations=steps, tolerance=0.0)
    first = Run(start, share, description="Adam", **shown)
    with keeping(first.result), first:
        _adam(first, value_and_gradient, optimizer, steps)
    if first.result.reason != "max_iterations":
        return first.result
    rest = budget.left(steps, first.result.seconds)
    second = Run(first.result.arrays, rest, description="descent", **shown)
    try:
        with keeping(second.result), second:
            _gradient_descent(second, value_and_gradient)
    except Interrupted as stop:
        raise Interrupted(best=_joined(first.result, stop.best)) from stop
    return _joined(first.result, second.result)


def _adam(run, value_and_gradient, optimizer, steps):
    keras = require_tensorflow()
    if optimizer is None:
        optimizer = keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(LEARNING_RATE, max(steps, 1))
        )
    variables = [keras.Variable(array, dtype=array.dtype) for array in run.result.arrays]
    optimizer.build(variables)
    arrays = run.result.arrays
    value, gradients = run.evaluate(value_and_gradient, arrays)
    for _ in range(steps):
        optimizer.apply(gradients, variables)
        arrays = [variable.numpy() for variable in variables]
        value, gradients = run.evaluate(value_and_gradient, arrays)
        run.step(value, arrays)


def _gradient_descent(run, value_and_gradient):
    arrays = run.result.arrays
    value, gradients = run.evaluate(value_and_gradient, arrays)
    rate = 0.1
    while run.going and rate > SMALLEST:
        decrease = SUFFICIENT * rate * sum(float(np.vdot(g, g)) for g in gradients)
        trial = [array - rate * gradient for array, gradient in zip(arrays, gradients)]
        trial_value, trial_gradients = run.evaluate(value_and_gradient, trial)
        if trial_value <= value - decrease:
            arrays, value, gradients = trial, trial_value, trial_gradients
            rate *= GROWTH
            run.step(value, arrays)
        else:
            rate *= SHRINK


def _joined(first, second):
    """One result from two phases."""
    return Result(
        arrays=second.arrays,
        value=second.value,
        iterations=first.iterations + second.iterations,
        evaluations=first.evaluations + second.evaluations,
        seconds=first.seconds + second.seconds,
        reason=second.reason,
        values=first.values + second.values[1:],
        times=first.times + [first.seconds + time for time in second.times[1:]],
    )
