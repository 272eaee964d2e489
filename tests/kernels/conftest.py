"""What several kernels are held against."""

import pytest


@pytest.fixture
def check_derivatives():
    """A function of one number and its first two derivatives against central differences, which err
    by step² from the third derivative and by eps/step from rounding."""
    import tensorflow as tf

    def check(function, *, step=1e-6, rel=1e-5):
        def along(t):
            t = tf.constant(t, tf.float64)
            with tf.GradientTape() as outer:
                outer.watch(t)
                with tf.GradientTape() as inner:
                    inner.watch(t)
                    value = function(t)
                first = inner.gradient(value, t)
            return value.numpy(), first.numpy(), outer.gradient(first, t).numpy()

        _, first, second = along(0.0)
        forward, backward = along(step), along(-step)
        assert first == pytest.approx((forward[0] - backward[0]) / (2 * step), rel=rel)
        assert second == pytest.approx((forward[1] - backward[1]) / (2 * step), rel=rel)

    return check
