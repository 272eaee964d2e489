"""What each step of a recipe leaves, in a folder, from which an interrupted build goes on."""

import hashlib
import json
import shutil
from pathlib import Path

from keras_l2feat import files
from keras_l2feat.version import __version__
from keras_l2feat.zoo.making import Making

__all__ = ["Checkpoints"]


class Checkpoints:
    """The models that the steps of a recipe left so far.

    A file is named after all that its content depends on, so that what a step of another recipe,
    or of this one as it was before, left is never taken for it.

    Args:
        folder: for the files, made when there is one.
        making: the model in the making.
    """

    def __init__(self, folder: Path, making: Making) -> None:
        self.folder, self.making = folder, making

    def restore(self) -> int:
        """Put the model after the last step that was done into the making; how many steps are
        done."""
        making = self.making
        for count in range(len(making.recipe.steps), 0, -1):
            path = self._path(count)
            if path.exists():
                about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
                making.model = files.load_model(path)
                making.curve, making.seconds = about["curve"], about["seconds"]
                return count
        return 0

    def keep(self, count: int) -> None:
        """Keep the model after the first `count` steps, whatever comes."""
        making, path = self.making, self._path(count)
        with files.separately():
            files.output_folder(self.folder)
            about = {"curve": making.curve, "seconds": making.seconds}
            files.write_json(path.with_suffix(".json"), about)
            files.save_model(making.model, path)

    def clear(self) -> None:
        """Remove them all."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, count):
        chosen = self.making.recipe
        settings = [chosen.lam, chosen.cost, chosen.beta, chosen.activation, chosen.seed]
        about = [__version__, self.making.data.sha256, chosen.limit, settings, chosen.steps[:count]]
        return self.folder / f"{hashlib.sha256(repr(about).encode()).hexdigest()[:16]}.keras"
