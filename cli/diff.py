"""`l2feat diff`: are two models equivalent, and where do they differ?"""

import click

from keras_l2feat import files
from keras_l2feat.cli import inputs, options, outputs
from keras_l2feat.cli.paths import InputFile
from keras_l2feat.errors import CheckFailed, InputError


@click.command(epilog="Example: l2feat diff zoo:mnist-1k-1pct-wide small.keras --data mnist-1k")
@click.argument("first", metavar="A", type=InputFile())
@click.argument("second", metavar="B", type=InputFile())
@inputs.weights_option
@inputs.data_option(
    text="Compare them on this data set too: a name such as mnist-1k, or an .npz file."
)
@click.option(
    "--tolerance-of",
    metavar="float32,bfloat16",
    help="Say too how large a difference on --data rounding alone explains where A and B "
    "compute in these precisions.",
)
@outputs.json_option
@options.seed_option
@options.quiet_option
def command(first, second, data, tolerance_of, seed, quiet):
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
    models = inputs.load_source(first), inputs.load_source(second)
    data = inputs.load_data(data)

    import numpy as np

    from keras_l2feat.pruning.diff import diff
    from keras_l2feat.pruning.pipeline import named_inputs

    result = diff(*models, named_inputs(models[0], data), seed=seed)
    if precisions:
        from keras_l2feat.pruning.rounding import tolerance

        bound = tolerance(*models, data, precisions)
        found = {"largest": float(bound.max()), "median": float(np.median(bound))}
        result["tolerance"] = {"precisions": precisions, **found}
    facts = {} if data is None else data.facts
    with files.separately():  # the answer, whatever it is
        outputs.tell({"sources": [first, second], **facts, **result}, *_table(result))
    if not result["equivalent"]:
        raise CheckFailed("the models differ by more than rounding explains.")


def _table(result):
    from keras_l2feat.text import columns

    rows = [("layer", "A", "B", "largest weight difference")]
    for layer in result["layers"]:
        units = ["–" if n is None else n for n in layer["units"]]
        gap = layer["max_weight_difference"]
        rows.append((layer["name"], *units, "other shape" if gap is None else f"{gap:.2g}"))
    rows.append(("parameters", *result["parameters"], ""))
    checks = [("compared on", "max |Δ|", "relative", "bound", "predictions changed")]
    for e in result["evaluations"]:
        numbers = (f"{e[key]:.2g}" for key in ("max_abs", "max_rel", "bound"))
        checks.append((f"{e['inputs']} ({e['count']})", *numbers, e["changed"]))
    lines = [*columns(rows, left=(0, 3)), "", *columns(checks)]
    if "tolerance" in result:
        found = result["tolerance"]
        lines.append(
            f"\nRounding alone explains differences up to {found['largest']:.2g} (median "
            f"{found['median']:.2g}) between {' and '.join(found['precisions'])}, in any order of "
            "sums."
        )
    return [*lines, "\nEquivalent." if result["equivalent"] else "\nNot equivalent."]
