"""`l2feat inspect`: rays, angles, balance, and what would go."""

import click

from keras_l2feat.cli import inputs, options, outputs

SHOWN = {"0.001": "rays .001", "0.1": "rays .1"}  # of the angles in JSON, those in the table


@click.command(epilog="Example: l2feat inspect zoo:mnist-1k-1pct-wide")
@inputs.source_argument
@outputs.json_option
@options.quiet_option
def command(source, quiet):
    """Show, for each layer of SOURCE, how many rays its neurons lie on and which of them are
    redundant.

    SOURCE is a file of a model (.keras, .h5, or .json with --weights) or zoo:NAME.

    \b
    alive      neurons with weights on both sides
    rays A     groups of neurons whose incoming weights, bias included, lie
               within A radians of each other
    angle      the smallest between two neurons, in radians
    imbalance  the largest factor between the norms of a neuron's incoming
               and outgoing weights; 1 after training with L2
    would go   neurons that are redundant for every input, and why
    """
    model = inputs.load_source(source)

    from keras_l2feat.pruning.advice import advice
    from keras_l2feat.pruning.inspect import inspect
    from keras_l2feat.text import columns, printable

    seen = inspect(model, quiet=quiet)
    told = advice(model, source, seen=seen, weights=inputs.given_weights())
    result = {"source": source, **seen, "advice": told}
    rows = [("layer", "units", "alive", *SHOWN.values(), "angle", "imbalance", "would go")]
    for layer in result["layers"]:
        angle, apart = layer["smallest_angle"], layer["imbalance"]
        counts = layer["units"], layer["alive"], *(layer["rays"][key] for key in SHOWN)
        angle = "" if angle is None else f"{angle:.2g}"
        apart = "" if apart is None else f"{apart:.3g}"
        gone = ", ".join(f"{count} {reason}" for reason, count in layer["would_go"].items())
        rows.append((layer["name"], *counts, angle, apart, gone or "–"))
    lines = columns(rows, left=(0, len(rows[0]) - 1))
    for name, reason in result["barriers"].items():
        lines.append(printable(f"Left alone around {name}: {reason}."))
    if result["advice"]:
        lines += ["", *result["advice"]]
    outputs.tell(result, *lines)
