"""Whether two models compute the same, and where they differ."""

from typing import Any

import numpy as np

from keras_l2feat.errors import InputError
from keras_l2feat.pruning.certificate import Claim, compare
from keras_l2feat.pruning.channels.read import given, read
from keras_l2feat.types import Model

__all__ = ["diff"]


def diff(first: Model, second: Model, data: Any = None, *, seed: int = 0) -> dict:
    """Compare two models with the same inputs and outputs, in float64.

    Args:
        first, second: built Keras models, or paths of .keras files.
        data: `(name, list of arrays)` or `None`; random inputs are used in any case.
        seed: of the random inputs.

    Returns: JSON-able: `equivalent` (every deviation is within what rounding of the stored weights
        explains), `evaluations`, `layers` (list of `name`, `units` of both, `None` where there is
        none, and the largest difference of weights of equal shape) and `parameters`.

    Raises:
        InputError: inputs or outputs have other shapes.
    """
    first, second = given(first), given(second)
    for what in ("inputs", "outputs"):
        shapes = [[tuple(t.shape[1:]) for t in getattr(model, what)] for model in (first, second)]
        if shapes[0] != shapes[1]:
            raise InputError(f"The models have other {what}: {shapes[0]} and {shapes[1]}.")
    graphs = [read(model) for model in (first, second)]
    evaluations = compare(graphs[0], second, Claim("data"), data=data, seed=seed, anywhere=True)
    layers = []
    for name in dict.fromkeys([*graphs[0].writers, *graphs[1].writers]):
        units = [len(graph.writers[name]) if name in graph.writers else None for graph in graphs]
        layers.append(
            {"name": name, "units": units, "max_weight_difference": _weights(graphs, name)}
        )
    return {
        "equivalent": all(e.passed for e in evaluations),
        "evaluations": [vars(e) for e in evaluations],
        "layers": layers,
        "parameters": [int(model.count_params()) for model in (first, second)],
    }


def _weights(graphs, name):
    if not all(name in graph.layers for graph in graphs):
        return None
    pairs = list(zip(*(graph.layers[name].get_weights() for graph in graphs)))
    if any(a.shape != b.shape for a, b in pairs):
        return None
    return max(
        (float(np.abs(a.astype(np.float64) - b).max(initial=0.0)) for a, b in pairs), default=0.0
    )
