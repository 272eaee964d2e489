"""Models."""

from keras_l2feat.models.mlp import mlp

__all__ = ["mlp"]
