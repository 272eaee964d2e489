"""Equivalent wider networks along every kind of the expansion manifold, and the directions in which
it is flat.

A place of the wider layer belongs to a neuron (it is one of its copies) or to a zero-type group
(copies of any one direction whose outgoing weights cancel); `owners` says which, as in
`symmetries.expansions`. How a neuron's outgoing weights are shared among its copies decides what is
kept:

- `"fractions"`: copies get `c_j v`, Σ c_j = 1. The function is kept, for any σ, and a critical
  point of the unregularized loss stays one [Simsek et al. 2021].
- `"free"`: each entry of v is shared in its own way. All of the affine subspace of equivalent
  networks; the function is kept, and a critical point stays one at zero loss.
- `"balanced"`: copies `(√c_j w, √c_j v)`, c_j > 0, for positively homogeneous σ; zero-type groups
  are zero. The squared norm is kept too, so the regularized loss and its critical points.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from keras_l2feat.activations import scaling
from keras_l2feat.errors import InputError, bad_argument, require
from keras_l2feat.network import DenseNetwork
from keras_l2feat.types import Seed

__all__ = ["SHARINGS", "expand_layer", "flat_directions", "random_owners", "widen"]

SHARINGS = ("fractions", "free", "balanced")


def widen(
    network: DenseNetwork,
    widths: Sequence[int],
    *,
    sharing: str = "balanced",
    zero_types: int = 0,
    seed: Seed = 0,
) -> DenseNetwork:
    """An equivalent network of hidden widths `widths`, drawn at random.

    Args:
        network: the narrower network.
        widths: one per hidden layer, each at least the present one (and `zero_types` more).
        sharing: one of `SHARINGS`, see the module's text.
        zero_types: how many of the new places in each layer belong to zero-type groups.
        seed: of the places, shares and zero-type directions.

    Returns: a `DenseNetwork` with the same outputs; with `"balanced"` also of the same
        `squared_norm`.

    Raises:
        InputError: a width is too small, or `sharing` is `"balanced"` and σ is not positively
            homogeneous.
    """
    widths = tuple(widths)
    expected = f"one width for each of the {len(network.hidden)} hidden layers"
    require(len(widths) == len(network.hidden), "widths", expected, widths)
    generator = np.random.default_rng(seed)
    for layer, width in enumerate(widths):
        owners = random_owners(network.hidden[layer], width, zero_types=zero_types, seed=generator)
        network = expand_layer(network, layer, owners, sharing=sharing, seed=generator)
    return network


def random_owners(r: int, m: int, *, zero_types: int = 0, seed: Seed = 0) -> np.ndarray:
    """Draw which of m places belong to each of r neurons (at least one) and which `zero_types`
    places to zero-type groups.

    Returns: int `(m,)`, neurons 0 … r − 1, groups −1, −2, ….
    """
    expected = f"at least {r} + {zero_types} (neurons and zero-type places)"
    require(0 <= zero_types <= m - r, "widths", expected, m)
    generator = np.random.default_rng(seed)
    copies = generator.integers(r, size=m - r - zero_types)
    groups = -1 - generator.integers(max(zero_types, 1), size=zero_types)
    return generator.permutation(np.concatenate([np.arange(r), copies, groups]))


def expand_layer(
    network: DenseNetwork,
    layer: int,
    owners: ArrayLike,
    *,
    sharing: str = "balanced",
    shares: ArrayLike | None = None,
    seed: Seed = 0,
) -> DenseNetwork:
    """An equivalent network whose hidden layer `layer` (0 is the first) has the places that
    `owners` hands out.

    Args:
        network: the narrower network, that layer of width r.
        layer: 0 … L − 2.
        owners: int `(m,)`, `i ≥ 0` a copy of neuron i (each i occurs), negative numbers name
            zero-type groups.
        sharing: one of `SHARINGS`.
        shares: chosen shares c_j, `(m,)`, or `(m, n_out)` when `"free"`; over the copies of a
            neuron they sum to 1 (and are positive when `"balanced"`), over a zero-type group to 0.
            Drawn if not given.
        seed: of drawn shares and of the zero-type directions.

    Returns: a `DenseNetwork`.

    Raises:
        InputError: one of the conditions above does not hold.
    """
    owners = _owners(network, layer, owners)
    require(sharing in SHARINGS, "sharing", f"one of {SHARINGS}", sharing)
    if sharing == "balanced" and not scaling(network.activation).homogeneous:
        raise InputError(
            "Balanced copies need a positively homogeneous activation. Received: "
            f"{network.activation!r}."
        )
    generator = np.random.default_rng(seed)
    incoming, outgoing = network.weights[layer], network.weights[layer + 1][: network.hidden[layer]]
    columns = outgoing.shape[1] if sharing == "free" else 1
    shares = _draw_shares(owners, columns, sharing, generator) if shares is None else shares
    shares = np.asarray(shares, dtype=np.float64).reshape(len(owners), -1)
    _check_shares(owners, shares, sharing)
    factors = np.ones((len(owners), 1))
    if sharing == "balanced":
        shares = factors = np.sqrt(shares)
    groups = sorted({owner for owner in owners if owner < 0}, reverse=True)
    # a balanced neuron without outgoing weights is zero
    scale = 0.0 if sharing == "balanced" else 1.0
    new_in = scale * generator.standard_normal((incoming.shape[0], len(groups)))
    new_out = scale * generator.standard_normal((len(groups), outgoing.shape[1]))
    place = np.where(owners >= 0, owners, 0)
    for k, group in enumerate(groups):
        place[owners == group] = network.hidden[layer] + k
    wide_in = np.hstack([incoming, new_in])[:, place] * factors.T
    wide_out = np.vstack([outgoing, new_out])[place] * shares
    weights = list(network.weights)
    weights[layer] = wide_in
    weights[layer + 1] = np.vstack([wide_out, network.weights[layer + 1][network.hidden[layer] :]])
    return network.with_weights(weights)


def flat_directions(
    wide: DenseNetwork, layer: int, owners: ArrayLike, *, sharing: str = "fractions"
) -> np.ndarray:
    """Directions in which an expanded network may move, to first order, within its kind of
    equivalent networks.

    With `"fractions"` and `"balanced"` these are the shares: at a critical point they lie in the
    kernel of the Hessian of the unregularized (`"balanced"`: also of the regularized) loss; Σ (k_i
    − 1) of them for k_i copies of neuron i. With `"free"` every outgoing vector, and for zero-type
    groups of b_j places the common incoming vector, moves too: Σ (k_i − 1) n_out + Σ ((b_j − 1)
    n_out + fan-in) directions, in the kernel at zero loss.

    Returns: float64 `(D, P)`, linearly independent rows in the order of `criticality.flatten`.
    """
    owners, pairs = np.asarray(owners), []
    for owner in np.unique(owners):
        places = np.flatnonzero(owners == owner)
        if sharing == "free":
            pairs += _free(wide, layer, places, zero_type=owner < 0)
        elif owner >= 0:
            pairs += (_moved_shares if sharing == "fractions" else _rotations)(wide, layer, places)
    directions = [_direction(wide, layer, *pair) for pair in pairs]
    size = sum(weight.size for weight in wide.weights)
    return np.array(directions).reshape(len(directions), size)


# Each of these lists pairs of changes, place → of its incoming and place → of its outgoing weights.


def _free(wide, layer, places, *, zero_type):
    """Every entry of the outgoing vectors goes from the first place to another; and what a
    zero-type group has in common, its incoming vector, moves at will."""
    first, *others = places
    units = np.eye(wide.widths[layer + 2])
    pairs = [({}, {place: unit, first: -unit}) for unit in units for place in others]
    if zero_type:
        inward = np.eye(len(wide.weights[layer]))
        pairs += [(dict.fromkeys(places, unit), {}) for unit in inward]
    return pairs


def _moved_shares(wide, layer, places):
    """Shares of the outgoing vector go from the first place to another."""
    first, *others = places
    whole = wide.weights[layer + 1][places].sum(axis=0)
    return [({}, {place: whole, first: -whole}) for place in others]


def _rotations(wide, layer, places):
    """Balanced copies (√c w, √c v): moving weight from one copy to another turns (√c_j, √c_0), so
    (a, b) → (b, −a)."""
    first, *others = places
    columns, rows = wide.weights[layer].T, wide.weights[layer + 1]
    return [
        tuple({place: part[first], first: -part[place]} for part in (columns, rows))
        for place in others
    ]


def _direction(wide, layer, incoming, outgoing):
    """Changes of the weights as one vector, in the order of `criticality.flatten`."""
    weights = [np.zeros_like(weight) for weight in wide.weights]
    for place, change in incoming.items():
        weights[layer][:, place] = change
    for place, change in outgoing.items():
        weights[layer + 1][place] = change
    return np.concatenate([weight.ravel() for weight in weights])


def _draw_shares(owners, columns, sharing, generator):
    shares = np.empty((len(owners), columns))
    for owner in np.unique(owners):
        places = owners == owner
        count = int(places.sum())
        if owner >= 0 and sharing == "balanced":
            shares[places] = generator.dirichlet(np.ones(count) * 2.0, size=columns).T
            continue
        drawn = generator.standard_normal((count, columns)) * (sharing != "balanced")
        # around equal shares, of either sign; a group's around 0
        shares[places] = drawn - drawn.mean(axis=0) + (1 / count if owner >= 0 else 0.0)
    return shares


def _owners(network, layer, owners):
    last, owners = len(network.hidden) - 1, np.asarray(owners)
    require(0 <= layer <= last, "layer", f"a hidden layer, 0 to {last}", layer)
    count = network.hidden[layer]
    complete = owners.ndim == 1 and set(owners[owners >= 0].tolist()) == set(range(count))
    expected = f"whole numbers in which each of 0 … {count - 1} occurs"
    require(complete, "owners", expected, owners)
    return owners


def _check_shares(owners, shares, sharing):
    for owner in np.unique(owners):
        total = shares[owners == owner].sum(axis=0)
        if not np.allclose(total, owner >= 0, rtol=0, atol=1e-12 * max(1.0, np.abs(shares).max())):
            wanted = "1 over the copies of a neuron" if owner >= 0 else "0 over a zero-type group"
            raise bad_argument("shares", f"numbers that sum to {wanted}, here {owner}", total)
    if sharing == "balanced" and (shares < 0).any():
        raise bad_argument("shares", "at least 0 for balanced copies", shares)
