"""Optimizing hidden representations against optimizing weights, in one process, in turn; float64
L-BFGS throughout.

Small: mnist-789-42, L = 3, widths 50: ten weight-space runs from random starts, and each form of
representations from random starts of its own, after conversion to weights. Large: mnist-1k, loss
against iterations and seconds of both.

    python benchmarks/z_space.py [--starts 3] [--seconds 60] [-o results/z_space]
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from keras_l2feat import data, training
from keras_l2feat.experiments.claims import write_csv
from keras_l2feat.experiments.record import write_record
from keras_l2feat.files import output_folder
from keras_l2feat.network import DenseNetwork
from keras_l2feat.training import representation

STOP = {"iterations": 3000, "tolerance": 1e-6, "window": 100}
RUNS = 10


def small(lam, starts):
    """Rows of every run, and lines that say how each form compares."""
    digits = data.load("mnist-789-42")
    widths = (digits.x_train.shape[1], 50, 50, digits.outputs)
    rows, lines = [], []
    runs = {
        "weights": range(RUNS),
        **{form: range(100, 100 + starts) for form in representation.RIDGES},
    }
    for name, seeds in runs.items():
        for seed in seeds:
            start = DenseNetwork.random(widths, seed=seed)
            if name == "weights":
                fitted = training.fit(start, digits, lam=lam, quiet=True, **STOP)
            else:
                fitted = representation.fit(start, digits, lam=lam, form=name, quiet=True, **STOP)
            rows.append(
                {
                    "lam": lam,
                    "variables": name,
                    "seed": seed,
                    "loss": fitted.loss,
                    "iterations": fitted.iterations,
                    "seconds": fitted.seconds,
                }
            )
    own = {name: [row for row in rows if row["variables"] == name] for name in runs}
    best = min(row["loss"] for row in own["weights"])
    lines.append(f"λ = {lam:g}: best of {RUNS} weight-space runs {best:.7f}")
    for name, group in own.items():
        worse = [100 * (row["loss"] / best - 1) for row in group]
        median = {key: np.median([row[key] for row in group]) for key in ("seconds", "iterations")}
        lines.append(
            f"  {name:<12} {len(group):>2} starts: {min(worse):+.4f} % to {max(worse):+.4f} % of "
            f"it, median {median['iterations']:.0f} iterations, {median['seconds']:.1f} s"
        )
    return rows, lines


def large(seconds):
    """The curves of both from one start on mnist-1k, and lines that compare them."""
    digits = data.load("mnist-1k")
    start = DenseNetwork.random((digits.x_train.shape[1], 50, 50, digits.outputs), seed=0)
    stop = {"iterations": 3000, "tolerance": 0.0, "seconds": seconds, "quiet": True}
    runs = {}
    for lam in (1e-3,):
        for name in ("weights", "coordinates"):
            began = time.perf_counter()
            if name == "weights":
                fitted = training.fit(start, digits, lam=lam, **stop)
            else:
                fitted = representation.fit(start, digits, lam=lam, form=name, **stop)
            runs[name] = fitted.history, time.perf_counter() - began
    rows = [
        {"variables": name, "iteration": i, "seconds": t, "loss": loss}
        for name, (history, _) in runs.items()
        for i, (loss, t) in enumerate(zip(history["loss"], history["seconds"]))
    ]
    lines = ["mnist-1k, λ = 0.001, L = 3, widths 50, one start:"]
    loss, times = (
        {n: np.asarray(history[key]) for n, (history, _) in runs.items()}
        for key in ("loss", "seconds")
    )
    common = min(len(values) for values in loss.values()) - 1
    for iteration in (50, 100, 200, 400, 800, 1600):
        if iteration <= common:
            lines.append(
                f"  {iteration:>5} iterations: "
                + ", ".join(f"{n} {v[iteration]:.6f}" for n, v in loss.items())
            )
    for target in (0.096, 0.094, 0.0935, 0.0932, 0.093, 0.0929):
        reached = {
            n: times[n][np.argmax(v <= target)] for n, v in loss.items() if v.min() <= target
        }
        if len(reached) == 2:
            ratio = reached["weights"] / reached["coordinates"]
            lines.append(
                f"  loss {target}: "
                + ", ".join(f"{n} {t:.1f} s" for n, t in reached.items())
                + f", ratio {ratio:.2f}"
            )
    return rows, lines


def draw(rows, path):
    from keras_l2feat.plots.style import canvas, save

    least = min(row["loss"] for row in rows)
    with canvas(1, 2, width=4.8) as (figure, axes):
        for axis, key in zip(axes, ("iteration", "seconds")):
            for name in ("weights", "coordinates"):
                own = [row for row in rows if row["variables"] == name and row[key] > 0]
                label = "weights" if name == "weights" else "representations (coordinates)"
                axis.plot(
                    [row[key] for row in own],
                    [row["loss"] / least - 1 + 1e-4 for row in own],
                    label=label,
                )
            axis.set(
                xscale="log", yscale="log", xlabel=key, ylabel=f"loss / {least:.5f} − 1 + 1e-4"
            )
            axis.xaxis.set_minor_formatter("")
            axis.xaxis.set_major_formatter("{x:g}")
            axis.legend(fontsize=8)
        figure.suptitle("mnist-1k, λ = 0.001, widths 50: the loss of the network at each step")
        save(figure, path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--starts", type=int, default=3, help="random starts of each form")
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="budget of each run on mnist-1k"
    )
    parser.add_argument("-o", "--out", type=Path, help="folder for CSV, picture and a record")
    options = parser.parse_args()
    began, report = time.perf_counter(), []

    def publish(rows, lines, name):
        """Print a part and, with a folder, write all that is known so far."""
        print("\n".join(lines), flush=True)
        report.extend(lines)
        if options.out is not None:
            out = output_folder(options.out)
            write_csv(rows, out / f"{name}.csv")
            text = (
                "Optimizing representations against optimizing weights.\n\n```\n"
                + "\n".join(report)
                + "\n```"
            )
            passed = time.perf_counter() - began
            write_record(out, text, seed=0, seconds=passed, program="python benchmarks/z_space.py")

    curves, lines = large(options.seconds)
    if options.out is not None:
        draw(curves, output_folder(options.out) / "curve.png")
    publish(curves, lines, "mnist-1k")
    for lam in (1e-2, 1e-3):
        publish(*small(lam, options.starts), f"mnist-789-42-{lam:g}")
