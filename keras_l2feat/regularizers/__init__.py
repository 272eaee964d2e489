"""Regularizers for Keras layers and models."""

from keras_l2feat.backend import require_keras

require_keras()

from keras_l2feat.regularizers.representation import RepresentationPenalty  # noqa: E402
from keras_l2feat.regularizers.weight_space import amount, layer_arguments, regularize  # noqa: E402

__all__ = ["RepresentationPenalty", "amount", "layer_arguments", "regularize"]
