import os
import signal

import numpy as np
import pytest

from keras_l2feat.training import lbfgs


def quartic(arrays):
    (x,) = arrays
    return np.sum((x - 1) ** 4, axis=-1), [4 * (x - 1) ** 3]


def test_each_run_is_what_it_would_be_alone():
    starts = [[np.full(3, value)] for value in (0.0, 5.0, -20.0)]
    together = lbfgs.minimize_many(quartic, starts, max_iterations=30, tolerance=1e-3)
    for start, result in zip(starts, together):
        alone = lbfgs.minimize(quartic, start, max_iterations=30, tolerance=1e-3, quiet=True)
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


def test_an_interrupt_ends_all_runs_with_the_best_of_each():
    def interrupted(arrays):
        if interrupted.calls == 5:
            os.kill(os.getpid(), signal.SIGINT)
        interrupted.calls += 1
        return quartic(arrays)

    interrupted.calls = 0
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell runs in the background
    starts = [[np.zeros(2)], [np.full(2, 9.0)]]
    results = lbfgs.minimize_many(interrupted, starts)
    assert [result.reason for result in results] == ["interrupted"] * 2
    for start, result in zip(starts, results):
        assert result.value == min(result.values) < quartic(start)[0]
