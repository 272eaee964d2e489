"""The plan within a tolerance for every input in a box: negligible units and near-aligned merges.

A unit p goes for nothing (or a constant), or for t times another unit q. What that costs is what
its readers see of the difference, ‖v_p‖ · ‖σ(z_p) - t σ(z_q)‖, bounded on the box, where for
homogeneous σ

    |σ(z_p) - t σ(z_q)| ≤ L |z_p - t z_q|,  L the steeper slope of σ, and z_p - t z_q linear in what
    the layer reads.

Each site is emptied greedily in that order, v_q growing as it takes others over. Sites are compared
by how far the bound moves for a cost of 1 there, tried on a few removals of each. Then the longest
prefix of the common order that keeps the bound within T is searched by bisection.
[docs/theory.md §6.4]
"""

from dataclasses import dataclass

import numpy as np

from keras_l2feat.progress import bar
from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.channels.sites import rows, sites
from keras_l2feat.pruning.guarantees.box_errors import Bound, Local
from keras_l2feat.pruning.plan import BIAS, Account, Plan, Removal
from keras_l2feat.pruning.takeover.cuts import first
from keras_l2feat.pruning.values.intervals import box_of_inputs
from keras_l2feat.pruning.values.relaxation import boxes

__all__ = ["box_plan"]

PROBE = 8  # a site's gain is tried on this part of its units


@dataclass
class Step:
    """Unit `gone` of site `site` goes: replaced by `factor` times unit `into` (-1: by nothing) plus
    `constant`."""

    site: int
    gone: int
    into: int
    factor: float
    constant: float
    cost: float


def box_plan(graph: Graph, *, tolerance: float, input_range: tuple, quiet: bool = True) -> Plan:
    """Remove what changes no output by more than a tolerance, for every input in a box.

    Args:
        graph: the model's `Graph`.
        tolerance: T > 0, the largest |Δ| of any output, held by the bound.
        input_range: `(low, high)`, numbers or arrays that broadcast against one input.
        quiet: no progress bar.

    Returns: a `Plan` with guarantee "bounded".
    """
    given = box_of_inputs(graph, *input_range)
    box = given, boxes(graph, given)
    found = sites(graph, graph.pinned)
    local = [Local(graph, site, box[1]) for site in found]
    judge = Bound(graph, box, local)
    orders = [_order(graph, n, s, each.pairs()) for n, (s, each) in enumerate(zip(found, local))]
    steps = _common_order(found, orders, judge)
    trials = int(np.log2(len(steps) + 1)) + 1
    with bar(total=trials, description="bounded", quiet=quiet, unit="trial") as progress:

        def misses(cut):
            progress.update()
            return not judge(_plan(found, steps[:cut])) <= tolerance

        fitting = first(misses, 1, len(steps) + 1) - 1
    plan = _plan(found, steps[:fitting])
    plan.reached = {layer for site in found for layer, _ in site.names}
    bound = judge(plan) if plan else 0.0
    plan.account = Account(
        tolerance=float(tolerance),
        a_priori_bound=bound if np.isfinite(bound) else None,
        a_priori_domain=[[float(np.min(b.low)), float(np.max(b.high))] for b in given],
    )
    return plan


def _order(graph, number, site, errors):
    """Empty a site greedily: list of `Step`, one unit is left."""
    near, factor, alone, constant = errors
    kernels = [
        rows(graph.weight(reader.layer, reader.slot.index), reader.slot.axis, positions)
        for reader, positions in site.readers
    ]
    outgoing = np.concatenate([kernel.reshape(len(kernel), -1) for kernel in kernels], axis=1)
    near, steps, highest = near.copy(), [], 0.0
    alive = np.ones(len(outgoing), dtype=bool)
    sizes = np.linalg.norm(outgoing, axis=1)
    partner = near.argmin(axis=1)
    for _ in range(len(outgoing) - 1):
        best = np.minimum(near[np.arange(len(near)), partner], alone)
        cost = np.where(alive, best * sizes, np.inf)
        p = int(cost.argmin())
        q = int(partner[p]) if near[p, partner[p]] < alone[p] else -1
        highest = max(highest, float(cost[p]))  # a later step is not cheaper than what it rests on
        t, c = (float(factor[p, q]), 0.0) if q >= 0 else (0.0, float(constant[p]))
        steps.append(Step(number, p, q, t, c, highest))
        alive[p] = False
        near[:, p] = np.inf
        if q >= 0:
            outgoing[q] += t * outgoing[p]
            sizes[q] = np.linalg.norm(outgoing[q])
        lost = np.flatnonzero(partner == p)
        partner[lost] = near[lost].argmin(axis=1)
    return steps


def _common_order(found, orders, judge):
    """All sites' steps, by cost times the site's gain."""
    gains = []
    for steps in orders:
        few = steps[: max(1, len(steps) // PROBE)]
        moved = judge(_plan(found, few)) if few else 0.0
        cost = sum(step.cost for step in few)
        gains.append(moved / cost if cost > 0 and np.isfinite(moved) else 1.0)
    ranked = [(gain * step.cost, step) for gain, steps in zip(gains, orders) for step in steps]
    return [step for _, step in sorted(ranked, key=lambda pair: pair[0])]


def _plan(found, steps):
    """Carry out some steps: what was merged into a unit that goes later goes with it."""
    plan = Plan("bounded")
    at = {(step.site, step.gone): step for step in steps}
    for step in steps:
        q, factor, constant = step.into, step.factor, step.constant
        while q >= 0 and (step.site, q) in at:
            follow = at[step.site, q]
            constant += factor * follow.constant
            q, factor = follow.into, factor * follow.factor
        site = found[step.site]
        into = ((*site.names[q], factor),) if q >= 0 else ()
        reason = "near-aligned" if into else "negligible"
        plan.removed.append(Removal(*site.names[step.gone], reason, into, constant))
        for reader, positions in site.readers:
            moves = plan.transfers.setdefault(reader.name, [])
            for nth, position in enumerate(positions[step.gone].tolist()):
                if q >= 0:
                    moves.append((position, int(positions[q, nth]), factor))
                if constant:
                    moves.append((position, BIAS, constant))
    return plan
