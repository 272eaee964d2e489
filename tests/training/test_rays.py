import numpy as np
import pytest

from keras_l2feat.errors import InputError
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives import Problem
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.takeover.sizes import Sizes
from keras_l2feat.training import rays as by_rays
from keras_l2feat.training.rays import counted, ray_labels, rays, within_budget
from keras_l2feat.training.units import sites


def snap(network, *arguments):
    """A `DenseNetwork` snapped, and the number of rays."""
    model = network.to_model(dtype="float64")
    counts = by_rays.snap(model, *arguments)
    return DenseNetwork.from_model(model), counts


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


def test_where_multiples_are_no_feature_equal_units_join():
    """tanh: a unit and its mirror image are one, a multiple is another."""
    network = DenseNetwork.random((3, 2, 3), activation="tanh", seed=1)
    lower, upper = network.weights
    lower = np.concatenate([lower, -lower[:, :1], 2 * lower[:, 1:]], axis=1)
    upper = np.concatenate([upper[:2], upper[:2] + 0.5, upper[2:]])
    network = network.with_weights([lower, upper])
    snapped, counts = snap(network, 1e-3)
    assert counts == (3,)
    x = np.random.default_rng(0).standard_normal((50, 3))
    np.testing.assert_allclose(snapped(x), network(x), atol=1e-12)
    first, last = snapped.weights
    np.testing.assert_array_equal(first[:, 0], first[:, 2])
    np.testing.assert_array_equal(last[0], last[2])


def test_a_budget_takes_the_cheapest_merges_and_leaves_the_size_that_is_asked_for():
    """Planted copies with noise of their own size: those with the least go first."""
    network = planted(1e-2, copies=3)
    graph = read(network.to_model(dtype="float64"))
    found = sites(graph)
    share = (4 + 4 + 3) / (13 + 13 + 3)  # of the units, outputs included
    for own in within_budget(graph, found, "units", share):
        assert own.max() == 3
        np.testing.assert_array_equal(own[:12], np.tile(own[:4], 3))
    for size in ("units", "flops", "parameters"):
        for share in (1.0, 0.7, 0.3, 0.0):
            labels = within_budget(graph, found, size, share)
            kept = np.ones(len(graph.pinned), dtype=bool)
            for site, own in zip(found, labels):
                kept[site.units[np.setdiff1d(np.arange(13), np.unique(own, True)[1])]] = False
            whole = Sizes(graph).of(np.ones_like(kept))[size]
            assert Sizes(graph).of(kept)[size] <= share * whole or counted(labels) == (1, 1)
            if share == 1.0:
                assert counted(labels) == (13, 13)


def test_bad_angles_are_refused():
    with pytest.raises(InputError, match="'angle' must be in radians"):
        ray_labels(np.eye(3), np.eye(3), angle=2.0)
