"""`l2feat expand`: an equivalent wider model."""

import click

from keras_l2feat.cli.options import Widths, load_source, quiet_option, seed_option, source_argument
from keras_l2feat.cli.outputs import json_option, output_option, write_json_result
from keras_l2feat.errors import CheckFailed


@click.command(
    epilog="Example: l2feat expand zoo:mnist-1k-1pct-narrow --widths 50,50 -o wide.keras",
    short_help="Write an equivalent wider model by splitting neurons.",
)
@source_argument
@output_option("Where to write the wider model.", required=True)
@click.option(
    "--widths",
    type=Widths(),
    help="New widths of the layers that can be widened, from input to output.",
)
@click.option(
    "--factor",
    type=click.IntRange(1),
    help="Multiply every width by this number, instead of --widths.",
)
@json_option
@seed_option
@quiet_option
def command(source, output, widths, factor, json_path, seed, quiet):
    """Split neurons of SOURCE into aligned copies, so that more neurons compute the same function.

    This is the inverse of `prune`. Where neurons can be rescaled, the copies keep the balance and
    the norm of the weights.
    """
    model = load_source(source)

    from keras_l2feat.files import save_model
    from keras_l2feat.pruning.diff import diff
    from keras_l2feat.pruning.expand import expand
    from keras_l2feat.text import printable

    wide = expand(model, widths, factor=factor, seed=seed)
    result = diff(model, wide, seed=seed)
    if not result["equivalent"]:
        raise CheckFailed("the wider model differs by more than rounding explains.")
    save_model(wide, output)
    write_json_result({"source": source, "output": output, **result}, json_path)
    if not quiet and json_path != "-":
        for layer in result["layers"]:
            units = layer["units"]
            click.echo(printable(f"{layer['name']}: {units[0]} → {units[1]} units"))
        worst = max(e["max_rel"] for e in result["evaluations"])
        click.echo(f"Largest relative deviation {worst:.2g}. Written: {output}.")
