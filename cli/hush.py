"""TensorFlow writes start-up notes to stderr that no setting turns off, and advice for programmers
while it runs: the command line leaves them out."""

import contextlib
import logging
import os
import sys

from keras_l2feat.imports import around_import

__all__ = ["hush_tensorflow"]

_hushed = False


def hush_tensorflow() -> None:
    """From now on the import of TensorFlow writes nothing to stderr, and its log only errors. What
    it raises is raised."""
    global _hushed
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if not _hushed:
        around_import("tensorflow", _without_stderr)
        _hushed = True


@contextlib.contextmanager
def _without_stderr():
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        with contextlib.suppress(OSError):
            os.dup2(kept, 2)
            os.close(kept)
