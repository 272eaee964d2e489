"""Least-norm weights, the projection, and networks from their representations."""

import numpy as np
import pytest
import tensorflow as tf

from keras_l2feat.errors import InputError
from keras_l2feat.kernels import (
    column_coordinates,
    coordinate_weights,
    least_norm_weights,
    project,
    weights_from_representations,
)
from keras_l2feat.network import DenseNetwork


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def matrix(kind):
    """(A, Z): tall, wide, or of planted rank 2."""
    points, features = {"tall": (8, 4), "wide": (4, 8), "rank 2": (7, 5)}[kind]
    a = draw(points, features, seed=1)
    if kind == "rank 2":
        a = draw(points, 2, seed=1) @ draw(2, features, seed=2)
    return a, draw(points, 3)


KINDS = ["tall", "wide", "rank 2"]


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_those_of_the_pseudo_inverse_and_of_ridge_regression(kind):
    a, z = matrix(kind)
    np.testing.assert_allclose(
        least_norm_weights(z, a), np.linalg.pinv(a, rcond=1e-12) @ z, atol=1e-12
    )
    ridge = 0.1 * np.sum(a**2) / len(a)
    expected = np.linalg.solve(a.T @ a + ridge * np.eye(a.shape[1]), a.T @ z)
    np.testing.assert_allclose(least_norm_weights(z, a, 0.1, relative=True), expected, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_projection_is_one(kind):
    a, z = matrix(kind)
    projected = project(z, a).numpy()
    np.testing.assert_allclose(project(projected, a), projected, atol=1e-12)  # idempotent
    np.testing.assert_allclose(a.T @ (z - projected), 0, atol=1e-11)  # orthogonal
    np.testing.assert_allclose(
        project(a @ draw(a.shape[1], 2), a), a @ draw(a.shape[1], 2), atol=1e-12
    )
    # the limit of its ridge form
    np.testing.assert_allclose(project(z, a, 1e-9), projected, atol=1e-6)


@pytest.mark.parametrize("ridge", [0.0, 0.2])
@pytest.mark.parametrize("kind", KINDS)
def test_first_and_second_derivatives_against_finite_differences(kind, ridge, check_derivatives):
    a, z = matrix(kind)
    probe = draw(a.shape[1], 3, seed=5)
    dz, left, right = (
        draw(*z.shape, seed=6),
        draw(len(a), len(a), seed=7),
        draw(a.shape[1], a.shape[1], seed=8),
    )

    def along(t):
        """Along (I + t L) A (I + t R), a change that keeps the rank."""
        moved = tf.matmul(tf.matmul(np.eye(len(a)) + t * left, a), np.eye(a.shape[1]) + t * right)
        return tf.reduce_sum(probe * least_norm_weights(z + t * dz, moved, ridge))

    check_derivatives(along)


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_weights_of_a_network_come_back_without_their_residual(beta):
    network = DenseNetwork.random((5, 4, 6, 2), beta=beta, seed=3)
    x = draw(30, 5)
    representations, _ = network.forward(x)
    weights = weights_from_representations(x, representations, tf.nn.relu, beta=beta)
    again, _ = network.with_weights(weights).forward(x)
    for ours, theirs in zip(again, representations):
        np.testing.assert_allclose(ours, theirs, atol=1e-11)
    assert network.with_weights(weights).squared_norm <= network.squared_norm * (1 + 1e-12)


def test_unreachable_representations_are_projected_layer_by_layer():
    x = draw(30, 5)
    wanted = [draw(30, 4, seed=1), draw(30, 2, seed=2)]
    weights = weights_from_representations(x, wanted, tf.nn.relu)
    network = DenseNetwork(tuple(w.numpy() for w in weights))
    z, a = network.forward(x)
    np.testing.assert_allclose(z[0], project(wanted[0], a[0]), atol=1e-12)
    np.testing.assert_allclose(z[1], project(wanted[1], a[1]), atol=1e-12)


def test_leading_dimensions_and_bad_input():
    a, z = draw(3, 6, 4), draw(3, 6, 2, seed=1)
    for ridge in (0.0, 0.1):
        np.testing.assert_allclose(
            least_norm_weights(z, a, ridge)[1], least_norm_weights(z[1], a[1], ridge), atol=1e-12
        )
    with pytest.raises(InputError, match="'representations' must be at least one array"):
        weights_from_representations(z[0], [], tf.nn.relu)
    with pytest.raises(InputError, match="'ridge' must be"):
        project(z, a, -1.0)


def test_coordinates_in_an_orthonormal_basis_of_the_columns():
    a, w = draw(9, 4), draw(4, 3, seed=1)
    v = column_coordinates(w, a, 1e-12)
    np.testing.assert_allclose(coordinate_weights(v, a, 1e-12), w, atol=1e-10)
    assert np.sum(v.numpy() ** 2) == pytest.approx(np.sum((a @ w) ** 2))  # an isometry from V to Z
    np.testing.assert_allclose(
        coordinate_weights(column_coordinates(w, a, 3.0, relative=True), a, 3.0, relative=True), w
    )
    with pytest.raises(InputError, match="'ridge' must be positive"):
        coordinate_weights(v, a, 0)
