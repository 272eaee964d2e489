"""Prop. 19: a local minimum over weights whose covariances are no local minimum of the covariance
loss."""

import numpy as np

from keras_l2feat.experiments.claims import Claims, column, write_csv
from keras_l2feat.experiments.record import figure
from keras_l2feat.network import DenseNetwork
from keras_l2feat.plots.style import canvas, save
from keras_l2feat.theory import constructions, criticality
from keras_l2feat.training.run import Budget

LAM = 0.1
SHARES = np.linspace(0, 0.5, 26)  # of the second neuron
RADIUS = 0.3  # how far around each point lower loss is looked for
DIRECTIONS = 2000
KICK = 1e-3


def around(share, lam):
    """The network of covariances (K, Z_2) of the fold whose second neuron has this share."""
    a = np.sqrt(1 - 2 * lam) * np.sqrt([1 - share, share])
    return DenseNetwork((a[None, :], a[:, None]), beta=0.0)


@figure("prop19", summary="A minimum of the weights that is none of the covariances.")
def command(out, *, seed, quiet):
    """The fold at λ = 0.1: losses around it, and descent from its two ends after a small kick."""
    fold = constructions.fold(LAM)
    problem = fold.problem
    claims, generator = Claims(), np.random.default_rng(seed)

    def loss(network):
        return criticality.loss_and_gradient(network, problem)[0]

    level = loss(fold.both)
    claims.check("loss of both ends of the fold", level, loss(fold.one), tolerance=1e-12)
    (z, a), (other_z, other_a) = fold.both.forward(fold.x), fold.one.forward(fold.x)
    gap = max(np.abs(p @ p.T - q @ q.T).max() for p, q in zip([*z, a[1]], [*other_z, other_a[1]]))
    claims.check("difference of their covariances K, K^σ and Z_2 Z_2ᵀ", 0, gap, tolerance=1e-12)
    steps = generator.standard_normal((DIRECTIONS, 4))
    lengths = np.linalg.norm(steps, axis=1, keepdims=True)
    steps *= RADIUS * generator.random((DIRECTIONS, 1)) / lengths
    lowest = []
    for share in SHARES:
        centre = around(share, LAM)
        point = criticality.flatten(centre.weights)
        # A neighbourhood on which no sign changes: as small as the smaller neuron, and as RADIUS.
        reach = min(1.0, np.sqrt(share * (1 - 2 * LAM)) / RADIUS)
        near = min(loss(criticality.unflatten(point + reach * step, centre)) for step in steps)
        far = min(loss(criticality.unflatten(point + step, centre)) for step in steps)
        lowest.append({"share": share, "near": near - level, "within_radius": far - level})
    claims.check(
        "least change of loss near the even split", 0, lowest[-1]["near"], "≥", tolerance=1e-12
    )
    rows = []
    for epsilon in (0.3, 0.1, 0.03, 0.01):
        fall = loss(fold.one) - loss(fold.turned(epsilon))
        rows.append({"epsilon": epsilon, "fall": fall})
        known = epsilon**2 * (1 - 2 * LAM) - epsilon**4 / 2
        claims.check(f"fall at ε = {epsilon}", known, fall, tolerance=1e-9)
    starts = {"even split": fold.both, "one neuron": fold.turned(KICK)}
    runs = {name: descend(fold, start, generator) for name, start in starts.items()}
    even, one = (losses[-1] for losses in runs.values())
    claims.check("loss after descent from the even split, kicked", level, even, tolerance=1e-6)
    claims.check("loss after descent from one neuron, kicked", level, one, "<")
    write_csv(lowest, out / "around.csv")
    write_csv(rows, out / "turn.csv")
    with canvas(1, 3, width=4.2) as (drawing, axes):
        axes[0].plot(SHARES, column(lowest, "within_radius"), "o-", ms=3, label=f"within {RADIUS}")
        axes[0].plot(SHARES, column(lowest, "near"), "s-", ms=3, label="with all signs kept")
        axes[0].set(
            xlabel="share of the second neuron",
            ylabel="least change of loss",
            title="around the fold",
        )
        epsilons = np.linspace(0, 0.9, 100)
        axes[1].plot(epsilons, [loss(fold.turned(e)) for e in epsilons], label="turned to (−ε, ε)")
        axes[1].axhline(level, color="0.5", lw=1, label="the fold")
        axes[1].set(xlabel="ε", ylabel="loss", title="one neuron: the other may turn")
        for name, values in runs.items():
            axes[2].plot(values, "o-", ms=3, label=name)
        axes[2].set(xlabel="iteration", ylabel="loss", title=f"L-BFGS after a kick of {KICK}")
        for axis in axes:
            axis.legend(fontsize=8)
        save(drawing, out / "prop19.png")
    return claims.report(
        out,
        f"X = (1, −1), Y = (1, 1), λ = {LAM}: every way to share one feature among "
        "two neurons has the same covariances and the same loss. Where both neurons live it is a "
        "local minimum over weights; where one is zero, that one may turn to the other point and "
        "the loss falls. So the covariances they share are no local minimum of the covariance "
        "loss: it sees no difference between them. Local minimality near the fold is checked on "
        f"{DIRECTIONS} random directions, not proved.",
    )


def descend(fold, network, generator):
    """Losses of L-BFGS on the weights after a small random kick."""
    start = [weight + KICK * generator.standard_normal(weight.shape) for weight in network.weights]
    return criticality.descend(network.with_weights(start), fold.problem, Budget(60, 1e-12))[1]
