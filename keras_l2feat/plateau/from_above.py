"""The plateau from above: train wide once, then take neurons out and polish, recording the loss at
every width."""

import functools
import itertools
import time

import numpy as np

from keras_l2feat import progress
from keras_l2feat.errors import bad_argument
from keras_l2feat.network import DenseNetwork
from keras_l2feat.plateau.removal import removal_losses, remove, without
from keras_l2feat.plateau.trial import measure
from keras_l2feat.training.balancing import balance
from keras_l2feat.training.gradient import Objective
from keras_l2feat.training.lbfgs import minimize_many

__all__ = ["START", "descent"]

START = 8  # iterations of the wide network for each one at a recorded width
STAGE = 0.85  # widths between two that are recorded fall by this factor
STAGE_ITERATIONS = 40  # short polish after each step, by which candidates are compared
# a λ so many times greater leads to better minima at λ: there the wide network begins (on 1000
# digits at
EASE = 3
# λ = 1e-3 it then ends 0.1 to 0.9 % lower than by training at λ alone, at 1e-4 the same) …
EASED = 1 / 6  # … for this share of its iterations; and there neurons leave
# from this width down (3 % lower at width 5; above, the way back to λ takes longer than it is
# worth)
EASED_WIDTH = 20
# from this width down several ways to lose a neuron are tried, not only the one that looks cheapest
NARROW = 12
CHOICES = 3  # cheapest neurons of each layer that are tried then
BEAM = 3  # networks kept at each narrow width
DISTINCT = 1e-4  # networks whose losses differ relatively by less count as one


def descent(
    data,
    lam,
    widths,
    *,
    depth=3,
    start=None,
    per_layer=False,
    cost=None,
    activation="relu",
    beta=1.0,
    dtype="float32",
    iterations=400,
    tolerance=1e-5,
    start_iterations=None,
    continuation=(),
    beam=BEAM,
    batch_size=None,
    seed=0,
    on_trial=None,
    quiet=False,
) -> list:
    """The least loss found at each width, all from one wide network.

    Repeats: take out the cheapest neurons of each layer, the rest refitted (`plateau.removal`);
    balance; polish by L-BFGS. Where networks are narrow and every neuron counts, neurons leave at
    3λ, several choices of them are tried at once, and the best few go on.

    Args:
        data: a `data.Dataset`.
        lam: λ > 0.
        widths: widths to record, of every hidden layer alike. With `per_layer`, only the least and
            the greatest count: layers then shrink one at a time, whichever costs less, and every
                step is recorded.
        depth: L, number of weight matrices, at least 2.
        start: width trained first, by default the greatest of `widths`; wide ones end in better
            minima.
        cost, activation, beta: as for `training.Objective`.
        dtype: of training; losses are measured in float64.
        iterations, tolerance: of the polish at a recorded width.
        start_iterations: of the wide network, at a tenth of `tolerance`, the first sixth of them at
            3λ; by default 8 times `iterations`.
        continuation: greater λs, falling, for a λ so small that training ends in poor minima:
            neurons leave at the first of them, and at each recorded width the network is led
            through the others to λ.
        beam: networks kept at each narrow width.
        batch_size: points in memory at a time.
        seed: of the wide network.
        on_trial: called with each `Trial` as it is found.
        quiet: no progress bar.

    Returns: a list of `Trial`s, widest first.

    Raises:
        InputError: `widths` empty or below 1, `start` below them, `depth` below 2, `continuation`
            not falling to λ.
    """
    widths = sorted({int(width) for width in widths}, reverse=True)
    if not widths or widths[-1] < 1:
        raise bad_argument("widths", "whole numbers of at least 1", widths)
    start = start or widths[0]
    start_iterations = start_iterations or START * iterations
    if start < widths[0]:
        raise bad_argument("start", f"at least the greatest width, {widths[0]}", start)
    if depth < 2:
        raise bad_argument("depth", "at least 2", depth)
    lams = (*continuation, lam)
    if any(after >= before for before, after in itertools.pairwise(lams)):
        raise bad_argument("continuation", f"λs that fall and end above {lam}", continuation)
    began = time.monotonic()
    objective = Objective(
        data,
        lams[0],
        cost=cost,
        activation=activation,
        beta=beta,
        dtype=dtype,
        batch_size=batch_size,
    )
    polish = {"max_iterations": iterations, "tolerance": tolerance}
    trials = []

    def record(nets):
        nets = led = _polished(objective, nets, **polish)[:beam]
        for objective.lam in [each for each in lams if each < objective.lam]:
            led = _polished(objective, led, **polish)
        objective.lam = lams[0] if max(_hidden_widths(nets[0])) > EASED_WIDTH else EASE * lams[0]
        trial = measure(
            objective.decode(led[0]),
            data,
            lam,
            method="descent",
            seed=seed,
            seconds=time.monotonic() - began,
            cost=cost,
        )
        trials.append(trial)
        bar.set_postfix(
            width="x".join(map(str, trial.widths)), loss=f"{trial.loss:.5g}", refresh=False
        )
        if on_trial is not None:
            on_trial(trial)
        return nets

    steps = _steps_per_layer if per_layer else functools.partial(_steps_together, recorded=widths)
    with progress.bar(
        description="descent", total=(start - widths[-1]) * (depth - 1), quiet=quiet
    ) as bar:
        sizes = (data.x_train.shape[1], *(start,) * (depth - 1), data.outputs)
        network = DenseNetwork.random(sizes, activation=activation, beta=beta, seed=seed)
        nets = [objective.encode(network)]
        eased = int(EASED * start_iterations)
        for objective.lam, count in (EASE * lams[0], eased), (lams[0], start_iterations - eased):
            nets = _polished(objective, nets, max_iterations=count, tolerance=tolerance / 10)
        if per_layer or start == widths[0]:
            nets = record(nets)
        while max(_hidden_widths(nets[0])) > widths[-1]:
            before = sum(_hidden_widths(nets[0]))
            nets = _shrunk(objective, nets, steps(_hidden_widths(nets[0]), widths[-1]), beam)
            if per_layer or _hidden_widths(nets[0])[0] in widths:
                nets = record(nets)
            bar.update(before - sum(_hidden_widths(nets[0])))
    return trials


def _polished(objective, nets, **options) -> list:
    """The networks (weights, all of one shape) balanced, polished by L-BFGS together, best
    first."""
    results = minimize_many(
        objective, [balance(net, objective.activation) for net in nets], **options
    )
    return [result.arrays for result in sorted(results, key=lambda result: result.value)]


def _shrunk(objective, nets, targets, beam):
    """The best networks of the target widths that come from `nets`, after a short polish; all of
    one shape."""
    candidates = {
        target: [c for net in nets for c in _candidates(objective, net, target)]
        for target in targets
    }
    rounds = {
        target: minimize_many(
            objective,
            [balance(net, objective.activation) for net in starts],
            max_iterations=STAGE_ITERATIONS,
            tolerance=0,
        )
        for target, starts in candidates.items()
    }
    best = min(rounds.values(), key=lambda results: min(result.value for result in results))
    kept = []
    for result in sorted(best, key=lambda result: result.value):
        if len(kept) < beam and all(result.value > (1 + DISTINCT) * other.value for other in kept):
            kept.append(result)
    return [result.arrays for result in kept]


def _candidates(objective, net, target):
    """Networks of the target widths: the cheapest neurons gone, and for narrow layers other choices
    too."""
    hidden = _hidden_widths(net)
    if max(hidden) > NARROW or any(width - goal > 1 for width, goal in zip(hidden, target)):
        return [remove(objective, net, target)]
    chosen = []
    for layer in (layer for layer, goal in enumerate(target) if goal < hidden[layer]):
        losses, ridge = removal_losses(objective, net, layer)
        chosen.append(
            [(layer, neuron, ridge) for neuron in np.argsort(losses, kind="stable")[:CHOICES]]
        )
    networks = []
    for combination in itertools.product(*chosen):
        smaller = net
        for layer, neuron, ridge in combination:
            smaller = without(objective, smaller, layer, [neuron], ridge)
        networks.append([weight.astype(objective.dtype) for weight in smaller])
    return networks


def _steps_together(hidden, least, *, recorded):
    """The next widths when all layers shrink alike: at most by a stage, and not past a width to
    record."""
    width = hidden[0]
    goal = max(width for width in recorded if width < hidden[0])
    smaller = width - 1 if width <= NARROW + 1 else max(int(STAGE * width), NARROW)
    return [(max(goal, smaller, least),) * len(hidden)]


def _steps_per_layer(hidden, least):
    """The next widths when layers shrink one at a time: one choice for each layer that may."""
    return [
        (*hidden[:layer], max(least, min(width - 1, int(0.95 * width))), *hidden[layer + 1 :])
        for layer, width in enumerate(hidden)
        if width > least
    ]


def _hidden_widths(weights):
    return tuple(weight.shape[1] for weight in weights[:-1])
