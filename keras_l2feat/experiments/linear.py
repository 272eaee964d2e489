"""Deep linear networks: the representation cost is a Schatten norm, and covariances go
geometrically."""

import numpy as np

from keras_l2feat.experiments.claims import Claims, column, write_csv
from keras_l2feat.experiments.record import figure
from keras_l2feat.plots.style import canvas, save
from keras_l2feat.progress import bar
from keras_l2feat.theory import constructions
from keras_l2feat.theory.norm import representation_cost

DEPTHS = (2, 3, 4, 5)
N, RANK, SHOWN = 6, 3, 4  # points, rank of Y, depth whose covariances are drawn
METHODS = ("constrained", "limit")
TRIALS = 3
COLUMNS = ("depth", "width", "method", "cost", "schatten", "error")


@figure("linear", summary="Deep linear networks: the Schatten norm.")
def command(out, *, seed, quiet):
    """R by the constrained method and by λ → 0 for L = 2 … 5, against width, and the spectra of the
    layers."""
    claims, rows, found = Claims(), [], {}
    options = {"activation": "linear", "trials": TRIALS, "seed": seed}
    tasks = [(depth, width) for depth in DEPTHS for width in range(RANK, N + 1)]
    with bar(tasks, description="depths and widths", quiet=quiet) as progress:
        for depth, width in progress:
            known = constructions.linear(N, RANK, seed, depth)
            for method in METHODS:
                key = depth, width, method
                own = {**options, "method": method}
                found[key] = representation_cost(known.x, known.y, depth, width, **own)
                cost, schatten = found[key].cost, known.cost
                rows.append(dict(zip(COLUMNS, (*key, cost, schatten, abs(cost / schatten - 1)))))
    for depth in DEPTHS:
        known = constructions.linear(N, RANK, seed, depth)
        norm = known.facts()["squared_norm"]
        claims.check(f"L = {depth}: norm of the construction", known.cost, norm, tolerance=1e-9)
        for method in METHODS:
            cost = found[depth, N, method].cost
            claims.check(f"L = {depth}: R, {method}", known.cost, cost, tolerance=1e-6)
        narrow = representation_cost(known.x, known.y, depth, RANK - 1, bound=False, **options)
        what = f"L = {depth}: R with {RANK - 1} neurons, fewer than the rank"
        claims.check(what, known.cost, narrow.cost, ">")
    network = found[SHOWN, N, "constrained"].network
    spectra = [np.linalg.eigvalsh(z @ z.T)[::-1][:RANK] for z in network.forward(np.eye(N))[0]]
    for layer, spectrum in enumerate(spectra, start=1):
        expected = np.arange(RANK, 0, -1.0) ** (2 * layer / SHOWN)
        worst = np.abs(spectrum / expected - 1).max()
        what = f"L = {SHOWN}, K_{layer}: largest relative error of s^(2l/L)"
        claims.check(what, 0, worst, tolerance=1e-4)
    write_csv(rows, out / "linear.csv")
    with canvas(1, 2, width=4.6) as (drawing, (left, right)):
        for method, marker in (("constrained", "o"), ("limit", "s")):
            own = [row for row in rows if row["method"] == method and row["width"] == N]
            errors = np.maximum(column(own, "error"), 1e-16)
            left.semilogy(column(own, "depth"), errors, marker + "-", label=method)
        left.axhline(1e-6, color="0.5", ls=":", label="1e-6")
        left.set(xlabel="depth L", ylabel="|R / (L Σ sᵢ^(2/L)) − 1|", xticks=DEPTHS)
        left.set_title("least norm that fits, found")
        for index in range(RANK):
            s, every = RANK - index, np.arange(SHOWN + 1)
            values = [spectrum[index] for spectrum in spectra]
            right.semilogy(every[1:], values, f"C{index}o", label=f"s = {s}")
            right.semilogy(every, s ** (2 * every / SHOWN), f"C{index}-", lw=1)
        right.set(xlabel="layer l", ylabel="eigenvalue of K_l")
        right.set_title(f"L = {SHOWN}: geometric, lines are s^(2l/L)")
        for axis in (left, right):
            axis.legend(fontsize=8)
        save(drawing, out / "linear.png")
    return claims.report(
        out,
        "With σ = id, X = I and Y of singular values 3, 2, 1 the least Σ‖W_l‖² is "
        "L Σ s_i^(2/L): the more layers, the closer to L times the rank. Both ways to compute it, "
        "exact fit by multipliers and the limit of small λ, reach it to 1e-6 from random starts at "
        "every width from the rank on; fewer neurons than the rank cannot fit (R = ∞). The "
        "covariances of hidden layers go geometrically from X to Y.",
    )
