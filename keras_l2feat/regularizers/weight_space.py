"""The weight-space regularizer λ Σ_l ‖W_l‖², bias rows included, for any Keras model [Jacot et al.
2022, §2.1]."""

import re
import warnings

import keras

from keras_l2feat.errors import InputError, require
from keras_l2feat.types import Model

__all__ = ["amount", "layer_arguments", "regularize"]

# The weights of linear maps, by the regularizer that Keras' layers have for each. The factors and
# offsets of normalizations and activations (gamma, beta, alpha) are none: the theory has no term
# for them.
WEIGHTS = {
    "kernel": "kernel",
    "bias": "bias",
    "recurrent": "recurrent_kernel",
    "depthwise": "depthwise_kernel",
    "pointwise": "pointwise_kernel",
    "embeddings": "embeddings",
}
# an attention layer that is not built keeps them, underscored, for the layers that it will make
SLOT = re.compile(rf"_?({'|'.join(WEIGHTS)})_regularizer")
OTHER = re.compile(r"(gamma|beta|alpha)_regularizer")


def layer_arguments(lam: float) -> dict:
    """Keyword arguments for a Keras layer that give it its share λ (‖K‖² + ‖b‖²) of the objective.

    Args:
        lam: λ ≥ 0, the factor of the squared norm itself (not of half of it), as in
            `keras.regularizers.L2`.

    Example:
    >>> layer = keras.layers.Dense(10, activation="relu", **layer_arguments(1e-3))
    """
    return {f"{name}_regularizer": _l2(lam) for name in ("kernel", "bias")}


def regularize(model: Model, lam: float) -> Model:
    """Put λ on the weights and biases of every linear map of `model`, in place of the regularizers
    they had. Returns the model.

    Kernels of dense, convolutional (depthwise and pointwise too) and recurrent layers, embeddings
    and all biases are regularized, at any depth, whether the model is built or not. What has no
    term in the theory (normalizations, PReLU's slopes, a custom layer's weights) is left as it is,
    and a `UserWarning` names it. Compile the model after this.

    Raises:
        InputError: λ is negative, or there is nothing to regularize: the model has no layers yet.
    """
    regularizer, left, found = _l2(lam), [], False
    for layer in model._flatten_layers(recursive=True, include_self=False):
        slots = _slots(layer)
        covered = {id(getattr(layer, weight, None)) for _, weight in slots}
        for slot, weight in slots:
            found = True
            setattr(layer, slot, regularizer)
            variable = getattr(layer, weight, None) if layer.built else None
            if isinstance(variable, keras.Variable):
                variable.regularizer = regularizer
        others = [w for w in layer._trainable_variables if id(w) not in covered]
        later = not layer.built and any(OTHER.fullmatch(name) for name in vars(layer))
        if others or later:
            left.append(f"{layer.name!r} ({type(layer).__name__})")
    if not found:
        raise InputError(
            f"Model {model.name!r} has no weights that L2 regularizes. One that makes its layers "
            "later has to be built first."
        )
    if left:
        warnings.warn(
            f"Not regularized, as the theory has no term for them: {', '.join(left)}.", stacklevel=2
        )
    return model


def amount(model: Model) -> float:
    """The λ of a model whose linear maps all carry λ (‖K‖² + ‖b‖²); 0 where none is regularized.

    Raises:
        InputError: layers differ, or a regularizer is no plain L2.
    """
    found = {}
    for layer in model._flatten_layers(recursive=True, include_self=False):
        for slot, weight in _slots(layer):
            made = slot.startswith("_") or getattr(layer, weight, None) is None
            if layer.built and made:  # by a layer inside, or a bias that there is not
                continue
            regularizer = getattr(layer, slot)
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


def _l2(lam):
    require(0 <= lam < float("inf"), "lam", "at least 0", lam)
    return keras.regularizers.L2(lam) if lam else None


def _slots(layer):
    """Pairs (attribute that holds a regularizer, attribute of its weight) that a layer itself
    owns."""
    matches = [(name, SLOT.fullmatch(name)) for name in vars(layer)]
    own = "kernel" if hasattr(layer, "kernel") else "depthwise_kernel"  # of a depthwise convolution
    named = WEIGHTS | {"depthwise": own}
    return [(name, named[match[1]]) for name, match in matches if match]
