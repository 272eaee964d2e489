"""Sites: units that are looked at together, and where each stands in what reads them."""

from dataclasses import dataclass

import numpy as np

from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.channels.operations import Depthwise, Linear

__all__ = ["Site", "positions", "rows", "sites"]


@dataclass(eq=False)
class Site:
    """Units that are looked at together.

    Attributes:
        units: (n,) numbers; names: (layer, index) of each.
        readers: all that read them: of `sites` each with the positions (n, m) at which it reads
            each unit; of `takeover.readings.sites` as a `Reading`.
    """

    units: np.ndarray
    names: list
    readers: list


def sites(graph: Graph, fixed: np.ndarray | None = None) -> list[Site]:
    """Layers none of whose units is `fixed`, by default those that are not rescaled, and that
    nothing else reads at the same time; in the order in which they are computed."""
    fixed = graph.rigid if fixed is None else fixed
    direct = _read_directly(graph)
    found, taken = [], set()
    for layer, units in graph.writers.items():
        if taken & set(units.tolist()) or fixed[units].any() or len(np.unique(units)) < len(units):
            continue
        readers = [r for r in graph.readers.values() if np.isin(r.units, units).any()]
        counts = [np.unique(r.units, return_counts=True)[1] for r in readers]
        whole = [
            len(c) == len(units) and (c == c[0]).all() and np.isin(r.units, units).all()
            for c, r in zip(counts, readers)
        ]
        if readers and all(whole) and all(r.name in direct for r in readers):
            names = [(layer, index) for index in range(len(units))]
            found.append(Site(units, names, [(r, positions(r.units, units)) for r in readers]))
            taken |= set(units.tolist())
    return found


def _read_directly(graph):
    """Readers whose input is what their layer is called on: no filter of the layer's own stands
    between."""
    return {
        op.reader
        for op in graph.ops
        if isinstance(op, Linear)
        and op.reader in graph.layers
        and not isinstance(graph.ops[op.inputs[0].number], Depthwise)
    }


def positions(holder: np.ndarray, units: np.ndarray) -> np.ndarray | None:
    """Where each of some units stands among those of a `holder`, (n, m) ascending: each at as many
    places; `None` where none does."""
    order = np.argsort(units)
    place = np.minimum(np.searchsorted(units, holder, sorter=order), len(units) - 1)
    index = order[place]
    found = np.flatnonzero(units[index] == holder)
    if not len(found):
        return None
    found = found[np.argsort(index[found], kind="stable")]
    return found.reshape(len(np.unique(index[found])), -1)


def rows(weight: np.ndarray, axis: int, places: np.ndarray) -> np.ndarray:
    """What units have of a weight, (n, m, …) float64; places (n, m) are on its axis."""
    return np.moveaxis(np.asarray(weight, dtype=np.float64), axis, 0)[places]
