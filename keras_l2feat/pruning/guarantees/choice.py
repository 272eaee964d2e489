"""Which units stay: those that an output needs, and one of those that are the same to all who
read them."""

from typing import NamedTuple

import numpy as np

from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.guarantees.views import View

__all__ = ["kept_units", "needed_units"]


def needed_units(graph: Graph, views: list[View]) -> np.ndarray:
    """Which units matter to an output, (units,) bool, and `relevant` of each view: the least fixed
    point, from the outputs backwards."""
    live = graph.pinned.copy()
    changed = True
    while changed:
        changed = False
        for view in reversed(views):
            written = view.reader.writes
            outputs = np.ones(1, dtype=bool) if written is None else live[written.units]
            view.relevant = view.touched[:, outputs].any(axis=1) & _served(view, live)
            needed = np.zeros(len(view.classes), dtype=bool)
            member = view.classes >= 0
            needed[member] = view.relevant[view.classes[member]]
            if len(view.dependents):
                needed[view.dependents] = (view.mix != 0)[view.relevant[view.basis]].any(axis=0)
            units = np.unique(view.reader.units[needed])
            if not live[units].all():
                live[units] = True
                changed = True
    return live


def _served(view, live):
    """Which classes something alive stands behind, (classes,) bool."""
    served = np.ones(view.count, dtype=bool)
    if view.reader.through is not None:
        behind = live[view.reader.through].any(axis=1)
        served[view.classes[view.classes >= 0]] = False
        member = (view.classes >= 0) & behind
        served[view.classes[member]] = True
        mixed = behind[view.dependents]
        served[view.basis] |= (view.mix != 0)[:, mixed].any(axis=1)
    return served


def kept_units(graph: Graph, views: list[View]) -> np.ndarray:
    """Which units stay, (units,) bool: the strongest of each class, as far as every reader can do
    without the others."""
    kept = _without_the_weakest(graph, _memberships(views))
    before = None
    while before is None or (before != kept).any():  # one that comes back may need another
        before = kept.copy()
        _restore(views, kept)
        for heads in graph.heads:
            kept[:] = heads.whole(kept)
    return kept


class _Memberships(NamedTuple):
    """Which unit is, at some position of a reader, in which class that matters; by unit."""

    unit: np.ndarray  # (pairs,)
    cls: np.ndarray  # (pairs,), counted through all readers
    scale: np.ndarray  # (pairs,), how strong it is there


def _memberships(views):
    none = np.zeros(0, dtype=int)
    columns, offset = [(none, none, none)], 0
    for view in views:
        p = np.flatnonzero(view.classes >= 0)
        p = p[view.relevant[view.classes[p]]]
        columns.append((view.reader.units[p], view.classes[p] + offset, np.abs(view.scales[p])))
        offset += view.count
    unit, cls, scale = (np.concatenate(column) for column in zip(*columns))
    order = np.argsort(unit, kind="stable")
    return _Memberships(unit[order], cls[order], scale[order])


def _without_the_weakest(graph, pairs):
    """Units leave one by one, if each of their classes keeps a member and each layer a unit."""
    kept = np.ones(len(graph.pinned), dtype=bool)
    begin = np.searchsorted(pairs.unit, np.arange(len(kept) + 1))  # of each unit's pairs
    members = np.bincount(pairs.cls)  # of each class, that are still there
    homes = {}  # unit → the layers that compute it
    for layer, units in graph.writers.items():
        for u in np.unique(units).tolist():
            homes.setdefault(u, []).append(layer)
    left = {layer: len(np.unique(units)) for layer, units in graph.writers.items()}
    for u in _queue(graph, pairs, begin, members, homes):
        own, times = np.unique(pairs.cls[begin[u] : begin[u + 1]], return_counts=True)
        replaced = (members[own] > times).all()
        if replaced and all(left[layer] > 1 for layer in homes[u]):
            kept[u] = False
            members[own] -= times
            for layer in homes[u]:
                left[layer] -= 1
    return kept


def _queue(graph, pairs, begin, members, homes):
    """Units that are nowhere the only member of a class: first those that nobody reads, then the
    weakest, of equals the last."""
    strength = np.zeros(len(graph.pinned))
    np.maximum.at(strength, pairs.unit, pairs.scale)
    crowded = ~graph.pinned & np.isin(np.arange(len(strength)), list(homes))
    np.logical_and.at(crowded, pairs.unit, members[pairs.cls] > 1)
    units = np.flatnonzero(crowded)
    read = begin[units + 1] > begin[units]
    return units[np.lexsort((-units, strength[units], read))].tolist()


def _restore(views, kept):
    """Bring back what a kept combination still hides: a dropped class must have lost all that
    contribute to it."""
    again = True
    while again:
        again = False
        for view in views:
            stays = kept[view.reader.units]
            for row, which in enumerate(view.basis.tolist()):
                members = np.flatnonzero(view.classes == which)
                hidden = (stays[view.dependents] & (view.mix[row] != 0)).any()
                if hidden and len(members) and not stays[members].any():
                    kept[view.reader.units[members[0]]] = True
                    again = True
                    break
