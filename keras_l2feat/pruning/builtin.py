"""The same function in layers that Keras has itself, for files that load without this package."""

import numpy as np

from keras_l2feat.pruning.rewrite import clone, from_config, unbuilt
from keras_l2feat.types import Model

__all__ = ["plain"]


def plain(model: Model) -> Model:
    """A model with `keras.layers.Dense` in place of `layers.HomogeneousDense`: the amount of bias β
    goes into the bias, b' = βb, and its penalty λ‖b‖² = (λ/β²)‖b'‖² into the regularizer.

    So the function and the loss are the same (βb is rounded once); training is not, as a step in b'
    is β² times one in b, and λ is no longer one number for all weights. What cannot be folded
    stays: a bias with a constraint, or with a penalty that is no plain L1 or L2; the activation
    `layers.absolute`, which Keras has as an operation only.

    Args:
        model: a Sequential or Functional model.

    Returns: a new model, or `model` itself where nothing can be folded.
    """
    import keras

    def copy(layer):
        config = unbuilt(layer.get_config())
        if not _folds(layer):
            return from_config(layer, config)
        beta = config.pop("beta")
        new = keras.layers.Dense.from_config(config | {"use_bias": layer.use_bias})
        if layer.use_bias and layer.bias_regularizer is not None:
            penalty = layer.bias_regularizer
            l1, l2 = getattr(penalty, "l1", 0.0), getattr(penalty, "l2", 0.0)
            l1, l2 = float(l1) / beta, float(l2) / beta**2
            kinds = keras.regularizers
            new.bias_regularizer = kinds.L1L2(l1, l2) if l1 else kinds.L2(l2)
        return new

    if not any(_folds(layer) for layer in model._flatten_layers(include_self=False)):
        return model
    new, pairs = clone(model, copy)
    for old, other in pairs:
        weights = [np.asarray(keras.ops.convert_to_numpy(w)) for w in old.weights]
        if _folds(old) and old.use_bias:
            beta = np.float64(old.beta)
            weights[1] = (beta * weights[1].astype(np.float64)).astype(weights[1].dtype)
        other.set_weights(weights)
    return new


def _folds(layer) -> bool:
    import keras

    if type(layer).__name__ != "HomogeneousDense":
        return False
    kinds = (type(None), keras.regularizers.L1, keras.regularizers.L2, keras.regularizers.L1L2)
    return not layer.use_bias or (
        layer.bias_constraint is None and type(layer.bias_regularizer) in kinds
    )
