"""The permutation of hidden neurons that brings one network nearest to another."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from keras_l2feat.errors import require
from keras_l2feat.network import DenseNetwork

__all__ = ["distance", "match", "permute"]

SWEEPS = 100  # layers in turn, until none changes; more than a handful is rare


def permute(network: DenseNetwork, permutations: Sequence[np.ndarray]) -> DenseNetwork:
    """The same function with its hidden neurons in another order.

    Args:
        network: the weights.
        permutations: one int array `(n_l,)` per hidden layer; place k of the result holds neuron
            `permutations[l][k]`.
    """
    weights = list(network.weights)
    for layer, order in enumerate(permutations):
        width = network.hidden[layer]
        expected = f"an order of 0 … {width - 1} for hidden layer {layer + 1}"
        require(sorted(order) == list(range(width)), "permutations", expected, order)
        weights[layer] = weights[layer][:, order]
        weights[layer + 1] = np.concatenate([weights[layer + 1][order], weights[layer + 1][width:]])
    return network.with_weights(weights)


def match(
    network: DenseNetwork, target: DenseNetwork, *, restarts: int = 10, seed: int = 0
) -> list:
    """The orders of `network`'s hidden neurons that bring its weights nearest to `target`'s.

    One layer at a time, the others fixed, the best order is a linear assignment problem; sweeps go
    on until no layer changes (weight matching, Ainsworth et al. 2023). The first sweep runs upwards
    and sees incoming weights alone, so that a true permutation is found at once; `restarts` random
    orders follow, and the nearest result is kept.

    Args:
        network, target: of equal widths and σ.
        restarts: number of random starts; there are no more once the distance is 0.
        seed: of the random starts.

    Returns: one int array `(n_l,)` per hidden layer, for `permute`.

    Raises:
        InputError: the two differ in widths, σ or β.
    """
    kind, other = ((n.widths, n.activation, n.beta) for n in (network, target))
    expected = "a network of widths {}, activation {!r} and beta {}".format(*kind)
    require(kind == other, "target", expected, other)
    generator = np.random.default_rng(seed)
    best = _sweep(network, target, _upwards(network, target))
    for _ in range(restarts):
        if distance(permute(network, best), target) == 0:
            break
        start = [generator.permutation(width) for width in network.hidden]
        rivals = best, _sweep(network, target, start)
        best = min(rivals, key=lambda orders: distance(permute(network, orders), target))
    return best


def distance(a: DenseNetwork, b: DenseNetwork) -> float:
    """The Euclidean distance of two networks' weights."""
    return float(np.sqrt(sum(np.sum((u - v) ** 2) for u, v in zip(a.weights, b.weights))))


def _upwards(network, target):
    orders = []
    for layer, width in enumerate(network.hidden):
        below = _permuted_rows(network.weights[layer], orders[-1] if orders else None)
        # Row sums of the outgoing weights know no order above: they tell neurons with equal
        # incoming weights apart.
        sums = [n.weights[layer + 1][:width].sum(axis=1) for n in (target, network)]
        squares = -2 * target.weights[layer].T @ below + (below**2).sum(axis=0)
        squares += (sums[0][:, None] - sums[1]) ** 2
        orders.append(linear_sum_assignment(squares)[1])
    return orders


def _sweep(network, target, orders):
    orders = list(orders)
    for _ in range(SWEEPS):
        changed = False
        for layer, width in enumerate(network.hidden):
            below = _permuted_rows(network.weights[layer], orders[layer - 1] if layer else None)
            above = network.weights[layer + 1][:width]
            if layer + 1 < len(orders):
                above = above[:, orders[layer + 1]]
            gain = target.weights[layer].T @ below + target.weights[layer + 1][:width] @ above.T
            order = linear_sum_assignment(gain, maximize=True)[1]
            places = np.arange(width)
            if gain[places, order].sum() > gain[places, orders[layer]].sum() * (1 + 1e-15) + 1e-300:
                orders[layer], changed = order, True
        if not changed:
            break
    return orders


def _permuted_rows(weight, order):
    return weight if order is None else np.concatenate([weight[order], weight[len(order) :]])
