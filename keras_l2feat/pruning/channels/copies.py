"""Copies of models, layer by layer, from their configs."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from keras_l2feat.pruning.channels.symbolic import functional
from keras_l2feat.types import Layer, Model

__all__ = ["clone", "compile_like", "from_config", "set_weights", "unbuilt"]


def set_weights(layer: Layer, like: Layer, arrays: Sequence[ArrayLike]) -> None:
    """Give a layer weights that come in the order of a layer of the same config, which may have
    made them in another order (quantized ones do)."""
    names, wanted = [w.name for w in like.weights], [w.name for w in layer.weights]
    if sorted(names) == sorted(set(wanted)):
        arrays = [arrays[names.index(name)] for name in wanted]
    layer.set_weights([np.reshape(a, w.shape) for a, w in zip(arrays, layer.weights)])


def unbuilt(config: Any) -> Any:
    """A config without the shapes for which wrapped layers were built."""
    if isinstance(config, dict):
        return {key: unbuilt(value) for key, value in config.items() if key != "build_config"}
    return [unbuilt(item) for item in config] if isinstance(config, list) else config


def from_config(layer: Layer, config: dict) -> Layer:
    """A layer like `layer`, from a changed config."""
    import keras

    if (
        type(layer) is keras.layers.Lambda
    ):  # its function was in memory already: nothing is read from the config
        kept = {key: config[key] for key in ("name", "dtype", "trainable") if key in config}
        shape = layer._output_shape
        return keras.layers.Lambda(
            layer.function, output_shape=shape, mask=layer.mask, arguments=layer.arguments, **kept
        )
    return layer.__class__.from_config(config)


def clone(
    model: Model, function: Callable[[Layer], Layer], *, compiled: bool = True
) -> tuple[Model, list[tuple[Layer, Layer]]]:
    """A copy of a Sequential or Functional model, nested ones included, with `function(layer)` for
    each layer, the inputs of every model too.

    Returns: the model, compiled as the old one was (or not), and the pairs (old layer, new layer)
        without models.
    """
    import keras

    made, pairs = {}, []

    def copy(layer):
        if not isinstance(layer, keras.layers.Layer):
            return layer  # an operation of keras.ops has no state
        if id(layer) not in made:
            if functional(layer):
                made[id(layer)] = copied(layer)
            elif isinstance(layer, keras.Model):
                made[id(layer)] = layer.__class__.from_config(layer.get_config())
            else:
                made[id(layer)] = function(layer)
            pairs.append((layer, made[id(layer)]))
        return made[id(layer)]

    def copied(model):
        inputs = [copy(t._keras_history.operation).output for t in functional(model).inputs]
        if not isinstance(model, keras.Sequential):
            inputs = keras.tree.pack_sequence_as(model.input, inputs)
        was_compiled, model.compiled = model.compiled, False
        try:
            return keras.models.clone_model(model, clone_function=copy, input_tensors=inputs)
        finally:
            model.compiled = was_compiled

    new = copied(model)
    for old, other in reversed([*pairs, (model, new)]):  # a model sets those of its layers
        if other.trainable != old.trainable:
            other.trainable = old.trainable
    if compiled and model.compiled:
        compile_like(model, new)
    return new, [pair for pair in pairs if not functional(pair[0])]


def compile_like(model: Model, new: Model) -> None:
    """Compile a model as another one is, where that can be copied."""
    try:
        config = model.get_compile_config()
        if config:
            new.compile_from_config(config)
    except (TypeError, ValueError, NotImplementedError):
        pass  # custom objects that cannot be copied: the result is not compiled
