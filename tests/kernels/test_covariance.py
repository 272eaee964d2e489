"""The covariance cost against the representation cost, dense algebra and finite differences."""

import numpy as np
import pytest
import tensorflow as tf

from keras_l2feat.errors import InputError
from keras_l2feat.kernels import covariance_cost, representation_cost


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("ridge", [0.0, 0.3])
@pytest.mark.parametrize("points, features", [(8, 4), (4, 8)])
def test_it_is_the_representation_cost_of_the_covariances(points, features, ridge):
    a = draw(points, features, seed=1)
    z = a @ draw(features, 3)
    got = covariance_cost(z @ z.T, a @ a.T, ridge).numpy()
    assert got == pytest.approx(float(representation_cost(z, a, ridge)), rel=1e-10)
    got = covariance_cost(z @ z.T, a @ a.T, 0.1, relative=True).numpy()
    assert got == pytest.approx(float(representation_cost(z, a, 0.1, relative=True)), rel=1e-10)


@pytest.mark.parametrize("ridge", [0.0, 0.3, "relative"])
def test_first_and_second_derivatives_against_finite_differences(ridge, check_derivatives):
    options = {"ridge": 0.1, "relative": True} if ridge == "relative" else {"ridge": ridge}
    a, z, dz = draw(5, 5, seed=1), draw(5, 2), draw(5, 2, seed=2)
    turn = draw(5, 5, seed=3)

    def cost(t):
        moved, b = z + t * dz, a + t * turn
        k, k_sigma = (tf.matmul(m, m, transpose_b=True) for m in (moved, b))
        return covariance_cost(k, k_sigma, **options)

    check_derivatives(cost)


def test_gradients_are_the_closed_forms():
    k, s = draw(4, 2), draw(4, 6, seed=1)
    k, s = tf.constant(k @ k.T), tf.constant(s @ s.T)
    with tf.GradientTape() as tape:
        tape.watch([k, s])
        value = covariance_cost(k, s, 0.2)
    p = np.linalg.inv(s.numpy() + 0.2 * np.eye(4))
    of_k, of_s = tape.gradient(value, [k, s])
    np.testing.assert_allclose(of_k, p, atol=1e-12)
    np.testing.assert_allclose(of_s, -p @ k.numpy() @ p, atol=1e-12)


def test_convex_in_the_pair():
    """Midpoints of random pairs never lie above the mean of the values [Jacot et al. 2022,
    §3.2]."""
    for seed in range(50):
        factors = [draw(5, 3, seed=4 * seed + index) for index in range(4)]
        k, s, k2, s2 = (f @ f.T for f in factors)
        middle = covariance_cost((k + k2) / 2, (s + s2) / 2, 0.1)
        assert middle <= (covariance_cost(k, s, 0.1) + covariance_cost(k2, s2, 0.1)) / 2 + 1e-12


def test_zeros_leading_dimensions_and_bad_input():
    zero = np.zeros((3, 3))
    assert covariance_cost(zero, zero).numpy() == 0
    assert covariance_cost(zero, zero, 0.1, relative=True).numpy() == 0
    k, s = draw(2, 3, 3), draw(2, 3, 3, seed=1)
    k, s = k @ k.transpose(0, 2, 1), s @ s.transpose(0, 2, 1)
    for ridge in (0.0, 0.1):
        np.testing.assert_allclose(
            covariance_cost(k, s, ridge)[1], covariance_cost(k[1], s[1], ridge), rtol=1e-9
        )
    with pytest.raises(InputError, match="'ridge' must be a finite number"):
        covariance_cost(zero, zero, -0.5)
