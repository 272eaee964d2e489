"""The representation cost R(X, Y): the least Σ‖W_l‖² of networks that fit Y on X exactly.

Three ways to it. Constrained: the method of multipliers minimizes ‖W‖² + ⟨M, Z_L − Y⟩ + μ/2 ‖Z_L −
Y‖² and moves M until the fit is exact. The limit λ → 0 of the regularized squared loss: min(C/λ +
‖W‖²) rises to R linearly in λ, so its values on a falling sequence are extrapolated. Convex: for L
= 2 and one output, all sign patterns at once are one second-order cone program, whose optimum is
global. For L = 2 the multipliers prove how good the answer is: scaled until no neuron scores above
2, they are a feasible point of the dual, a lower bound on R at every width. [Jacot et al. 2022,
section 4]
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits

from keras_l2feat import progress
from keras_l2feat.activations import append_bias
from keras_l2feat.errors import bad_argument, require, require_counts
from keras_l2feat.network import DenseNetwork
from keras_l2feat.theory.exact_fit import constrained, limit, misfit

__all__ = ["FunctionNorm", "cost_curve", "lower_bound", "representation_cost"]

COARSE = 1e-3  # relative residual at which the starts are compared; the best goes on
FITTED = 1e-5  # relative residual above which Y is not fitted: R is off by about as much, relative


@dataclass(frozen=True)
class FunctionNorm:
    """The least norm that was found.

    Attributes:
        cost: Σ‖W_l‖² of `network` (by the limit: extrapolated), ∞ if no start came to fit Y to
            `FITTED`.
        network: the `DenseNetwork`.
        residual: max |Z_L − Y| / max |Y|.
        multipliers: M, float64 `(N, k)`; −M is the derivative of R with respect to Y.
        lower_bound: for L = 2 a bound below R at every width, else None. As rigorous as
            `enumerated` says.
        enumerated: whether every sign pattern went into the bound; otherwise it rests on a search.
        trials: what each start reached, ascending, in the coarse comparison.
    """

    cost: float
    network: DenseNetwork
    residual: float
    multipliers: np.ndarray = field(repr=False)
    lower_bound: float | None = None
    enumerated: bool = False
    trials: tuple = field(default=(), repr=False)


def representation_cost(
    x: ArrayLike,
    y: ArrayLike,
    depth: int = 2,
    hidden: int | Sequence[int] | None = None,
    *,
    activation: str = "relu",
    beta: float = 0.0,
    trials: int = 5,
    starts: Sequence[DenseNetwork] = (),
    method: str = "constrained",
    tolerance: float = 1e-8,
    bound: bool = True,
    seed: int = 0,
    quiet: bool = True,
) -> FunctionNorm:
    """The least Σ‖W_l‖² of networks of given widths that fit `y` on `x` exactly.

    Args:
        x, y: `(N, n_0)` and `(N, k)`.
        depth: L ≥ 1.
        hidden: hidden widths, one number for all or one each; by default N (N + 1), from where R no
            longer changes.
        activation: σ, a key of `activations.ACTIVATIONS`.
        beta: amount of bias.
        trials: random starts; the problem is not convex.
        starts: further starts, networks of these widths.
        method: `"constrained"`, `"limit"` (λ → 0), or `"convex"`: L = 2, k = 1, every width at
            once, so `hidden` is not given; needs the extra `conic` and patterns few enough to list.
        tolerance: residual relative to max |Y| to which Y is fitted.
        bound: for L = 2 and homogeneous σ, compute the lower bound.
        seed: of the random starts.
        quiet: no progress bar.

    Returns: a `FunctionNorm`. For L = 2 and enough neurons the problem is convex in the
        covariances and the bound closes; otherwise `cost` is the best found, an upper bound on R.

    Raises:
        InputError: an argument is out of range or shapes do not fit together.
    """
    x, y, hidden = _checked(x, y, depth, hidden)
    if method == "convex":
        return _convex(x, y, depth, activation, beta)
    if method not in ("constrained", "limit"):
        raise bad_argument("method", "'constrained', 'limit' or 'convex'", method)
    if not np.any(y):
        zero = [np.zeros_like(w) for w in _random(x, y, hidden, activation, beta, seed).weights]
        network = DenseNetwork(tuple(zero), activation=activation, beta=beta)
        return FunctionNorm(0.0, network, 0.0, np.zeros_like(y), 0.0 if depth == 2 else None, True)
    random = [
        (_random(x, y, hidden, activation, beta, (seed, trial)), None) for trial in range(trials)
    ]
    candidates = random + [(start, _multipliers(start, x)) for start in starts]
    require(candidates, "trials", "at least 1, or starts given", trials)
    with threadpool_limits(1):  # on arrays this small, threads cost more than they bring
        found = _cheapest(candidates, x, y, method, tolerance, quiet)
    if not bound or depth != 2 or not np.isfinite(found.cost):
        return found
    live = found.network.weights[0]
    below, enumerated = lower_bound(
        x, y, found.multipliers, activation=activation, beta=beta, live=live
    )
    return replace(found, lower_bound=below, enumerated=enumerated)


def _cheapest(candidates, x, y, method, tolerance, quiet):
    """The cheapest network to which a start, with a guess of its multipliers, leads: all are
    compared coarsely, and the cheapest that can be is fitted to the end."""
    coarse = []
    with progress.bar(candidates, description="least norm", quiet=quiet) as bar:
        for start, guess in bar:
            coarse.append(constrained(start, x, y, COARSE, accuracy=1e-7, multipliers=guess))
    costs = [norm if misfit(network, x, y) <= COARSE else np.inf for network, _, norm in coarse]
    solve, accepted = (constrained, FITTED) if method == "constrained" else (limit, COARSE)
    for start in np.argsort(costs, kind="stable"):
        network, multipliers, _ = coarse[start]
        if not np.isfinite(costs[start]):
            break
        network, multipliers, cost = solve(
            network, x, y, tolerance, accuracy=1e-12, multipliers=multipliers
        )
        if misfit(network, x, y) <= accepted:
            break
    residual = misfit(network, x, y)
    if residual > accepted:
        cost = np.inf
    return FunctionNorm(cost, network, residual, multipliers, trials=tuple(sorted(costs)))


def lower_bound(
    x: ArrayLike,
    y: ArrayLike,
    multipliers: np.ndarray,
    *,
    activation: str = "relu",
    beta: float = 0.0,
    live: np.ndarray | None = None,
    seed: int = 0,
) -> tuple[float, bool]:
    """A lower bound on R(X, Y) at L = 2 and every width, from any multipliers M `(N, k)`.

    The dual is max_t −t ⟨M, Y⟩ − t² β²/4 ‖Mᵀ1‖² over t ≥ 0 with t · max_w ‖Mᵀσ(A w)‖ ≤ 2, w of norm
    1.

    Returns: the bound, and whether the maximum was enumerated over all sign patterns (else
        searched).
    """
    from keras_l2feat.kernels.insertion import insertion_maximum

    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if live is not None:
        live = live[:, np.any(live != 0, axis=0)]
    best = insertion_maximum(
        multipliers, append_bias(x, beta), activation=activation, live=live, seed=seed
    )
    slope = -float(np.vdot(multipliers, y))
    curvature = beta**2 * float(np.sum(multipliers.sum(axis=0) ** 2)) / 4
    t = 2 / best.score if best.score > 0 else 0.0
    if curvature > 0:
        t = min(t, max(slope, 0.0) / (2 * curvature))
    return max(0.0, t * slope - t * t * curvature), best.enumerated


def _convex(x, y, depth, activation, beta):
    """All patterns with both signs of the output weight: the global optimum of L = 2, k = 1 over
    every width."""
    from keras_l2feat.objectives import Problem
    from keras_l2feat.theory.patterns import patterns
    from keras_l2feat.theory.programs import solve_columns

    if depth != 2 or y.shape[1] != 1:
        raise bad_argument(
            "method", "'constrained' or 'limit' unless depth is 2 and y has one column", "convex"
        )
    problem = Problem((x, y), 1.0, "squared", activation, beta)
    signs = np.where(patterns(problem.augmented), 1, -1)
    signs, heads = np.concatenate([signs, signs]), np.repeat([1.0, -1.0], len(signs))
    solution = solve_columns(problem, signs, heads[:, None], exact=True)
    sizes = np.sqrt(np.linalg.norm(solution.u, axis=1))
    used = sizes**2 > 1e-7 * max(sizes.max() ** 2, 1e-300)
    above = (heads * sizes)[used, None]
    weights = (
        (solution.u[used] / sizes[used, None]).T,
        np.vstack([above, solution.bias]) if beta > 0 else above,
    )
    network = DenseNetwork(weights, activation=activation, beta=beta)
    below, enumerated = lower_bound(
        x, y, solution.gradient, activation=activation, beta=beta, live=weights[0]
    )
    return FunctionNorm(
        network.squared_norm, network, misfit(network, x, y), solution.gradient, below, enumerated
    )


def _multipliers(network, x):
    """M that makes the last layer of a network stationary: 2 W_L + A_{L−1}ᵀ M = 0 in the sense of
    least squares."""
    a = network.forward(x)[1][-1]
    return np.linalg.lstsq(a.T, -2 * network.weights[-1], rcond=1e-10)[0]


def cost_curve(
    x: ArrayLike,
    y: ArrayLike,
    widths: Sequence[int],
    *,
    trials: int = 5,
    seed: int = 0,
    quiet: bool = True,
    **options,
) -> dict:
    """R against the width of one hidden layer, from the widest down: each width starts at random
    and from narrowing the one above by merging the two neurons that lose least. A running minimum,
    as R never rises with width (Prop. 6).

    Args:
        x, y: data; `widths`: whole numbers, any order.
        trials, seed: random starts at each width.
        **options: for `representation_cost`.

    Returns: width → `FunctionNorm`, ascending.
    """
    found = {}
    widths = sorted(set(widths))
    with progress.bar(widths[::-1], description="widths", quiet=quiet) as bar:
        for width in bar:
            starts = [
                _narrowed(found[wider].network, width) for wider in found if wider == min(found)
            ]
            found[width] = representation_cost(
                x, y, 2, width, trials=trials, starts=starts, seed=seed, **options
            )
    best = None
    for width in widths:  # a narrower solution, padded, serves a wider network
        if best is not None and best.cost < found[width].cost:
            found[width] = best
        best = found[width]
    return {width: found[width] for width in widths}


def _random(x, y, hidden, activation, beta, seed):
    """A random start, rescaled so that its outputs are of Y's size."""
    network = DenseNetwork.random(
        (x.shape[1], *hidden, y.shape[1]), activation=activation, beta=beta, seed=seed
    )
    size = np.linalg.norm(network(x))
    factor = (np.linalg.norm(y) / size) ** (1 / network.depth) if size > 0 else 1.0
    return network.with_weights(factor * weight for weight in network.weights)


def _narrowed(network, width):
    """The two-layer network with pairs of neurons replaced by the best one for both, cheapest
    first, until `width`."""
    below, above = (weight.copy() for weight in network.weights)
    while below.shape[1] > width:
        n = below.shape[1]
        products = below.T @ below
        outgoing = above[:n] @ above[:n].T
        # Σ w vᵀ of a pair: its squared singular values have this sum and product
        alone, minors = np.diag(products * outgoing), []
        total = np.add.outer(alone, alone) + 2 * products * outgoing
        for gram in (products, outgoing):
            minors.append(np.outer(np.diag(gram), np.diag(gram)) - gram**2)
        minor = minors[0] * minors[1]
        root = np.sqrt(np.maximum(total**2 - 4 * np.maximum(minor, 0), 0))
        lost = np.where(np.eye(n, dtype=bool), np.inf, (total - root) / 2)
        i, j = np.unravel_index(np.argmin(lost), lost.shape)
        left, values, right = np.linalg.svd(below[:, [i, j]] @ above[[i, j]], full_matrices=False)
        pulls = below[:, [i, j]] * np.linalg.norm(above[[i, j]], axis=1)
        sign = np.sign(left[:, 0] @ (pulls[:, 0] + pulls[:, 1]))
        size = np.sqrt(values[0]) * (sign or 1.0)
        below[:, i], above[i] = size * left[:, 0], size * right[0]
        below, above = np.delete(below, j, axis=1), np.delete(above, j, axis=0)
    return network.with_weights([below, above])


def _checked(x, y, depth, hidden):
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or not len(x):
        raise bad_argument("y", f"of shape (N, k) with N = {len(x)} points", y.shape)
    require_counts(depth=depth)
    if hidden is None:
        hidden = len(x) * (len(x) + 1)
    hidden = (hidden,) * (depth - 1) if isinstance(hidden, (int, np.integer)) else tuple(hidden)
    if len(hidden) != depth - 1 or any(width < 1 for width in hidden):
        raise bad_argument("hidden", f"{depth - 1} positive widths", hidden)
    return x, y, hidden
