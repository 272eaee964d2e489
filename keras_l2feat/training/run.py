"""What every full-batch optimizer of this package shares: the best point so far, its history, and
when to stop."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from keras_l2feat import progress
from keras_l2feat.errors import bad_argument, require
from keras_l2feat.types import Arrays, ValueAndGradient

__all__ = ["Budget", "Result", "Run", "Stop"]


@dataclass(frozen=True)
class Budget:
    """When a minimization ends.

    Attributes:
        iterations: the greatest number of iterations.
        tolerance: the decrease over `window` iterations, relative to the value, below which it has
            converged; 0 never ends it.
        seconds: wall-clock time, `None` for any.
        window: iterations over which the decrease is measured, as single steps of L-BFGS can be
            tiny.

    Raises:
        InputError: one of them is negative.
    """

    iterations: int = 3000
    tolerance: float = 1e-6
    seconds: float | None = None
    window: int = 20

    def __post_init__(self) -> None:
        for name in ("iterations", "tolerance", "seconds", "window"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise bad_argument(name, "at least 0", value)

    def left(self, iterations: int, seconds: float) -> "Budget":
        """What is left of it after so many iterations and seconds."""
        rest = None if self.seconds is None else max(0.0, self.seconds - seconds)
        return replace(self, iterations=self.iterations - iterations, seconds=rest)


@dataclass
class Result:
    """What a minimization ended with.

    Attributes:
        arrays: the best point seen, shapes and dtypes as in the start.
        value: the value there.
        iterations: steps done.
        evaluations: values and gradients computed.
        seconds: wall-clock time.
        reason: "converged", "max_iterations", "seconds", "interrupted", "callback" or "line_search"
            (no step lowers the value in this dtype).
        values: the value after each iteration, `(iterations + 1,)` floats, the start first.
        times: seconds since the start at each of `values`.
    """

    arrays: list
    value: float = np.inf
    iterations: int = 0
    evaluations: int = 0
    seconds: float = 0.0
    reason: str = "line_search"
    values: list = field(default_factory=list)
    times: list = field(default_factory=list)


class Stop(Exception):
    """Ends an optimizer's loop from inside; its argument is the reason."""


class Run:
    """One minimization in progress, as a context that turns `Stop` into a reason.

    Ctrl-C goes on to the caller, as `errors.keeping` says.

    Args: as for `lbfgs.minimize`; `start` is a list of arrays.
    """

    def __init__(
        self,
        start: Arrays,
        budget: Budget,
        *,
        callback: Callable | None = None,
        quiet: bool = False,
        description: str = "",
    ) -> None:
        self.result = Result([np.asarray(array) for array in start])
        self.budget = budget
        self._callback = callback
        self._recent = deque(maxlen=budget.window + 1)
        self._bar = progress.bar(
            total=budget.iterations, description=description, quiet=quiet, unit="step"
        )
        self._began = time.monotonic()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        self._bar.close()
        self.result.seconds = time.monotonic() - self._began
        if kind is Stop:
            self.result.reason = error.args[0]
        elif kind is None and not self.going:
            self.result.reason = "max_iterations"
        return kind is Stop

    @property
    def going(self) -> bool:
        """Whether there are iterations left."""
        return self.result.iterations < self.budget.iterations

    def evaluate(self, value_and_gradient: ValueAndGradient, arrays: Arrays) -> tuple:
        """`(value, gradients)` of the function at a point, which is kept if it is the best yet."""
        value, gradients = value_and_gradient(arrays)
        return self.seen(value, arrays), gradients

    def seen(self, value: float, arrays: Arrays) -> float:
        """Take note of the value at a point, which is kept if it is the best yet."""
        value = float(value)
        result = self.result
        result.evaluations += 1
        if value < result.value:
            result.value, result.arrays = value, arrays
        if result.evaluations == 1:
            require(np.isfinite(value), "start", "a point with a finite value", value)
            self._record(value)
        return value

    def step(self, value: float, arrays: Arrays) -> None:
        """Count one iteration that ended at `arrays`; raises `Stop` where a rule says so."""
        self._record(value)
        result = self.result
        result.iterations += 1
        self._bar.update()
        self._bar.set_postfix(loss=f"{result.value:.6g}", refresh=False)
        if self._callback is not None and self._callback(result.iterations, value, arrays):
            raise Stop("callback")
        recent, tolerance, seconds = self._recent, self.budget.tolerance, self.budget.seconds
        full = len(recent) == recent.maxlen
        if tolerance and full and recent[0] - value <= tolerance * abs(value):
            raise Stop("converged")
        if seconds is not None and time.monotonic() - self._began > seconds:
            raise Stop("seconds")

    def _record(self, value):
        self.result.values.append(value)
        self.result.times.append(time.monotonic() - self._began)
        self._recent.append(value)
