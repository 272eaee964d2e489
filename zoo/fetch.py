"""Getting a model's file: shipped with the package, in the cache, or from a mirror; always the
right bytes or an error.

`pooch` keeps the cache (a download goes to a temporary file, its hash is checked, then it is moved
into place); `transfer` adds what `pooch` leaves out: resuming after a cut, retries, limits on size
and time, `file://`, `hf://`.

Settings, read at each call:
    KERAS_L2FEAT_ZOO_URL   the mirror, for models without an address of their own: https://…,
                           file://… or hf://OWNER/REPO
    KERAS_L2FEAT_CACHE     the folder for downloads; default: the user's cache folder
    KERAS_L2FEAT_OFFLINE   1: never touch the network
"""

import os
import shutil
from pathlib import Path

from keras_l2feat import files, progress
from keras_l2feat.errors import CheckFailed, InputError
from keras_l2feat.zoo.registry import FOLDER, Entry
from keras_l2feat.zoo.transfer import download

__all__ = ["address", "cache_folder", "fetch", "fetch_into"]


def cache_folder() -> Path:
    """The folder that holds downloaded models; it is made at the first download."""
    chosen = os.environ.get("KERAS_L2FEAT_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    import pooch

    return Path(pooch.os_cache("keras_l2feat"))


def address(entry: Entry) -> str | None:
    """Where the file of `entry` can be fetched; None when neither its row nor
    `KERAS_L2FEAT_ZOO_URL` says."""
    if entry.url:
        return entry.url
    mirror = os.environ.get("KERAS_L2FEAT_ZOO_URL", "").rstrip("/")
    return f"{mirror}/{entry.file}" if mirror else None


def fetch(entry: Entry, *, quiet: bool = True) -> Path:
    """The path of the model file of `entry`, of the right size and SHA-256.

    Args:
        entry: a row of the registry.
        quiet: no progress bar.

    Raises:
        InputError: the file is not here and cannot be had; says its name, its address and where to
            put it by hand.
        CheckFailed: what came has another size or hash than the registry says; nothing is left
            behind.
    """
    if entry.shipped:
        path = FOLDER / "weights" / entry.file
        if not path.is_file():
            raise InputError(
                f"The installation is incomplete: {str(path)!r} is missing. Install the "
                "package again."
            )
        if not _is_right(path, entry):
            raise CheckFailed(
                f"{str(path)!r} is damaged: its SHA-256 is not {entry.sha256}. Install the "
                "package again."
            )
        return path
    path = cache_folder() / entry.file
    if path.is_file() and _is_right(path, entry):
        return path
    url = address(entry)
    by_hand = f"put the file {entry.file!r} (SHA-256 {entry.sha256}) into {str(path.parent)!r}"
    if files.offline() and not (url or "").startswith("file://"):
        raise InputError(
            f"Model {entry.name!r} is not on this machine and KERAS_L2FEAT_OFFLINE is set. "
            f"Unset it, or {by_hand}."
        )
    if url is None:
        raise InputError(
            f"Model {entry.name!r} does not come with the package and KERAS_L2FEAT_ZOO_URL names "
            f"no mirror. Set it to one (made with 'l2feat zoo publish DIR'), or {by_hand}."
        )
    return _through_pooch(entry, url, path, quiet)


def fetch_into(entry: Entry, target: str | Path, *, quiet: bool = True) -> None:
    """`fetch` the file of `entry` and copy it to the path `target`, whatever becomes of other
    outputs; what is written has the right SHA-256."""
    source = fetch(entry, quiet=quiet)
    with files.separately(), files.atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)
        if not _is_right(temporary, entry):
            raise CheckFailed(f"{str(source)!r} changed while it was copied. Nothing was kept.")


def _is_right(path, entry) -> bool:
    return path.stat().st_size == entry.size and files.sha256(path) == entry.sha256


def _through_pooch(entry, url, path, quiet) -> Path:
    import pooch

    pooch.get_logger().setLevel("WARNING")
    store = pooch.create(
        path.parent, "", registry={entry.file: f"sha256:{entry.sha256}"}, urls={entry.file: url}
    )

    def downloader(url, target, _store):
        with progress.bar(total=entry.size, description=entry.file, unit="B", quiet=quiet) as shown:
            download(url, Path(target), entry.size, shown)

    try:
        return Path(store.fetch(entry.file, downloader=downloader))
    except (InputError, CheckFailed):
        raise
    except ValueError as error:  # pooch's word for a wrong hash; it has removed the file
        raise CheckFailed(
            f"{url} is not the file that the registry describes: SHA-256 {entry.sha256} "
            "expected. Nothing was kept."
        ) from error
    except OSError as error:
        raise InputError(
            f"Cannot write {entry.file!r} into the cache {str(path.parent)!r}: "
            f"{error.strerror or error}. KERAS_L2FEAT_CACHE names another folder."
        ) from error
