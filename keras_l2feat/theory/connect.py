"""Two networks connected in every way there is, and what happens to the loss on the way.

It is constant between permutations of one network, and as low as can be between others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_l2feat.activations import scaling
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives import Problem
from keras_l2feat.theory import criticality
from keras_l2feat.theory.matching import distance, match, permute
from keras_l2feat.theory.paths import Path, connect_permutations, connect_through_union, straight
from keras_l2feat.training.lbfgs import minimize
from keras_l2feat.training.run import Budget

__all__ = ["Connection", "barrier", "bend", "connect", "profile"]


@dataclass(frozen=True)
class Connection:
    """Paths between two networks and what happens along each.

    Attributes:
        permutation: whether b is a permutation of a.
        paths: name → `Path`: `"straight"`, and for permutations `"moves"`, otherwise `"matched"`,
            `"bent"`, `"union"`.
        profiles: name → the arrays of `profile`.
    """

    permutation: bool
    paths: dict
    profiles: dict

    @property
    def barriers(self) -> dict:
        """name → height above the higher end."""
        return {name: barrier(losses) for name, (_, losses, _, _) in self.profiles.items()}

    @property
    def best(self) -> str:
        """The name of the path with the lowest barrier."""
        return min(self.barriers, key=self.barriers.__getitem__)


def connect(
    a: DenseNetwork,
    b: DenseNetwork,
    problem: Problem,
    *,
    per_piece: int = 11,
    tolerance: float = 1e-6,
    seed: int = 0,
    quiet: bool = True,
) -> Connection:
    """Connect two networks of equal widths in every way there is.

    If one is a permutation of the other, the path moves neurons through one free place a layer, at
    constant loss (`"moves"`). If not, b's neurons are first matched to a's, which costs nothing, as
    permutations are connected; three paths follow: a straight line (`"matched"`), the best bent one
    (`"bent"`), and one through the union of both networks, at the sum of their widths (`"union"`).

    Args:
        a, b: networks.
        problem: whose loss is followed along the paths; its cost is "squared" or "crossentropy".
        per_piece: networks looked at on each piece (the straight paths and the union: five times as
            many).
        tolerance: relative distance within which b counts as a permutation of a: what float32
            storage leaves.
        seed: of the search for the permutation.
        quiet: no progress bar.

    Returns: a `Connection`.
    """
    homogeneous = scaling(a.activation).homogeneous
    keep = "norm" if homogeneous else "function"
    matched = permute(b, match(b, a, seed=seed))
    permutation = bool(distance(matched, a) <= tolerance * np.sqrt(a.squared_norm))
    paths = {"straight": straight(a, b)}
    if permutation:
        paths["moves"] = connect_permutations(a, b, keep=keep, tolerance=tolerance, seed=seed)
    else:
        paths["matched"] = straight(a, matched)
        paths["bent"] = bend(a, matched, problem, quiet=quiet)
        paths["union"] = connect_through_union(a, b, keep=keep)
    profiles = {
        name: profile(path, problem, per_piece=per_piece if name == "moves" else 5 * per_piece)
        for name, path in paths.items()
    }
    return Connection(permutation, paths, profiles)


def bend(
    a: DenseNetwork,
    b: DenseNetwork,
    problem: Problem,
    *,
    points: int = 9,
    iterations: int = 300,
    quiet: bool = True,
) -> Path:
    """The quadratic Bézier curve from a to b with the least mean loss along it.

    Its one free point starts in the middle and is optimized by L-BFGS [Garipov et al. 2018]; the
    mean is taken over `points` inner points of equal distance in t.

    Returns: a `Path` of one piece, at the widths of a and b.
    """
    inner = np.linspace(0, 1, points + 2)[1:-1]

    def at(t, middle):
        return a.with_weights(
            (1 - t) ** 2 * u + 2 * t * (1 - t) * m + t**2 * v
            for u, m, v in zip(a.weights, middle, b.weights)
        )

    def mean_loss(middle):
        total, gradients = 0.0, [np.zeros_like(m) for m in middle]
        for t in inner:
            value, slopes = criticality.loss_and_gradient(at(t, middle), problem)
            total += value / points
            for gradient, slope in zip(gradients, slopes):
                gradient += 2 * t * (1 - t) * slope / points
        return total, gradients

    start = [(u + v) / 2 for u, v in zip(a.weights, b.weights)]
    found = minimize(
        mean_loss, start, Budget(iterations), quiet=quiet, description="bending the path"
    )
    return Path((lambda t: at(t, found.arrays),))


def profile(path: Path, problem: Problem, *, per_piece: int = 11) -> tuple[np.ndarray, ...]:
    """What happens along a path.

    Returns: float64 arrays `t`, `loss` (with the λ term), `squared_norm` and `deviation` (largest
    |Δ output| from the path's start on the problem's data), one entry per sampled network.
    """
    rows, start = [], None
    for t, network in path.sample(per_piece):
        outputs = network(problem.x)
        start = outputs if start is None else start
        loss = criticality.loss_and_gradient(network, problem)[0]
        rows.append((t, loss, network.squared_norm, np.abs(outputs - start).max()))
    return tuple(np.array(column) for column in zip(*rows))


def barrier(losses: Sequence[float]) -> float:
    """By how much the losses along a path rise above its higher end; at least 0."""
    return float(max(losses) - max(losses[0], losses[-1]))
