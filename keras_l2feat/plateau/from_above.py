"""The plateau from above: train wide once, then take neurons out and polish, recording the loss at
every width."""

import functools
import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from keras_l2feat import progress
from keras_l2feat.errors import bad_argument, require
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives.problem import Problem
from keras_l2feat.plateau.removal import removal_losses, remove, without
from keras_l2feat.plateau.trial import POLISH, Trial, measure
from keras_l2feat.training.balancing import balance
from keras_l2feat.training.gradient import Objective
from keras_l2feat.training.lbfgs import minimize_many
from keras_l2feat.training.minibatch import minibatches
from keras_l2feat.training.run import Budget

__all__ = ["START", "descent"]

START = 8  # iterations of the wide network for each one at a recorded width
STAGE = 0.85  # widths between two that are recorded fall by this factor
STAGE_ITERATIONS = 40  # short polish after each step, by which candidates are compared
# A λ so many times greater leads to better minima at λ. There the wide network begins: on 1000
# digits at λ = 1e-3 it ends 0.1 to 0.9 % lower than by training at λ alone, at 1e-4 the same …
EASE = 3
EASED = 1 / 6  # … for this share of its iterations; and there neurons leave
# from this width down: 3 % lower at width 5; above, the way back to λ takes longer than it is worth
EASED_WIDTH = 20
# from this width down several ways to lose a neuron are tried, not only the one that looks cheapest
NARROW = 12
CHOICES = 3  # cheapest neurons of each layer that are tried then
BEAM = 3  # networks kept at each narrow width
DISTINCT = 1e-4  # networks whose losses differ relatively by less count as one


def descent(
    problem: Problem,
    widths: Iterable[int | Sequence[int]],
    *,
    network: DenseNetwork | None = None,
    depth: int = 3,
    start: int | None = None,
    per_layer: bool = False,
    budget: Budget = POLISH,
    start_iterations: int | None = None,
    epochs: int = 0,
    continuation: Sequence[float] = (),
    beam: int = BEAM,
    dtype: str = "float32",
    batch_size: int | None = None,
    seed: int = 0,
    on_trial: Callable[[Trial], object] | None = None,
    quiet: bool = False,
) -> list[Trial]:
    """The least loss found at each width, all from one wide network.

    Repeats: take out the cheapest neurons of each layer, the rest refitted (`plateau.removal`);
    balance; polish by L-BFGS. Where networks are narrow and every neuron counts, neurons leave at
    3λ, several choices of them are tried at once, and the best few go on.

    Args:
        problem: what is minimized, λ > 0.
        widths: widths to record, of every hidden layer alike, or a width for each. With
            `per_layer`, only the least and the greatest count: layers then shrink one at a time,
            whichever costs less, and every step is recorded.
        network: a trained one to go on from; what makes the wide network is then not used.
        depth: L, number of weight matrices, at least 2.
        start: width trained first, by default the greatest of `widths`; wide ones end in better
            minima.
        budget: of the polish at a recorded width.
        start_iterations: of the wide network, at a tenth of the tolerance, the first sixth of them
            at 3λ; by default 8 times those of `budget`.
        epochs: passes of Adam on minibatches with which the wide network begins: for much data.
        continuation: greater λs, falling, for a λ so small that training ends in poor minima:
            neurons leave at the first of them, and at each recorded width the network is led
            through the others to λ.
        beam: networks kept at each narrow width.
        dtype: of training; losses are measured in float64.
        batch_size: points in memory at a time.
        seed: of the wide network.
        on_trial: called with each `Trial` as it is found.
        quiet: no progress bar.

    Returns: a list of `Trial`s, widest first.

    Raises:
        InputError: `widths` empty, below 1 or not falling in every layer, `start` or `network`
            below them, `depth` below 2, `continuation` not falling to λ.
    """
    depth = depth if network is None else network.depth
    widths = sorted({_each(width, depth) for width in widths}, reverse=True)
    wide = (start,) * (depth - 1) if start else max(widths, default=())
    wide = wide if network is None else network.hidden
    lams = (*continuation, problem.lam)
    _check(widths, wide, "start" if network is None else "network", depth, lams)
    began = time.monotonic()
    plain = Objective(problem.at(lams[0]), dtype=dtype, batch_size=batch_size)
    eased = plain.at(EASE * lams[0])
    steps = _steps_per_layer if per_layer else functools.partial(_steps_together, recorded=widths)
    trials = []

    def record(led, above):
        """The trial at λ to which networks lead, polished on the way at the λs below `above`."""
        for lam in [each for each in lams if each < above]:
            led = _polished(plain.at(lam), led, budget)
        seconds = time.monotonic() - began
        network = plain.decode(led[0])
        trial = measure(network, problem, method="descent", seed=seed, seconds=seconds)
        trials.append(trial)
        bar.set_postfix(
            width="x".join(map(str, trial.widths)), loss=f"{trial.loss:.5g}", refresh=False
        )
        if on_trial is not None:
            on_trial(trial)

    with progress.bar(description="descent", total=sum(wide) - sum(widths[-1]), quiet=quiet) as bar:
        if network is None:
            first = replace(budget, iterations=start_iterations or START * budget.iterations)
            nets = _wide(plain, eased, problem.random(wide, seed), first, epochs, seed)
        else:
            nets = [plain.encode(network)]
        objective, recorded = plain, per_layer or wide == widths[0]
        while True:
            if recorded:
                nets = _polished(objective, nets, budget)[:beam]
                record(nets, objective.problem.lam)
                objective = plain if max(_hidden_widths(nets[0])) > EASED_WIDTH else eased
            before = _hidden_widths(nets[0])
            if before == widths[-1]:
                return trials
            nets = _shrunk(objective, nets, steps(before, widths[-1]), beam)
            after = _hidden_widths(nets[0])
            recorded = per_layer or after in widths
            bar.update(sum(before) - sum(after))


def _each(width, depth):
    """A width for each hidden layer."""
    return (int(width),) * (depth - 1) if np.ndim(width) == 0 else tuple(map(int, width))


def _check(widths, wide, first, depth, lams):
    require(depth >= 2, "depth", "at least 2", depth)
    if not widths or min(map(min, widths)) < 1:
        raise bad_argument("widths", "whole numbers of at least 1", widths)
    if any(len(each) != depth - 1 for each in widths):
        raise bad_argument("widths", f"one number, or {depth - 1} of them", widths)
    if any(width < most for width, most in zip(wide, widths[0])):
        raise bad_argument(first, f"at least the greatest width, {max(widths[0])}", max(wide))
    if any(more > width for pair in itertools.pairwise(widths) for width, more in zip(*pair)):
        raise bad_argument("widths", "falling in every layer", widths)
    *continuation, lam = lams
    if any(after >= before for before, after in itertools.pairwise(lams)):
        raise bad_argument("continuation", f"λs that fall and end above {lam}", continuation)


def _wide(plain, eased, network, budget, epochs, seed):
    """The network (weights, alone in a list) trained: by `epochs` of Adam, at first eased."""
    if epochs:
        model = network.to_model(lam=plain.problem.lam)
        minibatches(model, plain.problem, epochs, seed=seed)
        network = DenseNetwork.from_model(model)
    nets, head = [plain.encode(network)], int(EASED * budget.iterations)
    for objective, iterations in (eased, head), (plain, budget.iterations - head):
        share = replace(budget, iterations=iterations, tolerance=budget.tolerance / 10)
        nets = _polished(objective, nets, share)
    return nets


def _polished(objective, nets, budget) -> list:
    """The networks (weights, all of one shape) balanced, polished by L-BFGS together, best
    first."""
    balanced = [balance(net, objective.problem.activation) for net in nets]
    results = minimize_many(objective, balanced, budget)
    return [result.arrays for result in sorted(results, key=lambda result: result.value)]


def _shrunk(objective, nets, targets, beam):
    """The best networks of the target widths that come from `nets`, after a short polish; all of
    one shape."""
    rounds = []
    for target in targets:
        candidates = [c for net in nets for c in _candidates(objective, net, target)]
        balanced = [balance(net, objective.problem.activation) for net in candidates]
        rounds.append(minimize_many(objective, balanced, Budget(STAGE_ITERATIONS, 0.0)))
    best = min(rounds, key=lambda results: min(result.value for result in results))
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
        cheapest = np.argsort(losses, kind="stable")[:CHOICES]
        chosen.append([(layer, neuron, ridge) for neuron in cheapest])
    networks = []
    for combination in itertools.product(*chosen):
        smaller = net
        for layer, neuron, ridge in combination:
            smaller = without(objective, smaller, layer, [neuron], ridge)
        networks.append([weight.astype(objective.dtype) for weight in smaller])
    return networks


def _steps_together(hidden, least, *, recorded):
    """The next widths when all layers shrink together: at most by a stage, and not past widths to
    record."""
    goal = max(widths for widths in recorded if widths < hidden)
    smaller = [w - 1 if w <= NARROW + 1 else max(int(STAGE * w), NARROW) for w in hidden]
    return [tuple(map(max, goal, smaller, least))]


def _steps_per_layer(hidden, least):
    """The next widths when layers shrink one at a time: one choice for each layer that may."""
    return [
        (*hidden[:layer], max(end, min(width - 1, int(0.95 * width))), *hidden[layer + 1 :])
        for layer, (width, end) in enumerate(zip(hidden, least))
        if width > end
    ]


def _hidden_widths(weights):
    return tuple(weight.shape[1] for weight in weights[:-1])
