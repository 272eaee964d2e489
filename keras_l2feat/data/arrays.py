"""Data sets in `.npz` files: untrusted, so never unpickled and checked before use."""

from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from keras_l2feat.archive.arrays import read_arrays
from keras_l2feat.data.dataset import Dataset
from keras_l2feat.errors import InputError, require

__all__ = ["as_inputs", "from_npz", "from_pair", "read_npz"]

MOST_CLASSES = 100_000  # one label that is a mistake would ask for gigabytes of outputs
KEYS = ("x_train", "y_train", "x_test", "y_test")


def read_npz(path: str | Path) -> dict:
    """The arrays `x_train, y_train[, x_test, y_test]` of an `.npz` file, checked to fit together.

    Raises:
        InputError: no such file, not an `.npz`, arrays missing, of other lengths, empty, not
            numeric or not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"Cannot read data from {str(path)!r}: no such file.")
    try:
        arrays, found = read_arrays(path, KEYS)
    except (OSError, InputError) as error:
        raise InputError(f"Cannot read data from {str(path)!r}: {error}") from error
    return _checked(arrays, f"Data file {str(path)!r}", found)


def as_inputs(x: ArrayLike, scale: Fraction) -> np.ndarray:
    """Stored arrays `(N, …)` of any real dtype as inputs `(N, d)`: `scale · x` in float32.

    Args:
        scale: a `fractions.Fraction` > 0. Multiplying by its numerator and dividing by its
            denominator rounds as `x / 255` does.

    Raises:
        InputError: the scale is not positive, or a number is beyond the range of float32.
    """
    require(0 < scale < np.finfo("float32").max, "scale", "positive, for example 1/255", str(scale))
    with np.errstate(over="ignore"):
        x = x.reshape(len(x), -1).astype("float32", copy=False)
        if scale != 1:
            x = x * float(scale.numerator) / float(scale.denominator)
    return _within(x, "Inputs")


def _within(array, what):
    if not np.isfinite(array).all():
        raise InputError(f"{what} lie beyond the range of float32.")
    return array


def from_npz(path: str | Path, *, scale: Fraction = Fraction(1)) -> Dataset:
    """A data set from an `.npz` file.

    Integer `y` of shape `(N,)` or `(N, 1)` are class labels 0 … k − 1; anything else is a
    regression target. Inputs are fed as they are, whatever their dtype, times `scale`.
    """
    suffix, what = "" if scale == 1 else f":scale={scale}", f"Data file {str(path)!r}"
    named = {"name": Path(path).name + suffix, "reference": str(path) + suffix}
    return _dataset(read_npz(path), what, scale, **named, source=str(path))


def from_pair(x: ArrayLike, y: ArrayLike, *, scale: Fraction = Fraction(1)) -> Dataset:
    """A data set of training points alone, from arrays `x (N, …)` and `y`, read as in a file."""
    arrays = {"x_train": np.asarray(x), "y_train": np.asarray(y)}
    arrays = _checked(arrays, "Argument 'data'", list(arrays))
    return _dataset(arrays, "Argument 'data'", scale, name="given arrays")


def _checked(arrays, what, found) -> dict:
    """The arrays themselves, if they are a data set; `what` they are begins the message if not."""
    needed = KEYS if set(KEYS[2:]) & set(arrays) else KEYS[:2]
    missing = [key for key in needed if key not in arrays]
    if missing:
        raise InputError(
            f"{what} lacks {', '.join(missing)}; it holds {', '.join(found) or 'nothing'}."
        )
    for key, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise InputError(
                f"{what}: {key} must hold real numbers. Received: dtype {array.dtype}."
            )
        if array.ndim == 0 or array.size == 0:
            raise InputError(f"{what}: {key} is empty.")
        if not np.isfinite(array).all():
            raise InputError(f"{what}: {key} holds values that are not finite.")
    for part in ("train", "test"):
        if f"x_{part}" in arrays and len(arrays[f"x_{part}"]) != len(arrays[f"y_{part}"]):
            raise InputError(
                f"{what}: x_{part} has {len(arrays[f'x_{part}'])} points, "
                f"y_{part} {len(arrays[f'y_{part}'])}."
            )
    for kind in ("x", "y") if "x_test" in arrays else ():
        one, other = (arrays[f"{kind}_{part}"].shape[1:] for part in ("train", "test"))
        if one != other:
            raise InputError(
                f"{what}: points of {kind}_train have shape {one}, of {kind}_test {other}."
            )
    return arrays


def _dataset(arrays, what, scale, **named) -> Dataset:
    """A `Dataset` of checked arrays."""
    parts = [part for part in ("train", "test") if f"x_{part}" in arrays]
    fields: dict = {}
    classes, targets = None, [arrays[f"y_{part}"] for part in parts]
    labels = all(np.issubdtype(y.dtype, np.integer) and y.size == len(y) for y in targets)
    if labels:
        low = min(int(y.min()) for y in targets)
        if low < 0:
            raise InputError(f"{what}: class labels must be 0, 1, …. Received: {low}.")
        classes = max(int(y.max()) for y in targets) + 1
        if classes > MOST_CLASSES:
            raise InputError(
                f"{what}: class labels must be below {MOST_CLASSES}, one output each. "
                f"Received: {classes - 1}. Regression targets are floating-point numbers."
            )
    for part in parts:
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        fields[f"x_{part}"] = as_inputs(x, scale)
        with np.errstate(over="ignore"):
            y = y.reshape(-1).astype("int64") if labels else y.reshape(len(y), -1).astype("float32")
        fields[f"y_{part}"] = _within(y, "Targets")
    shape = arrays["x_train"].shape[1:] or (1,)
    return Dataset(**named, **fields, input_shape=shape, classes=classes, scale=scale)
