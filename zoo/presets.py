"""Models in KerasHub's preset layout: a folder, or a repository of the Hugging Face Hub, with

    config.json        the architecture, as Keras serializes it
    model.weights.h5   the weights
    metadata.json      versions and number of parameters; of ours, also the row of the zoo

These are the parts of a `.keras` file, and pass the same checks before Keras sees them
[keras-team/keras-hub, `keras_hub/src/utils/preset_utils.py`].
"""

import json
import re
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from keras_l2feat import files, progress
from keras_l2feat.archive import CONFIG, METADATA, WEIGHTS
from keras_l2feat.errors import CheckFailed, InputError, bad_argument
from keras_l2feat.version import __version__
from keras_l2feat.zoo.cards import card_text
from keras_l2feat.zoo.fetch import cache_folder, fetch
from keras_l2feat.zoo.registry import MAX_MODEL_BYTES, Entry
from keras_l2feat.zoo.transfer import COMMIT, download, facts_of

__all__ = ["HUB", "fetch_preset", "write_preset"]

HUB = "hf://"
FILES = (CONFIG, METADATA, WEIGHTS)
_ADDRESS = re.compile(r"hf://[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[A-Za-z0-9][\w.-]*)?")
_SKIPPED = {"compile_config", "build_config"}  # by KerasHub too


def write_preset(one: Entry, folder: str | Path, *, quiet: bool = True) -> list[Path]:
    """Write a model of the zoo as a preset, with its card as `README.md`.

    Args:
        one: its entry.
        folder: made if it does not exist.
        quiet: no progress bar where the model has to be fetched.

    Returns: the files that were written.

    Raises:
        InputError: the model cannot be had, or the folder not be written.
        CheckFailed: its file is not the one that the registry describes.
    """
    with zipfile.ZipFile(fetch(one, quiet=quiet)) as archive:
        parts = {name: archive.read(name) for name in FILES}
    config = _without(json.loads(parts[CONFIG]))
    # by which KerasHub knows that it is a plain model of Keras
    config["registered_name"] = config["registered_name"] or config["class_name"]
    row = one.as_row()
    row["facts"] = {key: value for key, value in one.facts.items() if key != "architecture"}
    metadata = {
        **json.loads(parts[METADATA]),
        "parameter_count": one.facts.get("parameters"),
        "keras_l2feat_version": __version__,
        "keras_l2feat_zoo": row,
    }
    folder = files.output_folder(folder)
    with files.together():
        files.write_json(folder / CONFIG, config)
        with files.atomic_path(folder / WEIGHTS) as temporary:
            temporary.write_bytes(parts[WEIGHTS])
        files.write_json(folder / METADATA, metadata)
        files.write_text(folder / "README.md", f"---\nlibrary_name: keras\n---\n{card_text(one)}")
    return [folder / name for name in (*FILES, "README.md")]


def _without(config: Any) -> Any:
    """A configuration without what belongs to training and building."""
    if isinstance(config, dict):
        return {key: _without(value) for key, value in config.items() if key not in _SKIPPED}
    return [_without(value) for value in config] if isinstance(config, list) else config


def fetch_preset(address: str, *, quiet: bool = True) -> Path:
    """The folder of a preset of the Hugging Face Hub, or of the server that `HF_ENDPOINT` names.

    What the Hub says to be of one commit is kept in the cache under that commit; a preset that is
    named by its commit is not asked for again.

    Args:
        address: `hf://OWNER/REPO`, or `hf://OWNER/REPO@REVISION`.
        quiet: no progress bar.

    Raises:
        InputError: it is no such address, or the preset cannot be had.
        CheckFailed: the files are of different commits.
    """
    if not _ADDRESS.fullmatch(address):
        raise bad_argument("name", "hf://OWNER/REPO or hf://OWNER/REPO@REVISION", address)
    name, _, revision = address.removeprefix(HUB).partition("@")
    kept = cache_folder() / "hub" / name.replace("/", "--")
    if re.fullmatch(COMMIT, revision) and (kept / revision / WEIGHTS).is_file():
        return kept / revision
    if files.offline():
        raise InputError(
            f"{address} is not on this machine and KERAS_L2FEAT_OFFLINE is set. Unset it, or name "
            "a commit that was fetched before: hf://OWNER/REPO@COMMIT."
        )
    with tempfile.TemporaryDirectory() as temporary:
        commits = set()
        for one in FILES:
            url = f"{HUB}{name}{'@' * bool(revision)}{revision}/{one}"
            size, commit = facts_of(url, MAX_MODEL_BYTES)
            commits.add(commit)
            with progress.bar(total=size, description=one, unit="B", quiet=quiet) as shown:
                download(url, Path(temporary) / one, size, shown)
        if len(commits) > 1:
            raise CheckFailed(f"{address} changed while it was fetched. Nothing was kept.")
        kept = kept / (commits.pop() or "latest")
        kept.mkdir(parents=True, exist_ok=True)
        for one in FILES:  # the weights last: who finds them finds all
            with files.separately(), files.atomic_path(kept / one) as target:
                shutil.copyfile(Path(temporary) / one, target)
    return kept
