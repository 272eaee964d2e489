"""`l2feat expand`: an equivalent wider model."""

import click

from keras_l2feat.cli import inputs, options, outputs
from keras_l2feat.errors import CheckFailed


@click.command(
    epilog="Example: l2feat expand zoo:mnist-1k-1pct-narrow --widths 50,50 -o wide.keras"
)
@inputs.source_argument
@outputs.output_option("Where to write the wider model.", required=True)
@click.option(
    "--widths",
    type=options.Widths(),
    help="New widths of the layers that can be widened, from input to output.",
)
@click.option(
    "--factor",
    type=click.IntRange(1),
    help="Multiply every width by this number, instead of --widths.",
)
@outputs.json_option
@options.seed_option
@options.quiet_option
def command(source, output, widths, factor, seed, quiet):
    """Split neurons of SOURCE into aligned copies, so that more neurons compute the same function.

    This is the inverse of `prune`. Where neurons can be rescaled, the copies keep the balance and
    the norm of the weights.
    """
    model = inputs.load_source(source)

    from keras_l2feat.files import save_model
    from keras_l2feat.pruning.diff import diff
    from keras_l2feat.pruning.expand import expand
    from keras_l2feat.text import printable

    wide = expand(model, widths, factor=factor, seed=seed)
    result = diff(model, wide, seed=seed)
    if not result["equivalent"]:
        raise CheckFailed("the wider model differs by more than rounding explains.")
    save_model(wide, output)
    widths = [(layer["name"], *layer["units"]) for layer in result["layers"]]
    worst = max(e["max_rel"] for e in result["evaluations"])
    outputs.tell(
        {"source": source, "output": output, **result},
        *(printable(f"{name}: {before} → {after} units") for name, before, after in widths),
        f"Largest relative deviation {worst:.2g}. Written: {output}.",
    )
