"""Loss against width on all 60 000 digits of MNIST, where the paper has 1000 [Jacot et al. 2022,
Fig. 2]."""

import click

from keras_l2feat.experiments.fig2 import EPSILON, found
from keras_l2feat.experiments.record import figure

WIDTHS = (5, 7, 10, 14, 20, 28, 40, 60, 100)
LAMS = (5e-4, 1e-4)
TITLE = "60 000 MNIST digits, cross-entropy"
# A full batch takes a fifth of a second and more: Adam on minibatches makes the start, and L-BFGS
# takes fewer steps at a width than on 1000 digits.
OPTIONS = {"epochs": 15, "start_iterations": 120, "iterations": 60, "beam": 1, "batch_size": 10_000}


@figure(
    "fig2-60k",
    click.option(
        "--jobs", type=click.IntRange(1), default=1, show_default=True, help="Number of processes."
    ),
    summary="Loss against width on the full MNIST, which the variable L2FEAT_MNIST may name.",
)
def command(out, *, seed, quiet, jobs):
    """Write curve.csv, fig2-60k.png and .svg; return what was found. A λ that is finished is not
    run again."""
    from keras_l2feat import data
    from keras_l2feat.plateau import table, write_csv
    from keras_l2feat.plateau.study import plan
    from keras_l2feat.plateau.tasks import run_tasks
    from keras_l2feat.plots.curve import draw_curve
    from keras_l2feat.plots.style import canvas, save

    tasks = plan("descent", LAMS, WIDTHS, [seed], options=OPTIONS)
    results = run_tasks(tasks, data.load("mnist"), out / "tasks", jobs=jobs, quiet=quiet)
    frame = table([trial for trials in results for trial in trials])
    write_csv(frame, out / "curve.csv")
    with canvas(1, 1, width=6.0, height=4.6) as (drawing, axes):
        draw_curve(axes, frame, epsilon=EPSILON, title=TITLE)
        for suffix in (".png", ".svg"):
            save(drawing, out / f"fig2-60k{suffix}")
    accuracies = ", ".join(
        f"{group['test_accuracy'].max():.2%} at λ = {lam:g}" for lam, group in frame.groupby("lam")
    )
    return (
        "The regularized training loss (full lines, λ term included) against the width of both "
        "hidden layers, depth 3, on all training digits; dashed the test loss without the λ term "
        "of the same networks.\n\n"
        + "\n".join(found(frame, TITLE))
        + f"\n\nThe best test accuracy of a width is {accuracies}. Each width gets "
        f"{OPTIONS['iterations']} steps of L-BFGS, where fig2 gives 400: the losses are upper "
        "bounds, from which more training takes something at every width."
    )
