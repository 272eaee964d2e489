"""An HDF5 file into which Keras wrote a model or its weights: what it holds, checked and read.

Keras 1 to 3 write one layout: a group for each layer with its arrays, their order in the attribute
`weight_names`; the order of the layers in `layer_names`; in a whole model's file also the
architecture and how it was compiled, as JSON in attributes.
"""

import json
import math
from dataclasses import dataclass
from typing import BinaryIO

import h5py
import numpy as np

from keras_l2feat.archive.budgets import MAX_CONFIG, allowed_bytes
from keras_l2feat.archive.refusal import refused
from keras_l2feat.archive.weights import stored_numbers

__all__ = ["Stored", "parsed", "read_hdf5"]


@dataclass(frozen=True)
class Stored:
    """What a file holds.

    Attributes:
        config: the architecture as JSON has it; None in a file of weights alone.
        training: how the model was compiled, as JSON has it, or None.
        version: of Keras, its first number.
        backend: the backend of Keras that computed it, where the file says.
        groups: (name, array) of each array of a layer, in their order, by layer in their order;
            None where the layout is another one.
        numbers: how many numbers the file holds, beside the optimizer's.
    """

    config: dict | None
    training: dict | None
    version: int
    backend: str | None
    groups: dict[str, list[tuple[str, np.ndarray]]] | None
    numbers: int


def read_hdf5(content: BinaryIO) -> Stored:
    """What an HDF5 file holds.

    Raises:
        InputError: it is not a file that Keras wrote, or may not be read (see `weights`).
    """
    size = content.seek(0, 2)
    content.seek(0)
    longest = _longest(content.read())
    numbers = stored_numbers(content, allowed_bytes(size))
    with h5py.File(content, "r") as file:
        if file.id.get_create_plist().get_sizes() != (8, 8):
            raise refused("its offsets are not of 8 bytes")
        texts = _Texts(longest, allowed_bytes(size))
        weights = file.get("model_weights", file)
        version = texts.one(weights, "keras_version") or texts.one(file, "keras_version") or "1"
        return Stored(
            parsed(texts.one(file, "model_config")),
            parsed(texts.one(file, "training_config")),
            int(version.split(".")[0]),
            texts.one(weights, "backend") or texts.one(file, "backend"),
            _groups(weights, texts, numbers),
            numbers,
        )


def parsed(text: str | None) -> dict | None:
    """A configuration from JSON."""
    if text is None:
        return None
    if len(text) > MAX_CONFIG:
        raise refused(f"its JSON has {len(text)} bytes, at most {MAX_CONFIG} are accepted")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise refused(f"it is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise refused("its JSON describes no model")
    return value


def _groups(weights, texts, numbers):
    names = texts.many(weights, "layer_names")
    if names is None:
        return None
    groups, read = {}, 0
    for name in names:
        group = weights[name]
        groups[name] = []
        for one in texts.many(group, "weight_names") or []:
            read += group[one].size  # an array may be named many times
            if read > numbers:
                raise refused("it names more arrays than it holds")
            groups[name].append((one, np.asarray(group[one])))
    return groups


def _longest(content) -> int:
    """The most bytes that a text of variable length can have: such texts lie in heaps that begin
    with a mark and their own size, and many may be one and the same."""
    longest, place = 0, content.find(b"GCOL")
    while place >= 0:
        longest = max(longest, int.from_bytes(content[place + 8 : place + 16], "little"))
        place = content.find(b"GCOL", place + 4)
    return min(longest, len(content))


class _Texts:
    """Texts in attributes, within a budget.

    Args:
        longest: bytes of a text whose length the attribute does not say.
        allowed: bytes that the texts may have, together.
    """

    def __init__(self, longest, allowed):
        self.longest, self.allowed, self.left = longest, allowed, allowed

    def one(self, item, name) -> str | None:
        found = self._read(item, name)
        return None if found is None else found[0] if found else ""

    def many(self, item, name) -> list[str] | None:
        """A list, which Keras cuts into `name0`, `name1`, … where it is long."""
        found = self._read(item, name)
        if found is not None:
            return found
        found, part = None, 0
        while (more := self._read(item, f"{name}{part}")) is not None:
            found, part = [*(found or []), *more], part + 1
        return found

    def _read(self, item, name):
        if name not in item.attrs:
            return None
        attribute = item.attrs.get_id(name)
        if attribute.get_space().get_simple_extent_npoints() == 0:
            return []
        kind = h5py.check_string_dtype(attribute.dtype)
        if kind is None:
            raise refused(f"its attribute {name!r} is no text")
        each = self.longest if kind.length is None else kind.length
        if math.prod(attribute.shape) * each > self.allowed:
            raise refused(f"its attribute {name!r} declares more than the file can hold")
        found = [
            text.decode() if isinstance(text, bytes) else text
            for text in np.ravel(np.asarray(item.attrs[name], dtype=object))
        ]
        self.left -= sum(map(len, found))
        if self.left < 0:
            raise refused("its attributes hold more text than the file accounts for")
        return found
