"""Plateau-width models with their wide parents: list, load, check, rebuild, publish.

    from keras_l2feat import zoo

    zoo.list()
    model = zoo.load("mnist-1k-plateau")

Importing this package, listing and looking up import neither Keras nor TensorFlow.
"""

from keras_l2feat.zoo.fetch import fetch
from keras_l2feat.zoo.models import load, save
from keras_l2feat.zoo.registry import Entry, entries, entry, register

__all__ = ["Entry", "entries", "entry", "fetch", "list", "load", "register", "save"]


def list(family=None):
    """The names of all models, or of those of one family."""
    return [one.name for one in entries(family)]
