"""`l2feat symmetries`: count, follow and connect equivalent networks."""

import math

import click

from keras_l2feat.cli import inputs, options, outputs
from keras_l2feat.cli.paths import InputFile
from keras_l2feat.errors import CheckFailed, InputError


@click.group(epilog="Example: l2feat symmetries count --least 3 --width 6", no_args_is_help=True)
def command():
    """Count equivalent networks, draw wider ones, and find paths between two of them."""


@command.command(
    epilog="Example: l2feat symmetries count --least 3,3 --width 6,5",
    short_help="Count the subspaces of equivalent networks.",
)
@click.option(
    "--least",
    type=options.Widths(),
    required=True,
    help="Neurons of the smallest network, one number per hidden layer.",
)
@click.option(
    "--width",
    type=options.Widths(),
    required=True,
    help="Neurons of the wider one, one number per hidden layer.",
)
@click.option(
    "--list",
    "listed",
    is_flag=True,
    help="List every subspace (one hidden layer): the owner of each place.",
)
@outputs.json_option
@options.quiet_option
def count(least, width, listed, quiet):
    """Count the affine subspaces of wider networks that equal a smaller one, and the critical ones.

    T is the number of subspaces whose networks equal one irreducible network; G is the number of
    critical subspaces that replication makes of one critical point. The ratio compares the critical
    subspaces of all smaller widths with those of minima, if each width has one critical point.
    """
    from keras_l2feat.theory import symmetries

    ratio = symmetries.critical_to_minima(least, width)
    minima = symmetries.count_minima(least, width)
    critical = symmetries.count_critical(least, width)
    logarithm = math.log10(ratio.numerator) - math.log10(ratio.denominator) if ratio else None
    result = {
        "least": list(least),
        "width": list(width),
        "minima": str(minima),  # as text: JSON numbers end at 2^53
        "critical": str(critical),
        "log10_critical_to_minima": logarithm,
    }
    if listed:
        if len(least) > 1:
            raise InputError("Option '--list' takes one hidden layer.")
        if minima > 100_000:
            raise InputError(f"Option '--list' lists 100000 subspaces at most. There are {minima}.")
        result["owners"] = [owners.tolist() for owners in symmetries.expansions(least[0], width[0])]
    lines = [f"minima    T = {minima}", f"critical  G = {critical}"]
    if logarithm is not None:
        kinds = "critical subspaces", "minima"
        more = " outnumber ".join(kinds if logarithm > 0 else kinds[::-1])
        lines.append(f"all smaller widths: critical / minima = 10^{logarithm:.3g}, {more}")
    for owners in result.get("owners", ()):
        lines.append(" ".join(f"{owner}" if owner >= 0 else f"zero{-owner}" for owner in owners))
    outputs.tell(result, *lines)


@command.command(
    epilog="Example: l2feat symmetries expand zoo:bipartite-4-plateau --widths 9 "
    "--zero-types 2 -o wide.keras",
    short_help="Draw an equivalent wider network.",
)
@inputs.source_argument
@outputs.output_option("Where to write the wider model.", required=True)
@click.option("--widths", type=options.Widths(), required=True, help="New hidden widths.")
@options.choice(
    "--sharing",
    ["balanced", "fractions", "free"],
    "How copies share outgoing weights: so that the norm is kept; in fractions; or each entry in "
    "its own way.",
)
@options.whole(
    "--zero-types",
    "Number of new neurons per layer whose outgoing weights cancel.",
    default=0,
    least=0,
)
@outputs.json_option
@options.seed_option
@options.quiet_option
def expand(source, output, widths, sharing, zero_types, seed, quiet):
    """Draw an equivalent wider network of SOURCE from any part of the expansion manifold.

    `l2feat expand` widens any Keras graph by balanced copies; this one knows dense networks and all
    their kinds of equivalent ones. Outputs are compared in float64 before anything is written.
    """
    import numpy as np

    model = inputs.load_source(source)
    from keras_l2feat import regularizers
    from keras_l2feat.files import save_model
    from keras_l2feat.network import DenseNetwork
    from keras_l2feat.theory.manifold import widen

    narrow = DenseNetwork.from_model(model)
    wide = widen(narrow, widths, sharing=sharing, zero_types=zero_types, seed=seed)
    x = np.random.default_rng(seed).standard_normal((256, narrow.widths[0]))
    deviation = float(np.abs(wide(x) - narrow(x)).max() / max(np.abs(narrow(x)).max(), 1e-300))
    if not deviation < 1e-9:  # float64; cancelling zero types of size 1 leave some 1e-14
        raise CheckFailed(f"the wider network differs by {deviation:.2g}.")
    like = {"dtype": model.weights[0].dtype, "name": model.name}
    save_model(wide.to_model(lam=regularizers.amount(model), **like), output)
    result = {
        "source": source,
        "output": output,
        "widths": list(wide.hidden),
        "sharing": sharing,
        "zero_types": zero_types,
        "max_rel_deviation": deviation,
        "squared_norm": [narrow.squared_norm, wide.squared_norm],
    }
    outputs.tell(
        result,
        f"hidden widths {narrow.hidden} → {wide.hidden}, largest relative deviation "
        f"{deviation:.2g} (float64)",
        f"squared norm {narrow.squared_norm:.6g} → {wide.squared_norm:.6g}. Written: {output}.",
    )


@command.command(
    epilog="Example: l2feat symmetries connect a.keras b.keras --data teacher --lam 1e-3 -o paths",
    short_help="Find paths of low loss between two networks.",
)
@click.argument("first", metavar="A", type=InputFile())
@click.argument("second", metavar="B", type=InputFile())
@inputs.data_option(required=True)
@click.option(
    "--lam",
    type=options.Number(0),
    metavar="X",
    help="Amount λ of the L2 penalty; by default what A carries.",
)
@outputs.folder_option("Write the plot, a CSV of the loss and the waypoints of the best path.")
@outputs.json_option
@options.seed_option
@options.quiet_option
def connect(first, second, data, lam, output, seed, quiet):
    """Connect two trained networks A and B (dense, of equal widths) by paths of low loss.

    If B is a permutation of A, the path moves one neuron after the other through one free place in
    each layer, at constant loss. Otherwise four paths are compared: the straight line, the line
    after neurons are matched, a bent path, and one through the union of both networks, at the sum
    of their widths.
    """
    data = inputs.load_data(data)
    models = [inputs.load_source(name) for name in (first, second)]
    if lam is None:
        from keras_l2feat import regularizers

        lam = regularizers.amount(models[0])
    from keras_l2feat.network import DenseNetwork
    from keras_l2feat.objectives import Problem
    from keras_l2feat.theory.connect import connect as connected

    a, b = (DenseNetwork.from_model(model) for model in models)
    data.check_widths(a.widths, f"the widths of {first!r}")
    problem = Problem.of(a, data, lam)
    connection = connected(a, b, problem, seed=seed, quiet=quiet)
    rows = []
    for name, (t, losses, norms, deviation) in connection.profiles.items():
        names = ("t", "loss", "squared_norm", "deviation")
        for numbers in zip(t / t[-1], losses, norms, deviation):
            rows.append({"path": name, **dict(zip(names, map(float, numbers)))})
    result = {
        "a": first,
        "b": second,
        **data.facts,
        "lam": lam,
        "permutation": connection.permutation,
        "best": connection.best,
        "barriers": connection.barriers,
        "losses": [float(connection.profiles["straight"][1][end]) for end in (0, -1)],
        "max_deviation": float(connection.profiles[connection.best][3].max()),
    }
    if output is not None:
        from keras_l2feat.files import output_folder

        _write(output_folder(output), connection, rows)
    lines = [
        "B is a permutation of A." if connection.permutation else "B is no permutation of A.",
        f"loss of A {result['losses'][0]:.8g}, of B {result['losses'][1]:.8g}",
    ]
    for name, height in sorted(connection.barriers.items(), key=lambda item: item[1]):
        pieces = len(connection.paths[name].pieces)
        lines.append(f"{name:>9}: barrier {height:.3g}, {pieces} piece{'s' * (pieces > 1)}")
    if connection.permutation:
        lines.append(f"outputs along the moves change by {result['max_deviation']:.2g} at most")
    outputs.tell(result, *lines)


def _write(out, connection, rows):
    """The plot, the CSV, and the waypoints of the best path as arrays `waypoint_k_layer_l`."""
    import numpy as np

    from keras_l2feat.experiments.claims import write_csv
    from keras_l2feat.files import atomic_path
    from keras_l2feat.plots.style import canvas, save

    write_csv(rows, out / "paths.csv")
    arrays = {
        f"waypoint_{k}_layer_{layer}": weight
        for k, network in enumerate(connection.paths[connection.best].waypoints)
        for layer, weight in enumerate(network.weights, start=1)
    }
    with atomic_path(out / "waypoints.npz") as temporary:
        np.savez(temporary, **arrays)
    with canvas(width=5.5) as (drawing, axis):
        for name, (t, losses, _, _) in connection.profiles.items():
            axis.plot(t / t[-1], losses, label=f"{name}, barrier {connection.barriers[name]:.2g}")
        axis.set(xlabel="along the path", ylabel="loss with the λ term", yscale="log")
        axis.legend(fontsize=8)
        save(drawing, out / "paths.png")
