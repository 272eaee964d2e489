"""Plateau-width models with their wide parents: list, load, check, rebuild, publish.

    from keras_l2feat import zoo

    zoo.list()
    model = zoo.load("mnist-1k-1pct-narrow")

Importing this package, listing and looking up import neither Keras nor TensorFlow.
"""

import builtins
from pathlib import Path

from keras_l2feat.zoo import fetch as _fetch
from keras_l2feat.zoo.families import (
    bipartite,
    deep_linear,
    mnist_1k,
    mnist_60k,
    mnist_789_42,
    one_dim,
    shrunk,
    teacher,
)
from keras_l2feat.zoo.models import load, save
from keras_l2feat.zoo.registry import Entry, entries, entry, register

__all__ = ["Entry", "download", "entries", "entry", "list", "load", "register", "save"]
__all__ += [
    "bipartite",
    "deep_linear",
    "mnist_1k",
    "mnist_60k",
    "mnist_789_42",
    "one_dim",
    "shrunk",
    "teacher",
]


def list(family: str | None = None) -> "builtins.list[str]":
    """The names of all models, or of those of one family."""
    return [one.name for one in entries(family)]


def download(name: str, *, quiet: bool = True) -> Path:
    """The path of a model's file, fetched if it is not here yet, of the size and SHA-256 that the
    registry says.

    Raises:
        InputError: no such model, or its file cannot be had.
        CheckFailed: what came is not the file that the registry describes; nothing is left behind.
    """
    return _fetch.fetch(entry(name), quiet=quiet)
