"""Reading untrusted model files and writing results that are whole or absent.

Nothing here imports TensorFlow or Keras until a model is read or written.
"""

import contextlib
import hashlib
import json
import os
import tempfile
import warnings
import zipfile
from pathlib import Path

from keras_l2feat.errors import InputError

__all__ = [
    "atomic_path",
    "load_model",
    "output_folder",
    "save_model",
    "sha256",
    "write_json",
    "write_text",
]

READ_CHUNK = 1 << 20


@contextlib.contextmanager
def atomic_path(path):
    """Yield a temporary path beside `path`, with its suffix; on success it is moved onto `path`, on
    failure removed.

    So `path` always holds either what it held before or the complete new content.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"Cannot write {str(path)!r}: it is a directory, a file name is expected.")
    if not path.parent.is_dir():
        raise InputError(
            f"Cannot write {str(path)!r}: the folder {str(path.parent)!r} does not exist."
        )
    try:
        handle, temporary = tempfile.mkstemp(
            prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent
        )
    except OSError as error:
        raise InputError(f"Cannot write {str(path)!r}: {error.strerror}.") from error
    os.close(handle)
    try:
        yield Path(temporary)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(
            temporary, 0o666 & ~umask
        )  # mkstemp makes private files; a result is an ordinary one
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def output_folder(path) -> Path:
    """The folder `path`, made if need be."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot make the folder {str(path)!r}: {error.strerror}.") from error
    return path


def write_text(path, text: str) -> None:
    """Write `text` (UTF-8) to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path, value) -> None:
    """Write `value` as indented JSON to `path`, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def sha256(path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(READ_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def load_model(path, custom_objects=None):
    """Load a Keras 3 model from an untrusted `.keras` file, without running any code it may carry.

    Args:
        path: a `.keras` file.
        custom_objects: classes by name, as for `keras.saving.load_model`; the layers of this
            package are known.

    Returns: the `keras.Model`.

    Raises:
        InputError: the file is missing, a directory, empty, truncated, not a Keras 3 archive, needs
            code that is not registered (Keras `safe_mode` stays on), or declares more than it holds
            (see `keras_l2feat.archive`).
    """
    path = Path(path)
    _check_kind(path)
    import keras_l2feat.layers  # noqa: F401  (registers the package's layers)
    from keras_l2feat.archive import check_archive, refused
    from keras_l2feat.backend import require_keras

    keras = require_keras()
    try:
        check_archive(path, custom_objects)
        with warnings.catch_warnings():
            # A model that was compiled and not yet trained has no optimizer state to restore:
            # nothing to warn of.
            warnings.filterwarnings("ignore", message="Skipping variable loading for optimizer")
            return keras.saving.load_model(
                path, custom_objects=custom_objects, compile=True, safe_mode=True
            )
    except (
        Exception
    ) as error:  # Keras raises whatever a broken archive provokes: one clear error for all
        raise InputError(
            f"Cannot load {str(path)!r} as a Keras 3 model: {refused(error)}"
        ) from error


def save_model(model, path) -> None:
    """Save a Keras model as a `.keras` file at `path`, whole or not at all."""
    if Path(path).suffix != ".keras":
        raise InputError(f"Cannot write {str(path)!r}: the name of a model file ends in '.keras'.")
    with atomic_path(path) as temporary:
        model.save(temporary)


def _check_kind(path: Path) -> None:
    if not path.exists():
        raise InputError(f"Cannot load {str(path)!r}: no such file.")
    if path.is_dir():
        raise InputError(
            f"Cannot load {str(path)!r}: it is a directory, a '.keras' file is expected."
        )
    if path.stat().st_size == 0:
        raise InputError(f"Cannot load {str(path)!r}: the file is empty.")
    if path.suffix in {".h5", ".hdf5"}:
        raise InputError(
            f"Cannot load {str(path)!r}: the HDF5 format of Keras 2 is not read. "
            "Load it in Keras and save it again with model.save('NAME.keras')."
        )
    if not zipfile.is_zipfile(path):
        raise InputError(
            f"Cannot load {str(path)!r}: not a '.keras' archive (foreign, corrupt or truncated file)."
        )
