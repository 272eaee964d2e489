"""Keras layers. Importing this module registers them, so that `keras.saving.load_model` finds
them."""

from keras_l2feat.backend import require_keras

require_keras()

# The function hides its module, which keeps its name as saved models name it.
from keras_l2feat.layers.absolute import absolute  # noqa: E402
from keras_l2feat.layers.causal_mask import CausalMask  # noqa: E402
from keras_l2feat.layers.homogeneous_dense import HomogeneousDense  # noqa: E402
from keras_l2feat.layers.representation_cost import RepresentationCost  # noqa: E402

__all__ = ["CausalMask", "HomogeneousDense", "RepresentationCost", "absolute"]
