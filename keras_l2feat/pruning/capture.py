"""What layers see when a model runs on data."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_l2feat.pruning.channels.symbolic import functional
from keras_l2feat.pruning.evaluate import arranged, batches, float64_enabled
from keras_l2feat.types import Model

__all__ = ["layer_inputs"]


def layer_inputs(model: Model, names: Sequence[str], arrays: Sequence, batch: int = 256) -> Any:
    """Run a model on data and hand out what some of its layers are called on, batch after batch.

    Args:
        model: a built Sequential or Functional model, nested ones included.
        names: the layers, as `graph.layers` calls them ("outer/inner" in nested models).
        arrays: the data, one array per model input, (N, ...).
        batch: points at a time.

    Yields: name → list of float64 arrays (points, ...), one a call of the layer, for each batch.
    """
    import keras

    for part, count in batches(model, arrays, batch):
        seen = {name: [] for name in names}
        with float64_enabled():
            tensors = [keras.ops.convert_to_tensor(x) for x in part]
            _run(model, keras.tree.flatten(arranged(model, tensors)), "", seen)
        yield {name: [value[:count] for value in values] for name, values in seen.items()}


def _run(model, tensors, prefix, seen):
    import keras

    calls = functional(model)

    def watched(operation):
        name = f"{prefix}{operation.name}"
        if isinstance(operation, keras.Model) and functional(operation) is not None:
            return lambda *inputs: _run(operation, keras.tree.flatten(inputs), f"{name}/", seen)

        def call(*arguments, **options):
            if name in seen:
                value = keras.ops.convert_to_numpy(arguments[0])
                seen[name].append(np.asarray(value, dtype=np.float64))
            return operation(*arguments, **options)

        return call

    precise = [keras.ops.cast(x, s.dtype) for x, s in zip(tensors, calls.inputs)]
    return calls._run_through_graph(precise, operation_fn=watched)
