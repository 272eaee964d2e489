import numpy as np
import pytest

from keras_l2feat.training import lbfgs
from keras_l2feat.training.many import minimize_many


def quartic(arrays):
    (x,) = arrays
    return np.sum((x - 1) ** 4, axis=-1), [4 * (x - 1) ** 3]


def test_each_run_is_what_it_would_be_alone():
    starts = [[np.full(3, value)] for value in (0.0, 5.0, -20.0)]
    together = minimize_many(quartic, starts, max_iterations=30, tolerance=1e-3)
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
        minimize_many(broken, [[np.zeros(2)], [np.full(2, 9.0)]])
