"""The plan that keeps every output for every input: exact reductions of docs/theory.md §6.1, for
any channel graph.

A unit may go if each of its readers either ignores it, or can be told its value otherwise: as a
multiple of a unit that stays, as a constant in the bias, or as a combination of units that stay.
What nothing reads is found before groups are looked at, from the outputs backwards; a group whose
outgoing weights cancel is such a thing too.
"""

from typing import NamedTuple

import numpy as np

from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.guarantees.choice import kept_units, needed_units
from keras_l2feat.pruning.guarantees.views import FREE, views_of
from keras_l2feat.pruning.plan import BIAS, Plan, Removal
from keras_l2feat.pruning.values.numbering import Values

__all__ = ["exact_plan"]


def exact_plan(
    graph: Graph, values: Values | None = None, *, merges: bool = False, **_: object
) -> Plan:
    """Find everything that is redundant for every input.

    Args:
        graph: the model's `Graph`.
        values: its `Values`, where they are known already.
        merges: only drop what nobody needs, and merge multiples: no constant goes into a bias, no
            unit becomes a combination of several. Merging positively homogeneous units does not
            raise the L2 norm, once they are balanced; the others can.

    Returns: a `Plan`, empty if nothing is redundant.
    """
    values = values or Values(graph)
    views = views_of(graph, values, merges=merges)
    live = needed_units(graph, views)
    kept = kept_units(graph, views)
    plan, named = _written(graph, views, kept, live), _names(graph)
    plan.ill_conditioned = [named[u] for u in sorted(values.ill_conditioned) if kept[u]]
    return plan


class _Instead(NamedTuple):
    """What stands for a position or a unit that goes: multiples of others, and a constant."""

    targets: list  # (position, or unit, factor)
    constant: float
    mixed: bool  # a combination of several classes

    @property
    def moves(self) -> list:
        """All of it as (target, factor)."""
        return self.targets + [(BIAS, self.constant)] * bool(self.constant)


NOTHING = _Instead([], 0.0, False)


def _written(graph, views, kept, live):
    """The plan that keeps these units.

    Args:
        live: (units,) bool: an output depends on it.
    """
    plan, named, reasons = Plan("exact"), _names(graph), {}
    for view in views:
        found = _instead(view, kept)
        moves = [(p, *move) for p, it in found.items() for move in it.moves]
        if not kept.all():
            moves += _fixed(graph, view, kept & ~live)
        moves = _rescaled(graph, view.reader, kept, moves)
        if moves:
            plan.transfers[view.reader.name] = moves
        _note_reasons(view, found, reasons)
    for u in np.flatnonzero(~kept).tolist():
        instead = reasons.get(u, NOTHING)
        into = tuple((*named[unit], factor) for unit, factor in instead.targets)
        plan.removed.append(Removal(*named[u], _reason(instead), into, instead.constant))
    return plan


def _note_reasons(view, found, reasons):
    """Note for each unit that goes what stands for it: what its first reader is told that is told
    anything."""
    units = view.reader.units
    for p, instead in found.items():
        unit, known = int(units[p]), reasons.get(int(units[p]))
        if known is not None and (known.targets or known.constant):
            continue
        idle = view.classes[p] >= 0 and not view.relevant[view.classes[p]]  # nobody needs it
        targets = [] if idle else [(int(units[q]), factor) for q, factor in instead.targets]
        reasons[unit] = instead._replace(targets=targets)


def _leaders(view, kept):
    """The strongest kept position of each class, -1 where there is none."""
    leader = np.full(view.count, -1)
    there = np.flatnonzero(kept[view.reader.units] & (view.classes >= 0))
    there = there[np.argsort(-np.abs(view.scales[there]), kind="stable")]
    found, first = np.unique(view.classes[there], return_index=True)
    leader[found] = there[first]
    return leader


def _instead(view, kept):
    """Position whose unit goes → what stands for it: the leader of its class, or those of the
    classes that it is mixed from."""
    leader, found = _leaders(view, kept), {}
    for p in np.flatnonzero(~kept[view.reader.units]).tolist():
        column = np.flatnonzero(view.dependents == p)
        mixed = bool(len(column))
        if mixed:
            amounts, classes = view.mix[:, column[0]], view.basis
        else:
            amounts, classes = view.scales[[p]], view.classes[[p]]
        there = (classes >= 0) & (amounts != 0)
        there[there] = leader[classes[there]] >= 0
        positions = leader[classes[there]]
        factors = amounts[there] / view.scales[positions]
        # a class that is nowhere any more does not matter, and neither does its constant
        matters = mixed or view.classes[p] < 0 or len(positions)
        constant = 0.0
        if view.reader.bias is not None and matters:
            constant = float(view.constants[p] - factors @ view.constants[positions])
        found[p] = _Instead(list(zip(positions.tolist(), factors.tolist())), constant, mixed)
    return found


def _fixed(graph, view, idle):
    """Moves that put a constant in the place of positions whose units stay only because a layer
    keeps one: what they computed it from may be gone."""
    reader, moves = view.reader, []
    free = idle[reader.units] & (view.classes == FREE)
    free[view.dependents] = False
    kernel = graph.weight(reader.layer, reader.slot.index)
    for p in np.flatnonzero(free).tolist():
        if np.take(kernel, p, axis=reader.slot.axis).any():
            constant = float(view.constants[p]) if reader.bias is not None else 0.0
            moves.append((p, BIAS, constant) if constant else (p, p, 0.0))
    return moves


def _rescaled(graph, reader, kept, moves):
    """The same moves where the layer divides by something that depends on the size of a head."""
    for heads in graph.heads:
        if reader.name in heads.scaled:
            part, scale = heads.scaled[reader.name]
            factor = scale(heads.parts[part].shape[1]) / scale(heads.size(kept, part))
            stay = set(np.flatnonzero(kept[reader.units]).tolist()) - {p for p, *_ in moves}
            if factor != 1:
                moves = [(p, q, f * factor) for p, q, f in moves]
                moves += [(p, p, factor) for p in sorted(stay)]
    return moves


def _names(graph):
    """Unit → the first layer that computes it, and its index there."""
    named = dict(enumerate(graph.owners))
    for layer, units in reversed(graph.writers.items()):
        named.update((u, (layer, index)) for index, u in reversed(list(enumerate(units.tolist()))))
    return named


def _reason(instead):
    if instead.mixed:
        return "dependent"
    if not instead.targets:
        return "constant" if instead.constant else "dead"
    factor = instead.targets[0][1]
    return "mirrored" if factor < 0 else "identical" if abs(factor - 1) < 1e-6 else "aligned"
