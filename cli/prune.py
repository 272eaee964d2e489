"""`l2feat prune`: an equivalent smaller model, with its certificate."""

from pathlib import Path

import click

from keras_l2feat import files
from keras_l2feat.cli import inputs, options, outputs
from keras_l2feat.cli.paths import InputFile
from keras_l2feat.errors import InputError

EXPORTS = {"onnx": ".onnx", "saved_model": "", "tflite": ".tflite"}  # suffix by format
BESIDE = ("certificate", "plan", "report", "rays", "curve")  # outputs that are no model
TARGETS = (
    *("tolerance", "relative_tolerance", "agree", "keep_accuracy", "keep_loss"),
    *("units", "flops", "parameters"),
)


class Range(InputFile):
    """`0,1`: the least and the largest value of an input; or an `.npz` with `low` and `high`, by
    feature."""

    name = "range"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        if value.endswith(".npz"):
            super().convert(value, param, ctx)
            from keras_l2feat.archive.arrays import read_arrays

            try:
                arrays, _ = read_arrays(value)
            except (OSError, InputError) as error:
                self.fail(f"{value!r} cannot be read: {getattr(error, 'strerror', error)}.")
            if not {"low", "high"} <= set(arrays):
                self.fail(f"an .npz with arrays 'low' and 'high' is expected. Received: {value!r}")
            return arrays["low"], arrays["high"]
        try:
            low, high = (float(part) for part in value.split(","))
        except ValueError:
            self.fail(
                f"two numbers with a comma between are expected, as in 0,1. Received: {value!r}"
            )
        if not low <= high:
            self.fail(f"the lower bound first is expected. Received: {value!r}")
        return low, high


def _gone(context, option, value):
    from keras_l2feat.pruning.options import GONE

    if value:
        hint = GONE[option.name].replace("`", "")
        raise click.NoSuchOption("--polish", f"No such option: --polish.{hint}", ctx=context)


@click.command(epilog="Example: l2feat prune zoo:mnist-1k-1pct-wide --data mnist-1k -o small.keras")
@inputs.source_argument
@outputs.output_option("Where to write the pruned model.")
@inputs.data_option(
    text="Compare the models on this data set too: a name such as mnist-1k, or an .npz file."
)
@options.choice(
    "--guarantee",
    ["exact", "domain", "data", "bounded"],
    "What has to stay: outputs for every input, for inputs in --input-range, on --data, "
    "or up to --tolerance.",
)
@click.option(
    "--input-range",
    type=Range(),
    metavar="LOW,HIGH|FILE.npz",
    help="Least and largest value of the inputs, for the guarantee domain.",
)
@options.number(
    "--tolerance", "Largest change of any output, for bounded.", min_open=True, metavar="T"
)
@click.option(
    "--relative-tolerance",
    metavar="0.1%",
    help="Largest change of any output over the largest one, for bounded.",
)
@click.option("--agree", metavar="99.9%", help="Share of the predictions to stay, for bounded.")
@click.option("--units", metavar="50%", help="Share of the units that may stay, for bounded.")
@click.option("--flops", metavar="50%", help="Share of the operations that may stay, for bounded.")
@click.option(
    "--parameters", metavar="50%", help="Share of the parameters that may stay, for bounded."
)
@click.option(
    "--per",
    type=click.Choice(["units", "flops", "parameters"]),
    help="Size by which the cost of a removal is divided, for bounded.",
)
@click.option(
    "--test-data",
    type=InputFile(),
    metavar="NAME|FILE.npz",
    help="Measure on this data set in the end, for bounded; by default the test points of --data.",
)
@click.option(
    "--gaussian", is_flag=True, help="Without data: take inputs to be standard normal, for bounded."
)
@outputs.curve_option("Write the accuracy at every size, for bounded.")
@click.option("--keep-loss", metavar="0.1%", help="Largest relative rise of the loss, for bounded.")
@click.option(
    "--keep-accuracy",
    metavar="[0.1%]",
    is_flag=False,
    flag_value="0",
    help="Largest fall of the accuracy, for bounded; without a value, none.",
)
@click.option("--polish", is_flag=True, hidden=True, expose_value=False, callback=_gone)
@click.option("--dry-run", is_flag=True, help="Show what would go, write no model.")
@outputs.file_option(
    "--certificate",
    "FILE.json",
    "Write what l2feat check needs to show the same again, for exact and domain.",
)
@outputs.file_option("--plan", "FILE.json", "Write what was removed as a plan.")
@click.option(
    "--apply-plan",
    type=InputFile(),
    metavar="FILE.json",
    help="Carry out a plan instead of looking for one.",
)
@click.option(
    "--filter",
    "--filters",
    "filters",
    multiple=True,
    metavar="REGEX",
    help="Take units only from layers whose name matches; may be given several times.",
)
@click.option("--no-balance", is_flag=True, help="Leave the scale of the remaining units as it is.")
@outputs.report_option("Write an HTML page about what was removed.")
@outputs.file_option(
    "--rays",
    "FILE.png",
    "Write a picture of the neurons' rays before and after.",
    *(".png", ".svg", ".pdf"),
)
@click.option(
    "--export",
    "export_format",
    type=click.Choice(list(EXPORTS)),
    help="Write the pruned model in this format too, beside OUT.keras.",
)
@click.option(
    "--plain",
    "plainly",
    is_flag=True,
    help="Write the model in Keras' own layers, to load without this package: an amount of bias β "
    "goes into the bias, and λ/β² is its penalty. |x| as an activation stays.",
)
@click.option("--no-latency", is_flag=True, help="Do not time the models.")
@outputs.json_option
@options.seed_option
@options.quiet_option
def command(
    source,
    output,
    data,
    guarantee,
    dry_run,
    apply_plan,
    filters,
    no_balance,
    export_format,
    plainly,
    no_latency,
    seed,
    quiet,
    test_data,
    **others,
):
    """Find the neurons of SOURCE that are not needed, and write an equivalent smaller model.

    SOURCE is a file of a model (.keras, .h5, or .json with --weights) or zoo:NAME. Without -o
    nothing is written. If the smaller model deviates by more than the guarantee allows, nothing is
    written and the exit code is 1.
    """
    exported = _beside(output, export_format, dry_run)
    paths = {name: others.pop(f"{name}_path") for name in BESIDE}
    options = {name: value for name, value in others.items() if value not in (None, False)}
    _check_level(guarantee, data, options, paths["curve"])
    if paths["certificate"] and guarantee not in ("exact", "domain"):
        raise InputError("Option '--certificate' belongs to the guarantees 'exact' and 'domain'.")
    if apply_plan and paths["curve"]:
        raise InputError("Option '--curve' looks for other sizes, which '--apply-plan' does not.")
    model = inputs.load_source(source)
    data = inputs.load_data(data)
    if test_data:
        options["test_data"] = inputs.load_data(test_data)
    on_data = guarantee == "bounded" and (data is not None or "gaussian" in options)
    if paths["curve"] or (paths["report"] and on_data):
        options["curve"] = True
    from keras_l2feat.pruning import load_plans, plain, prune
    from keras_l2feat.pruning.advice import advice
    from keras_l2feat.pruning.table import table

    plans = load_plans(apply_plan) if apply_plan else None
    pruned, certificate = prune(
        model,
        guarantee,
        data,
        plans=plans,
        filters=filters or None,
        balance=not no_balance,
        seed=seed,
        quiet=quiet,
        **options,
    )
    _measure(model, pruned, certificate, seed, latency=not no_latency)
    written = None if dry_run else output
    if written:
        from keras_l2feat.files import save_model

        save_model(plain(pruned) if plainly else pruned, written)
    gone = sum(len(plan.removed) for plan in certificate.plans)
    told = {"data": data, "guarantee": guarantee, "weights": inputs.given_weights()}
    hints = advice(model, source, removed=gone, **told)
    result = {**certificate.to_json(), "source": source, "output": written, "advice": hints}
    if export_format and written:
        from keras_l2feat.exports import export

        result["export"] = export(pruned, exported, export_format, seed=seed)
    _write(paths, result, model, pruned, certificate, data, seed)
    outputs.tell(result, table(certificate), *_written(result))


def _beside(output, export_format, dry_run):
    """Where an export goes, `None` for none."""
    if not export_format:
        return None
    if output is None or dry_run:
        raise InputError(
            "Option '--export' needs '-o OUT.keras', beside which the export is written."
        )
    exported = Path(output).with_suffix(EXPORTS[export_format])
    files.check_output(exported)
    return exported


def _write(paths, result, model, pruned, certificate, data, seed):
    """Write what is asked for beside the model."""
    from keras_l2feat.plots.rays import rays_before_after
    from keras_l2feat.plots.tradeoff import write_tradeoff
    from keras_l2feat.pruning.certificate import save_certificate
    from keras_l2feat.pruning.plan import removed_units, save_plans
    from keras_l2feat.report.page import write_pruning_page

    if paths["curve"]:
        write_tradeoff(certificate.account.curve, paths["curve"])
    if paths["certificate"]:
        save_certificate(certificate, paths["certificate"])
    if paths["plan"]:
        save_plans(certificate.plans, paths["plan"])
    if paths["report"]:
        write_pruning_page(paths["report"], result, model, pruned, certificate.plans)
    if paths["rays"]:
        gone = removed_units(certificate.plans)
        rays_before_after(model, pruned, paths["rays"], data=data, gone=gone, seed=seed)


def _written(result):
    """What was written, and what would help where little can go."""
    lines = [f"Written: {result['output']}." if result["output"] else "Nothing written."]
    if "export" in result:
        made = result["export"]
        lines.append(
            f"Exported: {made['path']} ({made['format']}), run there: deviates by "
            f"{made['max_rel_deviation']:.2g} of the largest output."
        )
    return [*lines, "", *result["advice"]] if result["advice"] else lines


def _check_level(guarantee, data, options, curve_path):
    if guarantee == "domain" and "input_range" not in options:
        raise InputError("The guarantee 'domain' needs '--input-range LOW,HIGH'.")
    if guarantee == "data" and data is None:
        raise InputError("The guarantee 'data' needs '--data NAME|FILE.npz'.")
    asked = [name for name in TARGETS if name in options]
    if guarantee == "bounded" and not asked:
        raise InputError(
            "The guarantee 'bounded' needs '--tolerance T' or another target, as '--agree 99.9%' "
            "or '--flops 50%'."
        )
    of_bounded = [*asked, *(name for name in ("per", "gaussian") if name in options)]
    if guarantee != "bounded" and (of_bounded or curve_path):
        name = (of_bounded or ["curve"])[0].replace("_", "-")
        raise InputError(f"Option '--{name}' belongs to '--guarantee bounded'.")


def _measure(model, pruned, certificate, seed, *, latency):
    from keras_l2feat.pruning.channels.read import read
    from keras_l2feat.pruning.measure import file_bytes, latencies

    sizes = [file_bytes(m) for m in ((model,) if pruned is model else (model, pruned))]
    if None not in sizes:
        certificate.costs.update(bytes_before=sizes[0], bytes_after=sizes[-1])
    if latency:
        models = (model,) if pruned is model else (model, pruned)
        count, times = latencies(models, read(model), seed=seed)
        certificate.costs.update(
            latency_inputs=count,
            latency_seconds_before=times[0],
            latency_seconds_after=times[-1],
        )
