"""Models."""

from keras_l2feat.models.dense import mlp
from keras_l2feat.models.representation_network import RepresentationNetwork

__all__ = ["RepresentationNetwork", "mlp"]
