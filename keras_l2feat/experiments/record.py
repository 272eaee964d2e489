"""What every experiment leaves behind: its files, and how they were made."""

import datetime
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from keras_l2feat.files import output_folder, write_text
from keras_l2feat.version import __version__

__all__ = ["Figure", "figure", "write_record"]


class Figure(NamedTuple):
    """A figure or a checked claim, which `l2feat reproduce NAME` makes.

    Attributes:
        name: what it is called.
        run: `run(out, *, seed, quiet, **options)` writes files into the folder `out` and returns
            one paragraph that says what was found and what falls short.
        options: click's decorators for what `run` takes beyond these.
        summary: one line of help.
    """

    name: str
    run: Callable
    options: tuple = ()
    summary: str = ""

    def make(self, output: str | Path, *, seed: int, quiet: bool = False, **options) -> str:
        """Run it; its text goes into `output/README.md` with the command, seed, version, date and
        seconds, and is returned."""
        start = time.perf_counter()
        text = self.run(output_folder(output), seed=seed, quiet=quiet, **options)
        write_record(output, text, seed=seed, seconds=time.perf_counter() - start)
        return text


def figure(name: str, *options: Callable, summary: str = "") -> Callable:
    """A decorator that turns a `run` into a `Figure`."""
    return lambda run: Figure(name, run, options, summary or run.__doc__)


def write_record(
    out: str | Path, text: str, *, seed: int, seconds: float, program: str = "l2feat"
) -> None:
    """Write `OUT/README.md`: `text`, then how it was made, by `program` with the arguments of this
    process."""
    call = shlex.join([*program.split(), *sys.argv[1:]])
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    made = f"Made by `{call}`, seed {seed}, keras_l2feat {__version__}, {date}, in {seconds:.0f} s."
    write_text(Path(out) / "README.md", f"{text.strip()}\n\n{made}\n")
