"""The loss landscape of two-layer networks with weight decay, region by region.

Parameters (w_j, v_j) with scalar outputs and no output bias fall into activation regions: the side
of every point for every neuron, and the sign of every v_j. In one region the loss, at balance, is
convex in u_j = |v_j| w_j, so its minimum is one convex program (`programs.solve_columns`).
["Benignity of loss landscape with weight decay requires both large overparametrization and
initialization", 2025]
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from keras_l2feat.costs import cost_with_gradient
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives import Problem
from keras_l2feat.theory.programs import solve_columns

__all__ = ["Region", "RegionMinimum", "random_region", "region_minimum", "region_of"]

# relative: the program is solved to 1e-9, so a value this near the optimum is the optimum
SAME_LOSS = 1e-6
# part of the largest distance from a hyperplane, or of the loss as a neuron's cost, that counts as
# 0
ZERO = 1e-5
SLACK = 1e-4  # of 2λ, in the inequalities of a border minimum


@dataclass(frozen=True)
class Region:
    """An activation region.

    Attributes:
        signs: (m, N) int8 of ±1, the side of each point for each neuron.
        heads: (m,) int8 of ±1, the sign of each v_j.
    """

    signs: np.ndarray
    heads: np.ndarray

    @property
    def columns(self) -> np.ndarray:
        """The distinct (pattern, sign) pairs, (C, N + 1): neurons that share one only count through
        their sum."""
        return np.unique(np.concatenate([self.signs, self.heads[:, None]], axis=1), axis=0)


@dataclass(frozen=True)
class RegionMinimum:
    """The least loss in (the closure of) a region.

    Attributes:
        value: C + 2λ Σ‖u_c‖.
        u: (C, d), one for each of the region's columns.
        on_border: whether a point lies on the kink of one of the neurons, or a neuron is 0.
        kind: "global"; "spurious": a local minimum of the whole landscape that is not global;
            "none": across the border the loss falls on, so it is no local minimum.
    """

    value: float
    u: np.ndarray
    on_border: bool
    kind: str


def region_of(network: DenseNetwork, x: ArrayLike) -> Region:
    """The region of a two-layer network with one output on data `x` (N, n_0); a point on a kink
    counts as inactive."""
    z = network.forward(x)[0][0]
    heads = network.weights[1][: z.shape[1], 0]
    return Region(_signs(z.T > 0), _signs(heads >= 0))


def random_region(x: np.ndarray, neurons: int, generator: np.random.Generator) -> Region:
    """The region of `neurons` Gaussian neurons with random signs v on points `x` (N, d)."""
    signs = _signs(generator.standard_normal((neurons, x.shape[1])) @ x.T > 0)
    return Region(signs, generator.choice(np.array([-1, 1], dtype=np.int8), neurons))


def _signs(positive):
    return np.where(positive, 1, -1).astype(np.int8)


def region_minimum(problem: Problem, region: Region, optimum: float) -> RegionMinimum:
    """The minimum of a region, and what it is in the whole landscape.

    A minimum where some neuron must vanish is a local one only if it is global: a vanishing neuron
    is free to turn into the best insertion. One with a point on a kink of a live neuron is local if
    the loss rises on both sides.

    Args:
        problem: of one output, with relu, λ > 0 and β = 0; its points are in general position
            where minima lie on kinks.
        region: a `Region` of relu neurons.
        optimum: the global optimum over all widths, from `oracle.global_optimum`.

    Returns: a `RegionMinimum`.
    """
    x, lam = problem.x, problem.lam
    columns = region.columns
    signs, heads = columns[:, :-1], columns[:, -1:].astype(np.float64)
    solution = solve_columns(problem, signs, heads)
    norms = np.linalg.norm(solution.u, axis=1)
    heights = np.abs(solution.u @ x.T) / np.maximum(norms, np.finfo(float).tiny)[:, None]
    kinks = heights <= ZERO * heights.max(initial=0.0)
    dead = 2 * lam * norms <= ZERO * solution.value
    on_border = bool(dead.any() or kinks[~dead].any())
    if solution.value <= optimum * (1 + SAME_LOSS):
        kind = "global"
    elif dead.any():
        kind = "none"
    else:
        _, gradient = cost_with_gradient(problem.cost)(solution.outputs, problem.y)
        held = (
            _held(x, gradient[:, 0] * head, sign > 0, u / norm, kink, lam)
            for head, sign, u, norm, kink in zip(heads[:, 0], signs, solution.u, norms, kinks)
            if kink.any()
        )
        kind = "spurious" if all(held) else "none"
    return RegionMinimum(solution.value, solution.u, on_border, kind)


def _held(x, pull, active, unit, kink, lam) -> bool:
    """Whether the loss rises on every side of the kinks that a neuron of direction `unit` sits on.

    Along δ it changes by c·δ + Σ_kinks pull_i σ(x_i·δ), with c from the points off the kinks and
    the norm. With c = Σ_kinks κ_i x_i that is never negative iff −pull_i ≤ κ_i ≤ 0.
    """
    c = x[active & ~kink].T @ pull[active & ~kink] + 2 * lam * unit
    kappa, *_ = np.linalg.lstsq(x[kink].T, c)
    slack = SLACK * 2 * lam
    spans = np.linalg.norm(x[kink].T @ kappa - c) <= slack
    return bool(spans and (kappa <= slack).all() and (kappa >= -pull[kink] - slack).all())
