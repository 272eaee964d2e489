"""Regularizers for Keras layers and models."""

from keras_l2feat.backend import require_keras

require_keras()

from keras_l2feat.regularizers.representation import RepresentationCost  # noqa: E402
from keras_l2feat.regularizers.weight_space import amount, regularize, weight_space  # noqa: E402

__all__ = ["RepresentationCost", "amount", "regularize", "weight_space"]
