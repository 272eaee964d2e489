"""Options and arguments that commands share, and where their values lead."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import click

from keras_l2feat.cli.paths import InputFile
from keras_l2feat.errors import InputError

__all__ = [
    "WIDEST",
    "Listed",
    "Number",
    "Widths",
    "data_option",
    "given_weights",
    "lam_option",
    "load_data",
    "load_source",
    "load_trained",
    "quiet_option",
    "scale_option",
    "seed_option",
    "source_argument",
    "weights_option",
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

WEIGHTS = f"{__name__}.weights"  # where `weights_option` leaves its value for `load_source`


def _keep_weights(context: click.Context, option: Any, value: str | None) -> None:
    context.meta[WEIGHTS] = value


weights_option = click.option(
    "--weights",
    type=InputFile(),
    metavar="FILE.h5",
    expose_value=False,
    callback=_keep_weights,
    help="Weights that belong to an architecture in JSON.",
)


def given_weights() -> str | None:
    """What `--weights` names in the running command."""
    return click.get_current_context().meta.get(WEIGHTS)


def source_argument(command: Any) -> Any:
    """`SOURCE`, with `weights_option`; see `load_source`."""
    named = click.argument("source", metavar="SOURCE", type=InputFile())
    return named(weights_option(command))


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
lam_option = click.option(
    "--lam",
    type=Number(0, min_open=True),
    metavar="X",
    help="Amount λ of the L2 penalty; by default the one the model carries.",
)


batch_size_option = whole(
    "--batch-size", "Number of points in memory at a time; gradients stay full batch."
)


SCALE = f"{__name__}.scale"  # where `scale_option` leaves its value for `load_data`


def _keep_scale(context, option, value):
    context.meta[SCALE] = value


scale_option = click.option(
    "--scale",
    metavar="X",
    expose_value=False,
    callback=_keep_scale,
    help="Multiply the inputs of the data by X, as in 1/255.  "
    "[default: 1, arrays are fed as they are; MNIST's pixels are divided by 255]",
)


def data_option(
    required: bool = False,
    text: str = "Data set: a name such as mnist-1k, or the path of an .npz file.",
) -> Callable:
    """`--data NAME|FILE.npz`, handed on as text, with `scale_option`; see `load_data`."""
    named = click.option(
        "--data", type=InputFile(), metavar="NAME|FILE.npz", required=required, help=text
    )
    return lambda command: named(scale_option(command))


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


def load_data(name: str | None) -> Any:
    """The data set behind `--data` and `--scale`, or `None` where none was given.

    What a model is fed decides what a result means, so it is printed (not with `--quiet`).
    """
    from keras_l2feat import data

    context = click.get_current_context()
    scale = context.meta.get(SCALE)
    if name is None:
        if scale is not None:
            raise InputError("Option '--scale' needs '--data'.")
        return None
    loaded = data.load(name, scale=scale)
    if not context.params.get("quiet"):
        click.echo(f"Data {loaded}.", err=context.params.get("json_path") == "-")
    return loaded


def load_source(source: str) -> Any:
    """The model that SOURCE names: `zoo:NAME`, `hf://OWNER/REPO`, or the path of a file or preset;
    that of an architecture in JSON goes with `--weights`."""
    context = click.get_current_context()
    weights = given_weights()
    names = [one.name for one in context.command.params if isinstance(one, click.Argument)]
    if weights and not any(str(context.params[name]).endswith(".json") for name in names):
        raise InputError("Option '--weights' goes with the JSON of an architecture alone.")
    if source.startswith(("zoo:", "hf://")):
        from keras_l2feat import zoo

        return zoo.load(source.removeprefix("zoo:"))
    from keras_l2feat.files import load_model

    return load_model(source, weights=weights if source.endswith(".json") else None)


def load_trained(source: str, data: Any, lam: float | None) -> tuple:
    """The dense network that SOURCE names, in array form, and the problem on the `data.Dataset`
    `data` that it was trained on: λ is `lam`, or by default the one the model carries.

    Raises:
        InputError: λ is not positive, the network does not fit the data, or its loss is no function
            of Z_L.
    """
    model = load_source(source)
    from keras_l2feat.network import DenseNetwork
    from keras_l2feat.objectives import Problem

    network, problem = DenseNetwork.from_model(model), Problem.of(model, data, lam)
    if not problem.lam > 0:
        raise InputError(f"Option '--lam X' is needed: {source!r} carries no L2 penalty.")
    data.check_widths(network.widths, f"the widths of {source!r}")
    return network, problem
