"""`l2feat shrink`: a trained model made smaller while it trains on."""

import click

from keras_l2feat import files
from keras_l2feat.cli import inputs, options, outputs
from keras_l2feat.cli.paths import InputFile, OutputFile, OutputFolder
from keras_l2feat.errors import Interrupted


@click.command(
    epilog="Example: l2feat shrink model.keras --data data.npz --flops 0.5 --epochs 20 "
    "-o small.keras"
)
@inputs.source_argument
@outputs.output_option("Where to write the smaller model.", required=True)
@inputs.data_option(
    required=True, text="Train on this data set: a name such as mnist-1k, or an .npz."
)
@click.option("--units", metavar="50%", help="Share of the units that may stay.")
@click.option("--flops", metavar="50%", help="Share of the operations that may stay.")
@click.option("--parameters", metavar="50%", help="Share of the parameters that may stay.")
@click.option("--latency", metavar="50%", help="Share of the time of a call, measured here.")
@click.option("--loss", metavar="+1%", help="By which part the loss may rise on points held out.")
@click.option("--accuracy", metavar="-0.2%", help="By how much the accuracy may fall there.")
@click.option(
    "--validation",
    type=InputFile(),
    metavar="10%|NAME|FILE.npz",
    help="Points held out: a share of the training points, or the training points of another data "
    "set.  [default: 10%]",
)
@options.whole("--epochs", "Number of epochs of training, all rounds together.", default=20)
@options.whole("--rounds", "Number of rounds; by default each keeps about 70% of what there is.")
@click.option("--distill", is_flag=True, help="Learn from the outputs of SOURCE too.")
@options.choice(
    "--method",
    ["compiled", "lbfgs"],
    "Train with the model's own optimizer, or with L-BFGS on full batches (small networks).",
)
@options.number(
    "--rate",
    "Learning rate at the start of each round; by default the optimizer's.",
    min_open=True,
    metavar="X",
)
@options.whole("--batch-size", "Number of points in a batch.  [default: 128]")
@outputs.curve_option("Write what each round led to, as a table or a picture.")
@outputs.report_option("Write an HTML page about all rounds.")
@click.option(
    "--keep-rounds",
    type=OutputFolder(),
    metavar="DIR",
    help="Write the model of each round into DIR.",
)
@click.option(
    "--checkpoint",
    type=OutputFile(".npz"),
    metavar="FILE.npz",
    help="Keep the state after each epoch in FILE.npz.",
)
@click.option("--resume", is_flag=True, help="Go on from the checkpoint.")
@outputs.json_option
@options.seed_option
@options.quiet_option
def command(source, output, data, validation, curve_path, report_path, quiet, **options):
    """Make SOURCE smaller in rounds: what costs least goes, what stays takes over, and is trained
    on with the loss and the optimizer that SOURCE is compiled with.

    SOURCE is a .keras file, or zoo:NAME. Give one of --units, --flops, --parameters, --latency,
    --loss and --accuracy. Ctrl-C ends it; the last round that was done is written, and the exit
    code is 130. If no smaller network keeps the target, nothing is written and the exit code is 1.
    """
    model = inputs.load_source(source)
    data = inputs.load_data(data)
    from keras_l2feat.shrinking import shrink
    from keras_l2feat.shrinking.table import rows, table

    stopped = None
    try:
        small, done = shrink(
            model, data, validation=_validation(validation), quiet=quiet, **options
        )
    except Interrupted as stop:
        if stop.best is None:
            raise
        (small, done), stopped = stop.best, stop
    result = {**done.to_json(), "source": source, "output": output}
    with files.separately():  # also where it was interrupted
        files.save_model(small, output)
        if curve_path:
            from keras_l2feat.plots.tradeoff import write_tradeoff

            table_too = curve_path.endswith(".csv")
            write_tradeoff([r for r in rows(done) if table_too or r["kept"]], curve_path)
        if report_path:
            from keras_l2feat.report.shrinking import write_shrinking_page

            write_shrinking_page(report_path, result)
        outputs.tell(result, table(done), f"Written: {output}.")
    if stopped:
        raise Interrupted(f"{stopped} The smallest is in {output}.") from stopped


def _validation(text):
    """A share as a number, or what `data.load` takes."""
    if text is None:
        return None
    from keras_l2feat.errors import InputError
    from keras_l2feat.pruning.guarantees.targets import share

    try:
        return share("validation", text)
    except InputError:
        return inputs.load_data(text)
