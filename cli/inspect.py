"""`l2feat inspect`: rays, angles, balance, and what would go."""

import click

from keras_l2feat.cli.options import (
    json_option,
    load_source,
    quiet_option,
    source_argument,
    write_json_result,
)


@click.command(
    epilog="Example: l2feat inspect zoo:mnist-1k-wide",
    short_help="Show rays, angles and balance of a model's layers.",
)
@source_argument
@json_option
@quiet_option
def command(source, json_path, quiet):
    """Show, for each layer of SOURCE, how many rays its neurons lie on and which of them are
    redundant.

    rays: groups of neurons whose incoming weights (bias included) lie within so many radians of
    each other. imbalance: how far the norms of incoming and outgoing weights are apart, as a
    factor. SOURCE is a .keras file or zoo:NAME.
    """
    model = load_source(source)

    from keras_l2feat.pruning.inspect import ANGLES, inspect
    from keras_l2feat.pruning.table import columns

    result = {"source": source, **inspect(model, quiet=quiet)}
    write_json_result(result, json_path)
    if quiet or json_path == "-":
        return
    rows = [
        (
            "layer",
            "units",
            "alive",
            *(f"rays {a:g}" for a in ANGLES),
            "smallest angle",
            "imbalance",
            "would go",
        )
    ]
    for layer in result["layers"]:
        angle, apart = layer["smallest_angle"], layer["imbalance"]
        rows.append(
            (
                layer["name"],
                str(layer["units"]),
                str(layer["alive"]),
                *(str(layer["rays"][f"{a:g}"]) for a in ANGLES),
                "" if angle is None else f"{angle:.2g}",
                "" if apart is None else f"{2.718281828459045**apart:.3g}",
                ", ".join(f"{count} {reason}" for reason, count in layer["would_go"].items())
                or "–",
            )
        )
    click.echo("\n".join(columns(rows, left=(0, len(rows[0]) - 1))))
    for name, reason in result["barriers"].items():
        click.echo(f"Left alone around {name}: {reason}.")
