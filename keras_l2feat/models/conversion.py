"""Dense chains of Keras as plain arrays, and back."""

from collections.abc import Sequence

import keras
import numpy as np

from keras_l2feat.activations import ACTIVATIONS
from keras_l2feat.errors import InputError
from keras_l2feat.types import Model

__all__ = ["arrays_of", "write_arrays"]


def arrays_of(model: Model) -> tuple[tuple, str, float]:
    """`(weights, activation, beta)`, as a `network.DenseNetwork` has them, of a Keras chain of
    `Dense` or `HomogeneousDense` layers (one σ, one β, linear output).

    Raises:
        InputError: the model is no such chain; the layer that prevents it is named.
    """
    layers = keras.layers
    passes = (layers.InputLayer, layers.Flatten, layers.Dropout)
    kernels, biases, names, betas, activations = [], [], [], [], []
    for layer in _chain(model):
        if isinstance(layer, layers.Dense):
            kernels.append(np.asarray(keras.ops.convert_to_numpy(layer.kernel), dtype=np.float64))
            bias = getattr(layer, "bias", None)
            biases.append(
                None if bias is None else np.asarray(keras.ops.convert_to_numpy(bias), np.float64)
            )
            betas.append(float(getattr(layer, "beta", 1.0)) if bias is not None else 0.0)
            names.append(layer.name)
            activations.append(_activation_name(layer, layer.activation))
        elif isinstance(layer, (layers.Activation, layers.ReLU, layers.LeakyReLU)):
            if not activations or activations[-1] != "linear":
                raise InputError(f"Layer {layer.name!r}: an activation here has no array form.")
            activations[-1] = _activation_name(layer, getattr(layer, "activation", None))
        elif not isinstance(layer, passes):
            raise InputError(
                f"Layer {layer.name!r} ({type(layer).__name__}) has no array form: a chain "
                "of Dense is expected."
            )
    if not kernels:
        raise InputError(f"Model {model.name!r} has no Dense layer.")
    if activations[-1] not in {"linear", "softmax"}:
        raise InputError(
            f"Layer {names[-1]!r}: the output must be linear. Received: {activations[-1]!r}."
        )
    if len(set(activations[:-1])) > 1:
        raise InputError(
            f"Model {model.name!r}: hidden layers must share one activation. Received: "
            f"{activations}."
        )
    if len(set(betas)) > 1:
        raise InputError(
            f"Model {model.name!r}: layers must share one amount of bias. Received: {betas}."
        )
    weights = [k if b is None else np.vstack([k, b]) for k, b in zip(kernels, biases)]
    return tuple(weights), activations[0] if len(weights) > 1 else "relu", betas[0]


def write_arrays(model: Model, weights: Sequence[np.ndarray], beta: float) -> None:
    """Write weights into the Dense layers of a model that has the same widths."""
    dense = [layer for layer in _chain(model) if hasattr(layer, "kernel")]
    for layer, weight in zip(dense, weights, strict=True):
        layer.kernel.assign(weight[:-1] if beta > 0 else weight)
        if beta > 0:
            layer.bias.assign(weight[-1])


def _chain(model):
    """The layers of a model that is one chain, in order; nested chains are opened."""
    if isinstance(model, keras.Sequential):
        layers = list(model.layers)
    else:
        try:
            layers = list(model.layers)
            nodes = [
                node for layer in layers for node in layer._inbound_nodes if _belongs(model, node)
            ]
        except AttributeError:
            raise InputError(
                f"Model {model.name!r} is neither Sequential nor Functional."
            ) from None
        if len(model.outputs) != 1 or any(len(node.parent_nodes) > 1 for node in nodes):
            raise InputError(f"Model {model.name!r} is not one chain of layers.")
    for layer in layers:
        if isinstance(layer, keras.Model):
            yield from _chain(layer)
        else:
            yield layer


def _belongs(model, node) -> bool:
    return any(node is other for nodes in model._nodes_by_depth.values() for other in nodes)


def _activation_name(layer, activation) -> str:
    """The name under which the array form knows a layer's activation."""
    if isinstance(layer, keras.layers.ReLU):
        plain = layer.max_value is None and not layer.negative_slope and not layer.threshold
        name = "relu" if plain else "relu with parameters"
    elif isinstance(layer, keras.layers.LeakyReLU):
        usual = abs(float(layer.negative_slope) - 0.2) < 1e-12
        name = "leaky_relu" if usual else "leaky_relu with another slope"
    else:
        name = getattr(activation, "__name__", None) or "unknown"
    name = {"absolute": "abs"}.get(name, name)
    if name not in ACTIVATIONS and name != "softmax":
        raise InputError(
            f"Layer {layer.name!r}: activation {name!r} has no array form; known: "
            f"{sorted(ACTIVATIONS)}."
        )
    return name
