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
                answer = representation_cost(
                    known.x, known.y, depth, width, method=method, **options
                )
                rows.append(
                    {
                        "depth": depth,
                        "width": width,
                        "method": method,
                        "cost": answer.cost,
                        "schatten": known.cost,
                        "error": abs(answer.cost / known.cost - 1),
                    }
                )
                found[depth, width, method] = answer
    for depth in DEPTHS:
        known = constructions.linear(N, RANK, seed, depth)
        norm = known.facts()["squared_norm"]
        claims.check(f"L = {depth}: norm of the construction", known.cost, norm, tolerance=1e-9)
        for method in METHODS:
            cost = found[depth, N, method].cost
            claims.check(f"L = {depth}: R, {method}", known.cost, cost, tolerance=1e-6)
        narrow = representation_cost(known.x, known.y, depth, RANK - 1, bound=False, **options)
        claims.check(
            f"L = {depth}: R with {RANK - 1} neurons, fewer than the rank",
            known.cost,
            narrow.cost,
            ">",
        )
    network = found[SHOWN, N, "constrained"].network
    spectra = [np.linalg.eigvalsh(z @ z.T)[::-1][:RANK] for z in network.forward(np.eye(N))[0]]
    for layer, spectrum in enumerate(spectra, start=1):
        expected = np.arange(RANK, 0, -1.0) ** (2 * layer / SHOWN)
        worst = np.abs(spectrum / expected - 1).max()
        claims.check(
            f"L = {SHOWN}, K_{layer}: largest relative error of s^(2l/L)", 0, worst, tolerance=1e-4
        )
    write_csv(rows, out / "linear.csv")
    with canvas(1, 2, width=4.6) as (drawing, (left, right)):
        for method, marker in (("constrained", "o"), ("limit", "s")):
            own = [row for row in rows if row["method"] == method and row["width"] == N]
            left.semilogy(
                column(own, "depth"),
                [max(r["error"], 1e-16) for r in own],
                marker + "-",
                label=method,
            )
        left.axhline(1e-6, color="0.5", ls=":", label="1e-6")
        left.set(
            xlabel="depth L",
            ylabel="|R / (L Σ sᵢ^(2/L)) − 1|",
            xticks=DEPTHS,
            title="least norm that fits, found",
        )
        layers = np.arange(1, SHOWN + 1)
        for index in range(RANK):
            right.semilogy(
                layers,
                [spectrum[index] for spectrum in spectra],
                f"C{index}o",
                label=f"s = {RANK - index}",
            )
            right.semilogy(
                [0, *layers],
                (RANK - index) ** (2 * np.array([0, *layers]) / SHOWN),
                f"C{index}-",
                lw=1,
            )
        right.set(
            xlabel="layer l",
            ylabel="eigenvalue of K_l",
            title=f"L = {SHOWN}: geometric, lines are s^(2l/L)",
        )
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
