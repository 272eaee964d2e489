"""The representation cost against dense linear algebra, finite differences, its limits and
degenerate inputs."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_l2feat.errors import InputError
from keras_l2feat.kernels import append_bias, mean_square, representation_cost, ridge_solution

SHAPES = [(9, 5, 3), (5, 9, 3), (6, 6, 2), (1, 4, 3), (7, 1, 1)]  # N, n, k


def draw(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def dense(z, a, ridge):
    """tr[Zᵀ (A Aᵀ + ρI)⁻¹ Z] by the N×N system, and its three gradients, in NumPy."""
    inverse = np.linalg.inv(a @ a.T + ridge * np.eye(len(a)))
    m = inverse @ z
    return np.vdot(z, m), 2 * m, -2 * m @ (m.T @ a), -np.vdot(m, m)


def value_and_gradients(function, *arguments):
    arguments = [tf.convert_to_tensor(argument) for argument in arguments]
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        value = function(*arguments)
    return [x.numpy() for x in (value, *tape.gradient(value, arguments))]


@settings(max_examples=40)
@given(
    points=st.integers(1, 12),
    features=st.integers(1, 12),
    outputs=st.integers(1, 4),
    ridge=st.floats(1e-3, 1e3),
    seed=st.integers(0, 1000),
)
def test_value_and_gradients_are_those_of_the_dense_system(points, features, outputs, ridge, seed):
    z, a = draw(points, outputs, seed=seed), draw(points, features, seed=seed + 1)
    got = value_and_gradients(representation_cost, z, a, np.float64(ridge))
    for ours, theirs in zip(got, dense(z, a, ridge)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9 * np.abs(theirs).max())


@pytest.mark.parametrize("shape", SHAPES)
def test_value_is_the_minimum_over_weights(shape):
    points, features, outputs = shape
    z, a, ridge = draw(points, outputs), draw(points, features, seed=1), 0.3
    _, w = ridge_solution(tf.constant(z), tf.constant(a), tf.constant(ridge, tf.float64))
    value = float(representation_cost(z, a, ridge))

    def penalty(w):
        return np.sum(w**2) + np.sum((z - a @ w) ** 2) / ridge

    assert penalty(w.numpy()) == pytest.approx(value, rel=1e-12)
    for seed in range(20):
        assert penalty(w.numpy() + 0.1 * draw(features, outputs, seed=seed)) > value


@pytest.mark.parametrize("ridge", [0.0, 0.3, "relative"])
@pytest.mark.parametrize("shape", SHAPES[:3])
def test_first_and_second_derivatives_against_finite_differences(shape, ridge, check_derivatives):
    points, features, outputs = shape
    z, a = draw(points, outputs), draw(points, features, seed=1)
    dz, da = draw(points, outputs, seed=2), draw(points, features, seed=3)
    options = {"ridge": 0.1, "relative": True} if ridge == "relative" else {"ridge": ridge}

    def cost(t):
        return representation_cost(z + t * dz, a + t * da, **options)

    check_derivatives(cost, step=1e-5, rel=1e-6)


@pytest.mark.parametrize("shape", SHAPES[:2])
def test_third_derivative_against_finite_differences(shape):
    points, features, outputs = shape
    z, a = draw(points, outputs), draw(points, features, seed=1)
    dz, da = draw(points, outputs, seed=2), draw(points, features, seed=3)

    def curvature(t):
        with tf.GradientTape() as second:
            second.watch(t)
            with tf.GradientTape() as first:
                first.watch(t)
                value = representation_cost(z + t * dz, a + t * da, 0.5)
            slope = first.gradient(value, t)
        return second.gradient(slope, t)

    t, step = tf.constant(0.0, tf.float64), 1e-5
    with tf.GradientTape() as third:
        third.watch(t)
        value = curvature(t)
    difference = (curvature(t + step) - curvature(t - step)) / (2 * step)
    assert third.gradient(value, t).numpy() == pytest.approx(difference.numpy(), rel=1e-6)


def test_leading_dimensions_are_separate_problems():
    z, a = draw(2, 3, 6, 4), draw(2, 3, 6, 5, seed=1)
    ridges = np.array([[0.1, 0.2, 0.3], [1.0, 2.0, 3.0]])
    together = value_and_gradients(representation_cost, z, a, ridges)
    for index in np.ndindex(2, 3):
        alone = value_and_gradients(representation_cost, z[index], a[index], ridges[index])
        for whole, part in zip(together, alone):
            np.testing.assert_allclose(whole[index], part, rtol=1e-12)
    shared = value_and_gradients(representation_cost, z, a, np.float64(0.5))
    assert shared[3].shape == ()


@pytest.mark.parametrize("shape", SHAPES)
def test_exact_limit_is_the_pseudo_inverse_and_the_ridge_tends_to_it(shape):
    points, features, outputs = shape
    a = draw(points, features, seed=1)
    z = a @ draw(features, outputs)
    exact = float(representation_cost(z, a))
    assert exact == pytest.approx(np.sum((np.linalg.pinv(a) @ z) ** 2), rel=1e-10)
    costs = [float(representation_cost(z, a, ridge)) for ridge in (1e-2, 1e-4, 1e-6, 1e-8)]
    assert costs == sorted(costs)  # the ridge only ever lowers the cost
    assert costs[-1] == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_exact_gradients_are_those_of_the_pseudo_inverse(shape):
    points, features, outputs = shape
    z, a = draw(points, outputs), draw(points, features, seed=1)

    def pinv(z, a):
        return tf.reduce_sum(tf.square(tf.linalg.pinv(a) @ z))

    for ours, theirs in zip(
        value_and_gradients(representation_cost, z, a), value_and_gradients(pinv, z, a)
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-10)


RANK_DEFICIENT = {
    "dead column": lambda a: a * (np.arange(a.shape[1]) != 1),
    "repeated column": lambda a: np.concatenate([a, a[:, :1]], axis=1),
    "all zero": lambda a: 0 * a,
    "repeated point": lambda a: np.concatenate([a.T, a.T[:1]]),
}


@pytest.mark.parametrize("kind", RANK_DEFICIENT)
def test_rank_deficiency_is_explained_where_the_exact_limit_is_asked_for(kind):
    a = RANK_DEFICIENT[kind](draw(8, 4, seed=1))
    z = draw(len(a), 2)
    with pytest.raises(
        InputError, match=r"'ridge' must be positive where 'a' is rank-deficient .* a of shape"
    ):
        representation_cost(z, a)
    with pytest.raises(tf.errors.InvalidArgumentError, match="rank-deficient"):
        tf.function(representation_cost)(z, a)
    for x in value_and_gradients(lambda z, a: representation_cost(z, a, 1e-6, relative=True), z, a):
        assert np.all(np.isfinite(x))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_relative_ridge_is_free_of_scale(shape, scale, dtype):
    points, features, outputs = shape
    z, a = draw(points, outputs, dtype=dtype), draw(points, features, seed=1, dtype=dtype)
    ridge = 1e-2
    reference = value_and_gradients(
        lambda z, a: representation_cost(z, a, ridge, relative=True), z, a
    )
    scaled = value_and_gradients(
        lambda z, a: representation_cost(z, a, ridge, relative=True), z, a * np.array(scale, dtype)
    )
    for got, want, power in zip(scaled, reference, (2, 2, 3)):
        assert got.dtype == dtype
        np.testing.assert_allclose(
            got * float(scale) ** power, want, rtol=2e-3 if dtype == np.float32 else 1e-9
        )


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("which", ["z", "a", "both"])
def test_nothing_is_nan_for_zeros_and_any_scale(which, scale):
    z, a = draw(6, 2) * scale, draw(6, 4, seed=1) * scale
    if which in ("z", "both"):
        z = 0 * z
    if which in ("a", "both"):
        a = 0 * a
    for dtype in (np.float32, np.float64):
        got = value_and_gradients(
            lambda z, a: representation_cost(z, a, 1e-3, relative=True),
            z.astype(dtype),
            a.astype(dtype),
        )
        assert not any(np.isnan(x).any() for x in got)
        if which != "a":
            assert got[0] == 0


def test_the_relative_ridge_ignores_dead_columns_and_repeated_data():
    z, a = draw(5, 2), draw(5, 3, seed=1)
    cost = float(representation_cost(z, a, 0.1, relative=True))
    assert cost == pytest.approx(float(representation_cost(z, a, 0.1 * np.sum(a**2) / 5)))
    wider = np.concatenate([a, np.zeros((5, 4))], axis=1)
    assert float(representation_cost(z, wider, 0.1, relative=True)) == pytest.approx(cost)
    assert mean_square(tf.constant(np.concatenate([a, a]))).numpy() == pytest.approx(
        np.sum(a**2) / 5
    )


def test_an_unknown_number_of_points_gives_the_same():
    z, a = draw(3, 2), draw(3, 7, seed=1)

    @tf.function(
        input_signature=[tf.TensorSpec([None, 2], tf.float64), tf.TensorSpec([None, 7], tf.float64)]
    )
    def cost(z, a):
        return representation_cost(z, a, 0.1)

    assert cost(z, a).numpy() == pytest.approx(float(representation_cost(z, a, 0.1)), rel=1e-10)


def test_the_bias_column():
    a = tf.constant(draw(2, 4, 3))
    augmented = append_bias(a, 0.5)
    assert augmented.shape == (2, 4, 4)
    assert np.all(augmented[..., -1] == 0.5)
    assert append_bias(a, 0) is a


@pytest.mark.parametrize(
    "z, a, ridge, message",
    [
        (
            np.zeros((3, 2)),
            np.zeros((3, 2)),
            -1.0,
            r"'ridge' must be .* at least 0. Received: ridge=-1.0",
        ),
        (np.zeros((3, 2)), np.zeros((3, 2)), np.nan, "'ridge' must be a finite number"),
        (np.zeros((3, 2)), np.zeros((4, 2)), 1.0, "'a' must be of shape"),
        (np.zeros((3, 2)), np.zeros((1, 3, 2)), 1.0, "'a' must be of shape"),
        (np.zeros(3), np.zeros(3), 1.0, "'z' must be a matrix or a batch of matrices"),
        (np.zeros((3, 2), int), np.zeros((3, 2)), 1.0, "'z' must be of dtype float32 or float64"),
        (
            np.zeros((3, 2)),
            np.zeros((3, 2), np.float32),
            1.0,
            "'a' must be of the dtype of z, float64",
        ),
    ],
)
def test_bad_input_is_named(z, a, ridge, message):
    with pytest.raises(InputError, match=message):
        representation_cost(z, a, ridge)
