"""The one error for a file that is not loaded."""

import contextlib
import re
from collections.abc import Iterator

from keras_l2feat.errors import InputError

__all__ = ["refused", "refusing"]

# a file's text must not steer the terminal
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x1f\x7f-\x9f]")


def refused(reason: object) -> InputError:
    """The error for a file that is not loaded, on one line; the caller adds the file's name."""
    text = _ESCAPES.sub("", " ".join(str(reason).split())) or type(reason).__name__
    # Keras wraps causes in whole configs
    return InputError(text.rpartition("Exception encountered: ")[2][:300])


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """Whatever a broken file provokes in zipfile, json, h5py or Keras: one clear error."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise refused(error) from error
