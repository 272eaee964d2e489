"""A mirror of the zoo as a folder of plain files, which any web server or object store can
serve."""

from collections.abc import Sequence
from pathlib import Path

from keras_l2feat import files, progress
from keras_l2feat.zoo import registry
from keras_l2feat.zoo.cards import card_text
from keras_l2feat.zoo.fetch import fetch_into
from keras_l2feat.zoo.gallery import write_gallery

__all__ = ["publish"]


def publish(folder: str | Path, *, names: Sequence[str] | None = None, quiet: bool = True) -> list:
    """Write a complete mirror: models, cards, `registry.json` and the gallery page `index.html`.

    Whoever sets `KERAS_L2FEAT_ZOO_URL` to the address of the folder gets its models from there.
    Files that are there already and right are left alone, so that a second run only adds what is
    new.

    Args:
        folder: made if it does not exist.
        names: which models, by default all that are known, registered ones included.
        quiet: no progress bars.

    Returns: the entries that the mirror holds.

    Raises:
        InputError: `folder` is a file, or a model cannot be had.
        CheckFailed: a model's file is not the one that the registry describes.
    """
    folder = files.output_folder(folder)
    chosen = registry.entries() if names is None else [registry.entry(name) for name in names]
    for one in progress.bar(chosen, description="publish", unit="model", quiet=quiet):
        target = folder / one.file  # what is there need not be copied again after an interrupt
        if not (target.is_file() and files.sha256(target) == one.sha256):
            fetch_into(one, target, quiet=quiet)
        with files.separately():
            files.write_text(folder / f"{one.name}.md", card_text(one))
    write_gallery(folder / "index.html", chosen)
    # Last, so that a registry never promises what is not there yet.
    rows = [one.as_row() | {"shipped": False, "url": None} for one in chosen]
    files.write_json(folder / "registry.json", {"format": 1, "models": rows})
    return chosen
