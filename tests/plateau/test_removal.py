import numpy as np

from keras_l2feat.data import Dataset, load
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives import Problem
from keras_l2feat.plateau.removal import removal_losses, remove
from keras_l2feat.training import Objective

DATA = load("teacher:inputs=6,outputs=2,n=60")


def test_dead_aligned_and_dependent_neurons_leave_for_nothing():
    network = DenseNetwork.random((6, 5, 4, 2), seed=1)
    # the network fits, so losing any other neuron costs
    y = network(DATA.x_train).astype("float32")
    objective = Objective(Problem(Dataset("own", DATA.x_train, y), 1e-9))
    first = list(network.weights)
    first[1] = first[1].copy()
    first[1][0] *= 0.4
    # dead, aligned with the first
    # 0.4 + 2 · 0.3 = 1: the same function
    wider = network.with_weights(first).with_neurons(
        1,
        np.concatenate([np.zeros((7, 1)), 2.0 * network.weights[0][:, :1]], axis=1),
        np.concatenate([np.ones((1, 4)), 0.3 * network.weights[1][:1]]),
    )
    weights = objective.encode(wider)
    smaller = remove(objective, weights, (5, 4))
    assert [w.shape[1] for w in smaller] == [5, 4, 2]
    x = DATA.x_train
    np.testing.assert_allclose(
        objective.decode(smaller)(x), wider(x), atol=1e-3 * np.abs(wider(x)).max()
    )


def test_predicted_losses_are_those_of_the_refitted_networks():
    from keras_l2feat.plateau.removal import without
    from keras_l2feat.training import balance

    objective = Objective(Problem(DATA, 1e-3))
    weights = balance(objective.encode(DenseNetwork.random((6, 5, 4, 2), seed=2)))
    for layer in (0, 1):
        losses, ridge = removal_losses(objective, weights, layer)
        for neuron, predicted in enumerate(losses):
            after = without(objective, weights, layer, [neuron], ridge)
            # balancing the one layer costs 2‖w‖‖v‖, which balancing all of them can only lower
            assert objective(balance(after))[0] <= predicted * (1 + 1e-9)
            assert objective(after)[0] >= predicted * (1 - 1e-9)
