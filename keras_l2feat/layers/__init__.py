"""Keras layers. Importing this module registers them, so that saved models load by `keras.saving.load_model`."""

from keras_l2feat.layers.homogeneous_dense import HomogeneousDense

__all__ = ["HomogeneousDense"]
