"""Rays: the directions on which neurons settle, and snapping neurons onto the ray they are close
to.

Neurons w_i = t_i w with t_i > 0 compute the same feature; with outgoing weights on a common ray too
they get gradients in the same ratio, so gradient descent and L-BFGS keep them aligned [Jacot et al.
2022, §3.1].
"""

import itertools

import numpy as np

from keras_l2feat.activations import scaling
from keras_l2feat.errors import bad_argument
from keras_l2feat.network import DenseNetwork

__all__ = ["ray_labels", "rays", "snap"]


def ray_labels(
    incoming: np.ndarray, outgoing: np.ndarray, angle: float, negligible: float = 0.0
) -> np.ndarray:
    """The ray that each neuron of a hidden layer is on.

    Neurons are taken by falling contribution ‖w‖‖v‖; each joins the nearest ray within `angle`, or
    begins one.

    Args:
        incoming: `(rows, n)`, the columns are the w_i (bias entry included).
        outgoing: `(n, columns)`, the rows are the v_i.
        angle: radians.
        negligible: share of the layer's largest contribution up to which a neuron counts as dead.

    Returns: `(n,)` ints, rays numbered from 0 by falling contribution of their first neuron, −1 for
        dead neurons.
    """
    if not 0 <= angle < np.pi / 2:
        raise bad_argument("angle", "in radians, from 0 to below π/2", angle)
    norms = np.linalg.norm(incoming, axis=0)
    contributions = norms * np.linalg.norm(outgoing, axis=1)
    labels = np.full(len(contributions), -1)
    alive = contributions > negligible * contributions.max(initial=0.0)
    unit = incoming / np.where(norms > 0, norms, 1.0)
    chord = 2 * np.sin(angle / 2)
    leaders = []
    for neuron in np.argsort(-contributions, kind="stable"):
        if not alive[neuron]:
            continue
        # chords, not cosines: the cosine of 1e-8 is 1 in float64
        distances = np.linalg.norm(unit[:, leaders] - unit[:, [neuron]], axis=0)
        if len(leaders) and distances.min() <= chord:
            labels[neuron] = labels[leaders[int(distances.argmin())]]
        else:
            labels[neuron] = len(leaders)
            leaders.append(neuron)
    return labels


def rays(network: DenseNetwork, angle: float = 1e-2, negligible: float = 1e-4) -> tuple:
    """The number of rays in each hidden layer of a `DenseNetwork`: its effective widths."""
    return tuple(
        int(ray_labels(lower, upper[: lower.shape[1]], angle, negligible).max(initial=-1)) + 1
        for lower, upper in itertools.pairwise(network.weights)
    )


def snap(network: DenseNetwork, angle: float = 1e-2, negligible: float = 1e-4) -> tuple:
    """Move every neuron onto its ray: the group's mean direction, weighted by contribution.

    The group then computes what its one merged neuron (w, Σ t_i v_i) would, split into balanced
    copies in proportion to their former contributions. The function moves by at most the order of
    `angle`, the loss at a stationary point by its square; dead neurons become exactly zero.

    Args:
        network: a `DenseNetwork` with a positively homogeneous σ.
        angle, negligible: as for `ray_labels`.

    Returns: the new `DenseNetwork` of the same widths, and the number of rays in each hidden layer.

    Raises:
        InputError: σ is not positively homogeneous, so that aligned neurons are not the same
            feature.
    """
    if not scaling(network.activation).homogeneous:
        raise bad_argument("activation", "positively homogeneous, as relu is", network.activation)
    weights = [weight.copy() for weight in network.weights]
    counts = []
    for lower, upper in itertools.pairwise(weights):
        width = lower.shape[1]
        labels = ray_labels(lower, upper[:width], angle, negligible)
        counts.append(int(labels.max(initial=-1)) + 1)
        norms, out_norms = np.linalg.norm(lower, axis=0), np.linalg.norm(upper[:width], axis=1)
        lower[:, labels < 0] = 0.0
        upper[:width][labels < 0] = 0.0
        for label in range(counts[-1]):
            members = np.flatnonzero(labels == label)
            direction = lower[:, members] @ out_norms[members]  # Σ c_i w_i/‖w_i‖
            direction /= np.linalg.norm(direction)
            merged = (direction @ lower[:, members]) @ upper[members]
            size = np.linalg.norm(merged)
            shares = norms[members] * out_norms[members]
            scales = np.sqrt(size * shares / shares.sum())
            lower[:, members] = direction[:, None] * scales
            upper[members] = scales[:, None] * (merged / size if size > 0 else merged)
    return network.with_weights(weights), tuple(counts)
