"""The one error for a file that is not loaded."""

import re

from keras_l2feat.errors import InputError

__all__ = ["refused"]

_ESCAPES = re.compile(
    r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x1f\x7f-\x9f]"
)  # a file's text must not steer the terminal


def refused(reason: object) -> InputError:
    """The error for a file that is not loaded, on one line; the caller adds the file's name."""
    text = _ESCAPES.sub("", " ".join(str(reason).split())) or type(reason).__name__
    # Keras wraps causes in whole configs
    return InputError(text.rpartition("Exception encountered: ")[2][:300])
