"""Callbacks for `model.fit` and for `training.fit`."""

from keras_l2feat.callbacks.align_neurons import AlignNeurons

__all__ = ["AlignNeurons"]
