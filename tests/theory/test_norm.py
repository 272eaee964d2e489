"""The representation cost against its known values, all to 1e-4 and better."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_l2feat import data
from keras_l2feat.errors import InputError
from keras_l2feat.network import DenseNetwork
from keras_l2feat.theory import completely_positive, norm
from keras_l2feat.theory.programs import ACCURACY
from keras_l2feat.training.rays import rays


@pytest.mark.parametrize("method", ["constrained", "limit"])
@pytest.mark.parametrize("n", [4, pytest.param(6, marks=pytest.mark.slow)])
def test_bipartite_data_costs_its_square(n, method):
    y = completely_positive.bipartite_matrix(n)
    found = norm.representation_cost(np.eye(n), y, trials=2, method=method)
    assert found.cost == pytest.approx(n**2, rel=1e-5)
    assert found.enumerated
    assert found.lower_bound == pytest.approx(n**2, rel=1e-4)
    assert found.lower_bound <= found.cost * (1 + 1e-7)


@pytest.mark.slow
def test_fewer_neurons_than_the_cp_rank_cost_more():
    y = completely_positive.bipartite_matrix(6)
    curve = norm.cost_curve(np.eye(6), y, [5, 6, 8, 9], trials=2)
    costs = [found.cost / 36 for found in curve.values()]
    assert costs == sorted(costs, reverse=True)
    assert costs[2] > 1 + 1e-3
    assert costs[3] == pytest.approx(1, abs=1e-6)
    assert costs[1] <= np.sqrt(1 + 2 / 6) + 1e-9


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("method", ["constrained", "limit"])
def test_deep_linear_networks_cost_the_schatten_norm(depth, method):
    y = np.random.default_rng(0).standard_normal((5, 4))
    singular = np.linalg.svd(y, compute_uv=False)
    found = norm.representation_cost(
        np.eye(5), y, depth, 6, activation="linear", trials=3, method=method
    )
    assert found.cost == pytest.approx(depth * np.sum(singular ** (2 / depth)), rel=1e-5)


@settings(max_examples=10)
@given(counts=st.lists(st.integers(1, 4), min_size=1, max_size=3), seed=st.integers(0, 1000))
def test_one_hot_targets_cost_the_roots_of_the_class_sizes(counts, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    y = np.eye(len(counts))[labels]
    found = norm.representation_cost(
        np.eye(len(y)), y, hidden=2 * len(y) + 4, trials=2, seed=seed, bound=False
    )
    assert found.cost == pytest.approx(2 * np.sum(np.sqrt(counts)), rel=1e-5)


@settings(max_examples=15)
@given(
    n=st.integers(1, 8),
    d=st.integers(1, 2),
    beta=st.sampled_from([0.3, 1.0]),
    seed=st.integers(0, 1000),
)
def test_the_convex_program_closes_its_own_gap(n, d, beta, seed):
    generator = np.random.default_rng(seed)
    x, y = generator.uniform(-1, 1, (n, d)), generator.standard_normal((n, 1))
    found = norm.representation_cost(x, y, beta=beta, method="convex")
    assert found.enumerated
    # the solver's accuracy is relative to the cost, which near points make large
    assert found.residual < 1e-4 + 10 * ACCURACY * found.cost
    assert abs(found.cost - found.lower_bound) <= 1e-4 * found.cost


def test_one_point_by_hand():
    """The neuron along (x, β) and the output bias share the load: R = 2 c + b² at y = c √(x² + β²)
    + β b."""
    x, y, beta = 2.0, 3.0, 0.5
    slope = np.hypot(x, beta)
    b = beta / slope  # where one more unit costs the same through either
    by_hand = 2 * (y - beta * b) / slope + b**2
    for options in ({"method": "convex"}, {"hidden": 3, "trials": 3}):
        found = norm.representation_cost([[x]], [[y]], beta=beta, **options)
        assert found.cost == pytest.approx(by_hand, rel=1e-5)


def test_the_two_ways_agree_where_no_value_is_known():
    toy = data.load("one-dim:n=4")
    exact = norm.representation_cost(toy.x_train, toy.y_train, beta=1.0, method="convex")
    assert rays(exact.network)[0] <= 16
    local = norm.representation_cost(
        toy.x_train,
        toy.y_train,
        hidden=exact.network.hidden,
        beta=1.0,
        trials=0,
        starts=[exact.network],
    )
    assert local.cost == pytest.approx(exact.cost, rel=1e-4)


def test_the_bound_holds_for_any_multipliers_and_any_network():
    generator = np.random.default_rng(1)
    x = generator.standard_normal((6, 2))
    for seed in range(10):
        network = DenseNetwork.random((2, 4, 1), seed=seed)
        y = network(x)
        for _ in range(5):
            bound, enumerated = norm.lower_bound(x, y, generator.standard_normal((6, 1)), beta=1.0)
            assert enumerated
            assert bound <= network.squared_norm


@pytest.mark.slow
def test_what_cannot_be_fitted_costs_infinity():
    y = completely_positive.bipartite_matrix(6)  # rank 5
    assert norm.representation_cost(np.eye(6), y, hidden=4, trials=2).cost == np.inf


def test_zero_targets_cost_nothing():
    assert norm.representation_cost(np.eye(3), np.zeros((3, 2))).cost == 0


def test_wrong_arguments_are_refused():
    x, y = np.eye(3), np.ones((3, 1))
    with pytest.raises(InputError, match="method"):
        norm.representation_cost(x, y, method="guess")
    with pytest.raises(InputError, match="one column"):
        norm.representation_cost(x, np.eye(3), method="convex")
    with pytest.raises(InputError, match="shape"):
        norm.representation_cost(x, np.ones((2, 1)))
    with pytest.raises(InputError, match="1 positive widths"):
        norm.representation_cost(x, y, hidden=(3, 3))
    with pytest.raises(InputError, match="trials"):
        norm.representation_cost(x, y, trials=0)
