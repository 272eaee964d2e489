"""What is done when a module is imported, by whomever: without importing it oneself."""

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Callable

__all__ = ["around_import", "register", "register_with_keras"]

REGISTERING = ("layers", "regularizers", "models")  # their import registers classes with Keras


class _Finder:
    """Sees the import of one module once, and runs it inside a context."""

    def __init__(self, name, context):
        self.name, self._context = name, context

    def find_spec(self, name, path=None, target=None):
        if name != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_inside(module):
                with self._context():
                    load(module)

            spec.loader.exec_module = load_inside
        return spec


def around_import(name: str, context: Callable) -> None:
    """Have the import of module `name` run inside `context()`, a context manager; nothing happens
    where it is imported already."""
    if name not in sys.modules:
        sys.meta_path.insert(0, _Finder(name, context))


def register() -> None:
    """Make the package's own layers, regularizers and models known to Keras; imports Keras."""
    for name in REGISTERING:
        importlib.import_module(f"keras_l2feat.{name}")


def register_with_keras() -> None:
    """`register` as soon as Keras is imported, which may have been before.

    So `import keras_l2feat` suffices for `keras.saving.load_model` to find the package's classes,
    and imports neither Keras nor TensorFlow itself.
    """
    if "keras" in sys.modules:
        _register_if_possible()
    else:
        around_import("keras", _then_register)


@contextlib.contextmanager
def _then_register():
    yield
    _register_if_possible()


def _register_if_possible():
    # The import of Keras must not fail because of us: with Keras 2, say, or when it is being
    # imported and imports us. Who uses what needs Keras 3 is told then.
    with contextlib.suppress(Exception):
        register()
