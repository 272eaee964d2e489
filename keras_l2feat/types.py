"""Names for what signatures take, so that one kind of argument reads the same everywhere.

Nothing is imported, not even NumPy: what lists the zoo needs none of it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

__all__ = [
    "Arrays",
    "Cost",
    "Data",
    "Layer",
    "Model",
    "Ridge",
    "Seed",
    "Sigma",
    "Tensor",
    "ValueAndGradient",
]

Model = Any  # a keras.Model
Layer = Any  # a keras.layers.Layer
Tensor = Any  # a tensor of the backend, or an array
Arrays = list["np.ndarray"]
Ridge = Any  # a number, or a tensor of no or of the leading dimensions
Seed = Any  # an int or a generator, as `numpy.random.default_rng` takes
# "crossentropy", "squared", or a function (z, y) -> scalar tensor
Cost = str | Callable[[Any, Any], Any]
# a name of `activations.ACTIVATIONS`, or a function of a tensor
Sigma = str | Callable[[Any], Any]
# what `data.load` takes: a name, the path of an .npz file, a pair (x, y), or a `data.Dataset`;
# where a docstring says so, also a tf.data.Dataset of batches
Data = str | Path | tuple["ArrayLike", "ArrayLike"] | Any
# value and gradients of a function of a list of arrays
ValueAndGradient = Callable[[Arrays], tuple[float, Arrays]]
