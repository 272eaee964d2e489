"""TensorFlow writes start-up notes to stderr that no setting turns off: the command line leaves
them out."""

import contextlib
import importlib.util
import os
import sys

__all__ = ["hush_tensorflow"]


class _Hush:
    """A finder that sees `import tensorflow` once, and closes stderr's descriptor while the module
    loads."""

    def find_spec(self, name, path=None, target=None):
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None:
            load = spec.loader.exec_module
            spec.loader.exec_module = lambda module: _without_stderr(load, module)
        return spec


def hush_tensorflow() -> None:
    """From now on the import of TensorFlow writes nothing to stderr. What it raises is raised."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "tensorflow" not in sys.modules and not any(
        isinstance(finder, _Hush) for finder in sys.meta_path
    ):
        sys.meta_path.insert(0, _Hush())


def _without_stderr(load, module):
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        load(module)
    finally:
        with contextlib.suppress(OSError):
            os.dup2(kept, 2)
            os.close(kept)
