"""Options and arguments that say what a command reads, and where their values lead."""

from collections.abc import Callable
from typing import Any

import click

from keras_l2feat.cli.options import Number
from keras_l2feat.cli.outputs import json_on_stdout
from keras_l2feat.cli.paths import InputFile, kept_in_context
from keras_l2feat.errors import InputError

__all__ = [
    "data_option",
    "given_weights",
    "lam_option",
    "load_data",
    "load_source",
    "load_trained",
    "scale_option",
    "source_argument",
    "weights_option",
]

WEIGHTS = f"{__name__}.weights"  # where `weights_option` leaves its value for `load_source`

weights_option = click.option(
    "--weights",
    type=InputFile(),
    metavar="FILE.h5",
    help="Weights that belong to an architecture in JSON.",
    **kept_in_context(WEIGHTS),
)


def given_weights() -> str | None:
    """What `--weights` names in the running command."""
    return click.get_current_context().meta.get(WEIGHTS)


def source_argument(command: Any) -> Any:
    """`SOURCE`, with `weights_option`; see `load_source`."""
    named = click.argument("source", metavar="SOURCE", type=InputFile())
    return named(weights_option(command))


lam_option = click.option(
    "--lam",
    type=Number(0, min_open=True),
    metavar="X",
    help="Amount λ of the L2 penalty; by default the one the model carries.",
)


SCALE = f"{__name__}.scale"  # where `scale_option` leaves its value for `load_data`

scale_option = click.option(
    "--scale",
    metavar="X",
    help="Multiply the inputs of the data by X, as in 1/255.  "
    "[default: 1, arrays are fed as they are; MNIST's pixels are divided by 255]",
    **kept_in_context(SCALE),
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
        click.echo(f"Data {loaded}.", err=json_on_stdout())
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
