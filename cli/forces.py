"""`l2feat forces`: attraction and repulsion on the hidden representations of a trained network."""

import math

import click

from keras_l2feat.cli.options import (
    data_option,
    lam_option,
    load_data,
    load_trained,
    number,
    quiet_option,
    source_argument,
)
from keras_l2feat.cli.outputs import folder_option, json_option, write_json_result
from keras_l2feat.errors import InputError


@click.command(
    epilog="Example: l2feat forces zoo:mnist-789-42-wide --data mnist-789-42 -o forces",
    short_help="Draw attraction and repulsion on the hidden representations.",
)
@source_argument
@data_option(required=True)
@lam_option
@number(
    "--ridge",
    "Ridge of the layers' linear systems, relative to their size.",
    default=1e-4,
    min_open=True,
)
@number(
    "--angle",
    "Angle in radians up to which neurons count as one ray.",
    default=1e-2,
    max=math.pi / 2,
)
@folder_option("Folder for the pictures and the CSV file.")
@json_option
@quiet_option
def command(source, data, lam, ridge, angle, output, json_path, quiet):
    """Print how well attraction and repulsion balance in SOURCE, and draw them.

    SOURCE is a file of a model of Dense layers, or zoo:NAME. With -o, DIR receives forces.png,
    forces.svg and forces.csv: for each hidden layer the points (left, coloured by class) and the
    neurons (right) on two principal components, with attraction in green and repulsion in red;
    neurons on one ray share a dashed line. At a stationary point the two cancel.
    """
    data = load_data(data)
    network, problem = load_trained(source, data, lam)
    if network.depth < 2:
        raise InputError(f"The network of {source!r} has no hidden layer to look at.")
    from keras_l2feat.report.forces import measure, write

    picture = measure(network, problem, ridge=ridge, angle=angle)
    if output is not None:
        from keras_l2feat.files import output_folder

        write(picture, output_folder(output))
    write_json_result({"source": source, **data.facts, **picture.summary}, json_path)
    if not quiet and json_path != "-":
        click.echo(_table(picture.summary))
        if output is not None:
            click.echo(f"Written to {output}/: forces.png, forces.svg, forces.csv")


def _table(summary) -> str:
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
    return "\n".join(lines)
