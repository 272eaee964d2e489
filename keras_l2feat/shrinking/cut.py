"""One cut: units go in the order of what they cost, what stays takes over, and the model is
rewritten."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.guarantees.search import plan_of
from keras_l2feat.pruning.guarantees.targets import harm
from keras_l2feat.pruning.measure import latencies
from keras_l2feat.pruning.rewrite import rewrite
from keras_l2feat.pruning.takeover.cuts import Cuts
from keras_l2feat.pruning.takeover.engine import Takeover
from keras_l2feat.pruning.takeover.readings import readings, sites
from keras_l2feat.pruning.takeover.sizes import Sizes
from keras_l2feat.types import Model

__all__ = ["Cut", "composed", "least", "recalibrate"]

POINTS = 4096  # that kernels are fitted on
STATISTICS = 50  # batches that statistics are measured on


class Cut(Cuts):
    """The order in which units of a model can go.

    Args:
        graph: the model's `Graph`; inputs: data, one array a model input.
        price: the size that a removal is weighed against.
        kind: what outputs are, see `targets.harm`.
    """

    def __init__(self, graph: Graph, inputs: Sequence, price: str, kind: dict) -> None:
        super().__init__(Takeover(graph, inputs), harm(**kind), price)

    def to_latency(self, original: Graph, most: float, seed: int = 0) -> tuple[int, ...]:
        """About the fewest removals at each site after which a call takes at most the share `most`
        of what it takes the model of the graph `original`, both measured here in turn."""

        def fast(counts):
            trial = rewrite(self.engine.graph, self.engine.removals(self.gone(counts)))
            _, (whole, part) = latencies([original.model, trial], original, seed=seed)
            return part <= most * whole

        return self.fewest(fast)

    def rewritten(self, kept: np.ndarray) -> Graph:
        """The smaller model, in which what is kept, (units,) bool, took over; the given one where
        all is kept."""
        return rewrite(self.engine.graph, plan_of(self.engine, ~kept))


def least(graph: Graph) -> dict:
    """The sizes with one unit left of each site."""
    kept = np.ones(len(graph.pinned), dtype=bool)
    for site in sites(graph, readings(graph)):
        kept[site.units[1:]] = False
    return Sizes(graph).of(kept)


def recalibrate(model: Model, batches: Any) -> None:
    """Measure the statistics of batch normalizations anew: their mean over some batches, each
    normalized as in training.

    Args:
        model: changed in place; batches: a `tf.data.Dataset` of tuples that begin with inputs.
    """
    import keras

    normal = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]
    if not normal:
        return
    given = [layer.momentum for layer in normal]
    try:
        for count, batch in enumerate(batches.take(STATISTICS)):
            for layer in normal:
                layer.momentum = count / (count + 1)
            model(batch[0], training=True)
    finally:
        for layer, momentum in zip(normal, given):
            layer.momentum = momentum


def composed(graph: Graph, kept: np.ndarray, before: np.ndarray) -> dict:
    """layer → channels of the original that are left after a cut of what `before` was left."""
    return {layer: before[layer][kept[units]] for layer, units in graph.writers.items()}
