"""Models as Keras 1, 2 and 3 write them into HDF5 and JSON, in the words of today's Keras.

Keras' own loader of such files looks classes up by name among all that it has and calls them as the
file says. Here the configuration is translated instead into the one that a `.keras` file would
hold (`graph`, `arguments`, `objects`), which then passes the same checks; what no longer exists is
refused by name. Arrays are put into the model by names and order (`filling`), after what changed in
their layout or meaning since is undone (`layout`).
"""

import io
import json
import zipfile
from typing import BinaryIO

from keras_l2feat.archive.dialects.filling import fill
from keras_l2feat.archive.dialects.graph import Translation
from keras_l2feat.archive.dialects.training import compile_config
from keras_l2feat.archive.hdf5 import Stored
from keras_l2feat.archive.refusal import refused
from keras_l2feat.types import Model

__all__ = ["assembled", "joined", "translated"]


def translated(
    config: dict, version: int, backend: str | None = None, training: dict | None = None
) -> tuple[dict, dict]:
    """A model's configuration as today's Keras writes it, and how the stored arrays of its layers
    become weights, by path of names.

    Args:
        config: as the file has it.
        version: the first number of the version of Keras that wrote it.
        backend: of Keras, where the file says.
        training: how the model was compiled, as the file has it, or None.

    Raises:
        InputError: a layer has a setting that no longer exists.
    """
    translation = Translation(version, backend)
    model = translation.layer(config, ())
    if training is not None:
        model["compile_config"] = compile_config(training, version)
    return model, translation.changes


def joined(config: dict, weights: BinaryIO) -> BinaryIO:
    """The `.keras` file that an architecture and the weights of a `.keras` file make.

    Args:
        config: the architecture as the JSON has it.
        weights: the content of `model.weights.h5`.
    """
    if "module" not in config:
        config, _ = translated(config, version_of(config, 2))
    archive = io.BytesIO()
    weights.seek(0)
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("metadata.json", "{}")
        made.writestr("config.json", json.dumps(config))
        made.writestr("model.weights.h5", weights.read())
    archive.seek(0)
    return archive


def version_of(config: dict, otherwise: int) -> int:
    """The first number of the version of Keras that wrote the JSON of an architecture."""
    if "module" in config:
        return 3
    return int(str(config.get("keras_version", otherwise)).split(".")[0])


def assembled(
    config: dict, stored: Stored, custom_objects: dict | None = None, compile: bool = True
) -> Model:
    """The model of a configuration, checked as that of a `.keras` file is, with the weights that a
    file holds.

    Raises:
        InputError: one of them may not be loaded, or they do not fit each other.
    """
    import keras

    from keras_l2feat.archive import check_config

    training = stored.training if compile else None
    version = version_of(config, stored.version)
    if stored.version == 1 < version:
        raise refused("the weights are of Keras 1, the architecture is of a later one")
    model_config, changes = config, {}
    if "module" not in config:
        model_config, changes = translated(config, version, stored.backend, training)
    check_config(model_config, stored.numbers, custom_objects)
    model = keras.saving.deserialize_keras_object(
        model_config, custom_objects=custom_objects, safe_mode=True
    )
    fill(model, stored.groups or {}, changes)
    return model
