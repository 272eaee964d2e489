"""What a problem takes, what it makes of it, and which networks are candidates."""

import numpy as np
import pytest
import tensorflow as tf

from keras_l2feat import models
from keras_l2feat.errors import InputError
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives import Problem
from keras_l2feat.plateau import certify
from keras_l2feat.training import Budget

X = np.random.default_rng(0).standard_normal((20, 4))


def test_a_pair_keeps_its_float64_and_brings_its_cost():
    problem = Problem((X, np.arange(20) % 3), 1e-3)
    np.testing.assert_array_equal(problem.x, X)
    assert problem.cost == "crossentropy"
    targets = Problem((X, X[:, :1] / 3), 1e-3)
    assert targets.cost == "squared"
    np.testing.assert_array_equal(targets.y, X[:, :1] / 3)
    assert problem.at(0.5).lam == 0.5
    assert problem.random((7,), seed=1).widths == (4, 7, 3)


def test_a_model_brings_all_but_the_data():
    model = models.mlp(784, (5,), 3, activation="leaky_relu", beta=0.5, lam=1e-2)
    problem = Problem.of(model, "mnist-789-42")
    assert problem.lam == pytest.approx(1e-2)
    assert (problem.activation, problem.beta) == ("leaky_relu", 0.5)
    problem.check(DenseNetwork.from_model(model))


def test_what_is_no_problem_is_told():
    stream = tf.data.Dataset.from_tensor_slices((X, X)).batch(5)
    for arguments, words in (
        (((X, X), -1.0), "'lam' must be at least 0"),
        (((X, X), 1.0, "hinge"), "'cost' must be one of"),
        (((X, X), 1.0, None, "gelu"), "'activation' must be one of"),
        (((X, X), 1.0, None, "relu", -1.0), "'beta' must be at least 0"),
        ((stream, 1.0), "'cost' must be given"),
    ):
        with pytest.raises(InputError, match=words):
            Problem(*arguments)
    with pytest.raises(InputError, match="'lam' must be given with a DenseNetwork"):
        Problem.of(DenseNetwork.random((4, 2)), (X, X))
    with pytest.raises(InputError, match="'seconds' must be at least 0"):
        Budget(seconds=-1.0)


def test_networks_of_another_problem_are_refused():
    problem = Problem((X, X[:, :2]), 1e-2)
    for network, words in (
        (DenseNetwork.random((4, 3, 2), activation="abs"), "'activation' must be that of"),
        (DenseNetwork.random((4, 3, 2), beta=0.5), "'beta' must be that of the network, 0.5"),
        (DenseNetwork.random((5, 3, 2)), "has 4 inputs and 2 outputs"),
    ):
        with pytest.raises(InputError, match=words):
            certify(network, problem)


def test_what_is_left_of_a_budget():
    assert Budget(10, 0.0, 5.0).left(4, 2.0) == Budget(6, 0.0, 3.0)
    assert Budget(10, seconds=1.0).left(1, 9.0).seconds == 0.0
    assert Budget(10).left(1, 9.0).seconds is None
