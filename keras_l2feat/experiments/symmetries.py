"""How many equivalent networks there are, how flat the loss is there, and how they hang
together."""

import math

import numpy as np

from keras_l2feat.data.teachers import teacher
from keras_l2feat.experiments.claims import Claims, column, write_csv
from keras_l2feat.experiments.record import figure
from keras_l2feat.objectives import Problem
from keras_l2feat.plots.style import canvas, save
from keras_l2feat.progress import bar
from keras_l2feat.theory import connect, criticality, manifold, matching, symmetries
from keras_l2feat.training.run import Budget

KNOWN = {(1, 3): 10, (2, 4): 62, (3, 5): 450, (3, 6): 3120}  # T(r, m)
LEAST_WIDTHS = (2, 5, 10, 20, 40)
LARGEST_FACTOR = 6  # widths drawn, in units of the least
OWNERS = (0, 1, 2, 1, 0, 1, 2)  # three neurons on seven places
HIDDEN, LAM = (6, 6), 1e-3  # of the networks that are connected
# eigenvalues below this part of the largest count as zero: differences are good to about 1e-10
FLAT = 1e-9


def counts(claims):
    """Exact numbers, and critical over minima subspaces against width."""
    for (r, m), known in KNOWN.items():
        claims.check(f"T({r}, {m})", known, symmetries.count_minima(r, m), tolerance=0)
        listed = sum(1 for _ in symmetries.expansions(r, m))
        claims.check(f"T({r}, {m}), listed one by one", known, listed, tolerance=0)
    for (r, m), known in {(2, 4): 14, (3, 5): 150}.items():
        claims.check(f"G({r}, {m})", known, symmetries.count_critical(r, m), tolerance=0)
    exact = symmetries.count_critical(398, 403) / symmetries.count_minima(400, 403)
    ratio = exact / symmetries.mild_ratio(2, 3, 400)
    claims.check("G(r − 2, r + 3) / T(r, r + 3) over its limit, r = 400", 1, ratio, tolerance=0.1)
    rows = []
    for r in LEAST_WIDTHS:
        for m in sorted({round(f * r) for f in np.linspace(1, LARGEST_FACTOR, 51)}):
            ratio = symmetries.critical_to_minima(r, m)
            logarithm = (
                math.log10(ratio.numerator) - math.log10(ratio.denominator) if ratio else -math.inf
            )
            rows.append({"r": r, "m": m, "log10_ratio": logarithm})
    return rows, [{"r": r, "crossover": symmetries.crossover(r)} for r in range(2, 61)]


def trained(hidden, problem, seed, quiet):
    """L-BFGS from a random start, then Newton where σ is smooth."""
    start = problem.random(hidden, seed)
    network, _ = criticality.descend(start, problem, Budget(4000, 1e-10), quiet=quiet)
    smooth = problem.activation == "tanh"
    return criticality.critical_point(network, problem) if smooth else network


def curvature(claims, seed, quiet):
    """A critical point of positive loss, expanded: still critical, and flat in at least m − r more
    directions."""
    toy = teacher(depth=2, width=8, inputs=2, n=40, seed=seed)
    problem = Problem(toy, 0.0, activation="tanh")
    x = problem.x
    narrow = trained((3,), problem, seed, quiet)
    wide = manifold.expand_layer(narrow, 0, np.array(OWNERS), sharing="fractions", seed=seed)
    change = np.abs(wide(x) - narrow(x)).max()
    claims.check("expanded: largest change of an output", 0, change, tolerance=1e-12)
    for name, network in (("narrow", narrow), ("expanded", wide)):
        slope = np.linalg.norm(criticality.gradient(network, problem))
        claims.check(f"{name}: norm of the gradient", 0, slope, tolerance=1e-9)
    spectra = {}
    for name, network in (("narrow", narrow), ("expanded", wide)):
        values = np.linalg.eigvalsh(criticality.hessian(network, problem))
        spectra[name] = np.sort(np.abs(values))[::-1]
    flat = {name: int((values < FLAT * values[0]).sum()) for name, values in spectra.items()}
    more, gained = len(OWNERS) - narrow.hidden[0], flat["expanded"] - flat["narrow"]
    claims.check("flat directions gained by expansion, at least m − r", more, gained, "≥")
    # At zero loss the whole manifold is flat, zero-type groups included.
    solved = Problem.of(narrow, (x, narrow(x)), 0.0)
    owners = np.array([*OWNERS, -1, -1, -2])
    full = manifold.expand_layer(narrow, 0, owners, sharing="free", seed=seed)
    predicted = len(manifold.flat_directions(full, 0, owners, sharing="free"))
    values = np.abs(np.linalg.eigvalsh(criticality.hessian(full, solved)))
    zero = int((values < FLAT * values.max()).sum())
    claims.check("flat directions at zero loss, at least the manifold's", predicted, zero, "≥")
    return spectra


def connections(claims, seed, quiet):
    """Two minima of one problem: one against its own permutation, and one against the other."""
    toy = teacher(depth=3, width=4, inputs=3, n=150, seed=seed)
    problem = Problem(toy, LAM)
    a, b = (trained(HIDDEN, problem, seed + k, quiet) for k in (1, 2))
    generator = np.random.default_rng(seed)
    shuffled = matching.permute(a, [generator.permutation(n) for n in HIDDEN])
    same = connect.connect(a, shuffled, problem, seed=seed)
    _, losses, _, deviation = same.profiles["moves"]
    claims.check("permuted: largest |Δ output| along the path", 0, deviation.max(), tolerance=1e-10)
    change = np.abs(losses - losses[0]).max()
    claims.check(
        "permuted: largest |Δ loss| along the path, norm counted", 0, change, tolerance=1e-10
    )
    claims.check("permuted: barrier of the straight line", 1e-3, same.barriers["straight"], ">")
    other = connect.connect(a, b, problem, seed=seed, quiet=quiet)
    line, matched, bent, union = (
        other.barriers[name] for name in ("straight", "matched", "bent", "union")
    )
    claims.check("different: matched line below the straight one", line, matched, "≤")
    claims.check("different: bent path below the matched line", matched, bent, "<")
    highest = (2 ** (1 - 2 / a.depth) - 1) * LAM * max(a.squared_norm, b.squared_norm)
    claims.check("different: barrier of the union, at most that of its norm", highest, union, "≤")
    return same, other


@figure("symmetries", summary="How many minima and critical subspaces; paths between minima.")
def command(out, *, seed, quiet):
    """Counts, curvature at expanded critical points, and paths between minima."""
    claims = Claims()
    with bar(total=3, description="symmetries", quiet=quiet) as progress:
        rows, crossings = counts(claims)
        progress.update()
        spectra = curvature(claims, seed, True)
        progress.update()
        same, other = connections(claims, seed, True)
        progress.update()
    along = [
        {"pair": pair, "path": name, "t": float(t), "loss": float(loss), "squared_norm": float(n)}
        for pair, connection in (("permuted", same), ("different", other))
        for name, profile in connection.profiles.items()
        for t, loss, n, _ in zip(*profile)
    ]
    write_csv(rows, out / "ratio.csv")
    write_csv(crossings, out / "crossover.csv")
    write_csv(along, out / "paths.csv")
    with canvas(2, 3, width=4.2) as (drawing, axes):
        draw_counts(axes[0, 0], axes[0, 1], rows, crossings)
        for (name, values), marker in zip(spectra.items(), "os"):
            shares, label = np.maximum(values / values[0], 1e-17), f"{name}, {len(values)} weights"
            axes[0, 2].semilogy(shares, marker, ms=4, label=label)
        axes[0, 2].axhline(FLAT, color="0.5", ls=":")
        axes[0, 2].set(xlabel="eigenvalue", ylabel="|eigenvalue| / largest")
        axes[0, 2].set_title("Hessian before and after expansion")
        draw_paths(axes[1, 0], same, ("straight", "moves"), "a permutation of itself")
        draw_paths(axes[1, 1], other, ("straight", "matched", "bent", "union"), "another minimum")
        draw_norms(axes[1, 2], other)
        for axis in axes.flat:
            axis.legend(fontsize=8)
        save(drawing, out / "symmetries.png")
    moves = len(same.paths["moves"].pieces) - 1
    heights = ", ".join(f"{name} {height:.2g}" for name, height in other.barriers.items())
    return claims.report(
        out,
        "Counts are exact integers. With few neurons to spare, critical subspaces "
        f"outnumber those of minima by powers of the width; from m = {symmetries.crossover(10)} on "
        f"for r = 10 ({symmetries.crossover(40)} for r = 40) minima win, one irreducible critical "
        "point at each smaller width assumed. An expanded critical point stays critical and gains "
        "at least one flat direction for each added neuron. With one extra neuron a layer, "
        f"{moves} moves of one neuron each take a trained network to a random permutation of "
        "itself at constant outputs, norm and regularized loss, where the straight line climbs. "
        f"Between two minima from different seeds (loss {other.profiles['straight'][1][0]:.4f} and "
        f"{other.profiles['straight'][1][-1]:.4f}) the barriers are: {heights}. The union needs "
        "both widths together; its barrier is the norm's, which three layers cannot interpolate "
        "linearly. The bent path is the best of one free point, not proved to be the lowest.",
    )


def draw_counts(left, right, rows, crossings):
    """Critical over minima subspaces, and the width from which minima win."""
    for r in LEAST_WIDTHS:
        own = [row for row in rows if row["r"] == r]
        widths, ratios = ([row[key] / r for row in own] for key in ("m", "log10_ratio"))
        left.plot(widths, ratios, label=f"r = {r}")
    left.axhline(0, color="0.3", lw=1)
    left.set(xlabel="m / r", ylabel="log₁₀(critical / minima) / r", ylim=(-1.5, None))
    left.set_title("critical subspaces over minima")
    points = column(crossings, "r"), column(crossings, "crossover")
    right.plot(*points, "o", ms=3, label="minima outnumber from here")
    right.plot([2, 60], [2, 60], ":", color="0.5", label="m = r")
    right.set(xlabel="least width r", ylabel="width m", title="where minima win")


def draw_paths(axis, connection, names, title):
    """Loss along paths, each from 0 to 1."""
    for name in names:
        t, losses, _, _ = connection.profiles[name]
        axis.semilogy(t / t[-1], losses, label=f"{name}, barrier {connection.barriers[name]:.2g}")
    low, high = axis.get_ylim()
    axis.set(xlabel="along the path", ylabel="loss with the λ term", title=title)
    axis.set_ylim(low, high * (high / low) ** 0.5)


def draw_norms(axis, connection):
    """Squared norm along the paths to another minimum."""
    for name, (t, _, norms, _) in connection.profiles.items():
        axis.plot(t / t[-1], norms, label=name)
    axis.set(xlabel="along the path", ylabel="Σ‖W‖²", title="another minimum: the norm")
