"""L-BFGS on a list of arrays: SciPy's, with the stopping rules that piecewise linear networks need."""

import numpy as np
from scipy import optimize
from threadpoolctl import ThreadpoolController

from keras_l2feat.training.run import WINDOW, Result, Run

__all__ = ["Result", "minimize"]

MEMORY = 10  # pairs kept; more cost memory traffic and gained nothing on the networks tried
HUGE = 1e290  # stands for a value that is not finite: the line search then shrinks its step


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
    run = Run(
        value_and_gradient,
        start,
        max_iterations=max_iterations,
        tolerance=tolerance,
        window=window,
        seconds=seconds,
        callback=callback,
        quiet=quiet,
        description=description,
    )
    like = run.result.arrays

    def evaluate(flat):
        value, gradients = run.evaluate(_split(flat, like))
        return (value, _flatten(gradients)) if np.isfinite(value) else (HUGE, np.zeros_like(flat))

    with _one_thread_for_scipy(), run:
        before = None
        while run.result.value != before and run.result.iterations < max_iterations:  # restart, while it helps
            before = run.result.value
            optimize.minimize(
                evaluate,
                _flatten(run.result.arrays),
                jac=True,
                method="L-BFGS-B",
                callback=lambda intermediate_result: run.step(
                    float(intermediate_result.fun), _split(intermediate_result.x, like)
                ),
                options={
                    "maxiter": max_iterations - run.result.iterations,
                    "maxfun": 20 * max_iterations + 20,
                    "maxcor": MEMORY,
                    "ftol": 0.0,
                    "gtol": 0.0,
                },
            )
    return run.result


def _one_thread_for_scipy():
    """Its vectors are too short for threads: on a busy machine they waited 40 ms for each other in every step."""
    libraries = ThreadpoolController()
    scipys = [library.filepath for library in libraries.lib_controllers if "scipy.libs" in library.filepath]
    return libraries.select(filepath=scipys).limit(limits=1)


def _flatten(arrays):
    """One float64 vector from arrays or tensors."""
    return np.concatenate([np.asarray(array, dtype=np.float64).ravel() for array in arrays])


def _split(flat, like):
    """Arrays shaped and typed as `like`, cut from a vector; always copies, as SciPy reuses its buffer."""
    pieces = np.split(flat, np.cumsum([array.size for array in like])[:-1])
    return [piece.reshape(array.shape).astype(array.dtype) for piece, array in zip(pieces, like)]
