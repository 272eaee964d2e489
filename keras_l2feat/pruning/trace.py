"""From plans that followed each other to the maps of a certificate: what became of each unit of the
original."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_l2feat.checking.maps import Maps
from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.plan import BIAS

__all__ = ["trace"]


def trace(steps: Sequence, last: Graph, scale: Any = None) -> Maps:
    """The maps of several plans.

    Args:
        steps: `(graph, plan)` of each that was carried out; the first graph is the original's.
        last: the graph that they led to.
        scale: (units of `last`,) what they were multiplied by in the end, if they were.

    Returns: `Maps`, in the original's names.
    """
    first = steps[0][0] if steps else last
    alive, choices = _followed(first, steps)
    removed = {
        layer: np.setdiff1d(np.arange(len(units)), alive[layer]).tolist()
        for layer, units in first.writers.items()
        if len(alive[layer]) < len(units)
    }
    scales = {}
    if scale is not None:
        names = _names(last, alive)
        scales = {names[u]: float(scale[u]) for u in np.flatnonzero(scale != 1) if u in names}
    sources, constants = _told(choices)
    return Maps(removed, sources, scales, constants)


def _followed(first, steps):
    """What is left in the end, layer → indices in the original; and what stands for each unit that
    went, unit → list of {unit, or BIAS for a constant: factor}."""
    alive = {layer: np.arange(len(units)) for layer, units in first.writers.items()}
    choices = {}
    for graph, plan in steps:
        names = {**_names(graph, alive), BIAS: BIAS}
        gone = {graph.unit(removal.layer, removal.unit) for removal in plan.removed}
        choices |= {names[unit]: [] for unit in gone}
        for unit, choice in _choices(graph, plan, gone):
            named = {names[q]: factor for q, factor in choice.items()}
            if named not in choices[names[unit]]:
                choices[names[unit]].append(named)
        for layer, units in graph.writers.items():
            kept = [unit not in gone for unit in units.tolist()]
            alive[layer] = alive[layer][kept]
    return alive, choices


def _told(choices):
    """The `sources` and `constants` of `Maps`, by units that stay to the end."""
    sources, constants = {}, {}
    for unit in choices:
        for option in _resolved(unit, choices):
            constant = option.pop(BIAS, 0.0)
            if option and all(set(option) != set(other) for other in sources.get(unit, ())):
                sources.setdefault(unit, []).append(option)
            if constant and constant not in constants.get(unit, ()):
                constants.setdefault(unit, []).append(constant)
    return sources, constants


def _names(graph, alive):
    """Unit → its name in the original, after the first layer that writes it."""
    names = {}
    for layer, units in graph.writers.items():
        for index, unit in zip(alive[layer].tolist(), units.tolist()):
            names.setdefault(unit, (layer, index))
    return names


def _choices(graph, plan, gone):
    """(unit, {unit that stands for it: factor}) as its readers were told, several where they
    differ; what a unit `BIAS` is multiplied by is a constant."""
    for name, moves in plan.transfers.items():
        units = graph.readers[name].units
        told = {}
        for source, target, factor in moves:
            if source != BIAS and int(units[source]) in gone:
                place = BIAS if target == BIAS else int(units[target])
                told.setdefault(source, {})[place] = factor
        for source, choice in told.items():
            yield int(units[source]), choice
    for removal in plan.removed:
        named = {graph.unit(layer, index): factor for layer, index, factor in removal.into}
        if removal.constant:
            named[BIAS] = removal.constant
        if named:
            yield graph.unit(removal.layer, removal.unit), named


def _resolved(unit, choices):
    """The choices of a unit, fewest units first; what went later is replaced by what stands for
    it."""
    found = []
    for choice in choices[unit]:
        option = {}
        for other, factor in choice.items():
            further = _resolved(other, choices)[:1] if other in choices else [{other: 1.0}]
            for q, f in (further[0] if further else {}).items():
                option[q] = option.get(q, 0.0) + factor * f
        if option:
            found.append(option)
    return sorted(found, key=lambda option: len(option.keys() - {BIAS}))
