"""Arrays of untrusted `.npz` files: what they declare is held against what is there, then read."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from keras_l2feat.archive.refusal import refused
from keras_l2feat.errors import InputError

__all__ = ["read_arrays"]

MAX_MEMBERS = 100_000
# Unpacked bytes that a file may lead to: a multiple of its size, plus …
EXPANSION, ALLOWANCE = 50, 256 << 20
MAX_HEADER = 10_000  # bytes
CHUNK = 1 << 20


def read_arrays(path: str | Path, names: Sequence[str] | None = None) -> tuple[dict, list]:
    """The arrays of an `.npz` file, never unpickled; memory stays bounded by a multiple of the
    file's size.

    Args:
        path: the file.
        names: read these, where they are there; by default all.

    Returns: the arrays by name, and the names of all that are in the file.

    Raises:
        InputError: the file is no zip of plain arrays, or declares more than it holds.
        OSError: it cannot be read.
    """
    with open(path, "rb") as stream:
        size = stream.seek(0, 2)
        try:
            with zipfile.ZipFile(stream) as archive:
                return _read(archive, names, EXPANSION * size + ALLOWANCE)
        except (OSError, InputError):
            raise
        # whatever a broken archive provokes in zipfile, zlib or NumPy: one clear error
        except Exception as error:
            raise refused(f"not an .npz file of plain arrays ({error})") from error


def _read(archive, names, allowed):
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise refused(f"the archive has {len(members)} members, at most {MAX_MEMBERS}")
    found = {member.filename.removesuffix(".npy"): member for member in members}
    wanted = found if names is None else [name for name in names if name in found]
    unpacked = sum(found[name].file_size for name in wanted)
    if unpacked > allowed:
        raise refused(
            f"its arrays unpack to {unpacked} bytes, at most {allowed} are accepted for a file of "
            "its size; numpy.savez writes it without packing"
        )
    return {name: _array(archive, found[name]) for name in wanted}, list(found)


def _array(archive, member):
    with archive.open(member) as stream:
        major, _ = npy.read_magic(stream)
        header = npy.read_array_header_1_0 if major == 1 else npy.read_array_header_2_0
        shape, fortran, dtype = header(stream, max_header_size=MAX_HEADER)
        declared = dtype.itemsize
        for side in shape:
            declared *= side
        if dtype.hasobject:
            raise refused(f"{member.filename!r} holds objects, plain arrays are expected")
        if declared + stream.tell() != member.file_size:
            raise refused(
                f"the array {member.filename!r} declares the shape {shape} of {dtype}, which is "
                "not what the file holds"
            )
        content = bytearray()
        while piece := stream.read(CHUNK):  # to the end, where the checksum is compared
            content += piece
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
