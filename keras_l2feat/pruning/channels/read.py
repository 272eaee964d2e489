"""From a Keras model, nested ones included, to the operations of its channel graph, call by
call."""

from pathlib import Path
from typing import Any

import numpy as np

from keras_l2feat.backend import stored
from keras_l2feat.errors import InputError, bad_argument
from keras_l2feat.files import load_model
from keras_l2feat.pruning.channels.builder import Builder
from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.channels.opened import opened
from keras_l2feat.pruning.channels.operations import Source
from keras_l2feat.pruning.channels.rules import (  # noqa: F401  (they register their rules)
    ANY_ARGUMENTS,
    RULES,
    Call,
    attention,
    channel,
    linear,
    merge,
    normalization,
    ops,
    recurrent,
)
from keras_l2feat.pruning.channels.symbolic import as_functional, functional
from keras_l2feat.types import Model

__all__ = ["functional", "given", "read"]

# layers of KerasHub that have a rule
KERAS_HUB = {"CachedMultiHeadAttention", "WhisperCachedMultiHeadAttention"}


def given(model: Model | str | Path) -> Model:
    """The Keras model that a user gives: itself, or the path of a `.keras` file.

    Raises:
        InputError: it is neither, or the file cannot be loaded.
    """
    import keras

    if isinstance(model, (str, Path)):
        return load_model(model)
    if not isinstance(model, keras.Model):
        raise bad_argument("model", "a Keras model or the path of a .keras file", model)
    return model


def read(model: Model | str | Path, input_shape: Any = None) -> Graph:
    """The channel graph of a Keras model.

    Args:
        model: Sequential, Functional, or subclassed where `call` is symbolic (`as_functional`), or
            a path (`given`). `graph.model` is the Functional model that it is read as: another one
            if it is subclassed, or has layers of other packages in it that are `opened`.
        input_shape: of a subclassed model that was not built yet.

    Raises:
        InputError: the model cannot be read, or is not built yet; or a weight is infinite or no
            number.
    """
    model = given(model)
    if _is_subclassed(model):
        model = as_functional(model, input_shape)
    reasons = {}
    if functional(model) is not None:
        model, reasons = opened(model, lambda layer: _rule_of(layer) is not None)
    graph = Builder(model)
    graph.barriers.update(
        (name, f"its call is not read: {reason}") for name, reason in reasons.items()
    )
    inputs, outputs = _walk(graph, model)
    _check_finite(model)
    return graph.finish(inputs, outputs)


def _check_finite(model):
    for layer in model.layers:
        for weight in layer.weights:
            if "float" in str(weight.dtype) and not np.isfinite(stored(weight)).all():
                raise InputError(
                    f"Weight {weight.path!r} of layer {layer.name!r} has entries that are infinite "
                    "or no numbers: what such a model computes cannot be kept."
                )


def _is_subclassed(model):
    import keras

    graph = functional(model) is not None or isinstance(model, keras.Sequential)
    return isinstance(model, keras.Model) and not graph


def _walk(graph, model, inputs=None, prefix=""):
    """Read a Sequential or Functional model, nested ones included.

    Returns: the model's input and output tensors of the channel graph.
    """
    calls = functional(model)
    if calls is None:
        raise InputError(
            f"Model {model.name!r} is not built: call it once, or give it an Input. "
            f"Expected: a built Keras model."
        )
    if inputs is None:
        inputs = [
            graph.fresh(f"{t.name}", t.shape[-1] or 1, t.shape, -1, pinned=True)
            for t in calls.inputs
        ]
        graph.ops.extend(Source([], tensor) for tensor in inputs)
    else:
        for symbolic, tensor in zip(calls.inputs, inputs, strict=True):
            _inner_input(graph, symbolic._keras_history.operation, tensor, prefix)
    tensors = {id(symbolic): tensor for symbolic, tensor in zip(calls.inputs, inputs, strict=True)}
    for depth in sorted(calls._nodes_by_depth, reverse=True):
        for node in calls._nodes_by_depth[depth]:
            if node.is_input or any(id(t) not in tensors for t in node.input_tensors):
                continue
            outs = _call(graph, node, [tensors[id(t)] for t in node.input_tensors], prefix)
            tensors.update(
                (id(symbolic), out) for symbolic, out in zip(node.outputs, outs, strict=True)
            )
    return inputs, [tensors[id(symbolic)] for symbolic in calls.outputs]


def _inner_input(graph, layer, tensor, prefix):
    """The input of a nested model says how many channels it takes, the same in each call."""
    name = f"{prefix}{layer.name}"
    graph.layers[name] = layer
    if layer.batch_shape[tensor.axis] is not None:
        graph.size(name, ("batch_shape", tensor.axis), tensor.units)


def _call(graph, node, inputs, prefix):
    """The tensors that one call of a layer, an operation or a nested model computes."""
    import keras

    layer = node.operation
    known = next((name for name, other in graph.layers.items() if other is layer), None)
    name = known or f"{prefix}{layer.name}"
    shapes = [tuple(t.shape) for t in node.outputs]
    calls = functional(layer) if isinstance(layer, keras.Model) else None
    if calls is not None:
        if _plain(node) and [len(t.shape) for t in calls.inputs] == [len(t.shape) for t in inputs]:
            graph.layers[name] = layer
            return _walk(graph, layer, inputs, prefix=f"{name}/")[1]
        return graph.barrier(
            name, "a nested model called with more than its inputs", inputs, shapes
        )
    rule = _rule_of(layer)
    if rule is not None and isinstance(layer, keras.layers.Layer):
        graph.layers[name] = layer
    reason = _not_read(layer, rule, node)
    if reason:
        return graph.barrier(name, reason, inputs, shapes)
    out = RULES[rule](Call(graph, layer, name, inputs, shapes, node.arguments))
    return out if isinstance(out, list) else [out]


def _plain(node):
    """Whether a call has one argument, a tensor or a list of them, and nothing else."""
    import keras

    others = keras.tree.flatten(node.arguments.kwargs)
    given = [a for a in node.arguments.args if a is not None]
    return all(v is None or v is False for v in others) and len(given) == 1


def _not_read(layer, rule, node):
    """Why a call is a barrier; `None` where it is not."""
    import keras

    kind = type(layer).__name__
    if rule is None:
        return f"{kind} is not understood"
    if isinstance(layer, keras.layers.Layer) and _unusual(layer):
        return _unusual(layer)
    if rule not in ANY_ARGUMENTS and not _plain(node):
        return f"{kind} called with more than its input"
    if rule not in ANY_ARGUMENTS and len(node.outputs) != 1:
        return "several outputs"
    return None


def _rule_of(layer):
    """The name of the rule for exactly this class, `None` for none: a subclass may do anything."""
    import keras

    kind, module = type(layer).__name__, type(layer).__module__
    if not isinstance(layer, keras.layers.Layer):
        kind = f"ops.{kind}"
        own = module.startswith("keras.src.ops")
    else:
        own = module.startswith(("keras.src.layers", "keras.layers", "keras_l2feat.layers"))
        own = own or (kind in KERAS_HUB and module.startswith("keras_hub."))
    return kind if own and kind in RULES else None


def _unusual(layer):
    mode = getattr(layer, "quantization_mode", None)
    if mode:
        return f"its weights are quantized ({mode})"
    if getattr(layer, "lora_enabled", False):
        return "LoRA is on"
    return None
