"""L-BFGS on a list of arrays: SciPy's, with the stopping rules that piecewise linear networks need."""

import time
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from scipy import optimize

from keras_l2feat import progress
from keras_l2feat.errors import bad_argument

__all__ = ["Result", "minimize"]

MEMORY = 20  # pairs kept; more costs memory traffic and gained nothing on the networks tried
WINDOW = 20  # iterations over which the relative decrease is measured: single L-BFGS steps can be tiny


@dataclass
class Result:
    """What a minimization ended with.

    Attributes:
        arrays: the best point seen, shapes and dtypes as in `start`.
        value: the value there.
        iterations: L-BFGS iterations done.
        evaluations: calls of `value_and_gradient`.
        seconds: wall-clock time.
        reason: "converged", "max_iterations", "seconds", "interrupted", "callback" or "line_search" (no step
            lowers the value in this dtype).
        values: the value after each iteration, `(iterations + 1,)` floats, the start first.
        times: seconds since the start at each of `values`.
    """

    arrays: list
    value: float
    iterations: int = 0
    evaluations: int = 0
    seconds: float = 0.0
    reason: str = "converged"
    values: list = field(default_factory=list)
    times: list = field(default_factory=list)


class _Stop(Exception):
    """Ends SciPy's loop from inside a callback; its argument is the reason."""


def minimize(
    value_and_gradient,
    start,
    *,
    max_iterations=3000,
    tolerance=1e-6,
    window=WINDOW,
    seconds=None,
    callback=None,
    quiet=False,
    description="L-BFGS",
) -> Result:
    """Minimize a function of a list of arrays.

    Stops when the value fell by less than `tolerance` of itself over `window` iterations. The gradient norm is
    not consulted: at a minimum of a ReLU network many points lie on a kink and it does not vanish.

    Args:
        value_and_gradient: takes a list of arrays like `start`, returns `(value, gradients)`, the gradients
            shaped alike; the answers may be tensors.
        start: list of arrays, any shapes, float32 or float64.
        max_iterations: at most so many iterations.
        tolerance: relative decrease over `window` iterations below which to stop; 0 never stops so.
        window: iterations.
        seconds: wall-clock budget, None for none.
        callback: called after each iteration as `callback(iteration, value, arrays)`; a true answer stops.
        quiet: no progress bar.
        description: the bar's title.

    Returns: a `Result`; Ctrl-C ends the run and returns the best point so far.

    Raises:
        InputError: the value at the start is not finite, or an argument is out of range.
    """
    if tolerance < 0:
        raise bad_argument("tolerance", "at least 0", tolerance)
    if max_iterations < 0:
        raise bad_argument("max_iterations", "at least 0", max_iterations)
    start = [np.asarray(array) for array in start]
    began = time.monotonic()
    best = Result(start, np.inf)
    recent = deque(maxlen=window + 1)
    bar = progress.bar(total=max_iterations, description=description, quiet=quiet, unit="step")

    def evaluate(flat):
        arrays = _split(flat, start)
        value, gradients = value_and_gradient(arrays)
        value = float(value)
        best.evaluations += 1
        if value < best.value:
            best.value, best.arrays = value, arrays
        if best.evaluations == 1:
            if not np.isfinite(value):
                raise bad_argument("start", "a point with a finite value", value)
            record(value)
        if not np.isfinite(value):  # a step too far: SciPy's line search shrinks it when the value is huge
            return np.finfo(np.float64).max / 1e10, np.zeros_like(flat)
        return value, _flatten(gradients)

    def record(value):
        best.values.append(value)
        best.times.append(time.monotonic() - began)
        recent.append(value)

    def after_iteration(intermediate_result):
        value = float(intermediate_result.fun)
        record(value)
        best.iterations += 1
        bar.update()
        bar.set_postfix(loss=f"{best.value:.6g}", refresh=False)
        if callback is not None and callback(best.iterations, value, _split(intermediate_result.x, start)):
            raise _Stop("callback")
        if tolerance and len(recent) > window and recent[0] - value <= tolerance * abs(value):
            raise _Stop("converged")
        if seconds is not None and time.monotonic() - began > seconds:
            raise _Stop("seconds")

    with bar:
        try:
            best.reason = "line_search"
            before = None
            while best.value != before and best.iterations < max_iterations:  # a failed line search restarts
                before = best.value
                optimize.minimize(
                    evaluate,
                    _flatten(best.arrays),
                    jac=True,
                    method="L-BFGS-B",
                    callback=after_iteration,
                    options={
                        "maxiter": max_iterations - best.iterations,
                        "maxfun": 20 * max_iterations + 20,
                        "maxcor": MEMORY,
                        "ftol": 0.0,
                        "gtol": 0.0,
                    },
                )
            if best.iterations >= max_iterations:
                best.reason = "max_iterations"
        except _Stop as stop:
            best.reason = stop.args[0]
        except KeyboardInterrupt:
            best.reason = "interrupted"
    best.seconds = time.monotonic() - began
    return best


def _flatten(arrays):
    """One float64 vector from arrays or tensors."""
    return np.concatenate([np.asarray(array, dtype=np.float64).ravel() for array in arrays])


def _split(flat, like):
    """Arrays shaped and typed as `like`, cut from a vector; always copies, as SciPy reuses its buffer."""
    pieces = np.split(flat, np.cumsum([array.size for array in like])[:-1])
    return [piece.reshape(array.shape).astype(array.dtype) for piece, array in zip(pieces, like)]
