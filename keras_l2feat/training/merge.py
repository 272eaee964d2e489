"""Fewer neurons at the same loss: dead ones left out, near ones merged (NumPy)."""

from collections.abc import Callable
from functools import partial

import numpy as np

from keras_l2feat.network import DenseNetwork

__all__ = ["merge_near", "tidy"]

# cosines from which incoming and outgoing directions are near
NEAR_W, NEAR_V = ((0.999, 0.99999, 1 - 1e-8), 0.9)
# a neuron whose norm is this part of its layer's largest is left out if the loss does not mind
DEAD = 1e-6


def merge_near(network: DenseNetwork, layer: int = 1, near: float = NEAR_W[0]) -> DenseNetwork:
    """Replace groups of near neurons of a hidden layer, in w and in v, by the best rank-one part of
    their Σ w vᵀ.

    Atoms that the oracle adds close in on the best one from its sides; this puts one in their
    midst. Aligned neurons merge exactly. The result is balanced, without dead neurons; its loss may
    be higher: compare.

    Args:
        network: a `DenseNetwork` with a positively homogeneous σ.
        layer: which hidden layer.
        near: cosine of incoming weights from which they are near.
    """
    below, above = network.weights[layer - 1], network.weights[layer]
    width = below.shape[1]
    norms = np.linalg.norm(below, axis=0) * np.linalg.norm(above[:width], axis=1)
    alive = np.flatnonzero(norms > 0)
    unit = below[:, alive] / np.linalg.norm(below[:, alive], axis=0)
    heads = above[alive] / np.linalg.norm(above[alive], axis=1, keepdims=True)
    free, incoming, outgoing = np.ones(len(alive), dtype=bool), [], []
    for index in np.argsort(-norms[alive]):
        if free[index]:
            group = free & (unit[:, index] @ unit > near) & (heads @ heads[index] > NEAR_V)
            left, values, right = np.linalg.svd(
                below[:, alive[group]] @ above[alive[group]], full_matrices=False
            )
            size = np.sqrt(values[0]) * np.sign(left[:, 0] @ unit[:, index])
            incoming.append(size * left[:, 0])
            outgoing.append(size * right[0])
            free &= ~group
    weights = list(network.weights)
    weights[layer - 1] = np.array(incoming).reshape(-1, len(below)).T
    weights[layer] = np.concatenate([np.array(outgoing).reshape(-1, above.shape[1]), above[width:]])
    return network.with_weights(weights)


def tidy(network: DenseNetwork, loss: Callable, slack: float = 1e-12) -> DenseNetwork:
    """Leave out dead neurons and merge near ones, the coarsest merge that keeps the loss.

    Args:
        loss: takes a network, returns its loss.
        slack: by how much, relative, the loss may rise in a step.
    """
    limit = loss(network)
    limit += slack * abs(limit)
    changes: list[Callable] = [_without_dead]
    changes += [partial(merge_near, near=near) for near in NEAR_W]
    for layer in range(1, network.depth):
        for change in changes:
            changed = change(network, layer)
            if changed.hidden != network.hidden and loss(changed) <= limit:
                network = changed
                if change is not _without_dead:
                    break
    return network


def _without_dead(network, layer):
    below, above = network.weights[layer - 1], network.weights[layer]
    width = below.shape[1]
    norms = np.linalg.norm(below, axis=0) * np.linalg.norm(above[:width], axis=1)
    kept = norms > DEAD * norms.max(initial=0.0)
    weights = list(network.weights)
    weights[layer - 1] = below[:, kept]
    weights[layer] = np.concatenate([above[:width][kept], above[width:]])
    return network.with_weights(weights)
