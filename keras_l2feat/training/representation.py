"""Direct optimization of the hidden representations, which the paper names as too costly and
unstable and leaves.

from keras_l2feat.training import representation
fitted = representation.fit(network, "mnist-789-42", lam=1e-2)
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from keras_l2feat.errors import Interrupted, keeping, require
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives.problem import Problem
from keras_l2feat.training import first_order, lbfgs
from keras_l2feat.training.balancing import balance
from keras_l2feat.training.fitting import Fit
from keras_l2feat.training.gradient import Objective
from keras_l2feat.training.representation_objective import FORMS, RepresentationObjective
from keras_l2feat.training.run import Budget, Run
from keras_l2feat.types import Cost, Data, Model

__all__ = ["RIDGES", "data_start", "fit"]

# The relative ridges that each form goes through. Coordinates: on 42 and on 1000 digits 3 to 100
# did alike, 1 and less worse. Projected: 0.1 to 1 did alike on 42. Tikhonov: the continuation;
# below 1e-5 nothing moves any more.
RIDGES = {"coordinates": (10.0,), "projected": (0.3,), "tikhonov": (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)}
METHODS = ("lbfgs", "adam", "projected-descent")


def fit(
    network: Model | DenseNetwork,
    data: Data,
    *,
    lam: float | None = None,
    cost: Cost | None = None,
    form: str = "coordinates",
    ridges: Sequence[float] | None = None,
    method: str = "lbfgs",
    iterations: int = 3000,
    tolerance: float = 1e-6,
    window: int = 100,
    seconds: float | None = None,
    callback: Callable | None = None,
    dtype: str = "float64",
    quiet: bool = False,
    **options,
) -> Fit:
    """Minimize the loss over hidden representations instead of weights, and convert the result to
    weights.

    Args:
        network: where to start, and what receives the result: a Keras chain of dense layers,
            trained in place, or a `DenseNetwork`, which stays as it is (`data_start` draws one for
            a data set).
        data: a `data.Dataset` or its name.
        lam: λ ≥ 0; `None` takes the λ that the layers of a Keras model carry.
        cost: "crossentropy", "squared" or a function `(z, y) -> scalar`; the data set's own by
            default.
        form: "coordinates", "projected" or "tikhonov", see `training.representation_objective`.
        ridges: relative ridges, one stage each; by default `RIDGES[form]`.
        method: "lbfgs"; "adam", or any other Keras optimizer by `optimizer=`; or
            "projected-descent", the paper's projected gradient descent with a backtracked step,
            which takes neither form nor ridges.
        iterations: the greatest number of iterations, shared evenly by the stages, what one leaves
            going to the next.
        tolerance, window: stop a stage when its value fell by less than `tolerance` of itself over
            `window` iterations.
        seconds: wall-clock time after which to stop, `None` for no limit.
        callback: called as `callback(iteration of the stage, value, arrays)`; a true answer stops
            the stage.
        dtype: "float64" or "float32" to compute in.
        quiet: no progress bar.
        **options: for "adam": `optimizer`, `adam_share`.

    Returns: a `training.Fit`: the balanced network, the weight-space loss there, and the history of
        the values that were minimized (for the Tikhonov form those of its ridges, which lie below
        the loss).

    Raises:
        InputError: an argument out of range, or a network without array form.
        Interrupted: by Ctrl-C; its `best` is the `Fit` so far.

    Reference: [Jacot et al. 2022, §3.1, eq. 3.3].
    """
    problem = Problem.of(network, data, lam, cost)
    model = None if isinstance(network, DenseNetwork) else network
    if model is not None:
        network = DenseNetwork.from_model(model)
    problem.check(network)
    require(method in METHODS, "method", f"one of {sorted(METHODS)}", method)
    require(form in FORMS, "form", f"one of {sorted(FORMS)}", form)
    shown: dict = {"callback": callback, "quiet": quiet}
    stages: tuple = RIDGES[form] if ridges is None else tuple(ridges)
    solve: Callable
    if method == "projected-descent":
        stages, solve = (None,), partial(_projected_descent, problem, dtype, shown)
    else:
        minimize: Callable = lbfgs.minimize if method == "lbfgs" else _adam
        solve = _Ridged(problem, form, dtype, partial(minimize, **shown, **options))
    budget = Budget(iterations, tolerance, seconds, window)
    began, fitted = time.monotonic(), Fit(network)
    for stage, ridge in enumerate(stages):
        spent = time.monotonic() - began
        share = _share(budget.left(fitted.iterations, spent), len(stages) - stage)
        result, network = solve(network, ridge, share)
        _add(fitted, result, spent)
        if result.reason == "interrupted":
            break
    network = network.with_weights(balance(list(network.weights), network.activation))
    weights = Objective(problem)
    fitted.loss = float(weights(weights.encode(network))[0])
    fitted.seconds = time.monotonic() - began
    fitted.network = network
    if model is not None:
        network.into_model(model)
        fitted.network = model
    return fitted.unless_interrupted()


def _add(fitted, result, spent):
    """Put what a stage did behind what was done before."""
    fitted.history["loss"] += result.values
    fitted.history["seconds"] += [spent + moment for moment in result.times]
    fitted.iterations += result.iterations
    fitted.evaluations += result.evaluations
    fitted.reason = result.reason


class _Ridged:
    """The stages of a form, each at one ridge."""

    def __init__(self, problem, form, dtype, minimize):
        self.problem, self.form, self.dtype, self.minimize = problem, form, dtype, minimize
        self.arrays = None  # where the stage before ended

    def __call__(self, network, ridge, budget):
        """The `Result` of a stage from `network`, and the network there."""
        objective = RepresentationObjective(
            self.problem, form=self.form, ridge=ridge, dtype=self.dtype
        )
        # free representations go on as they are, whatever the ridge
        if self.arrays is None or self.form != "tikhonov":
            self.arrays = objective.encode(network)
        try:
            result = self.minimize(objective, self.arrays, budget, description=f"ridge {ridge:g}")
        except Interrupted as stop:
            result = stop.best
        self.arrays = result.arrays
        return result, objective.decode(result.arrays)


def _share(budget, count):
    """One of `count` even parts of a budget."""
    seconds = None if budget.seconds is None else budget.seconds / count
    return replace(budget, iterations=budget.iterations // count, seconds=seconds)


def data_start(
    data: Data, hidden: Sequence[int], *, activation: str = "relu", beta: float = 1.0, seed: int = 0
) -> DenseNetwork:
    """A random network whose representations fit the data: every Z_l has mean square 1 on the
    training points.

    Args:
        data: a `data.Dataset` or its name.
        hidden: hidden widths `(n_1, …, n_{L-1})`.
    """
    problem = Problem(data, 0.0, activation=activation, beta=beta)
    network = problem.random(hidden, seed)
    weights, a = [], network.augment(problem.x)
    for weight in network.weights:
        z = a @ weight
        scale = np.sqrt(np.mean(z**2)) or 1.0
        weights.append(weight / scale)
        a = network.augment(network.activate(z / scale))
    return network.with_weights(weights)


def _adam(objective, start, budget, *, description, adam_share=1.0, **options):
    return first_order.minimize(objective, start, budget, adam_share=adam_share, **options)


def _projected_descent(problem, dtype, shown, network, _ridge, budget):
    """Z ← P(Z − η ∂L_z/∂Z), with η halved until L_z falls [Jacot et al. 2022, eq. 3.3]:
    `(Result, network)`."""
    import tensorflow as tf

    from keras_l2feat import objectives
    from keras_l2feat.kernels import weights_from_representations
    from keras_l2feat.objectives.loss import activation_function

    x, y = tf.constant(problem.x, dtype), tf.constant(problem.y)
    activation, beta = activation_function(problem.activation), problem.beta
    loss = {"lam": problem.lam, "cost": problem.cost, "activation": activation, "beta": beta}

    @tf.function
    def gradient(representations):
        with tf.GradientTape() as tape:
            tape.watch(representations)
            value = objectives.representation(representations, (x, y), **loss)
        return value.total, tape.gradient(value.total, representations)

    @tf.function
    def project(representations):
        weights = weights_from_representations(x, representations, activation, beta=beta)
        return objectives.forward(weights, x, activation, beta)

    start = project([tf.constant(z, x.dtype) for z in network.forward(problem.x)[0]])
    run = Run(start, budget, **shown)
    with contextlib.suppress(Interrupted), keeping(run.result), run:
        point, rate = [tf.constant(z) for z in run.result.arrays], 1.0
        value, slopes = run.evaluate(gradient, point)
        while run.going and rate > 1e-15:
            trial = project([z - rate * slope for z, slope in zip(point, slopes)])
            trial_value, trial_slopes = run.evaluate(gradient, trial)
            if trial_value < value:
                point, value, slopes, rate = trial, trial_value, trial_slopes, 1.5 * rate
                run.step(value, point)
            else:
                rate /= 2
    weights = weights_from_representations(x, run.result.arrays, activation, beta=beta)
    return run.result, network.with_weights([weight.numpy() for weight in weights])
