"""Paths that are known in closed form: straight lines, permutations of one network one neuron at a
time, and the union of two networks.

With one free place in a layer every permutation of its neurons is a chain of moves of one neuron
into the free place [Simsek et al. 2021]. A move keeps the function; for positively homogeneous σ it
can also keep the norm, by turning (w, v) from one place into the other, (cos θ, sin θ) · (w, v), so
the regularized loss is constant as well.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from keras_l2feat.activations import scaling
from keras_l2feat.errors import bad_argument, require
from keras_l2feat.network import DenseNetwork
from keras_l2feat.theory.matching import distance, match, permute

__all__ = ["Path", "connect_permutations", "connect_through_union", "line", "pad", "straight"]


@dataclass(frozen=True)
class Path:
    """A continuous path of networks.

    Attributes:
        pieces: functions from [0, 1] to `DenseNetwork`, each ending where the next begins.
    """

    pieces: tuple[Callable, ...]

    @property
    def waypoints(self) -> list:
        """The networks where pieces meet, both ends included."""
        return [piece(0.0) for piece in self.pieces] + [self.pieces[-1](1.0)]

    def sample(self, per_piece: int = 11) -> Iterator[tuple[float, DenseNetwork]]:
        """Yields `(t, network)`, t from 0 to the number of pieces; meeting points come once."""
        for index, piece in enumerate(self.pieces):
            for s in np.linspace(0, 1, per_piece)[index > 0 :]:
                yield index + float(s), piece(float(s))

    def __add__(self, other: "Path") -> "Path":
        return Path(self.pieces + other.pieces)


def straight(a: DenseNetwork, b: DenseNetwork) -> Path:
    """The straight line from a to b, at their widths."""
    return Path((line(a, b),))


def pad(network: DenseNetwork, widths: Sequence[int]) -> DenseNetwork:
    """The same function with zero neurons appended, up to hidden widths `widths`."""
    widths = tuple(widths)
    if len(widths) != len(network.hidden) or any(w < n for w, n in zip(widths, network.hidden)):
        raise bad_argument(
            "widths", f"one width per hidden layer, at least {network.hidden}", widths
        )
    return _block(network, widths, [np.arange(n) for n in network.hidden])


def connect_permutations(
    a: DenseNetwork, b: DenseNetwork, *, keep: str = "norm", tolerance: float = 1e-9, seed: int = 0
) -> Path:
    """A path from `a` to `b`, permutations of one another, with one extra neuron per hidden layer.

    Args:
        a, b: networks of equal widths; the order of b's neurons is found by `matching.match`.
        keep: `"norm"`: function and squared norm are constant (positively homogeneous σ);
            `"function"`: any σ, straight pieces.
        tolerance: a and b count as permutations if they can be brought within this distance,
            relative to their norm.
        seed: of the search for the permutation.

    Returns: a `Path` from `pad(a, +1)` to `pad(b, +1)`. A layer that is in order already needs no
        move.

    Raises:
        InputError: no permutation was found, or `keep="norm"` with another σ.
    """
    require(keep in ("norm", "function"), "keep", "'norm' or 'function'", keep)
    if keep == "norm":
        _require_homogeneous(a)
    orders = match(a, b, seed=seed)
    gap = distance(permute(a, orders), b)
    found = f"a network at distance {gap:.3g} from the nearest one found"
    near = gap <= tolerance * max(np.sqrt(b.squared_norm), 1e-300)
    require(near, "b", "a permutation of a", found)
    network = pad(a, [n + 1 for n in a.hidden])
    pieces = []
    for layer, order in enumerate(orders):
        for source, target in _moves(order):
            for piece in _move(network, layer, source, target, keep):
                pieces.append(piece)
                network = piece(1.0)
    # takes up what rounding left between the two
    pieces.append(line(network, pad(b, network.hidden)))
    return Path(tuple(pieces))


def connect_through_union(a: DenseNetwork, b: DenseNetwork, *, keep: str = "norm") -> Path:
    """A path between any two networks of one depth, through one that holds both side by side.

    Width: the sum of both. Outputs along the middle piece are (1 − t) Z_a + t Z_b, so a convex cost
    stays below the higher end. `keep="norm"` fades a out and b in by rescaling all layers alike:
    the squared norm is (1 − t)^{2/L} ‖a‖² + t^{2/L} ‖b‖² (β = 0; at most that otherwise): for L = 2
    no barrier in the regularized loss either, for L > 2 one of at most (2^{1 − 2/L} − 1) λ
    max(‖a‖², ‖b‖²). `keep="function"` works for any σ, by the last layer alone.

    Returns: a `Path` from `pad(a, …)` to b in the places after a's.
    """
    kind, other = ((n.depth, n.widths[0], n.widths[-1], n.activation, n.beta) for n in (a, b))
    expected = f"of a's depth, inputs, outputs, activation and beta, {kind}"
    require(kind == other, "b", expected, other)
    widths = [n + m for n, m in zip(a.hidden, b.hidden)]
    first = [np.arange(n) for n in a.hidden]
    second = [np.arange(n, n + m) for n, m in zip(a.hidden, b.hidden)]

    def union(of_a, of_b):
        return _sum(_block(of_a, widths, first), _block(of_b, widths, second))

    if keep == "norm":
        _require_homogeneous(a)
        return Path((lambda t: union(_rescale_output(a, 1 - t), _rescale_output(b, t)),))
    silent_a, silent_b = (
        n.with_weights([*n.weights[:-1], np.zeros_like(n.weights[-1])]) for n in (a, b)
    )
    zero_a, zero_b = (n.with_weights([np.zeros_like(w) for w in n.weights]) for n in (a, b))
    stops = [union(a, zero_b), union(a, silent_b), union(silent_a, b), union(zero_a, b)]
    return Path(tuple(itertools.starmap(line, itertools.pairwise(stops))))


def _require_homogeneous(network):
    expected = f"'function' where σ is {network.activation}, not positively homogeneous"
    require(scaling(network.activation).homogeneous, "keep", expected, "norm")


def _moves(order):
    """Moves `(source, target)` of single neurons, the free place being n, after which place k holds
    neuron order[k]."""
    free, moves, done = len(order), [], set()
    for start in range(len(order)):
        if start in done or order[start] == start:
            continue
        moves.append((start, free))
        place = start
        while order[place] != start:
            moves.append((order[place], place))
            done.add(place)
            place = order[place]
        moves.append((free, place))
        done.add(place)
    return moves


def _move(network, layer, source, target, keep):
    """Pieces that take the neuron at `source` to the free place `target`, which is zero, and leave
    `source` zero."""
    w, v = network.weights[layer][:, source], network.weights[layer + 1][source]

    def turned(t):
        return _place(network, layer, {source: _turn(t, w, v), target: _turn(1 - t, w, v)})

    if keep == "norm":
        return [turned]
    stops, silent = [network], (w, 0 * v)
    for places in {target: silent}, {target: (w, v), source: silent}, {source: (0 * w, 0 * v)}:
        stops.append(_place(stops[-1], layer, places))
    return list(itertools.starmap(line, itertools.pairwise(stops)))


def _turn(t, w, v):
    """(w, v) faded out by a quarter turn: whole at t = 0, zero at t = 1."""
    factor = np.cos(t * np.pi / 2) if t < 1 else 0.0
    return factor * w, factor * v


def _place(network, layer, neurons):
    """The network with `(w, v)` written into places of a hidden layer."""
    weights = list(network.weights)
    weights[layer], weights[layer + 1] = weights[layer].copy(), weights[layer + 1].copy()
    for place, (w, v) in neurons.items():
        weights[layer][:, place], weights[layer + 1][place] = w, v
    return network.with_weights(weights)


def line(a: DenseNetwork, b: DenseNetwork) -> Callable[[float], DenseNetwork]:
    """The function t → (1 − t) a + t b, weight by weight."""
    return lambda t: a.with_weights(
        (1 - t) * u + t * v if t < 1 else v for u, v in zip(a.weights, b.weights)
    )


def _block(network, widths, places):
    """The same function in a wider network of zeros, its hidden neurons at `places`, one int array
    per hidden layer."""
    inputs, outputs = network.widths[0], network.widths[-1]
    sizes = inputs, *widths, outputs
    stand = np.arange(inputs), *places, np.arange(outputs)
    weights = []
    for layer, weight in enumerate(network.weights):
        below, rows = sizes[layer], stand[layer]
        wide = np.zeros((below + (network.beta > 0), sizes[layer + 1]))
        rows = np.append(rows, below) if network.beta > 0 else rows
        wide[np.ix_(rows, stand[layer + 1])] = weight
        weights.append(wide)
    return network.with_weights(weights)


def _sum(a, b):
    return a.with_weights(u + v for u, v in zip(a.weights, b.weights))


def _rescale_output(network, t):
    """Outputs times t ≥ 0 by factors shared evenly among the layers: t^{1/L} each, bias rows
    t^{l/L}."""
    factor = t ** (1 / network.depth)
    weights = []
    for layer, weight in enumerate(network.weights, start=1):
        scaled = weight * factor
        if network.beta > 0:
            scaled[-1] = weight[-1] * factor**layer
        weights.append(scaled)
    return network.with_weights(weights)
