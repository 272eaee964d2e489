"""`l2feat plateau`: from which width on does the regularized loss no longer fall?"""

import math

import click

from keras_l2feat.cli import inputs, options, outputs
from keras_l2feat.cli.paths import InputFile
from keras_l2feat.errors import InputError

COUNT = 12  # widths between the two ends of a range
MOST_WIDTHS = 1000  # that a range may have


class WidthRange(options.Listed):
    """`2:100`, `2:100:20` or `2,5,10`: widths to record, ascending; a range is spaced evenly on a
    log scale."""

    name = "widths"
    expected = f"a range as in 2:100, or numbers with commas between, up to {options.WIDEST}"

    def parsed(self, text):
        if ":" in text:
            low, high, *count = (int(part) for part in text.split(":"))
            count = count[0] if count else COUNT
            if not 1 <= count <= MOST_WIDTHS:
                raise ValueError
            ratio = (high / low) ** (1 / max(count - 1, 1))
            widths = {round(low * ratio**step) for step in range(count)} | {low, high}
        else:
            widths = {int(part) for part in text.split(",")}
        if not 1 <= min(widths) <= max(widths) <= options.WIDEST:
            raise ValueError
        return tuple(sorted(widths))


class Numbers(options.Listed):
    """`1e-3,1e-4`: positive numbers with commas between."""

    name = "numbers"
    expected = "positive numbers with commas between are expected"

    def __init__(self, kind):
        self.kind = kind

    def parsed(self, text):
        numbers = tuple(self.kind(part) for part in text.split(","))
        if not all(0 < number < math.inf for number in numbers):
            raise ValueError
        return numbers


@click.command(
    epilog="Example: l2feat plateau mnist-1k --lam 1e-3,1e-4 --widths 2:100 --certify -o "
    "results/mine"
)
@click.argument("data", metavar="DATA", type=InputFile())
@inputs.scale_option
@click.option(
    "--lam",
    type=Numbers(float),
    default="1e-3",
    show_default=True,
    help="Amounts λ of the L2 penalty, with commas between.",
)
@click.option(
    "--widths",
    type=WidthRange(),
    default="2:100",
    show_default=True,
    help="Widths to train, as LOW:HIGH[:COUNT] or a list with commas.",
)
@options.choice(
    "--method",
    ["descent", "growth", "sweep"],
    "Remove neurons from a wide network, add them to a narrow one, or train each width anew.",
)
@options.whole("--depth", "Number of weight matrices.", default=3, least=2)
@click.option("--per-layer", is_flag=True, help="Let each layer find its own width (descent).")
@options.whole("--trials", "Number of seeds.  [default: 3 for a sweep, 1 otherwise]")
@click.option("--certify", is_flag=True, help="Add the insertion certificate of every network.")
@options.number(
    "--epsilon",
    "Relative excess over the least loss that still counts as the plateau.",
    default=0.01,
    max=1,
)
@options.whole("--iterations", "Maximum number of L-BFGS iterations at each width.")
@options.whole("--start", "Width of the first network (descent).  [default: the greatest]")
@click.option(
    "--continuation",
    type=Numbers(float),
    help="Greater λs, in falling order, that lead to a small λ (descent).",
)
@options.batch_size_option
@options.whole("--jobs", "Number of processes on this machine.", default=1)
@click.option(
    "--scheduler", metavar="tcp://…", help="Run the tasks on the Dask cluster at this address."
)
@click.option("--dry-run", is_flag=True, help="Print the tasks and an estimate of their time.")
@click.option(
    "--sweep-lam", is_flag=True, help="Also plot where the plateau starts against λ and N."
)
@click.option(
    "--points",
    type=Numbers(int),
    help="Numbers of points for --sweep-lam.  [default: a quarter, half and all of the data]",
)
@outputs.folder_option("Folder for the tables, the pictures and the best model with its card.")
@outputs.json_option
@options.seed_option
@options.quiet_option
def command(
    data,
    lam,
    widths,
    method,
    trials,
    certify,
    epsilon,
    jobs,
    scheduler,
    dry_run,
    sweep_lam,
    points,
    output,
    seed,
    quiet,
    **options,
):
    """Train networks on DATA at many widths, print where the plateau of the loss starts, and keep
    the best.

    A run that was stopped goes on from its finished tasks when it is started again with the same
    arguments.
    """
    if output is None and not dry_run:
        raise InputError("Option '-o DIR' is needed: the folder for the results.")
    options = {name: value for name, value in options.items() if value}
    for name in ("per_layer", "start", "continuation"):
        if name in options and method != "descent":
            raise InputError(
                f"Option '--{name.replace('_', '-')}' needs --method descent. "
                f"Received: --method {method}."
            )
    dataset = inputs.load_data(data)
    from keras_l2feat.plateau import study

    counts = (None,)
    if sweep_lam:
        total = len(dataset.x_train)
        counts = tuple(sorted(points or {max(1, total // 4), max(1, total // 2), total}))
        if max(counts) > total:
            raise InputError(
                f"Option '--points' must be at most N = {total}. Received: {max(counts)}."
            )
    elif points:
        raise InputError("Option '--points' needs --sweep-lam.")
    seeds = tuple(range(seed, seed + (trials or (3 if method == "sweep" else 1))))
    tasks = study.plan(method, lam, widths, seeds, points=counts, certify=certify, options=options)
    if dry_run:
        seconds = 0.0
        for task in tasks:
            estimate = study.estimate(task, dataset)
            seconds += estimate
            click.echo(
                f"{task.key(dataset):<40} widths {_short(task.widths)} about {estimate:.0f} s"
            )
        click.echo(
            f"{len(tasks)} tasks, about {seconds / jobs:.0f} s on {jobs} process{'es' * (jobs > 1)}"
        )
        return
    found = study.run(
        tasks,
        dataset,
        output,
        epsilon=epsilon,
        sweep_lam=sweep_lam,
        jobs=jobs,
        scheduler=scheduler,
        quiet=quiet,
    )
    _draw(found, output, dataset.name, epsilon)
    _keep(found, output, dataset)
    outputs.tell(found.result, *study.summary(found.result), f"Written to {output}/")


def _draw(found, out, name, epsilon):
    from pathlib import Path

    from keras_l2feat.plots.curve import draw_curve, draw_sparsity
    from keras_l2feat.plots.style import canvas, save

    with canvas(width=6.4, height=4.4) as (figure, axes):
        draw_curve(axes, found.frame, epsilon=epsilon, title=f"{name}: loss against width")
        for suffix in (".png", ".svg"):
            save(figure, Path(out) / f"curve{suffix}")
    if found.sparsity is not None:
        with canvas(width=5.4, height=4.0) as (figure, axes):
            draw_sparsity(axes, found.sparsity, epsilon=epsilon)
            save(figure, Path(out) / "sparsity.png")


def _keep(found, out, data):
    """Save the best network as the zoo saves its own: with a card, and the row that `zoo.register`
    takes."""
    import re
    from pathlib import Path

    from keras_l2feat import zoo
    from keras_l2feat.objectives import Problem
    from keras_l2feat.zoo.facts import certificate_facts, model_facts, plateau_facts

    best, points, name = found.best, found.result["points"], data.reference
    if points < len(data.x_train):
        data, name = data.head(points), f"{name}, first {points} points"
    widths = "-".join(map(str, best.widths))
    title = re.sub("[^a-z0-9._-]+", "-", f"{data.name}-lam{best.lam:g}-{widths}".lower())
    problem = Problem.of(best.network, data, best.lam)
    model = best.network.to_model(lam=best.lam, name=title)
    trials = found.frame[found.frame["lam"] == best.lam]
    layers = [column for column in trials if column.startswith("width_")]
    curve = trials[[*layers, "loss"]].itertuples(index=False, name=None)
    facts = {
        "role": "plateau",
        **model_facts(model, name, problem, best.seed),
        "plateau": plateau_facts([(widths, loss) for *widths, loss in curve]),
    }
    if best.certificate is not None:
        facts["certificate"] = certificate_facts(best.certificate, best.seed)
    zoo.save(model, facts, Path(out) / "model.keras", name=title)


def _short(widths):
    few = len(widths) < 4
    return ",".join(map(str, widths)) if few else f"{widths[0]}…{widths[-1]} ({len(widths)})"
