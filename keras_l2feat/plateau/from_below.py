"""The plateau from below: add the neurons that the insertion certificate names, until it closes."""

import time
from collections.abc import Callable

import numpy as np

from keras_l2feat import progress
from keras_l2feat.errors import require
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives.problem import Problem
from keras_l2feat.plateau.insertion import certify
from keras_l2feat.plateau.trial import POLISH, Trial, measure
from keras_l2feat.training.balancing import balance
from keras_l2feat.training.gradient import Objective
from keras_l2feat.training.lbfgs import minimize, minimize_many
from keras_l2feat.training.run import Budget

__all__ = ["growth"]

SHARE = 0.25  # of a layer's width that is added in one step, at least one neuron
# random starts of which the best is grown: deep narrow networks often collapse to the origin
FRESH = 8
# of the mean neuron's norm that a new neuron starts with: small, as its promise is to second order
SIZE = 0.3


def growth(
    problem: Problem,
    *,
    network: DenseNetwork | None = None,
    depth: int = 3,
    start: int | None = None,
    width_limit: int = 100,
    gap: float = 0.05,
    budget: Budget = POLISH,
    dtype: str = "float64",
    batch_size: int | None = None,
    seed: int = 0,
    on_trial: Callable[[Trial], object] | None = None,
    quiet: bool = False,
) -> list[Trial]:
    """Grow a narrow network until no single neuron could lower its loss by more than the gap says.

    Repeats: polish; ask the insertion certificate of every hidden layer [theory of insertion: Jacot
    et al. 2022, §3.2]; where its gap exceeds `gap`, add the best neurons it found.

    Args:
        problem: what is minimized, with λ > 0 and a positively homogeneous σ.
        network: a trained one to go on from; `depth` and `start` are then not used.
        depth: L, at least 2.
        start: width of every hidden layer to begin with, by default the number of outputs, at least
            2; the best of 8 random networks of that width is grown.
        width_limit: no layer grows past it.
        gap: certificate gap max s(w) / 2λ − 1 at which a layer is wide enough.
        budget: of the polish at each width.
        dtype: of training; losses are measured in float64.
        batch_size: points in memory at a time.
        seed: of the first network and of the searches.
        on_trial: called with each `Trial` as it is found.
        quiet: no progress bar.

    Returns: a list of `Trial`s, narrowest first, each with its certificate.

    Raises:
        InputError: `depth` below 2, `start` not between 1 and `width_limit`, λ or σ as above.
    """
    began = time.monotonic()
    objective = Objective(problem, dtype=dtype, batch_size=batch_size)
    if network is None:
        network = _narrow(objective, problem, depth, start, width_limit, budget, seed)
    problem.check(network)
    trials = []
    with progress.bar(description="growth", quiet=quiet, unit="width") as bar:
        while True:
            balanced = balance(objective.encode(network), problem.activation)
            result = minimize(objective, balanced, budget, quiet=True)
            network = objective.decode(balance(result.arrays, problem.activation))
            count = max(1, int(SHARE * min(network.hidden)))
            certificate = certify(network, problem, count=count, seed=seed)
            seconds = time.monotonic() - began
            trial = measure(network, problem, method="growth", seed=seed, seconds=seconds)
            trials.append(trial.certified(problem, certificate))
            bar.update()
            shown = {"width": "x".join(map(str, trial.widths)), "loss": f"{trial.loss:.5g}"}
            bar.set_postfix(shown, gap=f"{certificate.gap:.3f}", refresh=False)
            if on_trial is not None:
                on_trial(trials[-1])
            grown = _grown(network, certificate, gap, width_limit)
            if grown is network:
                return trials
            network = grown


def _narrow(objective, problem, depth, start, width_limit, budget, seed):
    """The best of some random networks of width `start`, trained."""
    require(depth >= 2, "depth", "at least 2", depth)
    start = start or min(max(2, problem.data.outputs), width_limit)
    require(1 <= start <= width_limit, "start", f"between 1 and width_limit={width_limit}", start)
    rivals = [
        objective.encode(problem.random((start,) * (depth - 1), (seed, index)))
        for index in range(FRESH)
    ]
    best = min(minimize_many(objective, rivals, budget), key=lambda result: result.value)
    return objective.decode(best.arrays)


def _grown(network, certificate, gap, width_limit):
    """The network with the neurons that the certificate names, itself where every layer is wide
    enough."""
    for found in reversed(certificate.layers):  # a layer's directions fit what is still below it
        room = width_limit - found.width
        useful = np.flatnonzero(found.scores > 1 + gap)[: max(room, 0)]
        if len(useful):
            norms = np.linalg.norm(network.weights[found.layer - 1], axis=0)
            size = SIZE * (norms.mean() or 1.0)
            # neurons that have just joined the layer above take nothing yet
            more = network.widths[found.layer + 1] - found.outgoing.shape[1]
            outgoing = np.pad(found.outgoing[useful], ((0, 0), (0, more)))
            network = network.with_neurons(
                found.layer, size * found.directions[:, useful], size * outgoing
            )
    return network
