"""L-BFGS on a list of arrays, for piecewise linear networks: one run, or many of one shape in
lockstep.

Few variables get the whole inverse Hessian of BFGS. Each run is a generator that asks for the value
and the gradient at a point; so the same method serves one run, and many whose points are evaluated
together. Steps are found by bisection for the weak Wolfe conditions, which ends on kinks too, where
interpolation has no smooth function to work on [Lewis, Overton 2013, "Nonsmooth optimization via
quasi-Newton methods", alg. 2.6].
"""

from collections import deque
from collections.abc import Callable

import numpy as np

from keras_l2feat.errors import keeping
from keras_l2feat.training.run import Budget, Result, Run
from keras_l2feat.types import Arrays, ValueAndGradient

__all__ = ["Result", "minimize", "minimize_many"]

MEMORY = 10  # pairs kept; more cost memory traffic and gained nothing on the networks tried
# variables up to which the whole inverse Hessian is kept: on kinks its directions are far better
DENSE = 500
DECREASE = 1e-4  # share of the promised decrease that a step must bring
CURVATURE = 0.9  # share of the slope at its start that may be left at its end
TRIALS = 30  # points tried for one step: 2⁻³⁰ of it is below what moves a float32


def minimize(
    value_and_gradient: ValueAndGradient,
    start: Arrays,
    budget: Budget = Budget(),
    *,
    callback: Callable | None = None,
    quiet: bool = False,
    description: str = "L-BFGS",
) -> Result:
    """Minimize a function of a list of arrays.

    Decrease of the value decides when it has converged. The gradient norm is not consulted: at a
    minimum of a ReLU network many points lie on a kink and it does not vanish.

    Args:
        value_and_gradient: takes a list of arrays like `start`, returns `(value, gradients)`, the
            gradients shaped alike; the answers may be tensors.
        start: list of arrays, any shapes, float32 or float64.
        budget: when to stop.
        callback: called after each iteration as `callback(iteration, value, arrays)`; a true answer
            stops.
        quiet: no progress bar.
        description: the bar's title.

    Returns: a `Result`.

    Raises:
        Interrupted: by Ctrl-C; its `best` is the `Result` so far.
        InputError: the value at the start is not finite.
    """
    run = Run(start, budget, callback=callback, quiet=quiet, description=description)
    with keeping(run.result):
        return _answered([run], lambda points: [value_and_gradient(points[0])])[0]


def minimize_many(
    value_and_gradient: ValueAndGradient, starts: list[Arrays], budget: Budget = Budget()
) -> list:
    """Run `minimize` from each start, the points of all evaluated in one call.

    Each run keeps its own steps, history and stopping rule, and ends when it ends; the others go
    on.

    Args:
        value_and_gradient: takes a list of arrays, each with one leading dimension, such as
            `training.Objective`.
        starts: S lists of arrays, all of the same shapes.
        budget: when each stops.

    Returns: S `Result`s in the order of the starts.
    """

    def evaluate(points):
        values, gradients = value_and_gradient([np.stack(arrays) for arrays in zip(*points)])
        return [(value, list(pieces)) for value, *pieces in zip(values, *gradients)]

    return _answered([Run(start, budget, quiet=True) for start in starts], evaluate)


def _answered(runs, evaluate):
    """Answer what the runs ask until none asks any more.

    Args:
        runs: list of `Run`s.
        evaluate: takes the points of those that ask, a list, and returns `(value, gradients)` for
            each.
    """
    searches = [_search(run) for run in runs]
    try:
        asked = {search: next(search) for search in searches}
        while asked:
            answers = evaluate(list(asked.values()))
            points = [(search, _next(search, answer)) for search, answer in zip(asked, answers)]
            asked = {search: point for search, point in points if point is not None}
    finally:
        for search in searches:  # each ends its run
            search.close()
    return [run.result for run in runs]


def _next(search, answer):
    """The next point that a search asks for; None at its end."""
    try:
        return search.send(answer)
    except StopIteration:
        return None


def _search(run):
    """One run: yields the lists of arrays whose `(value, gradients)` it is then sent."""
    like = run.result.arrays

    def ask(x):
        arrays = _split(x, like)
        value, gradients = yield arrays
        flat = np.concatenate([np.asarray(g).ravel() for g in gradients])
        return run.seen(value, arrays), flat, arrays

    with run:
        x = np.concatenate([array.ravel() for array in like]).astype(np.float64)
        value, gradient, _ = yield from ask(x)
        model, restarted = _Dense if x.size <= DENSE else _Limited, np.inf
        inverse_hessian = model()
        while run.going:
            direction = -inverse_hessian.times(gradient)
            found = yield from _line_search(
                ask, x, value, gradient, direction, first=not inverse_hessian
            )
            if found is None:
                if not inverse_hessian or value >= restarted:
                    return  # neither this model of the function nor a new one leads down
                inverse_hessian, restarted = model(), value
                continue
            move, value, new, arrays = found
            change = new - gradient
            # positive by the second Wolfe condition, but for rounding; its reciprocal must stay
            # finite
            if (curvature := _dot(move, change)) > np.finfo(change.dtype).tiny ** 0.5:
                inverse_hessian.add(move, change, curvature)
            x, gradient = x + move, new
            run.step(value, arrays)


def _line_search(ask, x, value, gradient, direction, *, first):
    """A step that fulfils the weak Wolfe conditions, by bisection; None where rounding hides it.

    Returns: the move, and the value, the gradient and the arrays at its end.
    """
    slope = float(_dot(gradient, direction))
    if not slope < 0:
        return None
    step, low, high = 1.0, 0.0, np.inf
    if first:
        step = min(step, 1.0 / np.sqrt(_dot(gradient, gradient)))
    for _ in range(TRIALS):
        move = step * direction
        trial, new, arrays = yield from ask(x + move)
        if not trial <= value + DECREASE * step * slope:  # also where it is not a number
            high = step
        elif _dot(new, direction) < CURVATURE * slope:
            low = step
        else:
            return move, trial, new, arrays
        step = 2 * low if high == np.inf else (low + high) / 2
    return None


class _Dense:
    """The inverse Hessian of BFGS as a matrix [Nocedal, Wright 2006, eq. 6.17]."""

    def __init__(self):
        self._matrix = None

    def __bool__(self):
        return self._matrix is not None

    def times(self, vector):
        return vector.copy() if self._matrix is None else np.einsum("ij,j->i", self._matrix, vector)

    def add(self, move, change, curvature):
        if self._matrix is None:
            self._matrix = np.eye(len(move), dtype=move.dtype) * (curvature / _dot(change, change))
        image = self.times(change)
        share = (1 + _dot(change, image) / curvature) / curvature
        self._matrix += np.multiply.outer(move, share * move - image / curvature)
        self._matrix -= np.multiply.outer(image, move / curvature)


class _Limited:
    """The inverse Hessian of L-BFGS as its last pairs (s, y, sᵀy) [Nocedal, Wright 2006, alg.
    7.4]."""

    def __init__(self):
        self._pairs = deque(maxlen=MEMORY)

    def __bool__(self):
        return bool(self._pairs)

    def times(self, vector):
        vector, weights = vector.copy(), []
        for move, change, curvature in reversed(self._pairs):
            weights.append(_dot(move, vector) / curvature)
            vector -= weights[-1] * change
        if self._pairs:
            _, change, curvature = self._pairs[-1]
            vector *= curvature / _dot(change, change)
        for (move, change, curvature), weight in zip(self._pairs, reversed(weights)):
            vector += (weight - _dot(change, vector) / curvature) * move
        return vector

    def add(self, move, change, curvature):
        self._pairs.append((move, change, curvature))


def _dot(a, b):
    """Not by BLAS: its threads, called to so short vectors, would be in the way of those of the
    function."""
    return np.einsum("i,i->", a, b)


def _split(flat, like):
    """Arrays shaped and typed as `like`, cut from a vector."""
    pieces = np.split(flat, np.cumsum([array.size for array in like])[:-1])
    return [piece.reshape(array.shape).astype(array.dtype) for piece, array in zip(pieces, like)]
