"""Options that commands share, and the kinds of values that options take."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import click

__all__ = [
    "WIDEST",
    "Listed",
    "Number",
    "Widths",
    "batch_size_option",
    "choice",
    "number",
    "quiet_option",
    "seed_option",
    "whole",
]


class Number(click.FloatRange):
    """A finite number in a range."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        value = super().convert(value, param, ctx)
        if not math.isfinite(value):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return value


def whole(name: str, help: str, *, default: int | None = None, least: int = 1) -> Callable:
    """An option that takes a whole number of at least `least`."""
    shown = default is not None
    kind = click.IntRange(least)
    return click.option(name, type=kind, default=default, show_default=shown, help=help)


def number(
    name: str,
    help: str,
    *,
    default: float | None = None,
    metavar: str | None = None,
    **limits: float,
) -> Callable:
    """An option that takes a finite number within the limits of a `click.FloatRange`."""
    kind = Number(**{"min": 0, **limits})
    shown = default is not None
    return click.option(
        name, type=kind, default=default, show_default=shown, metavar=metavar, help=help
    )


def choice(name: str, choices: Sequence[str], help: str) -> Callable:
    """An option that takes one of `choices`, by default the first."""
    kind = click.Choice(choices)
    return click.option(name, type=kind, default=choices[0], show_default=True, help=help)


WIDEST = 1_000_000  # neurons of a layer
SEEDS = 2**31 - 1  # the largest that every generator in use takes

seed_option = click.option(
    "--seed",
    type=click.IntRange(0, SEEDS),
    default=0,
    show_default=True,
    help="Seed of every random draw.",
)
quiet_option = click.option(
    "--quiet", "-q", is_flag=True, help="Print no tables and show no progress bars."
)
batch_size_option = whole(
    "--batch-size", "Number of points in memory at a time; gradients stay full batch."
)


class Listed(click.ParamType):
    """Numbers in one text, as a tuple."""

    expected = ""

    def parsed(self, text: str) -> tuple:
        """The numbers; a `ValueError` or `ZeroDivisionError` where it is something else."""
        raise NotImplementedError

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple:
        if isinstance(value, tuple):
            return value
        try:
            return self.parsed(value)
        except (ValueError, ZeroDivisionError):
            return self.fail(f"{self.expected}. Received: {value!r}")


class Widths(Listed):
    """`50,50`: positive whole numbers, one per hidden layer."""

    name = "widths"
    expected = f"whole numbers from 1 to {WIDEST} with commas between are expected, as in 50,50"

    def parsed(self, text: str) -> tuple:
        widths = tuple(int(part) for part in text.split(","))
        if not 1 <= min(widths) <= max(widths) <= WIDEST:
            raise ValueError
        return widths
