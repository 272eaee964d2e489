"""One data set: arrays, what they are for, and where they came from."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from keras_l2feat.errors import InputError, require
from keras_l2feat.types import Model

__all__ = ["Dataset"]


@dataclass(frozen=True)
class Dataset:
    """Training and, where there is one, test data.

    Attributes:
        name: what it was loaded as.
        x_train: inputs `(N, d)`, float32, flat.
        y_train: labels `(N,)` int64 (classification) or targets `(N, k)` float32 (regression).
        x_test, y_test: the same, or `None`.
        input_shape: shape of one input before flattening, for example `(28, 28)`.
        classes: number of classes, `None` for regression.
        class_names: of the classes, in the order of their labels; by default the labels.
        licence, source: of the data.
        scale: by what the stored inputs were multiplied.
        reference: what `data.load` takes to load it again; by default the name.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray | None = None
    y_test: np.ndarray | None = None
    input_shape: tuple = ()
    classes: int | None = None
    class_names: tuple = ()
    licence: str = ""
    source: str = ""
    scale: Fraction = Fraction(1)
    reference: str = ""

    def __post_init__(self):
        if not self.input_shape:
            object.__setattr__(self, "input_shape", self.x_train.shape[1:])
        if not self.class_names and self.classes is not None:
            object.__setattr__(self, "class_names", tuple(map(str, range(self.classes))))
        if not self.reference:
            object.__setattr__(self, "reference", self.name)

    def __str__(self) -> str:
        """The data set in one line: how many points, and which numbers a model is fed."""
        count = f"{len(self.x_train)} points"
        if self.x_test is not None:
            count = f"{len(self.x_train)} training and {len(self.x_test)} test points"
        scale = "as they are" if self.scale == 1 else f"multiplied by {self.scale}"
        low, high = float(self.x_train.min()), float(self.x_train.max())
        return f"{self.name}: {count}, inputs {scale}, from {low:g} to {high:g}"

    @property
    def facts(self) -> dict:
        """What a result in JSON says of the data it was computed on."""
        return {"data": self.name, "scale": str(self.scale)}

    @property
    def task(self) -> str:
        """`"classification"` or `"regression"`."""
        return "regression" if self.classes is None else "classification"

    @property
    def cost(self) -> str:
        """The usual data term of the task, a name for `costs.cost_function`."""
        from keras_l2feat.costs import cost_of_task

        return cost_of_task(self.task)

    @property
    def outputs(self) -> int:
        """How many outputs a network for it has."""
        return self.y_train.shape[1] if self.classes is None else self.classes

    @property
    def sha256(self) -> str:
        """A hash of the arrays (values, dtypes and shapes), for certificates and cards."""
        digest = hashlib.sha256()
        for array in (self.x_train, self.y_train, self.x_test, self.y_test):
            if array is not None:
                digest.update(f"{array.dtype.str}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def head(self, n: int) -> "Dataset":
        """The first `n` training points; the test set stays."""
        require(1 <= n <= len(self.x_train), "n", f"between 1 and {len(self.x_train)}", n)
        return replace(self, x_train=self.x_train[:n], y_train=self.y_train[:n])

    def check_widths(self, widths: Sequence[int], what: str = "the network's widths") -> None:
        """Raise an `InputError` unless widths n_0 … n_L begin with the inputs and end with the
        outputs of the data; of classes there may be more than the labels show.

        Args:
            widths: tuple of widths.
            what: what they are called in the message.
        """
        inputs = self.x_train.shape[1]
        if widths[0] != inputs or not self.fits(widths[-1]):
            raise InputError(
                f"Data set {self.name!r} has {inputs} inputs and {self.outputs} outputs; "
                f"{what} are {widths}."
            )

    def fits(self, outputs: int) -> bool:
        """Whether a network of so many outputs can be trained on the data."""
        return outputs == self.outputs or (self.classes or outputs) < outputs

    def inputs(self, model: Model, split: str = "train") -> np.ndarray:
        """`x_train` (or `x_test`) in the shape that `model`'s single input has.

        Raises:
            InputError: the model's input takes another number of values per point.
        """
        x = self.x_train if split == "train" else self.x_test
        if x is None:
            raise InputError(f"Data set {self.name!r} has no test points.")
        inputs = model.inputs
        if len(inputs) != 1:
            raise InputError(
                f"Data set {self.name!r} has one input; model {model.name!r} has {len(inputs)}."
            )
        shape = tuple(inputs[0].shape[1:])
        if None in shape:
            shape = (*self.input_shape, *(1,) * (len(shape) - len(self.input_shape)))
        if np.prod(shape, dtype=int) != x.shape[1]:
            raise InputError(
                f"Data set {self.name!r} has {x.shape[1]} values per point; "
                f"model {model.name!r} takes {np.prod(shape, dtype=int)} (input shape {shape})."
            )
        return x.reshape(len(x), *shape)
