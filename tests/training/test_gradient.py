import numpy as np
import pytest

from keras_l2feat.costs import cost_with_gradient
from keras_l2feat.data import Dataset, load
from keras_l2feat.errors import InputError
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives import Problem
from keras_l2feat.training.gradient import Objective


def small(task, n=30, d=6, k=3, seed=0):
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((n, d)).astype("float32")
    if task == "classification":
        return Dataset("small", x, generator.integers(0, k, n), classes=k)
    return Dataset("small", x, generator.standard_normal((n, k)).astype("float32"))


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "linear", "abs", "tanh"])
def test_value_and_gradients_are_those_of_the_array_network(task, beta, activation):
    data, lam = small(task), 0.1
    network = DenseNetwork.random((6, 5, 4, 3), activation=activation, beta=beta, seed=1)
    objective = Objective(Problem(data, lam, activation=activation, beta=beta))
    value, gradients = objective(objective.encode(network))
    cost = cost_with_gradient(data.cost)
    data_value, expected = network.gradients(data.x_train, lambda z: cost(z, data.y_train))
    assert value == pytest.approx(data_value + lam * network.squared_norm, rel=1e-12)
    for got, want, weight in zip(gradients, expected, network.weights):
        np.testing.assert_allclose(got, want + 2 * lam * weight, rtol=1e-10, atol=1e-12)


def test_gradients_against_finite_differences_in_the_basis_of_the_inputs():
    data = load("mnist-789-42")
    objective = Objective(Problem(data, 1e-2, beta=0.5))
    weights = objective.encode(DenseNetwork.random((784, 4, 3, 3), beta=0.5, seed=2))
    assert weights[0].shape == (42, 4)  # 42 points span 42 of the 785 dimensions
    generator, step = np.random.default_rng(0), 1e-6
    # off the kinks that zero biases make
    weights = [w + 0.1 * generator.standard_normal(w.shape) for w in weights]
    gradients = objective(weights)[1]
    for layer in range(3):
        direction = generator.standard_normal(weights[layer].shape)
        moved = [
            objective(
                [w + sign * step * direction if k == layer else w for k, w in enumerate(weights)]
            )[0]
            for sign in (1, -1)
        ]
        assert (moved[0] - moved[1]) / (2 * step) == pytest.approx(
            np.vdot(gradients[layer], direction), rel=1e-5
        )


def test_the_basis_keeps_outputs_norms_and_angles():
    data = load("mnist-789-42")
    objective = Objective(Problem(data, 1e-2))
    network = DenseNetwork.random((784, 5, 3), seed=0)
    weights = objective.encode(network)
    back = objective.decode(weights)
    np.testing.assert_allclose(back(data.x_train), network(data.x_train), atol=1e-10)
    np.testing.assert_allclose(
        weights[0].T @ weights[0], back.weights[0].T @ back.weights[0], atol=1e-12
    )
    assert back.squared_norm < network.squared_norm
    np.testing.assert_allclose(objective.encode(back)[0], weights[0], atol=1e-12)


def test_batches_seeds_and_streams_give_the_same():
    import tensorflow as tf

    data = small("classification")
    networks = [DenseNetwork.random((6, 5, 3), seed=seed) for seed in range(3)]
    whole = Objective(Problem(data, 0.1))
    alone = [whole(whole.encode(network)) for network in networks]
    values, gradients = whole(
        [np.stack(w) for w in zip(*(whole.encode(network) for network in networks))]
    )
    np.testing.assert_allclose(values, [value for value, _ in alone], rtol=1e-12)
    np.testing.assert_allclose(gradients[0][1], alone[1][1][0], atol=1e-12)
    pieces = Objective(Problem(data, 0.1), batch_size=7)
    assert pieces(pieces.encode(networks[0]))[0] == pytest.approx(alone[0][0], rel=1e-12)
    stream = tf.data.Dataset.from_tensor_slices((data.x_train, data.y_train)).batch(7)
    streamed = Objective(Problem(stream, 0.1, "crossentropy"))
    value, slopes = streamed(streamed.encode(networks[0]))
    assert value == pytest.approx(alone[0][0], rel=1e-12)
    np.testing.assert_allclose(slopes[0], alone[0][1][0], atol=1e-12)


def test_a_function_is_a_cost_for_one_and_for_many():
    import tensorflow as tf

    def cost(z, y):
        return tf.reduce_mean(tf.abs(z)) + 0.0 * tf.reduce_sum(tf.cast(y, z.dtype))

    objective = Objective(Problem(small("regression"), 0.0, cost))
    weights = objective.encode(DenseNetwork.random((6, 5, 3), seed=1))
    value = objective(weights)[0]
    np.testing.assert_allclose(
        objective([np.stack([w, w]) for w in weights])[0], [value, value], rtol=1e-12
    )


def test_one_trace_serves_all_widths():
    from keras_l2feat.training.gradient import _compiled_step

    objective = Objective(Problem(small("classification"), 0.1))
    objective(objective.encode(DenseNetwork.random((6, 4, 3))))
    traces = _compiled_step.cache_info().misses
    for width in (2, 5, 9):
        objective(objective.encode(DenseNetwork.random((6, width, 3))))
    assert _compiled_step.cache_info().misses == traces


def test_bad_arguments_are_named():
    with pytest.raises(InputError, match="'lam' must be at least 0"):
        Problem(small("regression"), -1.0)
    with pytest.raises(InputError, match="'cost' must be one of"):
        Problem(small("regression"), 0.1, "hinge")
