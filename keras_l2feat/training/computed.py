"""Units beside each other by what they compute on data, in place of their weights."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.takeover.engine import Takeover
from keras_l2feat.training.units import Site

__all__ = ["on_data"]


def on_data(graph: Graph, found: Sequence[Site], inputs: Sequence[np.ndarray]) -> list[Site]:
    """Sites whose incoming vectors have the products that the units' values have.

    Where units are read at several places, their values at all of them count. Two units are then as
    near as what they compute, however far their weights are on inputs that do not occur.

    Args:
        graph: of the model, as its weights are now; found: its sites.
        inputs: one array a model input.

    Returns: the sites, `incoming` replaced; as they are where a layer sees only a part of what it
        is called on.
    """
    engine = Takeover(graph, list(inputs))
    return [_on_data(engine, site) for site in found]


def _on_data(engine, site):
    total = np.zeros((len(site.units), len(site.units)))
    for name, sums in engine.grams.items():
        columns = [np.flatnonzero(engine.readings[name].units == unit) for unit in site.units]
        if len(columns[0]):
            whole = sums.total
            total += sum(whole[np.ix_(place, place)] for place in np.transpose(columns))
    if not total.any():
        return site
    values, vectors = np.linalg.eigh(total)
    return replace(site, incoming=vectors * np.sqrt(np.maximum(values, 0.0)))
