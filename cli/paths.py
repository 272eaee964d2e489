"""Paths on the command line: no output may name an input or another output of the same command.

Every argument and option that names a file is of one of the types here; they tell each other what
they were given, in the context of the call.
"""

import os
from pathlib import Path
from typing import Any

import click

from keras_l2feat import files
from keras_l2feat.errors import InputError

__all__ = ["InputFile", "OutputFile", "OutputFolder", "inputs", "kept_in_context", "shown"]

GIVEN = f"{__name__}.given"  # {True: inputs, False: outputs}, each {name of the parameter: path}
INPUTS = f"{__name__}.inputs"


def inputs(context: click.Context) -> list:
    """The paths that the call reads; the list grows while its arguments are read."""
    return context.meta.setdefault(INPUTS, [])


def kept_in_context(key: str) -> dict:
    """Arguments of an option whose value goes into `context.meta[key]`, not to the command."""

    def keep(context, option, value):
        context.meta[key] = value

    return {"expose_value": False, "callback": keep}


class _Named(click.ParamType):
    """A path, which is compared with all that the call has named so far."""

    read = False

    def _note(self, path, parameter, context):
        given = context.meta.setdefault(GIVEN, {True: {}, False: {}})
        for read in (True, False):
            for name, other in given[read].items():
                if not (self.read and read) and name != parameter.name and _same(path, other):
                    self._refuse(path, name, parameter, context)
        given[self.read][parameter.name] = path
        if self.read:
            inputs(context).append(path)

    def _refuse(self, path, name, parameter, context):
        other = next(one for one in context.command.params if one.name == name)
        raise InputError(
            f"{shown(other)} and {shown(parameter)} name the same file, {str(path)!r}: "
            "an output may not replace an input or another output."
        )


class InputFile(_Named):
    """Text that may name a file to read, as it was given: SOURCE is `zoo:NAME` or a path."""

    name = "path"
    read = True

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        file = value if os.path.exists(value) else value.split(".npz:")[0] + ".npz"
        if os.path.exists(file):  # a data set may carry options, FILE.npz:scale=1/255
            self._note(file, param, ctx)
        return value


class OutputFile(_Named):
    """The path of a file to write; its folder is there, and its name ends as it should.

    Args:
        suffixes: how the name may end; none for any.
        stdout: whether `-` stands for stdout.
    """

    name = "path"

    def __init__(self, *suffixes, stdout: bool = False) -> None:
        self.suffixes = suffixes
        self.stdout = stdout

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if self.stdout and value == "-":
            return value
        if self.suffixes and not value.endswith(self.suffixes):
            raise InputError(
                f"{shown(param)} takes a file name that ends in {' or '.join(self.suffixes)}. "
                f"Received: {value!r}."
            )
        files.check_output(value)
        self._note(value, param, ctx)
        return value


class OutputFolder(_Named):
    """The path of a folder to write into, there or not."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        if isinstance(value, Path):
            return value
        if os.path.exists(value) and not os.path.isdir(value):
            raise InputError(
                f"{shown(param)} takes the name of a folder. Received: {value!r}, a file."
            )
        self._note(value, param, ctx)
        return Path(value)


def _same(path, other) -> bool:
    if files.is_stream(path):  # two outputs may go to /dev/null
        return False
    return files.same_file(path, other)


def shown(parameter: click.Parameter) -> str:
    """`Option '--output'` or `Argument SOURCE`."""
    if isinstance(parameter, click.Option):
        return f"Option {parameter.opts[-1]!r}"
    return f"Argument {parameter.human_readable_name}"
