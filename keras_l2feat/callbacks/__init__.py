"""Callbacks for `model.fit` and for `training.fit`."""

from keras_l2feat.callbacks.align_neurons import AlignNeurons
from keras_l2feat.callbacks.effective_width import EffectiveWidth

__all__ = ["AlignNeurons", "EffectiveWidth"]
