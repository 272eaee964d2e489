"""`l2feat rank`: how many neurons does a trained layer need?"""

import click

from keras_l2feat.cli import inputs, options, outputs
from keras_l2feat.errors import InputError

COLUMNS = {  # title → key in the result
    "layer": "layer",
    "units": "units",
    "alive": "alive",
    "rank K": "rank_k",
    "rank K^σ": "rank_k_sigma",
    "fooling": "fooling",
    "rays": "rays",
    "Carathéodory": "caratheodory",
    "N(N+1)": "theoretical",
}


@click.command(epilog="Example: l2feat rank zoo:bipartite-4-wide --data bipartite:n=4")
@inputs.source_argument
@inputs.data_option(required=True)
@options.number(
    "--tolerance",
    "Angle in radians up to which neurons are one ray; also the threshold of linear dependence.",
    default=1e-6,
    max=0.5,
    min_open=True,
)
@outputs.json_option
@options.quiet_option
def command(source, data, tolerance, quiet):
    """Bound, for every hidden layer of SOURCE, the least number of neurons with the same two
    covariances on the data.

    The lower bounds are the ranks of K and of K^σ, and the size of a set of entries of K^σ of which
    one neuron covers at most one. The upper bounds are the number of rays, what Carathéodory's
    reduction leaves, and N(N + 1). SOURCE is a .keras file of Dense layers, or zoo:NAME.
    """
    data = inputs.load_data(data)
    model = inputs.load_source(source)
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
    rows = [(*COLUMNS, "needed")]
    for bounds in layers:
        low, high = bounds["lower"], bounds["upper"]
        needed = low if low == high else f"{low} to {high}"
        cells = (bounds[key] for key in COLUMNS.values())
        rows.append((*("–" if cell is None else cell for cell in cells), needed))
    result = {"source": source, **data.facts, "points": len(data.x_train)}
    result |= {"tolerance": tolerance, "layers": layers}
    outputs.tell(result, *columns(rows, left=(0, len(COLUMNS))))
