import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_l2feat.network import DenseNetwork
from keras_l2feat.training import balance, imbalance


@settings(max_examples=40, deadline=None)
@given(
    hidden=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    beta=st.sampled_from([0.0, 0.3, 1.0]),
    activation=st.sampled_from(["relu", "leaky_relu", "linear", "abs"]),
    scale=st.floats(-6, 6),
    seed=st.integers(0, 1000),
)
def test_function_unchanged_norm_never_up_and_balanced(hidden, beta, activation, scale, seed):
    network = DenseNetwork.random((5, *hidden, 3), activation=activation, beta=beta, seed=seed)
    lopsided = list(network.weights)
    lopsided[0] = lopsided[0] * 10.0**scale
    lopsided[0][:, 0] = 0.0  # a dead neuron
    network = network.with_weights(lopsided)
    balanced = network.with_weights(balance(network.weights, activation))
    x = np.random.default_rng(seed).standard_normal((20, 5))
    size = np.abs(network(x)).max()
    np.testing.assert_allclose(balanced(x), network(x), rtol=1e-9, atol=1e-9 * size)
    assert balanced.squared_norm <= network.squared_norm * (1 + 1e-12)
    # a dead neuron upsets the balance of those that only it reached; the others end balanced
    assert imbalance(balance(balanced.weights, activation)) < 1e-6


def test_other_activations_are_left_alone():
    weights = DenseNetwork.random((5, 4, 3), activation="tanh").weights
    for before, after in zip(weights, balance(weights, "tanh")):
        np.testing.assert_array_equal(before, after)


def test_many_networks_at_once():
    weights = [DenseNetwork.random((5, 4, 6, 3), seed=seed).weights for seed in range(3)]
    together = balance([np.stack(each) for each in zip(*weights)])
    for index, each in enumerate(weights):
        for got, want in zip(together, balance(each)):
            np.testing.assert_allclose(got[index], want, rtol=1e-6)
