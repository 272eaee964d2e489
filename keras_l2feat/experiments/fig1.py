"""J Fig. 1: attraction and repulsion in a trained network of three layers on 42 digits 7, 8, 9."""

import click
import numpy as np

from keras_l2feat.experiments.record import figure
from keras_l2feat.files import atomic_path

DATA, WIDTHS = "mnist-789-42", (50, 50)
ITERATIONS, TOLERANCE, WINDOW = 15000, 1e-9, 300
FRAMES = 40  # of the animation, spaced geometrically over the iterations


@figure(
    "fig1",
    click.option(
        "--lam", type=float, default=1e-2, show_default=True, help="Amount λ of the L2 penalty."
    ),
    click.option("--animate", is_flag=True, help="Also write the course of training, forces.gif."),
    summary="Attraction and repulsion on MNIST 7, 8, 9 [Jacot et al. 2022, Fig. 1].",
)
def command(out, *, seed, quiet, lam, animate):
    """Train the paper's network, draw the forces on its points and neurons, and count the rays."""
    from keras_l2feat import data
    from keras_l2feat.objectives import Problem
    from keras_l2feat.report.forces import measure, write
    from keras_l2feat.training import Budget, lbfgs
    from keras_l2feat.training.rays import rays
    from keras_l2feat.training.representation import RIDGES
    from keras_l2feat.training.representation_objective import RepresentationObjective

    digits = data.load(DATA)
    problem = Problem(digits, lam)
    start = problem.random(WIDTHS, seed)
    objective = RepresentationObjective(problem, form="coordinates", ridge=RIDGES["coordinates"][0])
    moments = set(np.unique(np.geomspace(1, ITERATIONS, FRAMES).astype(int)))
    course = [(0, start)]

    def watch(iteration, value, arrays):
        if iteration in moments:
            course.append((iteration, objective.decode(arrays)))

    result = lbfgs.minimize(
        objective,
        objective.encode(start),
        Budget(ITERATIONS, TOLERANCE, window=WINDOW),
        callback=watch if animate else None,
        quiet=quiet,
    )
    network = objective.decode(result.arrays)
    picture = measure(network, problem)
    write(picture, out, f"Attraction (green) and repulsion (red), λ = {lam:g}")
    if animate:
        _animate([*course, (result.iterations, network)], problem, out / "forces.gif", quiet)
    layers = picture.summary["layers"]
    counts = {angle: rays(network, angle) for angle in (1e-2, 1e-3)}
    accuracy = np.mean(network(digits.x_train).argmax(axis=1) == digits.y_train)
    return (
        f"L = 3, widths 50, N = 42 digits 7, 8, 9, λ = {lam:g}: loss {result.value:.6f} after "
        f"{result.iterations} iterations of L-BFGS on the representations ({result.reason}), "
        f"{100 * accuracy:.0f} % of the digits right. Rays (contribution above 1e-4 of the "
        f"largest) in the hidden layers of 50 neurons: {counts[1e-2][0]} and {counts[1e-2][1]} at "
        f"1e-2 rad, {counts[1e-3][0]} and {counts[1e-3][1]} at 1e-3 rad. What the forces leave, as "
        f"a share of the larger: {layers[0]['stationarity']:.3f} and "
        f"{layers[1]['stationarity']:.3f} on the hidden layers, "
        f"{picture.summary['output_stationarity']:.4f} at the output. As in the paper, points "
        "cluster by digit, and the last hidden layer's neurons lie on few rays; the first one's "
        "cluster by far less. The paper names neither λ, nor its starting point, nor how long it "
        "trained."
    )


def _animate(course, problem, path, quiet):
    """One frame a network, all on the final principal planes."""
    from matplotlib.animation import PillowWriter

    from keras_l2feat.objectives import forces
    from keras_l2feat.plots.forces import draw_forces, principal_planes
    from keras_l2feat.plots.style import canvas
    from keras_l2feat.progress import bar
    from keras_l2feat.report.forces import measure

    planes = principal_planes(forces(course[-1][1], problem.data, problem.lam))
    writer = PillowWriter(fps=4)
    with (
        canvas(len(WIDTHS), 2, width=3.6, height=3.5, squeeze=False) as (drawing, axes),
        atomic_path(path) as temporary,
        writer.saving(drawing, temporary, dpi=80),
        bar(course, description="frames", quiet=quiet) as frames,
    ):
        for iteration, network in frames:
            for panel in axes.flat:
                panel.clear()
            draw_forces(axes, measure(network, problem, planes=planes).table)
            drawing.suptitle(f"iteration {iteration}")
            writer.grab_frame()
        for _ in range(8):  # the end stands a while
            writer.grab_frame()
