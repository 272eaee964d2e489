"""A run's state in one file, written whole after every epoch: what is there after a kill is the end
of an epoch."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from keras_l2feat import files
from keras_l2feat.archive.arrays import read_arrays
from keras_l2feat.errors import InputError
from keras_l2feat.shrinking.state import State

__all__ = ["Checkpoint"]

FORMAT = "keras-l2feat shrink 1"


class Checkpoint:
    """The file of a run; without a path, nothing is written.

    Args:
        path: of an `.npz` file, or `None`.
        run: what has to be equal for a run to go on, JSON-able.
    """

    def __init__(self, path: str | Path | None, run: Any) -> None:
        self.path, self.run = None if path is None else Path(path), run
        if self.path is not None and self.path.suffix != ".npz":
            raise InputError(f"A checkpoint's name ends in '.npz'. Received: {str(path)!r}.")

    def write(self, now: Any, best: Any, done: Any, curve: list) -> None:
        """Keep a moment of a run, whatever comes.

        Args:
            now: `State` of the round under way, `None` between two; best: of the last that was
                kept; done: epochs of the round under way, with what else belongs to it.
            curve: records so far.
        """
        if self.path is None:
            return
        arrays = {}
        for name, state in (("now", now), ("best", best)):
            if state is not None:
                arrays |= {f"{name}/kept/{layer}": value for layer, value in state.kept.items()}
                arrays |= _numbered(f"{name}/variables", state.variables)
                arrays |= _numbered(f"{name}/optimizer", state.optimizer)
        text = json.dumps({"format": FORMAT, "run": self.run, "done": done, "curve": curve})
        arrays["about"] = np.frombuffer(text.encode(), dtype=np.uint8)
        with files.separately(), files.atomic_path(self.path) as temporary:
            np.savez(temporary, **arrays)

    def read(self) -> tuple:
        """`(now, best, done, curve)` as they were written.

        Raises:
            InputError: there is no such file, it is none of ours, or of another run.
        """
        name = str(self.path)
        try:
            arrays, _ = read_arrays(name)
            about = json.loads(arrays["about"].tobytes())
            if about["format"] != FORMAT:
                raise KeyError("format")
        except OSError as error:
            raise InputError(f"Cannot resume from {name!r}: {error.strerror}.") from error
        except (InputError, KeyError, ValueError) as error:
            raise InputError(f"Cannot resume from {name!r}: it is no checkpoint.") from error
        other = sorted(k for k in self.run if about["run"].get(k) != self.run[k])
        if other:
            raise InputError(
                f"Cannot resume from {name!r}: it is of a run with other {', '.join(other)}."
            )
        now, best = (_state(arrays, part) for part in ("now", "best"))
        return now, best, about["done"], about["curve"]


def _numbered(name, values):
    return {f"{name}/{number:06d}": value for number, value in enumerate(values)}


def _state(arrays, part):
    def below(name):
        start = f"{part}/{name}/"
        return {k.removeprefix(start): v for k, v in sorted(arrays.items()) if k.startswith(start)}

    variables = list(below("variables").values())
    if not variables:
        return None
    return State(below("kept"), variables, list(below("optimizer").values()))
