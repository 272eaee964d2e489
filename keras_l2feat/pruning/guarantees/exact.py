"""The plan that keeps every output for every input: exact reductions of docs/theory.md §6.1, for
any channel graph.

A unit may go if each of its readers either ignores it, or can be told its value otherwise: as a
multiple of a unit that stays, as a constant in the bias, or as a combination of units that stay.
What nothing reads is found before groups are looked at, from the outputs backwards; a group whose
outgoing weights cancel is such a thing too.
"""

from dataclasses import dataclass

import numpy as np

from keras_l2feat.activations import Scaling
from keras_l2feat.pruning.plan import BIAS, Plan, Removal
from keras_l2feat.pruning.values.numbering import CONSTANT, ZERO, Values

__all__ = ["exact_plan"]

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
    count: int  # classes
    touched: np.ndarray = None  # (classes, outputs) bool: an output depends on a class
    relevant: np.ndarray = None  # (classes,) bool


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
    _mark_relevant(graph, views)
    kept = _choose(graph, views)
    return _write(graph, views, kept)


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
            len(names),
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
        leader, factor = values.classes(
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
        classes.max(initial=-1) + 1,
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
    member = view.classes >= 0
    touched = np.zeros((view.count, kernel.shape[1]), dtype=bool)
    sizes = np.bincount(view.classes[member], minlength=view.count)
    mixed = np.zeros(view.count, dtype=bool)
    mixed[view.basis] = True
    alone = np.flatnonzero(member)[
        (sizes[view.classes[member]] == 1) & ~mixed[view.classes[member]]
    ]
    touched[view.classes[alone]] = (kernel[alone] != 0).any(axis=2)
    bound = values.slack(len(view.classes))
    for which in np.flatnonzero((sizes > 1) | mixed):
        members = np.flatnonzero(view.classes == which)
        weights, rows = view.scales[members], kernel[members]
        for row in np.flatnonzero(view.basis == which):
            weights = np.concatenate([weights, view.mix[row]])
            rows = np.concatenate([rows, kernel[view.dependents]])
        total = np.tensordot(weights, rows.astype(np.float64), 1)
        terms = np.tensordot(np.abs(weights), np.abs(rows.astype(np.float64)), 1)
        touched[which] = (np.abs(total) > bound * terms).any(axis=1)
    return touched


# ---- who is needed


def _mark_relevant(graph, views):
    """Which classes matter to an output, from the outputs backwards: the least fixed point."""
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
            view.relevant = view.touched[:, outputs].any(axis=1)
            needed = np.zeros(len(view.classes), dtype=bool)
            member = view.classes >= 0
            needed[member] = view.relevant[view.classes[member]]
            if len(view.dependents):
                needed[view.dependents] = (view.mix != 0)[view.relevant[view.basis]].any(axis=0)
            units = np.unique(view.reader.units[needed])
            if not live[units].all():
                live[units] = True
                changed = True


def _choose(graph, views):
    """Which units stay: greedily the strongest of each class, as far as every reader can do without
    the others."""
    n_units = len(graph.pinned)
    offsets = np.cumsum([0] + [view.count for view in views])
    parts = [
        np.flatnonzero((v.classes >= 0) & v.relevant[np.maximum(v.classes, 0)]) if v.count else []
        for v in views
    ]
    unit = np.concatenate(
        [v.reader.units[p] for v, p in zip(views, parts)] + [np.zeros(0, dtype=int)]
    ).astype(int)
    cls = np.concatenate(
        [v.classes[p] + o for v, p, o in zip(views, parts, offsets)] + [[]]
    ).astype(int)
    scale = np.concatenate([np.abs(v.scales[p]) for v, p in zip(views, parts)] + [[]])
    order = np.argsort(unit, kind="stable")
    unit, cls, scale = unit[order], cls[order], scale[order]
    start = np.searchsorted(unit, np.arange(n_units + 1))
    count = np.bincount(cls, minlength=offsets[-1])

    written = np.zeros(n_units, dtype=bool)
    for units in graph.writers.values():
        written[units] = True
    kept = np.ones(n_units, dtype=bool)
    candidates = written & ~graph.pinned
    left = {layer: len(np.unique(units)) for layer, units in graph.writers.items()}
    homes = {}
    for layer, units in graph.writers.items():
        for u in np.unique(units).tolist():
            homes.setdefault(u, []).append(layer)
    crowded = np.ones(n_units, dtype=bool)
    np.logical_and.at(crowded, unit, count[cls] > 1)
    strength = np.zeros(n_units)
    np.maximum.at(strength, unit, scale)
    queue = np.flatnonzero(candidates & crowded)
    unread = start[queue + 1] == start[queue]
    for u in queue[np.lexsort((-queue, strength[queue], ~unread))].tolist():
        mine = cls[start[u] : start[u + 1]]
        own, times = np.unique(mine, return_counts=True)
        if (count[own] > times).all() and all(left[layer] > 1 for layer in homes[u]):
            kept[u] = False
            count[own] -= times
            for layer in homes[u]:
                left[layer] -= 1
    _restore(views, kept)
    return kept


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


def _write(graph, views, kept):
    plan = Plan("exact")
    story = {}
    for view in views:
        reader = view.reader
        stays = kept[reader.units]
        if stays.all():
            continue
        leader = np.full(view.count, -1)  # the strongest kept member of each class
        for p in np.flatnonzero(stays & (view.classes >= 0)).tolist():
            c = view.classes[p]
            if leader[c] < 0 or abs(view.scales[p]) > abs(view.scales[leader[c]]):
                leader[c] = p
        columns = {int(p): d for d, p in enumerate(view.dependents)}
        moves = []
        for p in np.flatnonzero(~stays).tolist():
            constant, targets = view.constants[p], []
            if p in columns:
                for row, which in enumerate(view.basis.tolist()):
                    if view.mix[row, columns[p]] and leader[which] >= 0:
                        targets.append(
                            (
                                int(leader[which]),
                                view.mix[row, columns[p]] / view.scales[leader[which]],
                            )
                        )
            elif view.classes[p] >= 0 and leader[view.classes[p]] >= 0:
                q = int(leader[view.classes[p]])
                targets.append((q, view.scales[p] / view.scales[q]))
            needed = p in columns or view.classes[p] < 0 or leader[view.classes[p]] >= 0
            for q, factor in targets:
                moves.append((p, q, float(factor)))
                constant = constant - factor * view.constants[q]
            if reader.bias is not None and constant and needed:
                moves.append((p, BIAS, float(constant)))
            else:
                constant = 0.0
            told = story.get(int(reader.units[p]))
            if told is None or (not told[0] and not told[1] and (targets or constant)):
                irrelevant = view.classes[p] >= 0 and not view.relevant[view.classes[p]]
                story[int(reader.units[p])] = (
                    [] if irrelevant else targets,
                    float(constant),
                    p in columns,
                    reader,
                )
        if moves:
            plan.transfers[reader.name] = moves
    named = {}
    for layer, units in graph.writers.items():
        for index, u in enumerate(units.tolist()):
            named.setdefault(u, (layer, index))
    for u in np.flatnonzero(~kept).tolist():
        layer, index = named[u]
        targets, constant, mixed, reader = story.get(u, ([], 0.0, False, None))
        into = tuple(
            (*named.get(int(reader.units[q]), graph.owners[int(reader.units[q])]), f)
            for q, f in targets
        )
        plan.removed.append(
            Removal(layer, index, _reason(targets, constant, mixed), into, constant)
        )
    return plan


def _reason(targets, constant, mixed):
    if mixed:
        return "dependent"
    if not targets:
        return "constant" if constant else "dead"
    factor = targets[0][1]
    return "mirrored" if factor < 0 else "identical" if abs(factor - 1) < 1e-6 else "aligned"
