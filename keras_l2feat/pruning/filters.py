"""Which layers may lose units, and why the others lose none."""

import re
from collections.abc import Callable, Collection, Sequence

import numpy as np

from keras_l2feat.errors import InputError, bad_argument
from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.channels.operations import Source
from keras_l2feat.pruning.plan import Plan

__all__ = ["Filters", "hold", "kept", "matching"]

Filters = str | Sequence[str] | Callable | None


def matching(graph: Graph, filters: Filters) -> set:
    """The layers that filters choose, by the names that the report gives them.

    Args:
        graph: the model's `Graph`.
        filters: as for Keras' `Model.quantize`: a regular expression that is searched in a layer's
            name, a list of them of which one has to be found, a function of the Keras layer, or
            `None` for all.

    Raises:
        InputError: they are none of these, or choose no layer.
    """
    if filters is None:
        return set(graph.writers)
    if callable(filters):
        chosen = {name for name in graph.writers if filters(_owner(graph, name))}
    else:
        given = [filters] if isinstance(filters, str) else filters
        try:
            patterns = [re.compile(one) for one in given]
        except (TypeError, re.error) as error:
            raise bad_argument(
                "filters", f"regular expressions or a function ({error})", filters
            ) from error
        chosen = {name for name in graph.writers if any(one.search(name) for one in patterns)}
    if not chosen:
        raise InputError(
            f"No layer is chosen by filters={filters!r}. Layers: {', '.join(graph.writers)}."
        )
    return chosen


def _owner(graph, name):
    """The Keras layer that computes what the report calls `name`: "attention/key" is inside of
    "attention"."""
    while name not in graph.layers and "/" in name:
        name = name.rpartition("/")[0]
    return graph.layers[name]


def hold(graph: Graph, chosen: Collection) -> Graph:
    """The graph, in which units of layers other than `chosen` stay, at their scale."""
    for layer, units in graph.writers.items():
        if layer not in chosen:
            graph.pinned[units] = graph.rigid[units] = True
    return graph


def kept(
    graph: Graph, chosen: Collection, blamed: Collection, claim: str, plan: Plan | None
) -> dict:
    """Why each layer keeps the units that it keeps: layer → words.

    Args:
        graph: of the original; chosen: the layers that filters choose.
        blamed: units that stay since the check could not follow what became of them.
        claim: for which inputs something was promised, in words.
        plan: the last one, `None` where there is none.
    """
    outputs = np.unique(np.concatenate([tensor.units for tensor in graph.outputs]))
    ends = {op.layer for op in graph.ops if op.out in graph.outputs}
    plan = Plan() if plan is None else plan
    words = {}
    for layer, units in graph.writers.items():
        if layer not in chosen:
            words[layer] = "left out by the filters"
        elif np.isin(units, outputs).all() or layer in ends:
            words[layer] = "an output of the model"
        elif np.isin(units, list(blamed)).any():
            words[layer] = "the check cannot follow what would become of it"
        elif graph.pinned[units].all():
            words[layer] = _beside(graph, units)
        elif plan.reached is not None and layer not in plan.reached:
            words[layer] = f"not redundant for every input, and out of reach of {plan.guarantee!r}"
        elif plan.guarantee == "bounded":
            words[layer] = "needed for what was asked"
        else:
            words[layer] = f"not redundant {claim}"
    return words


def _beside(graph, units):
    """What pins units that are no outputs."""
    for op in graph.ops:
        if isinstance(op, Source) and any(np.isin(units, t.units).any() for t in op.inputs):
            return f"next to {op.layer}, which is not understood"
    return "tied to what has to stay"
