"""Slopes at kinks: a planted minimum on a kink is stationary; without kinks nothing changes."""

import numpy as np
import pytest

from keras_l2feat.network import DenseNetwork
from keras_l2feat.plateau.kinks import KINK, stationary_gradients

LAM = 0.1


@pytest.mark.parametrize("slope", [0.0, 0.3, 1.0])
def test_planted_slope_is_found(slope):
    """w = (0, 1): the point (1, 0) is on its kink, and the minimum needs `slope` there."""
    network = DenseNetwork(([[0.0], [1.0]], [[1.0]]), beta=0.0)
    x = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    upstream = np.array([[2.0], [2 * slope - 2 * LAM], [-2 * slope]])
    z, a = network.forward(x)
    first, last = stationary_gradients(network, z, a, upstream, LAM)
    assert last is upstream
    assert first[0, 0] == pytest.approx(2 * slope, abs=1e-5)
    assert 2 * LAM * network.weights[0] + x.T @ first == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "linear"])
def test_away_from_kinks_it_is_backpropagation(activation):
    network = DenseNetwork.random((3, 5, 4, 2), activation=activation, seed=4)
    x = np.random.default_rng(0).standard_normal((6, 3))
    upstream = np.random.default_rng(1).standard_normal((6, 2))
    z, a = network.forward(x)
    assert all((np.abs(v) > KINK * np.abs(v).max(axis=0)).all() for v in z[:-1])
    expected = network.backward(x, lambda outputs: (0.0, upstream))[2]
    for found, usual in zip(stationary_gradients(network, z, a, upstream, LAM), expected):
        np.testing.assert_allclose(found, usual)


def test_no_other_slopes_leave_less():
    """Points on kinks of both layers: the residual of each layer is the least of all slopes."""
    generator = np.random.default_rng(3)
    network = DenseNetwork.random((4, 3, 3, 2), seed=2, beta=0.0)
    x = generator.standard_normal((12, 4))
    w = network.weights[0][:, 0]
    x[:4] -= np.outer(x[:4] @ w / (w @ w), w)  # four points on the kink of the first neuron
    upstream = generator.standard_normal((12, 2))
    z, a = network.forward(x)
    gradients = stationary_gradients(network, z, a, upstream, LAM)
    outside = gradients[1] @ network.weights[1].T
    residual = 2 * LAM * w + x.T @ gradients[0][:, 0]
    for _ in range(200):
        other = gradients[0][:, 0].copy()
        other[:4] = outside[:4, 0] * generator.uniform(size=4)
        assert np.linalg.norm(residual) <= np.linalg.norm(2 * LAM * w + x.T @ other) + 1e-6
