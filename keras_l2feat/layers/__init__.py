"""Keras layers. Importing this module registers them, so that `keras.saving.load_model` finds them."""

from keras_l2feat.layers.homogeneous_dense import HomogeneousDense
from keras_l2feat.layers.representation_cost import RepresentationCost

__all__ = ["HomogeneousDense", "RepresentationCost"]
