"""`l2feat`: the command line. Commands are imported when they are run, so that help needs no
TensorFlow."""

import importlib
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from keras_l2feat import files
from keras_l2feat.cli import paths
from keras_l2feat.cli.hush import hush_tensorflow
from keras_l2feat.cli.signals import Signals
from keras_l2feat.errors import CheckFailed, InputError, Interrupted
from keras_l2feat.text import printable
from keras_l2feat.version import __version__

__all__ = ["LazyGroup", "main"]

# name: (module of keras_l2feat.cli, help line). The command object in the module is called
# `command`.
COMMANDS = {
    "certify": (
        "certify",
        "Ask whether one more neuron could lower the loss of a trained network.",
    ),
    "check": ("check", "Check a pruned model's certificate from the weights."),
    "diff": ("diff", "Compare two models: are they equivalent, and where do they differ?"),
    "expand": ("expand", "Write an equivalent wider model by splitting neurons."),
    "forces": ("forces", "Draw attraction and repulsion on the hidden representations."),
    "inspect": ("inspect", "Show rays, angles and balance of a model's layers."),
    "plateau": ("plateau", "Find the width from which the regularized loss no longer falls."),
    "prune": ("prune", "Write an equivalent smaller model, with a certificate."),
    "rank": ("rank", "Bound the number of neurons that a trained layer needs."),
    "reproduce": ("reproduce", "Remake a figure or check a claim of the papers."),
    "shrink": ("shrink", "Make a trained model smaller while it trains on."),
    "symmetries": ("symmetries", "Count, follow and connect equivalent networks."),
    "train": ("train", "Train an L2-regularized network on full batches."),
    "zoo": ("zoo", "List, download, check and rebuild pretrained models."),
}

# What an argument of the library is called on the command line, where that is another name.
OPTIONS = {"network": "source", "model": "source", "r": "least", "m": "width"}


class LazyGroup(click.Group):
    """A click group whose commands live in modules that are imported when needed.

    `rows` maps a command's name to `(module, help line)`, `package` is where the modules are.
    """

    def __init__(
        self, *args, rows: dict | None = None, package: str = "keras_l2feat.cli", **kwargs
    ) -> None:
        super().__init__(*args, **kwargs)
        self.rows = rows or {}
        self.package = package

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.rows)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.rows:
            return None
        return importlib.import_module(f"{self.package}.{self.rows[name][0]}").command

    def invoke(self, ctx: click.Context) -> Any:
        with files.together(paths.inputs(ctx)):  # all outputs of a command appear, or none
            return super().invoke(ctx)

    def resolve_command(self, ctx: click.Context, args: Sequence[str]) -> tuple:
        if args and args[0] not in self.rows:
            ctx.fail(f"No such command {args[0]!r}. Commands: {', '.join(sorted(self.rows))}.")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, row[1]) for name, row in sorted(self.rows.items())])


@click.group(
    cls=LazyGroup,
    rows=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: l2feat prune zoo:mnist-1k-1pct-wide --data mnist-1k -o small.keras",
)
@click.version_option(__version__, prog_name="l2feat")
@click.option(
    "--import",
    "modules",
    metavar="MODULE",
    multiple=True,
    help="Import MODULE, a package or a file MODULE.py in the current folder, so that models with "
    "layers of its own load. This runs its code with all your rights: name only what you would "
    "run yourself, never what came along with a model.",
)
def cli(modules):
    """Find the neurons that weight decay made redundant, and leave them out.

    Exit codes: 0 done; 1 a check failed and no model was written; 2 the call or its input cannot be
    used; 130 interrupted by Ctrl-C (143 by SIGTERM), and what was not finished was not written.
    """

    for name in modules:
        _import(name)


def _import(name) -> None:
    """Import a module that the user trusts; it registers its classes with Keras."""
    sys.path.append(os.getcwd())
    try:
        importlib.import_module(name)
    except Exception as error:  # whatever the user's code raises
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise InputError(f"Option '--import': {name!r} cannot be imported ({reason}).") from error
    finally:
        sys.path.pop()


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; a user's mistake ends in one line on stderr, not in a traceback."""
    hush_tensorflow()
    args = sys.argv[1:] if args is None else args
    with Signals() as signals:
        try:
            code = cli.main(args=args, prog_name="l2feat", standalone_mode=False) or 0
            sys.stdout.flush()
        except BaseException as error:
            # Whatever a library made of the interrupt, it was one.
            code = _interrupted(error, signals) if signals.received else _ended(error, args)
    sys.exit(code)


def _ended(error, args) -> int:
    """Say in one sentence why a command ended, and return the exit code. A bug is raised."""
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, InputError):
        _say(f"Error: {_in_own_words(str(error), args)}")
        return 2
    if isinstance(error, CheckFailed):
        _say(f"Check failed: {error}")
        return 1
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        _say("Error: There is not enough memory for this.")
        return 2
    if isinstance(error, RecursionError):
        _say("Error: The input is nested too deeply.")
        return 2
    if isinstance(error, BrokenPipeError):  # the reader of a pipe went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    if isinstance(error, OSError):
        where = f"{error.filename!r}: " if error.filename else ""
        _say(f"Error: {where}{error.strerror or error}.")
        return 2
    raise error


def _say(sentence):
    """On stderr, on one line: names from files and servers may be in it."""
    click.echo(printable(sentence), err=True)


def _in_own_words(message, args) -> str:
    """A message of the library about its argument `x` as one about the option `--x` that was
    given for it."""
    command = cli
    for word in args:
        if not isinstance(command, click.Group) or word not in command.list_commands(None):
            break
        command = command.get_command(None, word)
    names = {parameter.name: paths.shown(parameter) for parameter in command.params}

    def own(found):
        return names.get(OPTIONS.get(found[1], found[1]), f"Value {found[1]!r}")

    message = re.sub(r"Argument '(\w+)'", own, message)
    return re.sub(r"Received: \w+=(?!=)", "Received: ", message)


def _interrupted(error, signals) -> int:
    """Say what an interrupt left and how to go on, and return the exit code of the signal."""
    while error is not None and not (isinstance(error, Interrupted) and str(error)):
        error = error.__cause__ or error.__context__
    said = error or "What was not finished was not written."
    _say(f"Interrupted. {said}")
    return 128 + signals.received


if __name__ == "__main__":
    main()
