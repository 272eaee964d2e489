"""`l2feat certify`: could one more neuron lower the loss of a trained network?"""

import click

from keras_l2feat.cli import inputs, options, outputs


@click.command(epilog="Example: l2feat certify zoo:mnist-1k-1pct-narrow --data mnist-1k --lam 1e-3")
@inputs.source_argument
@inputs.data_option(required=True)
@inputs.lam_option
@options.whole("--starts", "Number of random starts of the search.", default=200)
@options.choice(
    "--method",
    ["auto", "enumerate", "search"],
    "Enumerate all sign patterns (few points or few inputs), or search.",
)
@outputs.json_option
@options.seed_option
@options.quiet_option
def command(source, data, lam, starts, method, seed, quiet):
    """Print, for every hidden layer of SOURCE, by how much the pull of the best new neuron exceeds
    the price of its norm.

    SOURCE is a file of a model of Dense layers, or zoo:NAME. A gap of 0 says that no neuron that
    could be added lowers the loss: the layer is wide enough. With one hidden layer the network is
    then a global minimum over all widths, and the command prints a lower bound on what any width
    can reach.
    """
    data = inputs.load_data(data)
    network, problem = inputs.load_trained(source, data, lam)
    from keras_l2feat.plateau.insertion import certify

    certificate = certify(network, problem, starts=starts, method=method, seed=seed)
    outputs.tell({"source": source, **data.facts, **certificate.as_dict()}, *_table(certificate))


def _table(certificate) -> list[str]:
    lines = [
        f"loss {certificate.loss:.8g} = {certificate.cost:.8g} + {certificate.lam:g} * "
        "squared norm",
        "",
        f"{'layer':>5} {'width':>6} {'gap':>10}  {'maximum':<10} live neurons (1 at a minimum)",
    ]
    for layer in certificate.layers:
        how = "enumerated" if layer.enumerated else "searched"
        live = f"{layer.live[0]:.4f} to {layer.live[1]:.4f}"
        lines.append(
            f"{layer.layer:>5} {layer.width:>6} {100 * layer.gap:>8.3g} %  {how:<10} {live}"
        )
    if certificate.lower_bound is not None:
        kind = "any width reaches at least"
        if not certificate.enumerated:
            kind = "as far as the search sees, any width reaches"
        lines += [
            "",
            f"{kind} {certificate.lower_bound:.8g}; above it by "
            f"{100 * certificate.relative_gap:.3g} %",
        ]
    return lines
