"""The landscape with weight decay: which activation regions hold a global minimum, and who finds
one."""

from pathlib import Path

import numpy as np
import pandas as pd

from keras_l2feat import progress
from keras_l2feat.costs import cost_with_gradient
from keras_l2feat.experiments.record import figure
from keras_l2feat.kernels.insertion import Enumeration
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives import Problem
from keras_l2feat.objectives.dual import dual_bound
from keras_l2feat.plateau import write_csv
from keras_l2feat.plots.style import canvas, save
from keras_l2feat.theory.oracle import global_optimum
from keras_l2feat.theory.regions import random_region, region_minimum, region_of

__all__ = ["command", "run"]

LAM = 1e-2
SIZES = ((4, 2), (8, 2), (5, 3), (7, 3))  # points, inputs
ORTHOGONAL = (3, 4, 5, 6)
NEURONS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
SAMPLES = 60  # regions of each kind: a fraction is known to ±0.06
POINTS, INPUTS = 8, 2  # of the training experiment
WIDTHS = (8, 32, 128)
# about ‖W_1‖ and ‖W_2‖ at the start; at the optimum they are near 1.5
SCALES = (0.01, 0.1, 1.0, 3.0, 10.0)
SEEDS = 20
STEPS = 8000
SUCCESS = 0.01  # a run is global when the certificate leaves it at most 1 % to gain


def run(out: Path, *, seed: int = 0, quiet: bool = False) -> str:
    """Count activation regions with a global and with a spurious minimum, and train from small and
    large weights."""
    regions = _regions(seed, quiet)
    training = _training(seed, quiet)
    for name, columns, rows in (
        ("regions", ["data", "n", "d", "m", "global", "spurious"], regions),
        ("training", ["scale", "m", "seed", "loss", "region_minimum", "optimum", "gap"], training),
    ):
        write_csv(pd.DataFrame(rows, columns=columns), out / f"{name}.csv")
    _draw(out, regions, training)
    return _text(regions, training)


def _regions(seed, quiet):
    """Rows (data, n, d, m, fraction global, fraction spurious)."""
    generator = np.random.default_rng(seed)
    normal = generator.standard_normal
    sets = [("general", n, d, normal((n, d)), normal(n)) for n, d in SIZES]
    sets += [("orthogonal", n, n, np.eye(n), 1 + generator.uniform(size=n)) for n in ORTHOGONAL]
    rows = []
    with progress.bar(total=len(sets) * len(NEURONS), description="regions", quiet=quiet) as bar:
        for data, n, d, x, y in sets:
            problem = Problem((x, y), LAM, beta=0.0)
            optimum = global_optimum(problem, tolerance=1e-8).value
            for m in NEURONS:
                drawn = (random_region(x, m, generator) for _ in range(SAMPLES))
                kinds = [region_minimum(problem, region, optimum).kind for region in drawn]
                shares = (kinds.count(kind) / SAMPLES for kind in ("global", "spurious"))
                rows.append((data, n, d, m, *shares))
                bar.update()
    return rows


def _training(seed, quiet):
    """Rows (scale, m, seed, loss, minimum of the region it ended in, optimum, the certificate's
    relative gap there).

    Near kinks gradient descent settles slowly, and the certificate is sharp: so each run is judged
    at the exact minimum of the region in which it ended.
    """
    generator = np.random.default_rng(seed + 1)
    x, y = generator.standard_normal((POINTS, INPUTS)), generator.standard_normal(POINTS)
    problem = Problem((x, y), LAM, beta=0.0)
    optimum = global_optimum(problem, tolerance=1e-8)
    enumeration = Enumeration(x)
    rows = []
    for m in progress.bar(WIDTHS, description="training", quiet=quiet):
        scales = np.repeat(SCALES, SEEDS)
        w = generator.standard_normal((len(scales), INPUTS, m))
        w = scales[:, None, None] * w / np.sqrt(INPUTS * m)
        v = scales[:, None] * generator.standard_normal((len(scales), m)) / np.sqrt(m)
        w, v, losses = _descend(x, y, w, v)
        for run_, (scale, loss) in enumerate(zip(scales, losses)):
            ended = region_of(DenseNetwork((w[run_], v[run_][:, None]), beta=0.0), x)
            minimum = region_minimum(problem, ended, optimum.value)
            _, gradient = cost_with_gradient("squared")(_outputs(x, ended, minimum), y)
            bound = dual_bound("squared", gradient, y, enumeration.maximum(gradient).score, LAM)
            gap = (minimum.value - bound) / minimum.value
            rows.append((scale, m, run_ % SEEDS, loss, minimum.value, optimum.value, gap))
    return rows


def _outputs(x, region, minimum):
    """The outputs (N, 1) at a region's minimum."""
    columns = region.columns
    active = np.where(columns[:, :-1].T > 0, x @ minimum.u.T, 0)
    return np.sum(columns[:, -1] * active, axis=1, keepdims=True)


def _descend(x, y, w, v):
    """Gradient descent on many networks (S, d, m), (S, m) at once; each halves its step when its
    loss would rise."""

    def evaluate(w, v):
        z = x @ w
        a = np.maximum(z, 0)
        residual = np.einsum("snm,sm->sn", a, v) - y
        norms = np.sum(w**2, axis=(1, 2)) + np.sum(v**2, axis=1)
        loss = np.mean(residual**2, axis=1) + LAM * norms
        g = 2 / len(x) * residual
        to_w = np.matmul(x.T, g[:, :, None] * (z > 0) * v[:, None, :]) + 2 * LAM * w
        return loss, to_w, np.einsum("snm,sn->sm", a, g) + 2 * LAM * v

    loss, to_w, to_v = evaluate(w, v)
    rate = np.full(len(w), 1e-2)
    for _ in range(STEPS):
        new_w, new_v = w - rate[:, None, None] * to_w, v - rate[:, None] * to_v
        new_loss, new_to_w, new_to_v = evaluate(new_w, new_v)
        lower = new_loss <= loss
        rate = np.where(lower, np.minimum(1.02 * rate, 0.5), rate / 2)
        loss = np.where(lower, new_loss, loss)
        lower = lower[:, None]
        v, to_v = np.where(lower, new_v, v), np.where(lower, new_to_v, to_v)
        lower = lower[:, None]
        w, to_w = np.where(lower, new_w, w), np.where(lower, new_to_w, to_w)
    return w, v, loss


def _draw(out, regions, training):
    with canvas(1, 3, width=4.6, height=3.8) as (drawing, (left, middle, right)):
        colors = left._get_lines.get_next_color
        for axis, data, title in (
            (left, "general", "Gaussian points"),
            (middle, "orthogonal", "orthogonal points, positive targets"),
        ):
            for n, d in dict.fromkeys((row[1], row[2]) for row in regions if row[0] == data):
                rows = np.array([row[3:] for row in regions if row[:3] == (data, n, d)])
                color = colors()
                label = f"n = {n}, d = {d}" if data == "general" else f"n = d = {n}"
                axis.plot(rows[:, 0], rows[:, 1], "o-", color=color, label=label, markersize=4)
                axis.plot(rows[:, 0], rows[:, 2], ":", color=color)
                axis.axvline(2**n, color=color, linewidth=1, alpha=0.6, linestyle=(0, (1, 1)))
                if data == "general":
                    axis.axvline(n**d, color=color, linewidth=1, alpha=0.6)
                else:  # one neuron must be active on every point, with a positive head
                    m = np.geomspace(1, NEURONS[-1], 100)
                    hit = 1 - (1 - 2.0 ** -(n + 1)) ** m
                    axis.plot(m, hit, color=color, alpha=0.4, linewidth=3)
            axis.set_xscale("log", base=2)
            axis.set(xlabel="neurons m", ylabel="fraction of regions", title=title)
            axis.set_ylim(-0.03, 1.03)
            place = "center right" if data == "general" else "upper left"
            axis.legend(fontsize="small", loc=place, framealpha=0.9)
        note = "solid: global minimum\ndotted: spurious minimum\nupright: n^d, dotted 2^n"
        left.text(0.02, 0.6, note, transform=left.transAxes, fontsize="x-small")
        for m in WIDTHS:
            rows = np.array(
                [(row[0], row[-1] <= SUCCESS) for row in training if row[1] == m], dtype=float
            )
            shares = [rows[rows[:, 0] == scale, 1].mean() for scale in SCALES]
            right.plot(SCALES, shares, "o-", label=f"m = {m}", markersize=4)
        right.set_xscale("log")
        right.set(
            xlabel="scale of the initial weights",
            ylabel=f"runs with a certificate gap ≤ {100 * SUCCESS:g} %",
            title=f"where gradient descent ends, n = {POINTS}, d = {INPUTS}",
            ylim=(-0.03, 1.03),
        )
        right.legend(fontsize="small")
        save(drawing, out / "landscape.png")


def _text(regions, training):
    lines = [
        f"Two-layer relu networks with weight decay λ = {LAM:g}, scalar outputs, mean squared "
        f"error; {SAMPLES} random activation regions for each point, the global optimum from the "
        "convex oracle."
    ]
    for data in ("general", "orthogonal"):
        parts = []
        for n, d in dict.fromkeys((row[1], row[2]) for row in regions if row[0] == data):
            rows = [row for row in regions if row[:3] == (data, n, d)]
            most = next((row[3] for row in rows if row[4] >= 0.9), None)
            spurious = max(rows, key=lambda row: row[5])
            share = (
                f"at most {spurious[5]:.0%} spurious (m = {spurious[3]})"
                if spurious[5]
                else "none spurious"
            )
            marks = f"n^d = {n**d}, 2^n = {2**n}" if data == "general" else f"2^n = {2**n}"
            parts.append(
                f"n = {n}, d = {d} ({marks}): 90 % hold a global minimum from m = {most}, {share}"
            )
        lines.append(
            f"{'Gaussian' if data == 'general' else 'Orthogonal'} points: " + "; ".join(parts) + "."
        )
    shares = []
    for m in WIDTHS:
        for scale in (SCALES[0], SCALES[-1]):
            gaps = np.array([row[-1] for row in training if row[:2] == (scale, m)])
            shares.append(
                f"m = {m}, scale {scale:g}: {np.mean(gaps <= SUCCESS):.0%} global (median "
                f"gap {np.median(gaps):.2g})"
            )
    above = np.median([(row[3] - row[4]) / row[4] for row in training])
    lines.append(
        f"Gradient descent ({STEPS} steps, {SEEDS} seeds) on n = {POINTS}, d = {INPUTS}, judged by "
        "the enumerated certificate at the minimum of the region in which it ended (global: gap at "
        f"most {SUCCESS:.0%}): "
        + "; ".join(shares)
        + f". The descent itself is then still {above:.1%} (median) above that minimum, and "
        "might leave the region."
    )
    return "\n\n".join(lines)


command = figure(
    "landscape", summary="Activation regions with global and spurious minima, and who finds them."
)(run)
