"""What every experiment leaves behind: its files, and how they were made."""

import datetime
import functools
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

from keras_l2feat.files import output_folder, write_text
from keras_l2feat.version import __version__

__all__ = ["figure", "write_record"]


def figure(name: str, *options, summary: str = "") -> Callable:
    """Turn `run(out, *, seed, quiet, **options) -> str` into the click command
    `l2feat reproduce NAME`.

    The text that `run` returns, one paragraph of what was found and what falls short, is printed
    and written to `OUT/README.md` with the command, seed, version, date and seconds.
    """

    def decorate(run):
        @click.command(
            name,
            help=summary or run.__doc__,
            epilog=f"Example: l2feat reproduce {name} -o results/{name}",
        )
        @click.option(
            "-o",
            "--output",
            "out",
            default=f"results/{name}",
            show_default=True,
            type=click.Path(path_type=Path),
            help="Folder for the results.",
        )
        @click.option(
            "--seed",
            type=click.IntRange(0),
            default=0,
            show_default=True,
            help="Seed of every draw.",
        )
        @click.option("--quiet", "-q", is_flag=True, help="No text and no progress bars.")
        @functools.wraps(run)
        def command(out, seed, quiet, **kwargs):
            start = time.perf_counter()
            text = run(output_folder(out), seed=seed, quiet=quiet, **kwargs)
            write_record(out, text, seed=seed, seconds=time.perf_counter() - start)
            if not quiet:
                click.echo(text)
                click.echo(f"Written to {out}/")

        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def write_record(
    out: str | Path, text: str, *, seed: int, seconds: float, program: str = "l2feat"
) -> None:
    """Write `OUT/README.md`: `text`, then how it was made, by `program` with the arguments of this
    process."""
    call = shlex.join([*program.split(), *sys.argv[1:]])
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    made = f"Made by `{call}`, seed {seed}, keras_l2feat {__version__}, {date}, in {seconds:.0f} s."
    write_text(Path(out) / "README.md", f"{text.strip()}\n\n{made}\n")
