"""The plateau from below: add the neurons that the insertion certificate names, until it closes."""

import time
from dataclasses import replace

import numpy as np

from keras_l2feat import progress
from keras_l2feat.errors import bad_argument
from keras_l2feat.network import DenseNetwork
from keras_l2feat.plateau.insertion import certify
from keras_l2feat.plateau.trial import measure
from keras_l2feat.training.balancing import balance
from keras_l2feat.training.gradient import Objective
from keras_l2feat.training.lbfgs import minimize, minimize_many

__all__ = ["growth"]

SHARE = 0.25  # of a layer's width that is added in one step, at least one neuron
FRESH = (
    8  # random starts of which the best is grown: deep narrow networks often collapse to the origin
)
# of the mean neuron's norm that a new neuron starts with: small, as its promise is to second order
SIZE = 0.3


def growth(
    data,
    lam,
    *,
    depth=3,
    start=None,
    width_limit=100,
    gap=0.05,
    cost=None,
    activation="relu",
    beta=1.0,
    dtype="float64",
    iterations=400,
    tolerance=1e-5,
    batch_size=None,
    seed=0,
    on_trial=None,
    quiet=False,
) -> list:
    """Grow a narrow network until no single neuron could lower its loss by more than the gap says.

    Repeats: polish; ask the insertion certificate of every hidden layer [theory of insertion: Jacot
    et al. 2022, §3.2]; where its gap exceeds `gap`, add the best neurons it found.

    Args:
        data: a `data.Dataset`.
        lam: λ > 0.
        depth: L, at least 2.
        start: width of every hidden layer to begin with, by default the number of outputs, at least
            2; the best of 8 random networks of that width is grown.
        width_limit: no layer grows past it.
        gap: certificate gap max s(w) / 2λ − 1 at which a layer is wide enough.
        cost, activation, beta, batch_size: as for `training.Objective`; σ must be positively
            homogeneous.
        dtype, iterations, tolerance: of the polish.
        seed: of the first network and of the searches.
        on_trial: called with each `Trial` as it is found.
        quiet: no progress bar.

    Returns: a list of `Trial`s, narrowest first, each with its certificate gap.
    """
    if depth < 2:
        raise bad_argument("depth", "at least 2", depth)
    start = start or min(max(2, data.outputs), width_limit)
    if not 1 <= start <= width_limit:
        raise bad_argument("start", f"between 1 and width_limit={width_limit}", start)
    began = time.monotonic()
    objective = Objective(
        data, lam, cost=cost, activation=activation, beta=beta, dtype=dtype, batch_size=batch_size
    )
    sizes = (data.x_train.shape[1], *(start,) * (depth - 1), data.outputs)
    rivals = [
        objective.encode(
            DenseNetwork.random(sizes, activation=activation, beta=beta, seed=(seed, index))
        )
        for index in range(FRESH)
    ]
    options = {"max_iterations": iterations, "tolerance": tolerance, "quiet": True}
    best = min(minimize_many(objective, rivals, **options), key=lambda result: result.value)
    network = objective.decode(best.arrays)
    trials = []
    with progress.bar(description="growth", quiet=quiet, unit="width") as bar:
        while True:
            result = minimize(objective, balance(objective.encode(network), activation), **options)
            network = objective.decode(balance(result.arrays, activation))
            count = max(1, int(SHARE * min(network.hidden)))
            certificate = certify(network, data, lam, cost=cost, count=count, seed=seed)
            trial = measure(
                network,
                data,
                lam,
                method="growth",
                seed=seed,
                seconds=time.monotonic() - began,
                cost=cost,
            )
            trials.append(replace(trial, gap=certificate.gap))
            bar.update()
            bar.set_postfix(
                width="x".join(map(str, trial.widths)),
                loss=f"{trial.loss:.5g}",
                gap=f"{certificate.gap:.3f}",
                refresh=False,
            )
            if on_trial is not None:
                on_trial(trials[-1])
            grown = _grown(network, certificate, gap, width_limit)
            if grown is network:
                return trials
            network = grown


def _grown(network, certificate, gap, width_limit):
    """The network with the neurons that the certificate names, itself where every layer is wide
    enough."""
    for found in certificate.layers:
        room = width_limit - found.width
        useful = np.flatnonzero(found.scores > 1 + gap)[: max(room, 0)]
        if len(useful):
            norms = np.linalg.norm(network.weights[found.layer - 1], axis=0)
            size = SIZE * (norms.mean() or 1.0)
            network = network.with_neurons(
                found.layer, size * found.directions[:, useful], size * found.outgoing[useful]
            )
    return network
