"""Prop. 15: on a line, 4N neurons are enough; how many are needed?"""

import numpy as np

from keras_l2feat import data
from keras_l2feat.experiments.claims import Claims, column, write_csv
from keras_l2feat.experiments.record import figure
from keras_l2feat.plots.style import canvas, save
from keras_l2feat.progress import bar
from keras_l2feat.theory import constructions
from keras_l2feat.theory.norm import representation_cost

SIZES = (2, 3, 5, 8, 12, 20)
DRAWS = 10  # targets for each N
SHOWN = 5  # N of the curve and of the function that are drawn
TRIALS = 20


@figure("prop15", summary="In one dimension 4N neurons suffice.")
def command(out, *, seed, quiet):
    """Global optima by the convex program for many targets, their neurons counted; one curve of R
    against width."""
    claims, counts = Claims(), []
    draws = [(n, draw) for n in SIZES for draw in range(DRAWS)]
    with bar(draws, description="targets", quiet=quiet) as tasks:
        for n, draw in tasks:
            construction = constructions.one_dim(n, seed + draw)
            facts = construction.facts()
            row = {"n": n, "seed": seed + draw, "neurons": construction.plateau}
            row |= {"cost": facts["squared_norm"], "lower_bound": construction.cost}
            counts.append(row | {"residual": facts["residual"]})
    for n in SIZES:
        own = [row for row in counts if row["n"] == n]
        most = max(column(own, "neurons"))
        claims.check(f"N = {n}: most neurons needed, {DRAWS} targets", 4 * n, most, "≤")
        gap = max(abs(row["cost"] / row["lower_bound"] - 1) for row in own)
        claims.check(f"N = {n}: largest gap between norm and dual bound", 1e-4, gap, "≤")
    curve = width_curve(seed, quiet)
    exact = next(row for row in counts if row["n"] == SHOWN and row["seed"] == seed)
    write_csv(counts, out / "neurons.csv")
    write_csv(curve, out / "curve.csv")
    with canvas(1, 3, width=4.2) as (drawing, axes):
        draw_function(axes[0], seed)
        axes[1].plot(column(curve, "width"), column(curve, "cost"), "o-", ms=4, label="R found")
        axes[1].axhline(exact["lower_bound"], color="0.4", lw=1, label="global optimum")
        neurons = exact["neurons"]
        axes[1].axvline(neurons, color="C1", ls="--", label=f"its neurons, {neurons}")
        axes[1].axvline(4 * SHOWN, color="C2", ls=":", label=f"4N = {4 * SHOWN}")
        axes[1].set(xlabel="neurons", ylabel="R", title=f"N = {SHOWN}")
        points = column(counts, "n"), column(counts, "neurons")
        axes[2].plot(*points, "o", alpha=0.4, label="targets")
        axes[2].plot(SIZES, [4 * n for n in SIZES], ":", color="C2", label="4N")
        axes[2].plot(SIZES, SIZES, "--", color="0.5", label="N")
        axes[2].set(xlabel="N", xticks=SIZES, ylabel="neurons of the optimum")
        axes[2].set_title(f"{DRAWS} random targets each")
        for axis in axes:
            axis.legend(fontsize=8)
        save(drawing, out / "prop15.png")
    most = max(row["neurons"] / row["n"] for row in counts)
    return claims.report(
        out,
        "With one input, one output and bias (β = 1), the least-norm fit is a "
        "second-order cone program over the 2N activation patterns, one neuron for each sign of "
        "its output: 4N in all, which is the proposition's number. Its optimum is global; the dual "
        f"bound meets it. A basic solution needs no more neurons than data points ({most:.2f} N at "
        "most here, and often just as many), so 4N is safe and far from tight on random targets. "
        f"Kinks sit on and between the points. The curve against width for N = {SHOWN} is the best "
        f"of {TRIALS} starts a width and of the narrowed global optimum: an upper bound on R "
        "there, and no point where no start came to fit.",
    )


def width_curve(seed, quiet):
    """R against width for one target: random starts, and the global optimum with its smallest
    neurons left out."""
    construction = constructions.one_dim(SHOWN, seed)
    network, rows, best = construction.network, [], np.inf
    widths = range(1, construction.plateau + 3)
    options = {"beta": 1.0, "trials": TRIALS, "seed": seed, "bound": False}
    with bar(widths, description="widths", quiet=quiet) as progress:
        for width in progress:
            starts = []
            if width <= construction.plateau:
                order = np.argsort(-np.linalg.norm(network.weights[0], axis=0))[:width]
                heads = np.vstack([network.weights[1][order], network.weights[1][-1:]])
                starts = [network.with_weights([network.weights[0][:, order], heads])]
            found = representation_cost(
                construction.x, construction.y, 2, width, starts=starts, **options
            )
            known = network.squared_norm if width >= construction.plateau else np.inf
            best = min(best, found.cost, known)
            rows.append({"width": width, "cost": best, "residual": found.residual})
    return rows


def draw_function(axis, seed):
    """The least-norm function through the points, its kinks marked."""
    construction = constructions.one_dim(SHOWN, seed)
    network = construction.network
    line = np.linspace(-1.15, 1.15, 800)[:, None]
    axis.plot(line, network(line), color="C0", label="least-norm fit")
    kinks = -network.weights[0][1] / np.where(
        network.weights[0][0] == 0, np.inf, network.weights[0][0]
    )
    kinks = kinks[np.abs(kinks) < 1.15]
    axis.plot(kinks, network(kinks[:, None])[:, 0], "|", color="C1", ms=14, mew=2, label="kinks")
    axis.plot(construction.x, construction.y, "ko", ms=5, label="data")
    axis.set(xlabel="x", ylabel="y", title=data.load(construction.name).name)
