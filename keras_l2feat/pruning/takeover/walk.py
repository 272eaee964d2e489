"""A network run layer after layer, all data at once, while its weights change.

What a layer gets is there for all points before its own weights are decided, so a network can be
changed on the way: each layer is fitted on what the changed ones before it deliver, in one pass.
Only what later layers still need is kept.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.channels.symbolic import functional
from keras_l2feat.pruning.evaluate import float64_enabled, through

__all__ = ["Parts", "argument", "held", "walk"]


@dataclass(eq=False)
class Parts:
    """A tensor, a list of batches; `changed`: whether it depends on weights that are other ones."""

    parts: list
    changed: bool = False


def walk(graph: Graph, batches: Sequence, visit: Callable) -> list:
    """Run the model of a graph, or a copy whose weights change on the way.

    Args:
        graph: of the model; the model is run as it is stored.
        batches: the data, lists of one array per model input.
        visit: `(name, args, kwargs) -> None or weights`, called before each layer of `graph.layers`
            with the `Parts` that it gets: the weights that the layer is to have, in the order of
            `layer.weights`, or `None` for its own.

    Returns: the `Parts` of the model's outputs.
    """
    import keras

    with float64_enabled():
        inputs = []
        for parts, symbolic in zip(zip(*batches), graph.model.inputs):
            cast = [keras.ops.cast(keras.ops.convert_to_tensor(p), symbolic.dtype) for p in parts]
            inputs.append(Parts(cast))
        names = {id(layer): name for name, layer in graph.layers.items()}
        return _run(graph.model, inputs, names, visit)


def _run(model, inputs, names, visit):
    return through(model, inputs, lambda *called: _call(*called, names, visit))


def _call(operation, args, kwargs, names, visit):
    """The `Parts` of all outputs of a call."""
    import keras

    name = names.get(id(operation))
    given = [v for v in keras.tree.flatten((args, kwargs)) if isinstance(v, Parts)]
    if name is not None and isinstance(operation, keras.Model) and functional(operation):
        return _run(operation, given, names, visit)
    weights = visit(name, args, kwargs) if name is not None else None
    changed = weights is not None or any(one.changed for one in given)
    if weights is None:
        outs = _apply(operation, args, kwargs, len(given[0].parts))
    else:
        old = operation.get_weights()
        operation.set_weights(
            [np.reshape(w, o.shape).astype(o.dtype) for w, o in zip(weights, old)]
        )
        try:
            outs = _apply(operation, args, kwargs, len(given[0].parts))
        finally:
            operation.set_weights(old)
    return [Parts(parts, changed) for parts in outs]


def _apply(operation, args, kwargs, count):
    """Outputs, a list of batches each."""
    import keras

    def called(nth):
        if getattr(operation, "stateful", False) and hasattr(operation, "reset_state"):
            operation.reset_state()
        given, named = keras.tree.map_structure(
            lambda v: v.parts[nth] if isinstance(v, Parts) else v, (args, kwargs)
        )
        return keras.tree.flatten(operation(*given, **named))

    return [list(parts) for parts in zip(*map(called, range(count)))]


def argument(reading: Any, args: Sequence, kwargs: Mapping) -> Any:
    """The `Parts` that a reading sees among what its layer is called with."""
    import keras

    roles = ("query", "value", "key")
    given = {**dict(zip(roles, args)), **kwargs}
    role = reading.reader.name.rpartition("/")[2]
    if role in roles and role != reading.layer and isinstance(given.get("query"), Parts):
        return given.get(role) if given.get(role) is not None else given["value"]
    return keras.tree.flatten((args, kwargs))[0]


def held(graph: Graph) -> int:
    """How many numbers a walk holds of one point, about: the largest tensor and two neighbours."""
    sizes = [
        int(np.prod([size or 1 for size in op.out.shape[1:]], dtype=np.int64)) for op in graph.ops
    ]
    return 3 * max(sizes, default=1)
