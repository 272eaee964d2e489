"""Rays: the directions on which neurons settle, and which units join on one.

Neurons w_i = t_i w with t_i > 0 compute the same feature; with outgoing weights on a common ray too
they get gradients in the same ratio, so gradient descent and L-BFGS keep them aligned [Jacot et al.
2022, §3.1]. Where only equal units are one feature, a ray is a point.

Which units join is decided by an angle, or by a budget: the cheapest merges first, each priced by
what it moves, ‖w‖‖v‖ times the sine of the angle.
"""

from typing import NamedTuple

import numpy as np

from keras_l2feat.activations import Scaling
from keras_l2feat.errors import require
from keras_l2feat.network import DenseNetwork
from keras_l2feat.pruning.balance import balance_units
from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.takeover.cuts import first
from keras_l2feat.pruning.takeover.sizes import Sizes
from keras_l2feat.training.copies import make_copies
from keras_l2feat.training.units import Site, sites
from keras_l2feat.types import Model

__all__ = ["counted", "ray_labels", "rays", "snap", "within_angle", "within_budget"]


def ray_labels(
    incoming: np.ndarray,
    outgoing: np.ndarray,
    angle: float,
    negligible: float = 0.0,
    kind: Scaling = Scaling.POSITIVE,
) -> np.ndarray:
    """The ray that each unit of a layer is on.

    Units are taken by falling contribution ‖w‖‖v‖; each joins the nearest ray within `angle`, or
    begins one.

    Args:
        incoming: `(rows, n)`, the columns are the w_i (bias entry included).
        outgoing: `(n, columns)`, the rows are the v_i.
        angle: radians; where multiples are not the same feature, the distance of two units relative
            to the larger.
        negligible: share of the layer's largest contribution up to which a unit counts as dead.
        kind: which multiples are the same feature.

    Returns: `(n,)` ints, rays numbered from 0 by falling contribution of their first unit, −1 for
        dead units.
    """
    require(0 <= angle < np.pi / 2, "angle", "in radians, from 0 to below π/2", angle)
    norms = np.linalg.norm(incoming, axis=0)
    contributions = norms * np.linalg.norm(outgoing, axis=1)
    labels = np.full(len(contributions), -1)
    alive = contributions > negligible * contributions.max(initial=0.0)
    points, sizes, limit = incoming, norms, angle
    if kind.homogeneous:
        points = incoming / np.where(norms > 0, norms, 1.0)
        # chords, not cosines: the cosine of 1e-8 is 1 in float64
        sizes, limit = np.ones_like(norms), 2 * np.sin(angle / 2)
    leaders: list = []
    for unit in np.argsort(-contributions, kind="stable"):
        if not alive[unit]:
            continue
        distances = np.linalg.norm(points[:, leaders] - points[:, [unit]], axis=0)
        if kind.mirrored:
            mirrored = np.linalg.norm(points[:, leaders] + points[:, [unit]], axis=0)
            distances = np.minimum(distances, mirrored)
        distances /= np.maximum(sizes[leaders], sizes[unit])
        if len(leaders) and distances.min() <= limit:
            labels[unit] = labels[leaders[int(distances.argmin())]]
        else:
            labels[unit] = len(leaders)
            leaders.append(unit)
    return labels


def within_angle(found: list[Site], angle: float, negligible: float = 0.0) -> list[np.ndarray]:
    """The `ray_labels` of each site."""
    return [
        ray_labels(site.incoming.T, site.outgoing, angle, negligible, site.kind) for site in found
    ]


class _Merge(NamedTuple):
    """Unit `gone` of a site joins `into`, at a squared error of `cost`."""

    cost: float
    into: int
    gone: int


def within_budget(graph: Graph, found: list[Site], size: str, share: float) -> list[np.ndarray]:
    """Labels that leave a network of a given size, the cheapest merges first.

    A merge costs the share of its site's Σ (‖w‖‖v‖)² that it moves; merges of all sites are
    compared by that, over what they save of the size.

    Args:
        graph: of the model; found: its sites.
        size: "units", "flops" or "parameters".
        share: of it that may stay; all sites keep a unit, whatever is asked for.

    Returns: (n,) ints for each site, as `ray_labels` has them.
    """
    sizes = Sizes(graph)
    saved, wanted = sizes.saved(size), share * sizes.of(np.ones(sizes.count, dtype=bool))[size]
    queue = []
    for number, site in enumerate(found):
        merges = _merges(site)
        prices = np.array([merge.cost for merge in merges])
        prices /= np.maximum(saved[site.units].mean(), 1e-300)
        # a merge comes after those that it rests on
        for score, merge in zip(np.maximum.accumulate(prices), merges):
            queue.append((score, number, merge))
    queue.sort(key=lambda entry: entry[0])

    def size_after(count):
        kept = np.ones(sizes.count, dtype=bool)
        for _, number, merge in queue[:count]:
            kept[found[number].units[merge.gone]] = False
        return sizes.of(kept)[size]

    few = first(lambda count: size_after(count) <= wanted, 0, len(queue))
    labels = [np.arange(len(site.units)) for site in found]
    for _, number, merge in queue[:few]:
        own = labels[number]
        own[own == merge.gone] = merge.into
    return [np.unique(own, return_inverse=True)[1].reshape(-1) for own in labels]


def _merges(site) -> list[_Merge]:
    """All merges of a site, greedily the cheapest next, down to one unit.

    Two groups of contributions a and b, at a distance d of their mean directions, meet between
    them: a moves by d b / (a + b), b by d a / (a + b). Where zero is nothing, a unit goes for at
    most what it contributes.
    """
    points = site.directions
    masses = site.contributions
    if not site.kind.homogeneous:
        masses = np.linalg.norm(site.outgoing, axis=1)
    product = points @ points.T
    if site.kind.mirrored:
        product = np.abs(product)
    squares = np.diag(points @ points.T)
    distance = np.maximum(squares[:, None] + squares - 2 * product, 0.0)
    if site.kind is not Scaling.IDENTITY:
        distance = np.minimum(distance, np.minimum(squares[:, None], squares))
    total = float((masses**2 * squares).sum()) or 1.0
    masses, alive = masses.copy(), np.ones(len(masses), dtype=bool)

    def costs(of):
        both = masses[of, None] + masses
        between = masses[of, None] * masses / np.where(both > 0, both, 1.0)
        possible = alive & (of[:, None] != np.arange(len(masses)))
        return np.where(possible, between**2 * distance[of], np.inf)

    def closest(of):
        everything = costs(of)
        nearest[of], least[of] = everything.argmin(axis=1), everything.min(axis=1)

    nearest, least = np.zeros(len(masses), dtype=int), np.zeros(len(masses))
    closest(np.arange(len(masses)))
    merges = []
    for _ in range(len(masses) - 1):
        first = int(least.argmin())
        a, b = sorted((first, int(nearest[first])), key=lambda unit: -masses[unit])
        merges.append(_Merge(float(least[first]) / total, a, b))
        part = masses[a] / (masses[a] + masses[b]) if masses[a] else 0.5
        # where the mean is, of squared distances (Lance and Williams 1967)
        row = part * distance[a] + (1 - part) * distance[b] - part * (1 - part) * distance[a, b]
        distance[a] = distance[:, a] = np.maximum(row, 0.0)
        masses[a] += masses[b]
        alive[b], least[b] = False, np.inf
        closest(np.union1d(np.flatnonzero(alive & ((nearest == a) | (nearest == b))), [a]))
    return merges


def counted(labels: list[np.ndarray]) -> tuple:
    """How many groups there are at each site."""
    return tuple(int(own.max(initial=-1)) + 1 for own in labels)


def rays(network: Model | DenseNetwork, angle: float = 1e-2, negligible: float = 1e-4) -> tuple:
    """The number of rays in each hidden layer: its effective widths.

    Args:
        network: a Keras model that the pruner can read, or a `DenseNetwork`.
        angle, negligible: as for `ray_labels`.

    Returns: ints, by the order in which layers are computed; layers that are tied, by a residual
        sum for example, count once, and those that cannot lose units do not.
    """
    found = sites(read(_model(network)))
    return counted(within_angle(found, angle, negligible))


def snap(
    model: Model, angle: float = 1e-2, negligible: float = 1e-4, *, optimizer: object = None
) -> tuple:
    """Move every unit of a Keras model onto its ray: the group's mean direction, weighted by
    contribution.

    Units are balanced first. A group then computes what its one merged unit (w, Σ t_i v_i) would,
    split into equal copies (`copies.make_copies`). The function moves by at most the order of
    `angle`, the loss at a stationary point by its square.

    Args:
        model: a Keras model that the pruner can read, changed in place.
        angle, negligible: as for `ray_labels`; dead units become zero, or copies that add nothing.
        optimizer: what it keeps for a group's units becomes equal too.

    Returns: the number of rays of each layer, as `rays` has it.
    """
    graph = read(model)
    balance_units(graph)
    found = sites(graph)
    labels = within_angle(found, angle, negligible)
    make_copies(graph, list(zip(found, labels)), optimizer)
    return counted(labels)


def _model(network):
    return network.to_model(dtype="float64") if isinstance(network, DenseNetwork) else network
