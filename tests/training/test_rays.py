import numpy as np
import pytest

from keras_l2feat.errors import InputError
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives import Problem
from keras_l2feat.training.rays import rays, snap


def planted(angle, seed=0, copies=4):
    """Four neurons a layer, each as `copies` copies on its ray up to `angle`, and one negligible
    neuron."""
    generator = np.random.default_rng(seed)
    network = DenseNetwork.random((6, 4, 4, 3), seed=seed)
    for layer in (1, 2):
        lower, upper = network.weights[layer - 1], network.weights[layer][:4]
        noise = generator.standard_normal((copies - 1, *lower.shape))
        noise *= (
            angle / 4 * np.linalg.norm(lower, axis=0) / np.linalg.norm(noise, axis=1, keepdims=True)
        )
        incoming = np.concatenate(
            [*(0.5 * (lower + n) for n in noise), 1e-9 * lower[:, :1]], axis=1
        )
        outgoing = np.concatenate([*(upper for _ in noise), 1e-9 * upper[:1]])
        network = network.with_neurons(layer, incoming, outgoing)
    return network


@pytest.mark.parametrize("angle", [1e-2, 1e-6, 0.0])
def test_planted_rays_are_found_and_snapping_makes_them_exact(angle):
    network = planted(angle)
    limit = max(angle, 1e-7)
    assert rays(network, limit) == (4, 4)
    snapped, counts = snap(network, limit)
    assert counts == (4, 4)
    assert rays(snapped, 1e-12, 0.0) == (4, 4)
    assert snapped.widths == network.widths
    assert snapped.squared_norm <= network.squared_norm * (1 + 1e-9)
    x = np.random.default_rng(1).standard_normal((50, 6))
    size = np.abs(network(x)).max()
    assert np.abs(snapped(x) - network(x)).max() <= 10 * limit * size


def test_unaligned_neurons_stay():
    network = DenseNetwork.random((8, 6, 5, 3), seed=3)
    snapped, counts = snap(network, 1e-3, 0.0)
    assert counts == (6, 5)
    x = np.random.default_rng(1).standard_normal((50, 8))
    np.testing.assert_allclose(snapped(x), network(x), atol=1e-12)


def test_aligned_neurons_stay_aligned_under_gradient_descent():
    from keras_l2feat.training.gradient import Objective

    objective = Objective(Problem("teacher:inputs=6,outputs=3,n=40", 1e-3))
    network = snap(planted(1e-3), 1e-2)[0]
    weights = objective.encode(network)
    for _ in range(50):
        weights = [w - 1e-2 * g for w, g in zip(weights, objective(weights)[1])]
    assert rays(objective.decode(weights), 1e-9, 1e-7) == (4, 4)


def test_only_homogeneous_activations():
    with pytest.raises(InputError, match="'activation' must be positively homogeneous"):
        snap(DenseNetwork.random((3, 3, 3), activation="tanh"))
    with pytest.raises(InputError, match="'angle' must be in radians"):
        snap(DenseNetwork.random((3, 3, 3)), angle=2.0)
