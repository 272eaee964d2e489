"""`l2feat forces`: attraction and repulsion on the hidden representations of a trained network."""

import math

import click

from keras_l2feat.cli import inputs, options, outputs
from keras_l2feat.errors import InputError


@click.command(epilog="Example: l2feat forces zoo:mnist-789-42-wide --data mnist-789-42 -o forces")
@inputs.source_argument
@inputs.data_option(required=True)
@inputs.lam_option
@options.number(
    "--ridge",
    "Ridge of the layers' linear systems, relative to their size.",
    default=1e-4,
    min_open=True,
)
@options.number(
    "--angle",
    "Angle in radians up to which neurons count as one ray.",
    default=1e-2,
    max=math.pi / 2,
)
@outputs.folder_option("Folder for the pictures and the CSV file.")
@outputs.json_option
@options.quiet_option
def command(source, data, lam, ridge, angle, output, quiet):
    """Print how well attraction and repulsion balance in SOURCE, and draw them.

    SOURCE is a file of a model of Dense layers, or zoo:NAME. With -o, DIR receives forces.png,
    forces.svg and forces.csv: for each hidden layer the points (left, coloured by class) and the
    neurons (right) on two principal components, with attraction in green and repulsion in red;
    neurons on one ray share a dashed line. At a stationary point the two cancel.
    """
    data = inputs.load_data(data)
    network, problem = inputs.load_trained(source, data, lam)
    if network.depth < 2:
        raise InputError(f"The network of {source!r} has no hidden layer to look at.")
    from keras_l2feat.report.forces import measure, write

    picture = measure(network, problem, ridge=ridge, angle=angle)
    lines = _table(picture.summary)
    if output is not None:
        from keras_l2feat.files import output_folder

        write(picture, output_folder(output))
        lines.append(f"Written to {output}/: forces.png, forces.svg, forces.csv")
    outputs.tell({"source": source, **data.facts, **picture.summary}, *lines)


def _table(summary) -> list[str]:
    lines = [
        f"{'layer':>6} {'width':>6} {'rays':>5} {'attraction':>11} {'repulsion':>10} "
        f"{'|sum|/max':>10}  balance"
    ]
    for layer in summary["layers"]:
        low, high = layer["balance"]
        lines.append(
            f"{layer['layer']:>6} {layer['width']:>6} {layer['rays']:>5} "
            f"{layer['attraction']:>11.4g} {layer['repulsion']:>10.4g} "
            f"{layer['stationarity']:>10.2g}  {low:.4f} to {high:.4f}"
        )
    lines.append(
        f"output: |dC + lam * attraction| / max = {summary['output_stationarity']:.2g}; 0 at "
        "a minimum"
    )
    return lines
