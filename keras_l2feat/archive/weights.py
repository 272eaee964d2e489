"""The HDF5 file of a model's weights: plain numeric arrays, all of them written, inside
the file."""

import math
from typing import BinaryIO

import h5py

from keras_l2feat.archive.refusal import refused

__all__ = ["stored_numbers"]

MAX_PARTS = 1_000_000  # groups and arrays
OPTIMIZERS = ("/optimizer/", "/optimizer_weights/")
MAX_CHUNKS = 1_000_000  # of one array
# What every build of HDF5 undoes when it reads: gzip, shuffling, checksums, and h5py's LZF. Where
# a filter is missing, or was skipped for a chunk, other numbers would be read.
FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
FILTERS |= {h5py.h5z.FILTER_LZF}


def stored_numbers(stream: BinaryIO, allowed: int) -> int:
    """How many numbers an HDF5 file of weights holds, beside the optimizer's, after checking that
    they are in it.

    Args:
        stream: the file, opened.
        allowed: bytes that its arrays may take in memory, together.
    """
    size = stream.seek(0, 2)
    stream.seek(0)
    with h5py.File(stream, "r") as weights:
        return _walk(weights, allowed, size)


def _walk(root, allowed, file_size) -> int:
    waiting, seen, numbers, total = [root], set(), 0, 0
    while waiting:
        group = waiting.pop()
        for name in group:
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise refused(f"the weights hold a link {name!r} to another place")
            found = group[name]
            place = h5py.h5o.get_info(found.id).addr
            if place in seen:
                raise refused(f"the weights name {name!r} twice")
            seen.add(place)
            if len(seen) > MAX_PARTS:
                raise refused(f"the weights have more than {MAX_PARTS} parts")
            if isinstance(found, h5py.Group):
                waiting.append(found)
                continue
            total += _dataset_bytes(name, found, allowed)
            if total > allowed:
                raise refused(
                    f"the weights declare more than {allowed} bytes, the file holds far fewer"
                )
            _check_written(name, found, file_size)
            if not found.name.startswith(OPTIMIZERS):
                numbers += math.prod(found.shape)
    return numbers


def _dataset_bytes(name, found, allowed) -> int:
    if not isinstance(found, h5py.Dataset) or found.shape is None:
        raise refused(f"the weights hold {name!r}, which is no array")
    if found.dtype.hasobject or found.dtype.kind not in "fiubcV":
        raise refused(f"the array {name!r} is not numeric: {found.dtype}")
    if found.is_virtual or found.id.get_create_plist().get_external_count():
        raise refused(f"the array {name!r} lies in another file")
    size = math.prod(found.shape) * found.dtype.itemsize
    chunk = math.prod(found.chunks or ()) * found.dtype.itemsize
    if max(size, chunk) > allowed:
        raise refused(
            f"the array {name!r} declares the shape {found.shape}, which the file cannot hold"
        )
    return size


def _check_written(name, found, file_size) -> None:
    """Every number of the array must come from the file: where HDF5 finds none it makes them up."""
    properties = found.id.get_create_plist()
    for index in range(properties.get_nfilters()):
        code, *_, label = properties.get_filter(index)
        if code not in FILTERS:
            raise refused(f"the array {name!r} is packed by the filter {label or code!r}")
    size = found.size * found.dtype.itemsize
    if properties.get_layout() == h5py.h5d.CHUNKED:
        expected = math.prod(-(-side // chunk) for side, chunk in zip(found.shape, found.chunks))
        if expected > MAX_CHUNKS:
            raise refused(f"the array {name!r} has {expected} chunks, at most {MAX_CHUNKS}")
        chunks = []
        found.id.chunk_iter(chunks.append)
        # A packer leaves out chunks that it cannot make smaller: these have their full size.
        full = math.prod(found.chunks) * found.dtype.itemsize
        inside = all(chunk.byte_offset + chunk.size <= file_size for chunk in chunks)
        whole = len(chunks) == expected and all(
            chunk.size >= full for chunk in chunks if chunk.filter_mask
        )
    else:
        start = found.id.get_offset() or 0
        inside = start + size <= file_size
        whole = found.id.get_storage_size() >= size
    if not (inside and whole):
        raise refused(f"the array {name!r} was not written, or not wholly")
