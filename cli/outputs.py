"""Options and arguments that say what a command writes, and where; and how it is written."""

import json
import sys
from collections.abc import Callable

import click

from keras_l2feat.cli.paths import OutputFile, OutputFolder, kept_in_context

__all__ = [
    "curve_option",
    "file_option",
    "folder_option",
    "json_on_stdout",
    "json_option",
    "output_option",
    "report_option",
    "tell",
]

JSON = f"{__name__}.json"  # where `json_option` leaves its value for `tell`

json_option = click.option(
    "--json",
    type=OutputFile(stdout=True),
    metavar="FILE|-",
    help="Write the result as JSON to a file, or to stdout with '-'.",
    **kept_in_context(JSON),
)


def output_option(help: str, *, required: bool = False) -> Callable:
    """`-o, --output OUT.keras`: where a model goes."""
    return click.option(
        *("-o", "--output"),
        type=OutputFile(".keras"),
        metavar="OUT.keras",
        required=required,
        help=help,
    )


def folder_option(help: str, *, default: str | None = None) -> Callable:
    """`-o, --output DIR`: where files go."""
    return click.option(
        *("-o", "--output"),
        type=OutputFolder(),
        metavar="DIR",
        default=default,
        show_default=default is not None,
        help=help,
    )


def file_option(name: str, metavar: str, help: str, *suffixes: str) -> Callable:
    """`--plan FILE.json`: where a file goes, which the command gets as `plan_path`."""
    kind = OutputFile(*suffixes)
    return click.option(name, f"{name[2:]}_path", type=kind, metavar=metavar, help=help)


def report_option(help: str) -> Callable:
    """`--report FILE.html`: where a page goes."""
    return file_option("--report", "FILE.html", help)


def curve_option(help: str) -> Callable:
    """`--curve FILE.csv|png`: where a trade-off goes, see `plots.tradeoff.write_tradeoff`."""
    return file_option("--curve", "FILE.csv|png", help, ".csv", ".png", ".svg", ".pdf")


def json_on_stdout() -> bool:
    """Whether stdout is for JSON alone."""
    return click.get_current_context().meta.get(JSON) == "-"


def tell(result: object, *lines: str) -> None:
    """End a command: `result` goes where `--json` says, a file or stdout; `lines` are printed,
    unless JSON goes to stdout, or with `--quiet`."""
    context = click.get_current_context()
    path = context.meta.get(JSON)
    if path == "-":
        json.dump(result, sys.stdout, indent=2, allow_nan=False)
        sys.stdout.write("\n")
        return
    if path is not None:
        from keras_l2feat.files import write_json

        write_json(path, result)
    if lines and not context.params.get("quiet"):
        click.echo("\n".join(lines))
