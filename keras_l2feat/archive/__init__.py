"""What is checked of an untrusted `.keras` file before Keras sees it.

A `.keras` file is a zip of `metadata.json`, `config.json` and `model.weights.h5` (and `assets/…`
for some preprocessing layers). Every claim that a loader acts upon is held against what is really
there, so that memory stays bounded by a multiple of the file's own size, and nothing is opened,
imported or written outside:

1. the zip: names, kinds and number of members, unpacked sizes, checksums;
2. the configuration (`objects`): only what the lists of `allowed` name, or is registered, within
budgets of size and number;
3. the weights (`weights`): only plain numeric arrays inside the file, wholly written, none larger
than its stored bytes account for;
4. the model that the configuration declares (`declared`), built without allocating, in bounded
time: no more weights than the file holds.
"""

import io
import json
import re
import stat
import zipfile
from typing import Any

from keras_l2feat.archive.budgets import MAX_CONFIG, allowed_bytes
from keras_l2feat.archive.declared import check_declared
from keras_l2feat.archive.objects import check_objects
from keras_l2feat.archive.refusal import refused, refusing

__all__ = ["CONFIG", "METADATA", "WEIGHTS", "check_archive", "check_config", "refused"]

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
MAX_MEMBERS = 10_000
CHUNK = 1 << 20
_ASSET = re.compile(r"assets/(?:[^/\\:\x00-\x1f]+/)*[^/\\:\x00-\x1f]*")


def check_archive(content: Any, custom_objects: dict | None = None, compiled: bool = True) -> None:
    """Raise `InputError` unless a file can be handed to Keras; nothing of it is run and nothing
    is written.

    Args:
        content: the bytes of the file, opened: the same that Keras will get, as a file
            that is opened twice may be another one.
        custom_objects: classes by name that the caller knows, besides the registered ones.
        compiled: whether the model will be compiled as the file says.
    """
    if not zipfile.is_zipfile(content):
        raise refused("not a '.keras' archive (foreign, corrupt or truncated file)")
    with refusing(), zipfile.ZipFile(content) as archive:
        _check_members(archive, content.seek(0, 2))
        config = _read_config(archive)
        check_objects(config, custom_objects or {}, compiled)
        check_declared(config, custom_objects, _stored_numbers(archive))


def check_config(config: dict, stored: Any, custom_objects: dict | None = None) -> None:
    """Raise `InputError` unless a model's configuration can be handed to Keras: the checks 2 and 4
    alone.

    Args:
        config: as `keras.saving.serialize_keras_object` makes it.
        stored: how many numbers its weights may have.
        custom_objects: classes by name that the caller knows.
    """
    with refusing():
        check_objects(config, custom_objects or {})
        check_declared(config, custom_objects, stored)


def _check_members(archive, file_size) -> None:
    members = archive.infolist()
    names = [member.filename for member in members]
    if len(names) > MAX_MEMBERS:
        raise refused(f"the archive has {len(names)} members, at most {MAX_MEMBERS} are expected")
    if len(set(names)) < len(names):
        raise refused("the archive holds two members of one name")
    if missing := {CONFIG, METADATA, WEIGHTS} - set(names):
        raise refused(f"the archive lacks {', '.join(sorted(missing))}")
    for member in members:
        name = member.filename
        parts = name.split("/")
        if name not in {CONFIG, METADATA, WEIGHTS} and (
            not _ASSET.fullmatch(name) or ".." in parts or "." in parts
        ):
            raise refused(f"the archive holds {name!r}, which is no part of a '.keras' file")
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in {0, stat.S_IFREG} and not (kind == stat.S_IFDIR and member.is_dir()):
            raise refused(f"{name!r} in the archive is no ordinary file")
        if member.flag_bits & 1:
            raise refused(f"{name!r} in the archive is encrypted")
        if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise refused(f"{name!r} in the archive is packed by an unknown method")
    unpacked, allowed = sum(member.file_size for member in members), allowed_bytes(file_size)
    if unpacked > allowed:
        raise refused(
            f"the archive of {file_size} bytes unpacks to {unpacked}, at most {allowed} are "
            "accepted"
        )
    for member in members:  # reading to the end compares the checksum
        with archive.open(member) as stream:
            while stream.read(CHUNK):
                pass


def _read_config(archive) -> dict:
    size = archive.getinfo(CONFIG).file_size
    if size > MAX_CONFIG:
        raise refused(f"{CONFIG} has {size} bytes, at most {MAX_CONFIG} are accepted")
    try:
        config = json.loads(archive.read(CONFIG))
        json.loads(archive.read(METADATA))
    except (ValueError, RecursionError) as error:
        raise refused(f"{CONFIG} or {METADATA} is no JSON: {error}") from error
    if not isinstance(config, dict) or not {"class_name", "config"} <= set(config):
        raise refused(f"{CONFIG} describes no model")
    return config


def _stored_numbers(archive) -> int:
    from keras_l2feat.archive.weights import stored_numbers

    # In memory, because each step back in a zip's member reads it again from its beginning.
    content = archive.read(WEIGHTS)
    return stored_numbers(io.BytesIO(content), allowed_bytes(len(content)))
