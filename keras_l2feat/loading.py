"""Loading untrusted model files.

A file is read once, into memory or, if it is large, into a temporary file without a name. That copy
is hashed and checked, and from that copy Keras loads, so that nothing which changes the file
meanwhile can come between. What a kind of file needs is a function of the copy, a row of `LOADERS`.

Nothing here imports TensorFlow or Keras until a model is read.
"""

import contextlib
import hashlib
import io
import os
import tempfile
import warnings
from pathlib import Path

from keras_l2feat.archive import CONFIG, WEIGHTS
from keras_l2feat.errors import CheckFailed, InputError
from keras_l2feat.imports import register
from keras_l2feat.types import Model

__all__ = ["load_model"]

# In memory a file is there as the weights unpacked from it, and as the model; besides, its copy, if
# it has at most SMALL bytes.
TIMES_IN_MEMORY = 2
SMALL = 1 << 20
READ_CHUNK = 1 << 20
_WEIGHTS = (
    "Argument 'weights' (--weights FILE.h5) takes the HDF5 file of weights that belongs to the "
    "JSON of an architecture, and goes with nothing else. Received: {received!r} for {path!r}."
)
_ORIGINAL = "Prune the Keras model that it was made from, and export again: l2feat prune --export"
# What else people have by way of model files, and what to do instead.
OTHER_KINDS = {
    ".pb": f"a SavedModel holds operations and no layers. {_ORIGINAL} saved_model.",
    ".tflite": f"TFLite holds operations and no layers. {_ORIGINAL} tflite.",
    ".onnx": f"ONNX holds operations and no layers. {_ORIGINAL} onnx.",
    ".pt": "a file of PyTorch. Build the network in Keras, copy the weights and save it with "
    "model.save('NAME.keras').",
}
OTHER_KINDS[".pth"] = OTHER_KINDS[".pt"]


def load_model(
    path: str | Path,
    custom_objects: dict | None = None,
    *,
    compile: bool = True,
    sha256: str | None = None,
    weights: str | Path | None = None,
) -> Model:
    """Load a Keras model from an untrusted file, without running any code it may carry.

    Args:
        path: a `.keras` file, an HDF5 file of a whole model (Keras 1 to 3), the JSON of an
            architecture, or a folder in KerasHub's preset layout (`config.json` and
            `model.weights.h5`).
        custom_objects: classes by name, as for `keras.saving.load_model`; the layers of this
            package are known.
        compile: compile the model as it was when it was saved, if it was.
        sha256: 64 hexadecimal digits that the bytes which are loaded must have; None: any.
        weights: an HDF5 file of weights, for the JSON of an architecture.

    Returns: the `keras.Model`.

    Raises:
        InputError: the file is missing, a directory, empty, truncated, none that Keras wrote, needs
            code that is neither in the lists of what may be loaded nor registered (Keras
            `safe_mode` stays on), or declares more than it holds (see `keras_l2feat.archive`).
        CheckFailed: the file has another SHA-256.
    """
    path = Path(path)
    if weights is None and (path / CONFIG).is_file():
        weights = path / WEIGHTS
        path = Path(path, CONFIG)
    with contextlib.ExitStack() as opened:
        content = opened.enter_context(_copy(path))
        if (weights is None) == (path.suffix == ".json"):
            raise InputError(_WEIGHTS.format(path=str(path), received=weights))
        beside = None if weights is None else opened.enter_context(_copy(Path(weights)))
        if sha256 is not None and hashlib.file_digest(content, "sha256").hexdigest() != sha256:
            raise CheckFailed(f"{str(path)!r} is damaged: its SHA-256 is not {sha256}.")
        return _loaded(path, content, beside, custom_objects, compile)


def _loaded(path, content, beside, custom_objects, compile):
    from keras_l2feat.archive import refused
    from keras_l2feat.backend import require_keras

    require_keras()
    register()
    try:
        with warnings.catch_warnings():
            # Of weights that it does not find Keras warns, and goes on with fresh ones.
            warnings.filterwarnings("error", module=r"keras\.src\.saving")
            # A model that was compiled and not yet trained has no optimizer state to restore:
            # nothing to warn of.
            warnings.filterwarnings("ignore", message="Skipping variable loading for optimizer")
            load = LOADERS.get(path.suffix, _from_archive)
            content.seek(0)
            if content.read(len(HDF5)) == HDF5:  # under whatever name: so Keras 2 wrote '.keras'
                load = _from_hdf5
            content.seek(0)
            return load(content, beside, custom_objects, compile)
    # Keras raises whatever a broken file provokes: one clear error for all
    except Exception as error:
        raise InputError(f"Cannot load {str(path)!r} as a Keras model: {refused(error)}") from error


def _from_archive(content, weights, custom_objects, compile):
    from keras.src.saving import saving_lib  # what is public loads from paths alone

    from keras_l2feat.archive import check_archive

    check_archive(content, custom_objects, compile)
    return saving_lib.load_model(content, custom_objects, compile, safe_mode=True)


def _from_hdf5(content, weights, custom_objects, compile):
    from keras_l2feat.archive import refused
    from keras_l2feat.archive.dialects import assembled
    from keras_l2feat.archive.hdf5 import read_hdf5

    stored = read_hdf5(content)
    if stored.config is None or stored.groups is None:
        raise refused(
            "it holds weights without an architecture. Give the JSON of the architecture as the "
            "model, and this file as --weights (weights= in Python)"
        )
    return assembled(stored.config, stored, custom_objects, compile)


def _from_json(content, weights, custom_objects, compile):
    from keras_l2feat.archive.dialects import assembled, joined
    from keras_l2feat.archive.hdf5 import parsed, read_hdf5

    config, stored = parsed(content.read().decode()), read_hdf5(weights)
    if stored.groups is None:  # as a '.keras' file has them
        archive = joined(config, weights)
        return _from_archive(archive, None, custom_objects, compile)
    return assembled(config, stored, custom_objects, compile)


HDF5 = b"\x89HDF\r\n\x1a\n"  # what such a file begins with
# Each of (copy of the file, copy of the weights beside it or None, custom_objects, compile).
LOADERS = {".keras": _from_archive, ".h5": _from_hdf5, ".hdf5": _from_hdf5, ".json": _from_json}


def _copy(path) -> io.BytesIO | io.BufferedRandom:
    """A file's bytes, where nobody else can change them."""
    try:
        if fault := _fault(path):
            raise InputError(f"Cannot load {str(path)!r}: {fault}")
        with open(path, "rb") as stream:
            left = os.fstat(stream.fileno()).st_size
            copy = io.BytesIO() if left <= SMALL else _nameless()
            while left and (chunk := stream.read(min(left, READ_CHUNK))):
                left -= copy.write(chunk)
            copy.seek(0)
            return copy
    except OSError as error:
        raise InputError(f"Cannot load {str(path)!r}: {error.strerror or error}.") from error


def _nameless() -> io.BytesIO | io.BufferedRandom:
    """A temporary file; in memory where the system has none without a name."""
    return tempfile.TemporaryFile() if os.name == "posix" else io.BytesIO()


def _fault(path) -> str | None:
    """Why a path is not even read."""
    if not path.exists():
        return "no such file."
    if (path / "saved_model.pb").is_file():
        return OTHER_KINDS[".pb"]
    if path.is_dir():
        return (
            "it is a directory. Expected: a '.keras' file, or a folder with "
            f"{CONFIG} and {WEIGHTS}."
        )
    if (size := path.stat().st_size) == 0:
        return "the file is empty."
    if path.suffix in OTHER_KINDS:
        return OTHER_KINDS[path.suffix]
    if size * TIMES_IN_MEMORY > (memory := _memory()):
        return (
            f"it has {size} bytes; loading takes {TIMES_IN_MEMORY} times as many, and this machine "
            f"has {memory}."
        )
    return None


def _memory() -> float:
    """Bytes of memory that this machine has; unlimited where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return float("inf")
