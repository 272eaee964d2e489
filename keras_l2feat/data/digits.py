"""MNIST: a subset that travels with the package, and the full set through Keras or from a file of
the user's.

The database is by LeCun, Cortes and Burges, CC BY-SA 3.0 (see LICENSE-mnist.md beside this file).
"""

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from keras_l2feat.data.arrays import as_inputs, read_npz
from keras_l2feat.data.dataset import Dataset
from keras_l2feat.errors import InputError, require
from keras_l2feat.files import offline

__all__ = ["PIXEL", "mnist"]

PIXEL = Fraction(1, 255)  # the usual scale of a pixel 0 … 255

SUBSET = Path(__file__).with_name("mnist-1k.npz")
LICENCE = "CC BY-SA 3.0 (LeCun, Cortes, Burges)"
SOURCE = "MNIST database of handwritten digits, original order"


def mnist(
    *,
    full: bool = False,
    digits: Sequence[int] | None = None,
    n: int | None = None,
    scale: Fraction = PIXEL,
    name: str | None = None,
) -> Dataset:
    """Handwritten digits, 28 × 28 flattened, pixels divided by 255 unless `scale` says otherwise.

    Args:
        full: the 60 000 + 10 000 digits, from the file that the environment variable `L2FEAT_MNIST`
            names, else through `keras.datasets.mnist` (which downloads); by default the first 1000
            + 1000 of them, shipped here.
        digits: keep only these classes, for example `(7, 8, 9)`, and label them 0, 1, … in
            increasing order.
        n: keep the first `n` training points (after the choice of digits).
        scale: `Fraction` by which the pixels 0 … 255 are multiplied.
        name: the name the data set goes by.

    Raises:
        InputError: no such digits, more points than there are, no file or no network for the full
            set.
    """
    arrays = _full() if full else read_npz(SUBSET)
    names = list(range(10))
    if digits is not None:
        digits = sorted({int(digit) for digit in digits})
        require(digits and set(digits) <= set(range(10)), "digits", "a choice of 0 … 9", digits)
        names = digits
        for part in ("train", "test"):
            kept = np.isin(arrays[f"y_{part}"], digits)
            arrays[f"x_{part}"] = arrays[f"x_{part}"][kept]
            arrays[f"y_{part}"] = np.searchsorted(digits, arrays[f"y_{part}"][kept])
    if n is not None:
        available = len(arrays["x_train"])
        require(1 <= n <= available, "n", f"between 1 and {available}", n)
        arrays["x_train"], arrays["y_train"] = arrays["x_train"][:n], arrays["y_train"][:n]
    chosen = "" if digits is None else ":digits=" + "".join(map(str, digits))
    fields: dict = {}
    for part in ("train", "test"):
        fields[f"x_{part}"] = as_inputs(arrays[f"x_{part}"], scale)
        fields[f"y_{part}"] = arrays[f"y_{part}"].astype("int64")
    return Dataset(
        name=name or ("mnist" if full else "mnist-1k") + chosen,
        **fields,
        input_shape=(28, 28),
        classes=len(names),
        class_names=tuple(map(str, names)),
        licence=LICENCE,
        source=SOURCE,
        scale=scale,
    )


def _full() -> dict:
    path = os.environ.get("L2FEAT_MNIST")
    if path:
        return read_npz(path)
    if offline():
        cached = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "datasets/mnist.npz"
        if cached.is_file():
            return read_npz(cached)
        raise InputError(
            "The full MNIST is not on this machine and KERAS_L2FEAT_OFFLINE is set. Unset it, name "
            "a local mnist.npz with the environment variable L2FEAT_MNIST, or use 'mnist-1k', "
            "which is shipped."
        )
    from keras_l2feat.backend import require_keras

    try:
        (x_train, y_train), (x_test, y_test) = require_keras().datasets.mnist.load_data()
    except Exception as error:  # Keras raises a bare Exception for any failed download
        raise InputError(
            "The full MNIST could not be downloaded through Keras "
            f"({' '.join(str(error).split())[:200]}). Name a local mnist.npz with the environment "
            "variable L2FEAT_MNIST, or use 'mnist-1k', which is shipped."
        ) from error
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
