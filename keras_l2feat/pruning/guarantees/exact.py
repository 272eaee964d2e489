"""The plan that keeps every output for every input: exact reductions of docs/theory.md §6.1, for
any channel graph.

A unit may go if each of its readers either ignores it, or can be told its value otherwise: as a
multiple of a unit that stays, as a constant in the bias, or as a combination of units that stay.
What nothing reads is found before groups are looked at, from the outputs backwards; a group whose
outgoing weights cancel is such a thing too.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import sparse

from keras_l2feat.activations import Scaling
from keras_l2feat.pruning.plan import BIAS, Plan, Removal
from keras_l2feat.pruning.values.numbering import CONSTANT, FEW, ZERO, Values

__all__ = ["exact_plan"]

BLOCK_ENTRIES = 1 << 22  # of a kernel, looked at together
FREE = -1  # a position whose value needs no other: zero, or a constant that a bias takes


@dataclass
class _View:
    """What a reader sees, position by position: scales · class + constants, or a mix of classes
    (`dependents`)."""

    reader: object
    classes: np.ndarray  # (positions,) class, or FREE
    scales: np.ndarray
    constants: np.ndarray
    dependents: np.ndarray
    basis: np.ndarray  # classes that are mixed
    mix: np.ndarray
    sizes: np.ndarray  # (classes,) how large a class is beside the others
    touched: np.ndarray = None  # (classes, outputs) bool: an output depends on a class
    relevant: np.ndarray = None  # (classes,) bool

    @property
    def count(self):
        """How many classes there are."""
        return len(self.sizes)


def exact_plan(graph, values=None, *, merges=False, **_) -> Plan:
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
    views = [_view(graph, values, reader, merges) for reader in graph.readers.values()]
    for view in views:
        view.touched = _touched(graph, values, view)
    live = _mark_relevant(graph, views)
    kept = _choose(graph, views)
    plan = _write(graph, views, kept, live)
    named = _names(graph)
    plan.ill_conditioned = [named[u] for u in sorted(values.ill_conditioned) if kept[u]]
    return plan


# ---- what each reader sees


def _view(graph, values, reader, merges):
    readings = values.readings[reader.name]
    count = len(reader.units)
    none = np.zeros(0, dtype=int)
    folds = reader.bias is not None and not merges
    if len(readings) == 1 and not merges and (folds or not readings[0].constants.any()):
        read = readings[0]
        single = read.scales != 0
        names, classes = np.unique(read.atoms[single], return_inverse=True)
        extra = np.setdiff1d(read.basis, names)
        names = np.concatenate([names, extra])
        order = np.argsort(names)
        view = _View(
            reader,
            np.full(count, FREE),
            read.scales.copy(),
            read.constants,
            none,
            none,
            read.mix,
            np.nan_to_num(values.size_of(names), nan=1.0),
        )
        view.classes[single] = classes
        view.classes[read.dependents] = FREE
        view.scales[read.dependents] = 0.0
        view.dependents = read.dependents
        view.basis = order[np.searchsorted(names[order], read.basis)] if len(read.basis) else none
        return view
    labels, scales = np.zeros(count, dtype=int), np.zeros(count)
    ratios = []
    for read in readings:
        atoms, amounts = read.atoms.copy(), read.scales.copy()
        atoms[read.dependents], amounts[read.dependents] = values.new(len(read.dependents)), 1.0
        leader, factor, _ = values.classes(
            values.monomials(atoms, amounts, read.constants, read.terms), Scaling.LINEAR
        )
        labels = np.unique(np.stack([labels, leader]), axis=1, return_inverse=True)[1].reshape(-1)
        scales = np.where(scales == 0, factor, scales)
        ratios.append((leader, factor))
    free = np.all([leader == ZERO for leader, _ in ratios], axis=0)
    same = np.all(
        [(leader == CONSTANT) & (factor == ratios[0][1]) for leader, factor in ratios], axis=0
    )
    constants = np.where(same & folds, ratios[0][1], 0.0)
    free |= constants != 0
    for _, factor in ratios[1:]:  # one factor for all calls
        labels = _split(
            labels,
            np.where(free, 0.0, factor / np.where(scales == 0, 1.0, scales)),
            values.slack(1),
        )
    classes = np.full(count, FREE)
    classes[~free] = np.unique(labels[~free], return_inverse=True)[1].reshape(-1)
    scales = np.where(free, 0.0, scales)
    return _View(
        reader,
        classes,
        scales,
        constants,
        none,
        none,
        np.zeros((0, 0)),
        np.ones(classes.max(initial=-1) + 1),
    )


def _split(labels, ratio, bound):
    order = np.lexsort((ratio, labels))
    gap = np.diff(ratio[order]) > 4 * bound * np.abs(ratio[order][1:])
    out = np.empty_like(labels)
    out[order] = np.concatenate([[0], np.cumsum(gap | (np.diff(labels[order]) != 0))])
    return out


def _touched(graph, values, view):
    """Which outputs of the kernel depend on which class, once the members are added up: (classes,
    outputs) bool."""
    reader = view.reader
    kernel = np.moveaxis(graph.weight(reader.layer, reader.slot.index), reader.slot.axis, 0)
    if reader.writes is not None:
        after = reader.writes.axis + (reader.writes.axis < reader.slot.axis)
        kernel = np.moveaxis(kernel, after, 1)
        kernel = kernel.reshape(*kernel.shape[:2], -1)
    else:
        kernel = kernel.reshape(len(kernel), 1, -1)
    member = np.flatnonzero(view.classes >= 0)
    gather = sparse.csr_array(
        (view.scales[member], (view.classes[member], member)), shape=(view.count, len(kernel))
    )
    if len(view.dependents):
        mix = sparse.coo_array(view.mix)
        place = view.basis[mix.row], view.dependents[mix.col]
        gather = gather + sparse.csr_array((mix.data, place), shape=gather.shape)
    bound = values.slack(len(view.classes))
    touched = np.zeros((view.count, kernel.shape[1]), dtype=bool)
    step = max(1, BLOCK_ENTRIES // max(1, len(kernel) * kernel.shape[2]))
    for start in range(0, kernel.shape[1], step):
        part = kernel[:, start : start + step]
        flat = part.reshape(len(kernel), -1).astype(np.float64)
        total, terms = np.abs(gather @ flat), abs(gather) @ np.abs(flat)
        # what rounding explains is nothing, unless it matters beside all that is added up
        matters = total * view.sizes[:, None] > FEW * bound * (view.sizes @ total)
        found = (total > bound * terms) | matters
        touched[:, start : start + step] = found.reshape(-1, *part.shape[1:]).any(axis=2)
    return touched


# ---- who is needed


def _mark_relevant(graph, views):
    """Which classes matter to an output, from the outputs backwards: the least fixed point.

    Returns: (units,) bool, the units that do.
    """
    live = graph.pinned.copy()
    changed = True
    while changed:
        changed = False
        for view in reversed(views):
            outputs = (
                live[view.reader.writes.units]
                if view.reader.writes is not None
                else np.ones(1, dtype=bool)
            )
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


def _choose(graph, views):
    """Which units stay: greedily the strongest of each class, as far as every reader can do without
    the others."""
    pairs = _memberships(graph, views)
    first = np.searchsorted(pairs.unit, np.arange(len(graph.pinned) + 1))
    members = np.bincount(pairs.cls)  # of each class, that are still there
    strength = np.zeros(len(graph.pinned))
    np.maximum.at(strength, pairs.unit, pairs.scale)
    homes = {}  # unit -> the layers that compute it: each keeps one unit
    for layer, units in graph.writers.items():
        for u in np.unique(units).tolist():
            homes.setdefault(u, []).append(layer)
    left = {layer: len(np.unique(units)) for layer, units in graph.writers.items()}
    kept = np.ones(len(graph.pinned), dtype=bool)
    # only where nobody else is in a class of its own may a unit go; those that nobody reads go
    # first, then the weakest, of equals the last
    crowded = ~graph.pinned & np.isin(np.arange(len(kept)), list(homes))
    np.logical_and.at(crowded, pairs.unit, members[pairs.cls] > 1)
    queue = np.flatnonzero(crowded)
    read = first[queue + 1] > first[queue]
    for u in queue[np.lexsort((-queue, strength[queue], read))].tolist():
        own, times = np.unique(pairs.cls[first[u] : first[u + 1]], return_counts=True)
        if (members[own] > times).all() and all(left[layer] > 1 for layer in homes[u]):
            kept[u] = False
            members[own] -= times
            for layer in homes[u]:
                left[layer] -= 1
    before = None
    while before is None or (before != kept).any():
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


def _memberships(graph, views):
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


# ---- the plan


class _Instead(NamedTuple):
    """What a reader is told instead of a position: multiples of others, and a constant."""

    targets: list  # (position, factor)
    constant: float
    mixed: bool  # a combination of several classes


def _write(graph, views, kept, live):
    """The plan that keeps these units.

    Args:
        live: (units,) bool: an output depends on it.
    """
    plan, told, named = Plan("exact"), {}, _names(graph)
    for view in views:
        reader, moves = view.reader, []
        leader = _leaders(view, kept)
        for p in np.flatnonzero(~kept[reader.units]).tolist():
            instead = _instead(view, leader, p)
            moves += [(p, q, factor) for q, factor in instead.targets]
            if instead.constant:
                moves.append((p, BIAS, instead.constant))
            unit = int(reader.units[p])
            if view.classes[p] >= 0 and not view.relevant[view.classes[p]]:
                instead = instead._replace(targets=[])  # it goes since nobody needs it
            if unit not in told or not (told[unit][0].targets or told[unit][0].constant):
                told[unit] = instead, reader
        if not kept.all():
            moves += _fixed(graph, view, kept & ~live)
        moves = _rescaled(graph, reader, kept, moves)
        if moves:
            plan.transfers[reader.name] = moves
    for u in np.flatnonzero(~kept).tolist():
        instead, reader = told.get(u, (_Instead([], 0.0, False), None))
        into = tuple((*named[int(reader.units[q])], f) for q, f in instead.targets)
        plan.removed.append(Removal(*named[u], _reason(instead), into, instead.constant))
    return plan


def _leaders(view, kept):
    """The strongest kept position of each class, -1 where there is none."""
    leader = np.full(view.count, -1)
    there = np.flatnonzero(kept[view.reader.units] & (view.classes >= 0))
    there = there[np.argsort(-np.abs(view.scales[there]), kind="stable")]
    found, first = np.unique(view.classes[there], return_index=True)
    leader[found] = there[first]
    return leader


def _instead(view, leader, p):
    """What stands for position p, whose unit goes: the leader of its class, or those of the classes
    that it is mixed from."""
    column = np.flatnonzero(view.dependents == p)
    mixed = bool(len(column))
    if mixed:
        amounts = view.mix[:, column[0]]
        classes = view.basis
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
    return _Instead(list(zip(positions.tolist(), factors.tolist())), constant, mixed)


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
