"""Loading a model of the zoo, and saving one's own in the form of the zoo."""

import datetime
import os
from pathlib import Path

from keras_l2feat import files
from keras_l2feat.archive import check_config
from keras_l2feat.backend import require_keras
from keras_l2feat.errors import bad_argument
from keras_l2feat.imports import register
from keras_l2feat.types import Model
from keras_l2feat.version import __version__
from keras_l2feat.zoo.cards import card_text
from keras_l2feat.zoo.fetch import fetch
from keras_l2feat.zoo.presets import HUB, fetch_preset
from keras_l2feat.zoo.registry import Entry, entry

__all__ = ["architecture", "load", "load_entry", "save"]


def load(name: str, *, weights: str = "zoo", quiet: bool = True) -> Model:
    """A model of the zoo by name, or one in KerasHub's preset layout (`zoo.presets`).

    Args:
        name: as `zoo.list()` shows it, for example "mnist-1k-1pct-narrow"; or `hf://OWNER/REPO`,
            with `@REVISION` where one is meant; or the path of a folder, in which `config.json`
            lies.
        weights: "zoo" for the trained weights; None for the architecture alone, freshly
            initialized: nothing is downloaded.
        quiet: no progress bar while downloading.

    Returns: a `keras.Model`.

    Raises:
        InputError: no such model, or its file cannot be had.
        CheckFailed: the file is not the one that the registry describes.

    Example:
        >>> from keras_l2feat import zoo
        >>> zoo.load("mnist-1k-1pct-narrow").output_shape
        (None, 10)
    """
    if weights not in {"zoo", None}:
        raise bad_argument("weights", "'zoo' or None", weights)
    if (folder := _preset(name, quiet)) is not None:
        model = files.load_model(folder)
        return require_keras().models.clone_model(model) if weights is None else model
    one = entry(name)
    return architecture(one) if weights is None else load_entry(one, quiet=quiet)


def _preset(name, quiet) -> Path | None:
    """The folder of the preset that `name` means, `None` where it is a name of the zoo."""
    name = str(name)
    if name.startswith(HUB):
        return fetch_preset(name, quiet=quiet)
    return Path(name) if "/" in name or os.sep in name else None


def load_entry(one: Entry, *, quiet: bool = True) -> Model:
    """The model of an entry; what is loaded has the SHA-256 that the entry says."""
    return files.load_model(fetch(one, quiet=quiet), sha256=one.sha256)


def architecture(one: Entry) -> Model:
    """The model of an entry without its weights: new initial ones, nothing is downloaded."""
    if "architecture" not in one.facts:
        raise bad_argument(
            "weights", f"'zoo': the registry has no architecture of {one.name!r}", None
        )
    keras = require_keras()
    register()
    config = one.facts["architecture"]
    # a registered entry is no more trusted than a file; a number takes at least a byte
    check_config(config, one.size)
    return keras.saving.deserialize_keras_object(config, safe_mode=True)


def save(
    model: Model, card: dict, path: str | Path, *, name: str | None = None, version: str = "1"
) -> Entry:
    """Save a model with its card and its registry row, in the form in which the zoo publishes its
    own.

    Writes `PATH` (the model), and beside it the card (`.md`) and the row (`.json`) that
    `zoo.register` takes.

    Args:
        model: a built `keras.Model`.
        card: facts about it, as plain data: `data`, `lam`, `metrics`…; see `zoo.cards.FIELDS` for
            those that a card shows in a place of their own.
        path: a file name that ends in `.keras`.
        name: the model's name in the zoo; default: the file's name.
        version: raised by the author whenever the file changes.

    Returns: the `Entry`, not yet registered.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="output")])
        >>> one = save(model, {"data": "mine"}, "/tmp/linear-2.keras")
        >>> one.facts["parameters"]
        3
    """
    keras = require_keras()
    path = Path(path)
    config = keras.saving.serialize_keras_object(model)
    config.pop("compile_config", None)
    facts = {
        "parameters": model.count_params(),
        "package_version": __version__,
        "built": datetime.datetime.now(datetime.UTC).date().isoformat(),
        **card,
        "architecture": config,
    }
    files.save_model(model, path)
    one = Entry(
        name or path.stem,
        path.name,
        files.sha256(files.current(path)),
        files.current(path).stat().st_size,
        version=version,
        facts=facts,
    )
    files.write_text(path.with_suffix(".md"), card_text(one))
    files.write_json(path.with_suffix(".json"), one.as_row())
    return one
