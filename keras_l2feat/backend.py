"""What this package needs of Keras, checked at first use of the parts that need it."""

import contextlib
import contextvars
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

from keras_l2feat.errors import InputError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["require_keras", "require_tensorflow", "stored", "unchanged"]

_seen: Any = contextvars.ContextVar("seen", default=None)


def require_keras() -> ModuleType:
    """Keras 3, or an error that says which Keras came and how to switch. Returns the `keras`
    module."""
    try:
        import keras
    except ImportError as error:
        raise InputError(
            f"keras_l2feat needs Keras 3 and a backend for it: pip install 'keras>=3.15' ({error})"
        ) from error
    if int(keras.__version__.split(".")[0]) < 3:
        raise InputError(
            f"keras_l2feat needs Keras 3. Received: keras {keras.__version__}. Switch with: pip "
            "install 'keras>=3.15' (and unset TF_USE_LEGACY_KERAS)."
        )
    return keras


def require_tensorflow() -> ModuleType:
    """Keras 3 on TensorFlow, for whatever trains or uses the TensorFlow kernels. Returns the
    `keras` module.

    Raises:
        InputError: another Keras or another backend, with how to switch. (The pruner runs on every
            backend.)
    """
    keras = require_keras()
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise InputError(
            "This part of keras_l2feat needs the TensorFlow backend of Keras. Received: backend "
            f"{backend!r}. Switch with: export KERAS_BACKEND=tensorflow, before Keras is imported."
        )
    return keras


@contextlib.contextmanager
def unchanged() -> Iterator[None]:
    """Inside, no variable gets another value, so that `stored` reads each of them once."""
    token = _seen.set({})
    try:
        yield
    finally:
        _seen.reset(token)


def stored(variable: Any) -> "np.ndarray":
    """A Keras variable's value as NumPy, to read only: not copied where the backend allows it."""
    if (seen := _seen.get()) is None:
        return _read(variable)
    if id(variable) not in seen:
        seen[id(variable)] = (
            variable,
            _read(variable),
        )  # which is held, so that its id stays its own
    return seen[id(variable)][1]


def _read(variable):
    import keras
    import numpy as np

    if keras.backend.backend() == "tensorflow":  # it never writes to what is held elsewhere
        return np.asarray(variable.value.value())
    return keras.ops.convert_to_numpy(variable)
