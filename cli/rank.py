"""`l2feat rank`: how many neurons does a trained layer need?"""

import click

from keras_l2feat.cli.options import (
    data_option,
    load_data,
    load_source,
    number,
    quiet_option,
    source_argument,
)
from keras_l2feat.cli.outputs import json_option, write_json_result
from keras_l2feat.errors import InputError


@click.command(
    epilog="Example: l2feat rank zoo:bipartite-4-wide --data bipartite:n=4",
    short_help="Bound the number of neurons that a trained layer needs.",
)
@source_argument
@data_option(required=True)
@number(
    "--tolerance",
    "Angle in radians up to which neurons are one ray; also the threshold of linear dependence.",
    default=1e-6,
    max=0.5,
    min_open=True,
)
@json_option
@quiet_option
def command(source, data, tolerance, json_path, quiet):
    """Bound, for every hidden layer of SOURCE, the least number of neurons with the same two
    covariances on the data.

    The lower bounds are the ranks of K and of K^σ, and the size of a set of entries of K^σ of which
    one neuron covers at most one. The upper bounds are the number of rays, what Carathéodory's
    reduction leaves, and N(N + 1). SOURCE is a .keras file of Dense layers, or zoo:NAME.
    """
    data = load_data(data)
    model = load_source(source)
    from keras_l2feat.network import DenseNetwork
    from keras_l2feat.text import columns
    from keras_l2feat.theory.ranks import rank_report

    network = DenseNetwork.from_model(model)
    if network.widths[0] != data.x_train.shape[1]:
        raise InputError(
            f"Data set {data.name!r} has {data.x_train.shape[1]} inputs; {source!r} takes "
            f"{network.widths[0]}."
        )
    report = rank_report(network, data.x_train, tolerance=tolerance)
    layers = [bounds.as_dict() for bounds in report]
    write_json_result(
        {
            "source": source,
            **data.facts,
            "points": len(data.x_train),
            "tolerance": tolerance,
            "layers": layers,
        },
        json_path,
    )
    if quiet or json_path == "-":
        return
    header = (
        "layer",
        "units",
        "alive",
        "rank K",
        "rank K^σ",
        "fooling",
        "rays",
        "Carathéodory",
        "N(N+1)",
        "needed",
    )
    keys = (
        "units",
        "alive",
        "rank_k",
        "rank_k_sigma",
        "fooling",
        "rays",
        "caratheodory",
        "theoretical",
    )
    rows = [header]
    for bounds in layers:
        low, high = bounds["lower"], bounds["upper"]
        needed = str(low) if low == high else f"{low} to {high}"
        rows.append(
            (
                bounds["layer"],
                *("–" if bounds[key] is None else str(bounds[key]) for key in keys),
                needed,
            )
        )
    click.echo("\n".join(columns(rows, left=(0, len(header) - 1))))
