"""The global optimum of a two-layer network over all widths, with a lower bound that proves it.

Column generation: a column is an activation pattern with an outgoing direction. The convex program
of the columns at hand (`programs.solve_columns`) gives outputs and their gradient G; the neuron
that maximizes the insertion score for G prices every pattern at once, and joins as a new column
while its score exceeds 2λ. Scaled, G is a feasible point of the dual, so every round ends with a
gap. Where the patterns can be enumerated, pricing and bound are exact.
"""

from dataclasses import dataclass

import numpy as np

from keras_l2feat.costs import cost_with_gradient
from keras_l2feat.errors import require
from keras_l2feat.kernels.insertion import (
    Enumeration,
    InsertionMaximum,
    enumerable,
    insertion_maximum,
)
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives import Problem
from keras_l2feat.objectives.dual import dual_bound
from keras_l2feat.theory.programs import ACCURACY, solve_columns
from keras_l2feat.training.merge import tidy

__all__ = ["Optimum", "global_optimum"]

# patterns up to which a scalar problem has all its columns from the start: one program then
AT_ONCE = 64
ENTERING = 20  # columns that may join in a round
NEGLIGIBLE = 1e-7  # a column whose neuron is this part of the largest is not used


@dataclass(frozen=True)
class Optimum:
    """The global optimum over all widths.

    Attributes:
        value: loss of `network` (an upper bound on the optimum).
        lower_bound: no network of any width is below it, if `enumerated`.
        network: a `DenseNetwork` that attains `value`, balanced.
        enumerated: whether every sign pattern was priced; otherwise a search priced them.
        rounds: convex programs solved.
        columns: columns in the last.
    """

    value: float
    lower_bound: float
    network: DenseNetwork
    enumerated: bool
    rounds: int
    columns: int

    @property
    def gap(self) -> float:
        """(value − lower bound) / value."""
        return (self.value - self.lower_bound) / self.value if self.value > 0 else 0.0


def global_optimum(
    problem: Problem,
    *,
    tolerance: float = 1e-6,
    max_rounds: int = 100,
    method: str = "auto",
    seed: int = 0,
) -> Optimum:
    """The least C + λΣ‖W_l‖² over two-layer networks of every width.

    Args:
        problem: λ > 0, a positively homogeneous σ; the cost is "squared" or "crossentropy".
        tolerance: relative gap at which to stop.
        max_rounds: the greatest number of convex programs.
        method: how patterns are priced: "enumerate", "search", or "auto".
        seed: of the search.

    Returns: an `Optimum`; look at its `gap` and `enumerated`.

    Raises:
        InputError: a bad argument, or Clarabel (extra `conic`) is not installed.
        CheckFailed: a convex program was not solved.

    Reference: [Jacot et al. 2022, §3.2; Pilanci and Ergen 2020].
    """
    require(problem.lam > 0, "lam", "positive", problem.lam)
    a, lam, activation = problem.augmented, problem.lam, problem.activation
    value_and_gradient = cost_with_gradient(problem.cost)
    enumeration = None
    if method == "enumerate" or (method == "auto" and enumerable(a)):
        enumeration = Enumeration(a, activation)

    def price(g, live, round_) -> InsertionMaximum:
        if enumeration is not None:
            return enumeration.maximum(g, count=ENTERING, above=2 * lam)
        search = {"count": ENTERING, "method": "search", "seed": seed + round_}
        return insertion_maximum(g, a, activation=activation, live=live, **search)

    def loss(network) -> float:
        return value_and_gradient(network(problem.x), problem.y)[0] + lam * network.squared_norm

    empty = problem.random((0,))
    signs, outgoing = np.zeros((0, len(a)), dtype=np.int8), np.zeros((0, empty.widths[-1]))
    if enumeration is not None and empty.widths[-1] == 1 and len(enumeration.cells) <= AT_ONCE:
        signs = np.repeat(enumeration.cells, 2, axis=0)
        outgoing = np.tile([[1.0], [-1.0]], (len(enumeration.cells), 1))
    best, bound, rounds = (np.inf, empty), -np.inf, 0
    while True:
        solution = solve_columns(problem, signs, outgoing)
        rounds += 1
        neurons = _network(solution, outgoing, problem)
        rivals = [(loss(network), network) for network in (neurons, tidy(neurons, loss))]
        best = min(best, *rivals, key=lambda pair: pair[0])
        _, g = value_and_gradient(solution.outputs, problem.y)
        found = price(g, best[1].weights[0], rounds)
        bound = max(bound, dual_bound(problem.cost, g, problem.y, found.score, lam, problem.beta))
        if best[0] - bound <= tolerance * abs(best[0]) or rounds >= max_rounds:
            break
        priced = _columns(a, g, found.directions[:, found.scores > 2 * lam], activation)
        columns, old = len(signs), len(signs) + len(priced[0])
        those = _columns(a, g, best[1].weights[0], activation)
        signs, outgoing, kept = _joined((signs, outgoing), priced, those)
        if not ((kept >= columns) & (kept < old)).any():
            break  # nothing new is priced in: the solver's accuracy is reached
        norms = np.linalg.norm(solution.u, axis=1)
        used = norms > NEGLIGIBLE * norms.max(initial=0.0)
        used = np.append(used, np.ones(len(signs) - columns, dtype=bool))
        signs, outgoing = signs[used], outgoing[used]
    sparse = tidy(best[1], loss, slack=tolerance / 10)
    best = loss(sparse), sparse
    return Optimum(best[0], bound, best[1], enumeration is not None, rounds, len(signs))


def _columns(a, g, directions, activation):
    """Pattern and outgoing direction of neurons (d, K). A point on a kink goes to the side that
    helps."""
    heights = a @ directions
    pulled = g.T @ DenseNetwork((np.zeros((1, 1)),), activation, 0.0).activate(heights)
    outgoing = -(pulled / np.linalg.norm(pulled, axis=0)).T
    scale = np.linalg.norm(a, axis=1)[:, None]
    helps = np.where(g @ outgoing.T < 0, 1, -1)
    signs = np.where(heights > 1e-9 * scale, 1, np.where(heights < -1e-9 * scale, -1, helps))
    return signs.T.astype(np.int8), outgoing


def _joined(*groups):
    """The columns of all groups, without those that repeat an earlier one, and their places in the
    whole list."""
    signs, outgoing = (np.concatenate(parts) for parts in zip(*groups))
    kept = []
    for index in range(len(signs)):
        same = (signs[kept] == signs[index]).all(axis=1)
        if not (same & (outgoing[kept] @ outgoing[index] > 1 - 1e-13)).any():
            kept.append(index)
    kept = np.array(kept, dtype=int)
    return signs[kept], outgoing[kept], kept


def _network(solution, outgoing, problem):
    norms = np.linalg.norm(solution.u, axis=1)
    accurate = ACCURACY * solution.value / (2 * problem.lam)
    used = norms > max(NEGLIGIBLE * norms.max(initial=0.0), accurate)
    scale = np.sqrt(norms[used])
    above = outgoing[used] * scale[:, None]
    if problem.beta > 0:
        above = np.concatenate([above, solution.bias[None]])
    incoming = (solution.u[used] / scale[:, None]).T
    return DenseNetwork((incoming, above), problem.activation, problem.beta)
