"""A trained network gets smaller while it trains on: rounds of {choose by cost, hand over by least
squares, rewrite, train}."""

from keras_l2feat.shrinking.loop import shrink
from keras_l2feat.shrinking.record import Shrinkage

__all__ = ["Shrinkage", "shrink"]
