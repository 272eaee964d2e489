"""Permutations are found, and paths between equivalent minima keep what they promise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_l2feat.errors import InputError
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives import Problem
from keras_l2feat.theory import connect, matching, paths


def shuffled(network, seed):
    generator = np.random.default_rng(seed)
    return matching.permute(network, [generator.permutation(n) for n in network.hidden])


@settings(max_examples=40, deadline=None)
@given(
    hidden=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    beta=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 10**6),
)
def test_permutations_are_found(hidden, beta, seed):
    network = DenseNetwork.random((3, *hidden, 2), beta=beta, seed=seed)
    other = shuffled(network, seed)
    assert matching.distance(matching.permute(network, matching.match(network, other)), other) == 0


def test_permutations_of_copies_are_found():
    """Neurons with equal incoming weights are told apart by their outgoing ones."""
    network = DenseNetwork.random((2, 3, 2, 1), seed=0)
    weights = list(network.weights)
    weights[0] = np.repeat(weights[0], 3, axis=1)
    weights[1] = np.random.default_rng(1).standard_normal((10, 2))
    network = network.with_weights(weights)
    other = shuffled(network, 2)
    assert matching.distance(matching.permute(network, matching.match(network, other)), other) == 0


@settings(max_examples=30, deadline=None)
@given(
    hidden=st.lists(st.integers(1, 8), min_size=1, max_size=3),
    activation=st.sampled_from(["relu", "tanh", "leaky_relu"]),
    beta=st.sampled_from([0.0, 1.0]),
    seed=st.integers(0, 10**6),
)
def test_one_extra_neuron_connects_permutations_at_constant_loss(hidden, activation, beta, seed):
    network = DenseNetwork.random((3, *hidden, 2), activation=activation, beta=beta, seed=seed)
    other = shuffled(network, seed)
    generator = np.random.default_rng(seed)
    x, y = generator.standard_normal((30, 3)), generator.standard_normal((30, 2))
    keep = "function" if activation == "tanh" else "norm"
    path = paths.connect_permutations(network, other, keep=keep)
    start, end = path.waypoints[0], path.waypoints[-1]
    assert matching.distance(start, paths.pad(network, start.hidden)) == 0
    assert matching.distance(end, paths.pad(other, start.hidden)) == 0
    assert start.hidden == tuple(n + 1 for n in hidden)
    _, loss, norm, deviation = connect.profile(
        path, Problem.of(network, (x, y), 1e-2 if keep == "norm" else 0.0)
    )
    assert deviation.max() < 1e-10
    assert np.abs(loss - loss[0]).max() < 1e-10
    if keep == "norm":
        assert np.abs(norm / norm[0] - 1).max() < 1e-12


def test_a_path_is_continuous():
    network = DenseNetwork.random((2, 4, 3, 1), seed=1)
    for keep in ("norm", "function"):
        path = paths.connect_permutations(network, shuffled(network, 1), keep=keep)
        for piece, following in zip(path.pieces[:-1], path.pieces[1:]):
            assert matching.distance(piece(1.0), following(0.0)) < 1e-15
        for piece in path.pieces:
            assert matching.distance(piece(0.5), piece(0.5 + 1e-9)) < 1e-7


def test_the_straight_line_between_permutations_has_a_barrier():
    network = DenseNetwork.random((3, 6, 2), seed=0)
    x = np.random.default_rng(0).standard_normal((50, 3))
    path = paths.straight(network, shuffled(network, 3))
    losses = connect.profile(path, Problem.of(network, (x, network(x)), 0.0))[1]
    assert connect.barrier(losses) > 0.1


def test_what_is_no_permutation_is_refused():
    network = DenseNetwork.random((3, 4, 2), seed=0)
    with pytest.raises(InputError, match="a permutation of a"):
        paths.connect_permutations(network, DenseNetwork.random((3, 4, 2), seed=1))
    with pytest.raises(InputError, match="a network of widths"):
        paths.connect_permutations(network, DenseNetwork.random((3, 5, 2), seed=1))
    tanh = DenseNetwork.random((3, 4, 2), activation="tanh", seed=0)
    with pytest.raises(InputError, match="positively homogeneous"):
        paths.connect_permutations(tanh, tanh)


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_the_union_mixes_outputs_and_bounds_the_norm(depth, beta):
    hidden = [(3, 5, 4)[: depth - 1], (4, 2, 3)[: depth - 1]]
    a, b = (DenseNetwork.random((2, *h, 2), beta=beta, seed=s) for s, h in enumerate(hidden))
    x = np.random.default_rng(0).standard_normal((20, 2))
    path = paths.connect_through_union(a, b)
    for t, network in path.sample(9):
        np.testing.assert_allclose(network(x), (1 - t) * a(x) + t * b(x), atol=1e-12)
        bound = (1 - t) ** (2 / depth) * a.squared_norm + t ** (2 / depth) * b.squared_norm
        assert network.squared_norm <= bound * (1 + 1e-12)
        if beta == 0:
            assert network.squared_norm == pytest.approx(bound)


def test_the_union_by_the_last_layer_serves_any_activation():
    a, b = (DenseNetwork.random((2, 3, 3, 1), activation="tanh", seed=s) for s in (0, 1))
    x = np.random.default_rng(0).standard_normal((20, 2))
    y = x[:, :1]
    path = paths.connect_through_union(a, b, keep="function")
    losses = connect.profile(path, Problem.of(a, (x, y), 0.0))[1]
    assert connect.barrier(losses) < 1e-12
    assert losses[0] == pytest.approx(np.mean((a(x) - y) ** 2))
    assert losses[-1] == pytest.approx(np.mean((b(x) - y) ** 2))


def test_bending_lowers_the_barrier():
    from keras_l2feat.theory import criticality
    from keras_l2feat.training.run import Budget

    generator = np.random.default_rng(0)
    x = generator.standard_normal((40, 2))
    y = DenseNetwork.random((2, 3, 1), seed=7)(x)
    problem = Problem((x, y), 1e-3)
    a, b = (criticality.descend(problem.random((4,), s), problem, Budget(300))[0] for s in (1, 2))
    connection = connect.connect(a, b, problem)
    assert not connection.permutation
    assert connection.barriers["union"] < 1e-12  # two layers: no barrier, with the norm counted
    assert connection.best == "union"
    b = matching.permute(b, matching.match(b, a))
    line = connect.barrier(connect.profile(paths.straight(a, b), problem)[1])
    curve = connect.barrier(connect.profile(connect.bend(a, b, problem), problem)[1])
    assert line > 1e-3
    assert curve < 0.5 * line


def test_connect_sees_a_permutation_and_stored_in_float32():
    network = DenseNetwork.random((3, 5, 4, 2), seed=0)
    rounded = network.with_weights(w.astype(np.float32) for w in shuffled(network, 1).weights)
    x = np.random.default_rng(0).standard_normal((20, 3))
    problem = Problem.of(network, (x, network(x) + 1), 1e-2)
    connection = connect.connect(network, rounded, problem)
    assert connection.permutation
    assert connection.best == "moves"
    assert connection.barriers["moves"] < 1e-6
    assert connection.barriers["straight"] > 1e-3


def test_a_norm_that_cannot_be_kept_is_told_in_one_clear_sentence():
    network = DenseNetwork.random((3, 4, 2), activation="tanh")
    with pytest.raises(InputError) as error:
        paths.connect_through_union(network, network, keep="norm")
    assert str(error.value) == (
        "Argument 'keep' must be 'function' where σ is tanh, not positively homogeneous. "
        "Received: keep='norm'"
    )
