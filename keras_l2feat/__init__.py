"""Neuron sparsity from L2 regularization in Keras 3.

`keras_l2feat.prune(model)` finds the neurons that weight decay made redundant and returns an
equivalent smaller model with its certificate; `keras_l2feat.zoo` holds pretrained pairs; the
command line is `l2feat`.

Importing this package imports neither Keras nor TensorFlow; names below are loaded at first use.
Its layers, regularizers and models are known to Keras from when both are imported.
"""

import importlib

from keras_l2feat.imports import register_with_keras
from keras_l2feat.version import __version__

_LAZY = {
    "prune": ("keras_l2feat.pruning", "prune"),
    "tolerance": ("keras_l2feat.pruning.rounding", "tolerance"),
    "inspect": ("keras_l2feat.pruning.inspect", "inspect"),
    "diff": ("keras_l2feat.pruning.diff", "diff"),
    "expand": ("keras_l2feat.pruning.expand", "expand"),
    "mlp": ("keras_l2feat.models", "mlp"),
    "fit": ("keras_l2feat.training", "fit"),
    "shrink": ("keras_l2feat.shrinking", "shrink"),
    "DenseNetwork": ("keras_l2feat.network", "DenseNetwork"),
}
_SUBPACKAGES = {
    "activations",
    "callbacks",
    "data",
    "errors",
    "exports",
    "kernels",
    "layers",
    "models",
    "objectives",
    "plateau",
    "plots",
    "pruning",
    "regularizers",
    "shrinking",
    "theory",
    "training",
    "zoo",
}

__all__ = ["__version__", *sorted(_LAZY), *sorted(_SUBPACKAGES)]


def __getattr__(name):
    if name in _LAZY:
        module, attribute = _LAZY[name]
        return getattr(importlib.import_module(module), attribute)
    if name in _SUBPACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)


register_with_keras()
