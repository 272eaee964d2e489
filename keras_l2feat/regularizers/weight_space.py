"""The weight-space regularizer λ Σ_l ‖W_l‖², bias rows included, for any Keras model [Jacot et al.
2022, §2.1]."""

import keras

from keras_l2feat.errors import InputError, bad_argument

__all__ = ["amount", "regularize", "weight_space"]

SLOTS = ("kernel_regularizer", "bias_regularizer")


def weight_space(lam) -> dict:
    """Keyword arguments that give one layer its share λ (‖K‖² + ‖b‖²) of the objective.

    Args:
        lam: λ ≥ 0, the factor of the squared norm itself (not of half of it), as in
            `keras.regularizers.L2`.

    Example:
    >>> layer = keras.layers.Dense(10, activation="relu", **weight_space(1e-3))
    """
    if not lam >= 0:
        raise bad_argument("lam", "at least 0", lam)
    return {slot: keras.regularizers.L2(lam) if lam else None for slot in SLOTS}


def regularize(model, lam):
    """Put λ on every kernel and bias of `model`, in place of the regularizers it had. Returns the
    model.

    Raises:
        InputError: a layer has trainable weights but no place for a kernel regularizer; it is
            named.
    """
    slots = weight_space(lam)
    for layer in _weighted(model):
        if not hasattr(layer, "kernel_regularizer"):
            raise InputError(
                f"Layer {layer.name!r} ({type(layer).__name__}) has no kernel_regularizer."
            )
        for slot, regularizer in slots.items():
            setattr(layer, slot, regularizer)
        if layer.built:
            layer.kernel.regularizer = slots["kernel_regularizer"]
            if getattr(layer, "bias", None) is not None:
                layer.bias.regularizer = slots["bias_regularizer"]
    return model


def amount(model) -> float:
    """The λ of a model whose layers all carry λ (‖K‖² + ‖b‖²); 0 where none is regularized.

    Raises:
        InputError: layers differ, or a regularizer is no plain L2.
    """
    found = {}
    for layer in _weighted(model):
        for slot, weight in zip(SLOTS, ("kernel", "bias")):
            if getattr(layer, weight, None) is None:
                continue
            regularizer = getattr(layer, slot, None)
            if regularizer is not None and type(regularizer) is not keras.regularizers.L2:
                raise InputError(
                    f"Layer {layer.name!r}: {slot} is no keras.regularizers.L2 but {regularizer!r}."
                )
            found[f"{layer.name}.{weight}"] = 0.0 if regularizer is None else float(regularizer.l2)
    if len(set(found.values())) > 1:
        raise InputError(
            f"Model {model.name!r}: one λ is expected on all kernels and biases. Received: {found}"
        )
    return next(iter(found.values()), 0.0)


def _weighted(model):
    """The layers, at any depth, that own trainable weights."""
    return [layer for layer in model._flatten_layers(recursive=True) if layer._trainable_variables]
