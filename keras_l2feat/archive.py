"""What is checked of an untrusted `.keras` file before Keras sees it.

A `.keras` file is a zip of `metadata.json`, `config.json` and `model.weights.h5` (and `assets/…`
for some preprocessing layers). Every claim that a loader acts upon is held against what is really
there, so that memory stays bounded by a multiple of the file's own size, and nothing is opened,
imported or written outside:

1. the zip: names, kinds and number of members, unpacked sizes, checksums;
2. the configuration: only classes of Keras' modelling modules or registered ones, none that runs or
loads foreign code;
3. the weights: only plain numeric arrays inside the file, none larger than its stored bytes account
for;
4. the model that the configuration declares, built without allocating: no more weights than the
file holds.
"""

import contextlib
import io
import json
import math
import re
import stat
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from keras_l2feat.errors import InputError

__all__ = ["check_archive", "check_config", "refused"]

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
MAX_MEMBERS = 10_000
MAX_CONFIG = 32 << 20  # bytes; the largest of keras.applications has under 1 MB
MAX_OBJECTS = 1_000_000  # groups and arrays in the weights
# Unpacked bytes that a file may lead to: a multiple of its size (weights hardly compress, constant
# ones do) plus …
EXPANSION, ALLOWANCE = 50, 16 << 20
MAX_INPUT = 1 << 28  # numbers in one data point, and in one layer's output for it
SPARE = (
    10_000  # numbers a model may have beside its stored ones: counters and seeds of random layers
)
CHUNK = 1 << 20

_ESCAPES = re.compile(
    r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x1f\x7f-\x9f]"
)  # a file's text must not steer the terminal
_ASSET = re.compile(r"assets/(?:[^/\\:\x00-\x1f]+/)*[^/\\:\x00-\x1f]*")
_MODELLING = re.compile(
    r"keras\.(src\.)?(activations|applications|constraints|dtype_policies|initializers|layers|losses|metrics|models|ops"
    r"|optimizers|quantizers|random|regularizers)(\..+)?"
)
_FUNCTIONS = re.compile(r"keras\.(src\.)?(activations|initializers|losses|metrics|ops)(\..+)?")
_TOP_LEVEL = {
    "Functional",
    "Model",
    "Sequential",
    "DTypePolicy",
    "FloatDTypePolicy",
    "QuantizedDTypePolicy",
}
_TOP_LEVEL |= {"DTypePolicyMap", "GPTQDTypePolicy", "QuantizedFloat8DTypePolicy"}
# They run code that comes with the file or open paths that it names.
_FOREIGN_CODE = {
    "Lambda",
    "__lambda__",
    "__typespec__",
    "TFSMLayer",
    "TorchModuleWrapper",
    "JaxLayer",
    "FlaxLayer",
}
_PATH_ARGUMENTS = ("vocabulary", "idf_weights")


def check_archive(path, custom_objects=None) -> None:
    """Raise `InputError` unless the file can be handed to Keras; nothing of it is run and nothing
    is written.

    Args:
        path: the file.
        custom_objects: classes by name that the caller knows, besides the registered ones.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive, path.stat().st_size)
            config = _read_config(archive)
            _check_objects(config, custom_objects or {})
            _check_declared(config, custom_objects, _stored_numbers(archive))
    except InputError:
        raise
    # whatever a broken archive provokes in zipfile, json, h5py or Keras: one clear error
    except Exception as error:
        raise refused(error) from error


def check_config(config, stored, custom_objects=None) -> None:
    """Raise `InputError` unless a model's configuration can be handed to Keras: the checks 2 and 4
    alone.

    Args:
        config: as `keras.saving.serialize_keras_object` makes it.
        stored: how many numbers its weights may have.
        custom_objects: classes by name that the caller knows.
    """
    try:
        _check_objects(config, custom_objects or {})
        _check_declared(config, custom_objects, stored)
    except InputError:
        raise
    except Exception as error:
        raise refused(error) from error


def refused(reason) -> InputError:
    """The error for a file that is not loaded, on one line; the caller adds the file's name."""
    text = _ESCAPES.sub("", " ".join(str(reason).split())) or type(reason).__name__
    return InputError(
        text.rpartition("Exception encountered: ")[2][:300]
    )  # Keras wraps causes in whole configs


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
    unpacked, allowed = sum(member.file_size for member in members), _allowed(file_size)
    if unpacked > allowed:
        raise refused(
            f"the archive of {file_size} bytes unpacks to {unpacked}, at most {allowed} are accepted"
        )
    for member in members:  # reading to the end compares the checksum
        with archive.open(member) as stream:
            while stream.read(CHUNK):
                pass


def _allowed(size) -> int:
    return EXPANSION * size + ALLOWANCE


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


def _check_objects(config, custom_objects) -> None:
    """Every object that the configuration names must be of Keras' modelling modules, or
    registered."""
    import keras

    registered = set(custom_objects) | set(keras.saving.get_custom_objects())
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            if isinstance(value.get("class_name"), str):
                _check_object(value, registered)
            for argument in _PATH_ARGUMENTS:
                if isinstance(value.get(argument), str):
                    raise refused(f"a layer reads its {argument} from the path {value[argument]!r}")
            if value.get("shape") is not None or value.get("batch_shape") is not None:
                _check_shape(value.get("shape") or value.get("batch_shape"))
            waiting.extend(value.values())


def _check_object(value, registered) -> None:
    name, module = value["class_name"], value.get("module")
    if name in _FOREIGN_CODE:
        raise refused(
            f"the model holds a {name!r}, which runs code of its own; such models are not loaded"
        )
    if module is None or {value.get("registered_name"), name} & registered:
        return
    if name == "function":  # 'builtins' stands for Keras' activations, losses and metrics
        known = (
            module == "builtins"
            or value.get("config") in registered
            or _FUNCTIONS.fullmatch(str(module))
        )
    else:
        known = (module == "keras" and name in _TOP_LEVEL) or _MODELLING.fullmatch(str(module))
    if known:
        return
    raise refused(
        f"the model needs {name!r} of module {module!r}, which is not registered; import its package first "
        "(it must use keras.saving.register_keras_serializable), or name it in custom_objects"
    )


def _check_shape(shape) -> None:
    sizes = [size for size in shape if isinstance(size, int)] if isinstance(shape, list) else []
    if math.prod(sizes) > MAX_INPUT or any(size < 0 for size in sizes):
        raise refused(f"the declared shape {shape} is beyond {MAX_INPUT} numbers")


def _stored_numbers(archive) -> int:
    """How many numbers the weights file holds, after checking that they are in it."""
    import h5py

    member = archive.getinfo(WEIGHTS)
    with archive.open(member) as stream:
        packed = (
            member.compress_type != zipfile.ZIP_STORED
        )  # then going back and forth would unpack again and again
        with h5py.File(io.BytesIO(stream.read()) if packed else stream, "r") as weights:
            return _walk(weights, _allowed(member.file_size))


def _walk(root, allowed) -> int:
    import h5py

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
            if len(seen) > MAX_OBJECTS:
                raise refused(f"the weights have more than {MAX_OBJECTS} parts")
            if isinstance(found, h5py.Group):
                waiting.append(found)
                continue
            total += _dataset_bytes(name, found, allowed)
            if total > allowed:
                raise refused(
                    f"the weights declare more than {allowed} bytes, the file holds far fewer"
                )
            if not found.name.startswith("/optimizer/"):
                numbers += math.prod(found.shape)
    return numbers


def _dataset_bytes(name, found, allowed) -> int:
    import h5py

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


def _check_declared(config, custom_objects, stored) -> None:
    """Build the model without a single weight in memory, and compare what it would have with what
    is stored."""
    declaration = _at_rest({k: v for k, v in config.items() if k != "compile_config"})
    # Keras lists weights that await their values per thread; a thread of its own takes that list
    # with it.
    with ThreadPoolExecutor(1) as executor:
        declared = executor.submit(_declared_numbers, declaration, custom_objects).result()
    if declared > stored + SPARE:
        raise refused(f"the model declares {declared} numbers of weights, the file holds {stored}")


def _at_rest(config):
    """A configuration whose recurrent layers keep no state: theirs is no weight, it is not stored,
    and Keras cannot make it without allocating."""
    if isinstance(config, dict):
        return {k: False if k == "stateful" else _at_rest(v) for k, v in config.items()}
    return [_at_rest(item) for item in config] if isinstance(config, list) else config


def _declared_numbers(config, custom_objects) -> int:
    import keras

    with keras.StatelessScope(initialize_variables=False):
        model = keras.saving.deserialize_keras_object(
            config, custom_objects=custom_objects, safe_mode=True
        )
        if not isinstance(model, keras.Model):
            raise refused(f"the file holds a {type(model).__name__}, no model")
        for layer in model.layers:
            outputs = []
            with contextlib.suppress(
                AttributeError, ValueError
            ):  # not called, or at several places
                outputs = keras.tree.flatten(layer.output)
            for tensor in outputs:
                _check_shape(list(tensor.shape))
        return sum(math.prod(variable.shape) for variable in model.variables)
