"""Regularizers for Keras layers and models."""

from keras_l2feat.regularizers.representation import RepresentationCost
from keras_l2feat.regularizers.weight_space import amount, regularize, weight_space

__all__ = ["RepresentationCost", "amount", "regularize", "weight_space"]
