"""Reading untrusted model files (`loading`) and writing results that are whole or absent."""

import contextlib
import contextvars
import hashlib
import json
import math
import os
import platform
import secrets
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from keras_l2feat.errors import InputError
from keras_l2feat.loading import READ_CHUNK, load_model
from keras_l2feat.types import Model

__all__ = [
    "atomic_path",
    "check_output",
    "current",
    "is_stream",
    "load_model",
    "offline",
    "output_folder",
    "same_file",
    "save_model",
    "separately",
    "sha256",
    "together",
    "write_json",
    "write_text",
]

HEADER = 2048  # bytes of what HDF5 writes beside each array
# Temporary files are named after the machine and the process that they belong to, so that what a
# killed process left can be told from what another one is writing.
OURS = f".l2feat-{zlib.crc32(platform.node().encode()):08x}-"
LONGEST_SUFFIX = 20
STREAMS = {("dev", "stdin"), ("dev", "stdout"), ("dev", "stderr"), ("dev", "fd")}

_transaction: Any = contextvars.ContextVar("transaction", default=None)


@contextlib.contextmanager
def together(inputs: Iterable[str | Path] = ()) -> Iterator[None]:
    """All files that are written inside appear at the end, or none does.

    Inside another `together` this one is a part of it.

    Args:
        inputs: paths that none of them may name, by another name or through links either; the
            list may grow while it is used.
    """
    if _transaction.get() is not None:
        yield
        return
    with _started(_Transaction(inputs)):
        yield


@contextlib.contextmanager
def separately() -> Iterator[None]:
    """What is written inside appears at its end, whatever becomes of the `together` around it."""
    around = _transaction.get()
    with _started(_Transaction(() if around is None else around.inputs)):
        yield


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path with the suffix of `path`, where a file or a folder is to be made; on
    success it is moved onto `path`, on failure removed.

    So `path` always holds either what it held before or the complete new content. A link is
    followed. A device or a pipe gets the content written into it.

    Raises:
        InputError: the path cannot be written, or is an input or another output of the same
            `together`.
    """
    with together():
        transaction = _transaction.get()
        with _writing(path):
            target, temporary = transaction.claim(path)
        try:
            with _writing(path):
                yield temporary
                if is_stream(target):
                    with open(temporary, "rb") as content, open(target, "wb") as stream:
                        shutil.copyfileobj(content, stream)
                    transaction.drop(target)
        except BaseException:
            transaction.drop(target)
            raise


def check_output(path: str | Path) -> None:
    """Refuse a path that `atomic_path` could not write, before the work for its content is done.

    Raises:
        InputError: it is a directory, its folder is missing, or writing is not permitted.
    """
    path = Path(path)
    with _writing(path):
        if path.is_dir():
            raise InputError(
                f"Cannot write {str(path)!r}: a directory of that name exists already."
            )
        folder = Path(os.path.realpath(path)).parent
        if not folder.is_dir():
            raise InputError(
                f"Cannot write {str(path)!r}: the folder {str(folder)!r} does not exist."
            )
        path.exists()  # too long a name is an error here
        if not os.access(path if is_stream(path) else folder, os.W_OK):
            raise InputError(f"Cannot write {str(path)!r}: permission denied.")


def current(path: str | Path) -> Path:
    """Where the content of `path` is: in a temporary file, if it was written in the `together`
    around."""
    transaction = _transaction.get()
    target = Path(os.path.realpath(path))
    return Path(path) if transaction is None else transaction.moves.get(target, Path(path))


def offline() -> bool:
    """Whether the environment variable `KERAS_L2FEAT_OFFLINE` forbids the network."""
    return os.environ.get("KERAS_L2FEAT_OFFLINE", "") not in {"", "0"}


def output_folder(path: str | Path) -> Path:
    """The folder `path`, made if need be; it goes again, if it is empty, where the `together`
    around fails."""
    path = Path(path)
    try:
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot make the folder {str(path)!r}: {error.strerror}.") from error
    if (transaction := _transaction.get()) is not None:
        transaction.folders += missing
    return path


def write_text(path: str | Path, text: str) -> None:
    """Write `text` (UTF-8) to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: object) -> None:
    """Write `value` as indented JSON to `path`, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(READ_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def save_model(model: Model, path: str | Path) -> None:
    """Save a Keras model as a `.keras` file at `path`, whole or not at all."""
    if Path(path).suffix != ".keras":
        raise InputError(f"Cannot write {str(path)!r}: the name of a model file ends in '.keras'.")
    with atomic_path(path) as temporary:
        _ask_for_room(temporary, model)
        # Keras writes an archive's weights into memory first, a folder's to the disk at once.
        name, place = f"{temporary.stem}-", temporary.parent
        with tempfile.TemporaryDirectory(prefix=name, dir=place) as folder:
            model.save(folder, zipped=False)
            with zipfile.ZipFile(temporary, "w") as archive:
                for part in sorted(Path(folder).rglob("*")):
                    if part.is_file():
                        archive.write(part, part.relative_to(folder).as_posix())


def _ask_for_room(path, model) -> None:
    """Raise `OSError` where a disk is too full for a model: HDF5, which writes it, would crash."""
    if not hasattr(os, "posix_fallocate"):
        return
    optimizer = getattr(model, "optimizer", None)
    variables = [*model.variables, *(optimizer.variables if optimizer else ())]
    sizes = (math.prod(v.shape) * (8 if "64" in str(v.dtype) else 4) for v in variables)
    with open(path, "wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, sum(sizes) + HEADER * (1 + len(variables)))
        stream.truncate(0)


def is_stream(path: str | Path) -> bool:
    """Whether `path` is a device or a pipe, into which one writes; a file, there or not, is
    replaced."""
    path = Path(path).absolute()
    if path.parts[1] == "proc" or path.parts[1:3] in STREAMS:
        return True  # of this process, whatever is behind it
    return path.exists() and not path.is_file()


def same_file(path: str | Path, other: str | Path) -> bool:
    """Whether two paths, of files that are there or not, lead to the same place."""
    try:
        return os.path.samefile(path, other)
    except OSError:  # one is not there
        return os.path.realpath(path) == os.path.realpath(other)


class _Transaction:
    """The temporary files of some outputs, until all are complete.

    Attributes:
        inputs: paths that are not to be written.
        moves: temporary path by the path that it is for.
        folders: that were made for the outputs, inner ones first.
    """

    def __init__(self, inputs):
        self.inputs = inputs
        self.moves = {}
        self.folders = []

    def claim(self, path):
        """The place that `path` leads to, and a temporary path for its content."""
        check_output(path)
        path = Path(path)
        target = path.absolute() if is_stream(path) else Path(os.path.realpath(path))
        if any(same_file(target, other) for other in self.inputs):
            raise InputError(f"Cannot write {str(path)!r}: it is an input, which stays as it is.")
        if target in self.moves:
            raise InputError(f"Cannot write {str(path)!r}: another output has the same name.")
        folder = Path(tempfile.gettempdir()) if is_stream(target) else target.parent
        _sweep(folder)
        name = f"{OURS}{os.getpid()}-{secrets.token_hex(4)}{target.suffix[:LONGEST_SUFFIX]}"
        self.moves[target] = folder / name
        return target, folder / name

    def drop(self, target):
        if target in self.moves:
            _remove(self.moves[target])  # before it is forgotten: an interrupt may come between
            del self.moves[target]

    def finish(self):
        """Move all into place; first those that replace something, as these may still fail."""
        for target in sorted(self.moves, key=lambda target: not target.exists()):
            with _writing(target):
                os.replace(self.moves[target], target)
            del self.moves[target]
        self.folders.clear()

    def abandon(self):
        for target in list(self.moves):
            self.drop(target)
        for folder in self.folders:
            with contextlib.suppress(OSError):  # what is in it stays
                folder.rmdir()


@contextlib.contextmanager
def _started(transaction):
    token = _transaction.set(transaction)
    try:
        yield
        transaction.finish()
    finally:
        _transaction.reset(token)
        transaction.abandon()


@contextlib.contextmanager
def _writing(path):
    """What the system refuses, as one sentence."""
    try:
        yield
    except OSError as error:
        raise InputError(f"Cannot write {str(path)!r}: {error.strerror or error}.") from error


def _sweep(folder) -> None:
    """Remove what processes of this machine that were killed left in a folder."""
    with os.scandir(folder) as entries:
        left = [entry.name for entry in entries if entry.name.startswith(OURS)]
    for name in left:
        owner = name.removeprefix(OURS).split("-")[0]
        if owner.isdigit() and not _alive(int(owner)):
            with contextlib.suppress(OSError):
                _remove(folder / name)


def _alive(process) -> bool:
    if os.name != "posix":  # elsewhere the question itself ends the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # somebody else's
        return True
    return True


def _remove(path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
