"""Full-batch training of Keras models and of networks as arrays."""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_l2feat import regularizers
from keras_l2feat.backend import require_tensorflow
from keras_l2feat.data import load
from keras_l2feat.errors import InputError, Interrupted, bad_argument, require
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives.data_term import data_term
from keras_l2feat.objectives.problem import Problem
from keras_l2feat.training import first_order, lbfgs
from keras_l2feat.training.balancing import balance
from keras_l2feat.training.gradient import Objective
from keras_l2feat.training.model_gradient import ModelObjective
from keras_l2feat.training.run import Budget
from keras_l2feat.types import Cost, Data, Model

__all__ = ["Fit", "fit"]

METHODS: dict[str, Callable] = {"lbfgs": lbfgs.minimize, "adam": first_order.minimize}
OPTIONS = {"lbfgs": {"window"}, "adam": {"window", "optimizer", "adam_share"}}  # of its own


@dataclass
class Fit:
    """What a training run ended with.

    Attributes:
        network: the trained network: the very Keras model that was given, or a new `DenseNetwork`.
        loss: C + λ Σ‖W‖² there.
        iterations, evaluations, seconds, reason: as in `training.run.Result`.
        history: lists with one entry an iteration, the start first: "loss", "seconds", and what
            callbacks log.
    """

    network: Any
    loss: float = np.inf
    iterations: int = 0
    evaluations: int = 0
    seconds: float = 0.0
    reason: str = "max_iterations"
    history: dict = field(default_factory=lambda: {"loss": [], "seconds": []})

    def unless_interrupted(self) -> "Fit":
        """The fit itself; where Ctrl-C ended it, `Interrupted` with it as `best`."""
        if self.reason == "interrupted":
            raise Interrupted(best=self)
        return self


def fit(
    network: Model | DenseNetwork,
    data: Data,
    *,
    lam: float | None = None,
    cost: Cost | None = None,
    method: str = "lbfgs",
    iterations: int = 3000,
    tolerance: float = 1e-6,
    seconds: float | None = None,
    batch_size: int | None = None,
    callbacks: Sequence = (),
    dtype: str = "float64",
    quiet: bool = False,
    **options,
) -> Fit:
    """Minimize `C + λ Σ‖W‖²` over the weights of `network` on full batches. The same call gives the
    same result.

    Chains of `Dense` or `HomogeneousDense` layers with one activation train on one compiled step
    that networks of all widths share, and are balanced before and after; other Keras models train
    on a step of their own, in inference mode (no dropout, batch statistics as they are).

    Args:
        network: a Keras model, trained in place, or a `DenseNetwork`, which stays as it is.
        data: a `data.Dataset`, its name, a pair of arrays `(x, y)`, or a `tf.data.Dataset` of
            finite batches `(x, y)` (one evaluation is one pass, memory that of a batch).
        lam: λ ≥ 0, put on every layer of a Keras model; `None` takes the λ that its layers carry.
        cost: "crossentropy" (a model that ends in softmax or sigmoid gives probabilities, one that
            ends linearly their logits), "squared" or a function `(outputs, y) -> scalar`. By
            default the loss that the model is compiled with, and else the data set's usual one.
        method: "lbfgs", or "adam" for the paper's Adam followed by gradient descent.
        iterations: the greatest number of iterations, each one full batch.
        tolerance: stop when the loss fell by less than this share of itself over 20 iterations.
        seconds: wall-clock time after which to stop, `None` for no limit.
        batch_size: points in memory at a time (the gradients are still of the full batch), `None`
            for all.
        callbacks: Keras callbacks; an iteration is an epoch to them. What they change in the model
            (as `callbacks.AlignNeurons` does) is where training goes on; `model.stop_training` ends
            it.
        dtype: "float32" or "float64" to compute in: float64 by default for dense chains, whatever
            their own dtype (float32 halves the time of a step, and ends where rounding fails the
            line search). Other models compute in their own.
        quiet: no progress bar.
        **options: of the method: `window`; for "adam" also `optimizer` (any Keras optimizer) and
            `adam_share`.

    Returns: a `Fit`.

    Raises:
        InputError: an argument out of range, data that do not fit the network, λ missing, or a
            model of which it is not clear whether its outputs are logits or probabilities.
        Interrupted: by Ctrl-C; its `best` is the `Fit` so far, and a Keras model holds its weights.

    Example:
    >>> from keras_l2feat import models
    >>> model = models.mlp(784, (20, 20), 3, lam=1e-3)
    >>> fitted = fit(model, "mnist-789-42", iterations=5, quiet=True)
    >>> len(fitted.history["loss"])
    6
    """
    keras = require_tensorflow()
    require(method in METHODS, "method", f"one of {sorted(METHODS)}", method)
    for name in options.keys() - OPTIONS[method]:
        raise InputError(
            f"Method {method!r} has no option {name!r}. "
            f"Options: {', '.join(sorted(OPTIONS[method]))}."
        )
    own = {"window": options.pop("window")} if "window" in options else {}
    budget = Budget(iterations, tolerance, seconds, **own)
    minimize = functools.partial(METHODS[method], quiet=quiet, **options)
    import tensorflow as tf

    if not isinstance(data, tf.data.Dataset):
        data = load(data)
    model = network
    if isinstance(network, DenseNetwork):
        problem = Problem.of(network, data, lam, cost)
        if not callbacks:
            course = _Arrays(network, problem, dtype, batch_size)
            return _fit(course, None, (), minimize, budget).unless_interrupted()
        model, cost = network.to_model(dtype=dtype, lam=problem.lam), problem.cost
    elif not isinstance(network, keras.Model):
        raise bad_argument("network", "a Keras model or a DenseNetwork", network)
    if lam is not None:
        regularizers.regularize(model, lam)
    course = _course(model, data, data_term(model, data, cost), dtype, batch_size)
    fitted = _fit(course, model, callbacks, minimize, budget)
    fitted.network = model if model is network else DenseNetwork.from_model(model)
    return fitted.unless_interrupted()


class _Arrays:
    """A dense network, as the compiled step that all widths share sees it."""

    def __init__(self, network, problem, dtype, batch_size):
        problem.check(network)
        self.objective = Objective(problem, dtype=dtype, batch_size=batch_size)
        self.start = self.balanced(self.objective.encode(network))

    def balanced(self, arrays):
        return balance(arrays, self.objective.problem.activation)

    def network(self, arrays):
        return self.objective.decode(arrays)


class _DenseModel(_Arrays):
    """A Keras chain of dense layers, by its arrays."""

    def __init__(self, model, network, *arguments):
        super().__init__(network, *arguments)
        self.model = model

    def network(self, arrays):
        self.objective.decode(arrays).into_model(self.model)
        return self.model

    def read(self):
        return self.objective.encode(DenseNetwork.from_model(self.model))


class _AnyModel:
    """Any other Keras model, by its trainable variables."""

    def __init__(self, model, data, cost, batch_size):
        self.model = model
        self.objective = ModelObjective(model, data, cost=cost, batch_size=batch_size)
        self.start = self.read()

    def balanced(self, arrays):
        return arrays

    def network(self, arrays):
        self.objective.assign(arrays)
        return self.model

    def read(self):
        return self.objective.arrays()


def _course(model, data, term, dtype, batch_size):
    """The fast form where the model is a chain of dense layers that all train and its data term is
    one of Z_L, the general one elsewhere."""
    try:
        network = DenseNetwork.from_model(model)
        lam = regularizers.amount(model)
    except InputError:
        network = None
    trains = all(weight.trainable for weight in model.weights)
    if network is None or term.chain is None or not trains:
        return _AnyModel(model, data, term.outputs, batch_size)
    problem = Problem.of(network, data, lam, term.chain)
    return _DenseModel(model, network, problem, dtype, batch_size)


def _fit(course, model, callbacks, minimize, budget):
    """Run the optimizer, again from wherever callbacks move the model; what Ctrl-C cuts short is
    told by the reason."""
    fitted, began = Fit(model), time.monotonic()
    watcher = (
        _Watcher(course, model, callbacks, fitted.history, budget.iterations) if callbacks else None
    )
    start = course.start
    while True:
        offset = time.monotonic() - began
        rest = budget.left(fitted.iterations, offset)
        try:
            result = minimize(course.objective, start, rest, callback=watcher)
        except Interrupted as stop:
            result = stop.best
        first = 1 if fitted.history["loss"] else 0
        fitted.history["loss"] += result.values[first:]
        fitted.history["seconds"] += [offset + moment for moment in result.times[first:]]
        fitted.iterations += result.iterations
        fitted.evaluations += result.evaluations
        fitted.reason = result.reason
        if watcher is None or watcher.moved is None or fitted.reason == "interrupted":
            break
        start, watcher.moved = watcher.moved, None
    arrays = course.balanced(result.arrays)
    fitted.network = course.network(arrays)
    if watcher is not None and watcher.end():
        arrays = course.read()
    fitted.loss = float(course.objective(arrays)[0])
    fitted.seconds = time.monotonic() - began
    return fitted


class _Watcher:
    """Shows each iteration to Keras callbacks as an epoch, and notices when they change the
    model."""

    def __init__(self, course, model, callbacks, history, epochs):
        import keras

        self._course, self._model, self._history = course, model, history
        self._callbacks = keras.callbacks.CallbackList(list(callbacks), model=model)
        self._callbacks.set_params({"steps": 1, "epochs": epochs})
        # the end of a batch is where a callback shows the others other weights than it trains on
        self._watched = len(callbacks) > 1
        self._epoch = 0
        self.moved = None
        model.stop_training = False
        course.network(course.start)
        self._callbacks.on_train_begin()
        self._callbacks.on_epoch_begin(0)

    def __call__(self, iteration, value, arrays):
        self._course.network(arrays)
        before = self._weights()
        logs = {"loss": value}
        if self._watched:
            self._callbacks.on_train_batch_begin(0)
            self._callbacks.on_train_batch_end(0)
        # one by one: the list would hand them a copy of the logs
        for callback in self._callbacks.callbacks:
            callback.on_epoch_end(self._epoch, logs)
        self._epoch += 1
        self._callbacks.on_epoch_begin(self._epoch)
        for key in logs.keys() - {"loss"}:
            self._history.setdefault(key, []).append(logs[key])
        if self._changed(before):
            self.moved = self._course.read()
        return self.moved is not None or self._model.stop_training

    def end(self) -> bool:
        """Tell the callbacks that training ends; whether they changed the model then."""
        before = self._weights()
        self._callbacks.on_train_end()
        return self._changed(before)

    def _weights(self):
        return [weight.numpy() for weight in self._model.trainable_variables]

    def _changed(self, before):
        return any(not np.array_equal(old, new) for old, new in zip(before, self._weights()))
