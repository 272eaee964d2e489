"""The three forms of the loss: equal where the theory says so, ordered elsewhere, with the right
gradients."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_l2feat import data, objectives
from keras_l2feat.errors import InputError
from keras_l2feat.network import DenseNetwork

FORMS = (objectives.weight_space, objectives.representation, objectives.covariance)


def problem(points=9, inputs=4, outputs=3, seed=0):
    generator = np.random.default_rng(seed)
    return generator.standard_normal((points, inputs)), generator.integers(0, outputs, points)


def without_residual(network, x):
    """The network with every W_l replaced by A⁺Z."""
    z, a = network.forward(x)
    return network.with_weights([np.linalg.pinv(a_, rcond=1e-12) @ z_ for a_, z_ in zip(a, z)])


@settings(max_examples=25)
@given(
    hidden=st.lists(st.integers(1, 6), min_size=0, max_size=3),
    points=st.integers(1, 9),
    activation=st.sampled_from(["relu", "leaky_relu", "abs", "linear"]),
    beta=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 1000),
)
def test_the_three_agree_without_residual_and_are_ordered_with_it(
    hidden, points, activation, beta, seed
):
    x, y = problem(points, seed=seed)
    network = DenseNetwork.random((4, *hidden, 3), activation=activation, beta=beta, seed=seed)
    weights, representation, covariance = (form(network, (x, y), lam=0.1) for form in FORMS)
    assert representation.total <= weights.total * (1 + 1e-10)
    assert all(z <= w * (1 + 1e-10) + 1e-12 for z, w in zip(representation.norms, weights.norms))
    assert float(covariance.total) == pytest.approx(float(representation.total), rel=1e-8)
    exact = without_residual(network, x)
    totals = [float(form(exact, (x, y), lam=0.1).total) for form in FORMS]
    # squaring A to its covariance squares its condition: agreement to 1e-10 where that is moderate
    conditions = [np.linalg.cond(a) for a in exact.forward(x)[1]]
    assert totals[1] == pytest.approx(totals[0], rel=1e-10)
    if max(conditions) < 1e2:
        assert totals[2] == pytest.approx(totals[0], rel=1e-10)


def test_equality_only_where_the_residual_vanishes():
    x, y = problem(4)
    network = without_residual(DenseNetwork.random((4, 6, 3), seed=1), x)
    loss = float(objectives.weight_space(network, (x, y), lam=0.1).total)
    a = network.forward(x)[1][1]
    kernel = np.eye(7) - np.linalg.pinv(a) @ a
    assert np.linalg.norm(kernel) > 0.5  # there is room for a residual: the test can fail
    moved = network.with_weights(
        [network.weights[0], network.weights[1] + kernel @ np.ones((7, 3))]
    )
    np.testing.assert_allclose(moved(x), network(x), atol=1e-12)
    assert float(objectives.weight_space(moved, (x, y), lam=0.1).total) > loss + 1e-3
    for form in FORMS[1:]:
        assert float(form(moved, (x, y), lam=0.1).total) == pytest.approx(loss, rel=1e-9)


@pytest.mark.parametrize("ridge", [1e-3, 0.5])
def test_representation_and_covariance_agree_at_every_ridge_and_fall_with_it(ridge):
    x, y = problem()
    network = DenseNetwork.random((4, 6, 5, 3), seed=2)
    exact = objectives.representation(network, (x, y), lam=0.1)
    for relative in (False, True):
        one, other = (
            form(network, (x, y), lam=0.1, ridge=ridge, relative=relative) for form in FORMS[1:]
        )
        assert float(one.total) == pytest.approx(float(other.total), rel=1e-10)
        assert one.total < exact.total
        assert one.cost == exact.cost


@pytest.mark.parametrize("form", range(3))
def test_gradients_against_finite_differences(form):
    x, y = problem()
    network = DenseNetwork.random((4, 3, 3), seed=3)
    z = [tf.constant(array) for array in network.forward(x)[0]]
    covariances = objectives.covariances_of(z, "relu", 1.0)
    variables = (
        [tf.constant(weight) for weight in network.weights],
        z,
        [*covariances.before, *covariances.after, covariances.output],
    )[form]

    def loss(arrays):
        subject = (
            objectives.Covariances((arrays[0],), (arrays[1],), arrays[2]) if form == 2 else arrays
        )
        return FORMS[form](subject, (x, y), lam=0.1, ridge=0.1).total

    generator = np.random.default_rng(4)
    directions = [generator.standard_normal(v.shape) for v in variables]
    if form == 2:  # covariances stay symmetric
        directions[:2] = [d + d.T for d in directions[:2]]
    with tf.GradientTape() as tape:
        tape.watch(variables)
        value = loss(variables)
    slope = sum(np.vdot(g, d) for g, d in zip(tape.gradient(value, variables), directions))
    step = 1e-6
    up, down = (
        float(loss([v + t * d for v, d in zip(variables, directions)])) for t in (step, -step)
    )
    assert slope == pytest.approx((up - down) / (2 * step), rel=1e-6)


def test_models_networks_and_arrays_are_one_subject():
    digits = data.load("mnist-789-42")
    network = DenseNetwork.random((784, 6, 3), seed=1)
    model = network.to_model(dtype="float64")
    for form in FORMS:
        expected = form(network, digits, lam=1e-2)
        assert float(form(model, digits, lam=1e-2).total) == pytest.approx(
            float(expected.total), rel=1e-12
        )
        assert len(expected.norms) == 2
        assert float(expected.total) == pytest.approx(
            float(expected.cost) + 1e-2 * sum(map(float, expected.norms))
        )
    arrays = objectives.weight_space(network.weights, digits, lam=1e-2)
    assert float(arrays.total) == float(objectives.weight_space(network, digits, lam=1e-2).total)
    z = objectives.representations_of(network, digits)
    assert (
        objectives.representation(z, digits, lam=1e-2).total
        == objectives.representation(network, digits, lam=1e-2).total
    )


def test_the_covariance_form_refuses_what_is_not_homogeneous_by_name():
    x, y = problem()
    network = DenseNetwork.random((4, 3, 3), activation="tanh")
    objectives.representation(network, (x, y), lam=0.1)
    with pytest.raises(InputError, match="'tanh' is not positively homogeneous"):
        objectives.covariance(network, (x, y), lam=0.1)


def test_bad_input_is_named():
    x, y = problem()
    network = DenseNetwork.random((4, 3, 3))
    with pytest.raises(InputError, match="'activation' must be that of the network, 'relu'"):
        objectives.weight_space(network, (x, y), lam=0.1, activation="abs")
    with pytest.raises(InputError, match="'beta' must be that of the network"):
        objectives.weight_space(network, (x, y), lam=0.1, beta=0.5)
    with pytest.raises(InputError, match=r"'data' must be a name, .* or a Dataset"):
        objectives.weight_space(network, x, lam=0.1)
    with pytest.raises(InputError, match="'activation' must be one of"):
        objectives.weight_space(network.weights, (x, y), lam=0.1, activation="gelu")
    with pytest.raises(InputError, match="'weights' must be a chain: W_1 needs 4 rows"):
        objectives.weight_space(network.weights, (x, y), lam=0.1, beta=0.0)


def test_data_by_name():
    network = DenseNetwork.random((784, 3, 3))
    digits = data.load("mnist-789-42")
    for form in FORMS:
        assert form(network, "mnist-789-42", lam=0.1).total == form(network, digits, lam=0.1).total


def half_squares(z, y):
    return 0.5 * tf.reduce_sum(tf.square(z[:, 0] - y))


def test_a_minimum_of_the_weights_that_is_none_of_the_others():
    """J Prop. 19: all weights with a_1² + a_2² = 1 − 2λ share (K, Z_2), yet only some of them are
    local minima."""
    lam, x, y = 0.1, np.array([[1.0], [-1.0]]), np.array([1.0, 1.0])
    options = {"lam": lam, "beta": 0.0, "activation": "relu", "cost": half_squares}

    def weights(a1, a2):
        return [np.array([[a1, a2]]), np.array([[a1], [a2]])]

    size = np.sqrt(1 - 2 * lam)
    both, one = weights(0.6 * size, 0.8 * size), weights(size, 0.0)
    losses = {
        name: [float(f(w).total) for w in (both, one)]
        for name, f in {
            "weights": lambda w: objectives.weight_space(w, (x, y), **options),
            "representation": lambda w: objectives.representation(
                objectives.forward([tf.constant(m) for m in w], tf.constant(x), tf.nn.relu, 0.0),
                (x, y),
                **options,
            ),
            "covariance": lambda w: objectives.covariance(
                DenseNetwork(tuple(w), beta=0.0), (x, y), lam=lam, cost=half_squares
            ),
        }.items()
    }
    for values in losses.values():
        assert values == pytest.approx([losses["weights"][0]] * 2, rel=1e-10)
    shared = [
        objectives.covariances_of(DenseNetwork(tuple(w), beta=0.0).forward(x)[0], "relu", 0.0)
        for w in (both, one)
    ]
    for ours, theirs in zip(tf.nest.flatten(shared[0]), tf.nest.flatten(shared[1])):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)

    def weight_loss(w):
        return float(objectives.weight_space(w, (x, y), **options).total)

    generator = np.random.default_rng(0)
    for _ in range(300):  # where both neurons fire it is a local minimum
        nearby = [w + 1e-4 * generator.standard_normal(w.shape) for w in both]
        assert weight_loss(nearby) >= weight_loss(both) - 1e-12
    epsilon = 1e-3  # where neuron 2 is dead it is not: turn it to the other point
    turned = [one[0] + [[0.0, -epsilon]], one[1] + [[0.0], [epsilon]]]
    assert weight_loss(turned) - weight_loss(one) == pytest.approx(
        -(epsilon**2) * (1 - 2 * lam), rel=1e-2
    )
    # so the shared (K, Z_2) is no local minimum of the other two forms: the turned weights are near
    # it and lower
    moved = objectives.covariances_of(
        DenseNetwork(tuple(turned), beta=0.0).forward(x)[0], "relu", 0.0
    )
    distance = max(
        np.abs(a - b).max() for a, b in zip(tf.nest.flatten(moved), tf.nest.flatten(shared[1]))
    )
    assert distance < 2 * epsilon**2
    assert float(objectives.covariance(moved, (x, y), **options).total) < losses["covariance"][0]
    z = objectives.forward([tf.constant(m) for m in turned], tf.constant(x), tf.nn.relu, 0.0)
    assert (
        float(objectives.representation(z, (x, y), **options).total) < losses["representation"][0]
    )


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_deep_linear_networks_cost_the_schatten_norm(depth):
    """σ = id, β = 0, X = I: R(Y) = L Σ s_i^{2/L}, reached by balanced factors, in each form to
    1e-6."""
    generator = np.random.default_rng(depth)
    u, s, vt = np.linalg.svd(generator.standard_normal((5, 3)), full_matrices=False)
    root = np.diag(s ** (1 / depth))
    weights = (u @ root, *[root] * (depth - 2), root @ vt)
    network = DenseNetwork(weights, activation="linear", beta=0.0)
    np.testing.assert_allclose(network(np.eye(5)), u @ np.diag(s) @ vt, atol=1e-12)
    expected = depth * np.sum(s ** (2 / depth))
    for form in FORMS:
        norms = form(network, (np.eye(5), np.zeros((5, 3))), lam=1.0).norms
        assert float(sum(norms)) == pytest.approx(expected, rel=1e-6)
    z = [tf.constant(array) for array in network.forward(np.eye(5))[0]]
    for _ in range(20):  # and no representations near them cost less at the same output
        moved = [zz + 1e-2 * generator.standard_normal(zz.shape) for zz in z[:-1]]
        moved = [tf.constant(u @ (u.T @ m)) for m in moved]  # inside the span that the output needs
        loss = objectives.representation(
            [*moved, z[-1]], (np.eye(5), np.zeros((5, 3))), lam=1.0, activation="linear", beta=0.0
        )
        assert float(sum(loss.norms)) >= expected - 1e-9


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize(
    "kind", ["one point", "repeated points", "zeros", "rank one", "many points"]
)
def test_degenerate_data_give_finite_losses(form, kind, scale):
    x, y = problem(40 if kind == "many points" else 6)
    if kind == "one point":
        x, y = x[:1], y[:1]
    elif kind == "repeated points":
        x, y = np.repeat(x[:2], 3, axis=0), np.repeat(y[:2], 3)
    elif kind == "zeros":
        x = 0 * x
    elif kind == "rank one":
        x = np.outer(np.arange(1.0, 7.0), x[0])
    for beta in (0.0, 1.0):
        network = DenseNetwork.random((4, 5, 3), beta=beta, seed=1)
        for ridge in (0.0, 1e-6):
            loss = form(network, (scale * x, y), lam=0.1, ridge=ridge, relative=True)
            assert np.all(np.isfinite([float(loss.total), *map(float, loss.norms)]))
