"""`l2feat diff`: are two models equivalent, and where do they differ?"""

import click

from keras_l2feat import files
from keras_l2feat.cli.options import (
    data_option,
    load_data,
    load_source,
    quiet_option,
    seed_option,
    weights_option,
)
from keras_l2feat.cli.outputs import json_option, write_json_result
from keras_l2feat.cli.paths import InputFile
from keras_l2feat.errors import CheckFailed, InputError


@click.command(
    epilog="Example: l2feat diff zoo:mnist-1k-1pct-wide small.keras --data mnist-1k",
    short_help="Compare two models.",
)
@click.argument("first", metavar="A", type=InputFile())
@click.argument("second", metavar="B", type=InputFile())
@weights_option
@data_option(text="Compare them on this data set too: a name such as mnist-1k, or an .npz file.")
@click.option(
    "--tolerance-of",
    metavar="float32,bfloat16",
    help="Say too how large a difference on --data rounding alone explains where A and B "
    "compute in these precisions.",
)
@json_option
@seed_option
@quiet_option
def command(first, second, data, tolerance_of, json_path, seed, quiet):
    """Compare the outputs of two models in float64. A and B are files of models (.keras,
    .h5, or .json with --weights) or zoo:NAME.

    They are called equivalent if every difference is one that rounding the stored weights explains.
    The exit code is 0 if they are, 1 if they differ.
    """
    precisions = tolerance_of.split(",") if tolerance_of else None
    if precisions and (data is None or len(precisions) != 2):
        raise InputError(
            "Option '--tolerance-of' takes two precisions, as in float32,bfloat16, and needs "
            f"'--data'. Received: {tolerance_of!r}."
        )
    models = load_source(first), load_source(second)
    data = load_data(data)

    import numpy as np

    from keras_l2feat.pruning.diff import diff
    from keras_l2feat.pruning.pipeline import named_inputs
    from keras_l2feat.text import columns

    result = diff(*models, named_inputs(models[0], data), seed=seed)
    if precisions:
        from keras_l2feat.pruning.rounding import tolerance

        bound = tolerance(*models, data, precisions)
        result["tolerance"] = {
            "precisions": precisions,
            "largest": float(bound.max()),
            "median": float(np.median(bound)),
        }
    facts = {} if data is None else data.facts
    with files.separately():  # the answer, whatever it is
        write_json_result({"sources": [first, second], **facts, **result}, json_path)
    if not quiet and json_path != "-":
        rows = [("layer", "A", "B", "largest weight difference")]
        for layer in result["layers"]:
            units = ["–" if n is None else str(n) for n in layer["units"]]
            gap = layer["max_weight_difference"]
            rows.append((layer["name"], *units, "other shape" if gap is None else f"{gap:.2g}"))
        rows.append(("parameters", *map(str, result["parameters"]), ""))
        click.echo("\n".join(columns(rows, left=(0, 3))))
        click.echo()
        checks = [("compared on", "max |Δ|", "relative", "bound", "predictions changed")]
        for e in result["evaluations"]:
            checks.append(
                (
                    f"{e['inputs']} ({e['count']})",
                    *(f"{e[key]:.2g}" for key in ("max_abs", "max_rel", "bound")),
                    str(e["changed"]),
                )
            )
        click.echo("\n".join(columns(checks)))
        if precisions:
            found = result["tolerance"]
            click.echo(
                f"\nRounding alone explains differences up to {found['largest']:.2g} (median "
                f"{found['median']:.2g}) between {' and '.join(precisions)}, in any order of sums."
            )
        click.echo("\nEquivalent." if result["equivalent"] else "\nNot equivalent.")
    if not result["equivalent"]:
        raise CheckFailed("the models differ by more than rounding explains.")
