import itertools
import os
import signal
import threading

import numpy as np
import pytest

from keras_l2feat.errors import InputError, Interrupted
from keras_l2feat.training import Budget, first_order, lbfgs


def rosenbrock(arrays):
    (x,), (y,) = arrays
    value = (1 - x) ** 2 + 100 * (y - x * x) ** 2
    return value, [np.array([-2 * (1 - x) - 400 * x * (y - x * x)]), np.array([200 * (y - x * x)])]


START = [np.array([-1.2]), np.array([1.0])]


def test_finds_the_known_minimum_and_keeps_history():
    result = lbfgs.minimize(rosenbrock, START, quiet=True)
    np.testing.assert_allclose(np.concatenate(result.arrays), [1, 1], atol=1e-6)
    assert len(result.values) == len(result.times) == result.iterations + 1
    assert result.values[0] == rosenbrock(START)[0]
    assert result.value == min(result.values)
    assert result.times == sorted(result.times)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shapes_and_dtypes_survive(dtype):
    start = [np.ones((2, 3), dtype), np.ones(4, dtype)]
    result = lbfgs.minimize(
        lambda a: (sum((x**2).sum() for x in a), [2 * x for x in a]), start, quiet=True
    )
    assert [(x.shape, x.dtype) for x in result.arrays] == [(x.shape, x.dtype) for x in start]
    assert result.value < 1e-10


def test_stops_on_iterations_relative_decrease_callback_and_time():
    def slow(arrays):
        return 1.0 + 1e-9 * float(arrays[0] @ arrays[0]), [2e-9 * arrays[0]]

    assert lbfgs.minimize(rosenbrock, START, Budget(3), quiet=True).reason == "max_iterations"
    assert (
        lbfgs.minimize(rosenbrock, START, callback=lambda i, v, a: i == 2, quiet=True).reason
        == "callback"
    )
    assert lbfgs.minimize(rosenbrock, START, Budget(seconds=0.0), quiet=True).iterations == 1
    rough = lbfgs.minimize(rosenbrock, START, Budget(tolerance=10.0, window=5), quiet=True)
    assert (rough.reason, rough.iterations) == ("converged", 5)
    assert lbfgs.minimize(slow, [np.ones(2)], quiet=True).value >= 1.0


def test_steps_where_the_value_is_not_finite_are_shortened():
    def logarithm(arrays):
        (x,) = arrays[0]
        return (x - np.log(x) if x > 0 else np.nan), [np.array([1 - 1 / x])]

    result = lbfgs.minimize(logarithm, [np.array([1e-3])], Budget(tolerance=0), quiet=True)
    assert result.arrays[0][0] == pytest.approx(1.0, abs=1e-4)


def interrupted(function, call):
    """The function, with Ctrl-C in the middle of the given call."""
    # ignored in what a shell runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)
    calls = itertools.count()

    def wrapped(arrays):
        if next(calls) == call:
            os.kill(os.getpid(), signal.SIGINT)
        return function(arrays)

    return wrapped


def test_interrupt_goes_on_with_the_best_so_far():
    assert threading.current_thread() is threading.main_thread()
    with pytest.raises(Interrupted) as stopped:
        lbfgs.minimize(interrupted(rosenbrock, 7), START, quiet=True)
    result = stopped.value.best
    assert result.reason == "interrupted"
    assert result.value == min(result.values[: result.iterations + 1] + [result.value])
    assert result.value < rosenbrock(START)[0]


def test_bad_arguments_are_named():
    with pytest.raises(InputError, match="'start' must be a point with a finite value"):
        lbfgs.minimize(lambda a: (np.nan, a), [np.ones(1)], quiet=True)
    with pytest.raises(InputError, match="'tolerance' must be at least 0"):
        Budget(tolerance=-1)


def test_adam_then_descent_ends_no_higher_than_adam():
    result = first_order.minimize(
        lambda a: (float(np.sum(a[0] ** 2 * [1, 30])), [2 * a[0] * [1, 30]]),
        [np.array([1.0, 1.0])],
        Budget(300),
        adam_share=0.3,
        quiet=True,
    )
    assert result.value < 1e-8
    assert result.value <= min(result.values[:90])
    descent = result.values[91:]
    assert all(after <= before for before, after in zip(descent, descent[1:]))  # noqa: RUF007


def quartic(arrays):
    (x,) = arrays
    return np.sum((x - 1) ** 4, axis=-1), [4 * (x - 1) ** 3]


def test_each_run_is_what_it_would_be_alone():
    starts = [[np.full(3, value)] for value in (0.0, 5.0, -20.0)]
    budget = Budget(30, 1e-3)
    together = lbfgs.minimize_many(quartic, starts, budget)
    for start, result in zip(starts, together):
        alone = lbfgs.minimize(quartic, start, budget, quiet=True)
        np.testing.assert_array_equal(result.arrays[0], alone.arrays[0])
        assert (result.iterations, result.reason) == (alone.iterations, alone.reason)


def test_an_error_reaches_the_caller_and_nobody_waits_forever():
    def broken(arrays):
        if broken.calls == 3:
            raise ArithmeticError("no more")
        broken.calls += 1
        return quartic(arrays)

    broken.calls = 0
    with pytest.raises(ArithmeticError, match="no more"):
        lbfgs.minimize_many(broken, [[np.zeros(2)], [np.full(2, 9.0)]])


def test_an_interrupt_ends_many_runs_and_passes_for_no_result():
    starts = [[np.zeros(2)], [np.full(2, 9.0)]]
    with pytest.raises(KeyboardInterrupt):
        lbfgs.minimize_many(interrupted(quartic, 5), starts)


@pytest.mark.parametrize("share", [0.9, 0.1], ids=["Adam", "descent"])
def test_adam_and_descent_are_interrupted_likewise(share):
    with pytest.raises(Interrupted) as stopped:
        first_order.minimize(
            interrupted(rosenbrock, 9), START, Budget(20), adam_share=share, quiet=True
        )
    result = stopped.value.best
    assert result.reason == "interrupted"
    assert len(result.values) == result.iterations + 1
    assert result.value == min(result.values)
