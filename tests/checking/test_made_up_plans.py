"""Plans that nobody found, carried out: whatever the checker accepts is the same function."""

import numpy as np
import pytest
from mutations import KINDS, Pair, filled

from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.evaluate import outputs, random_inputs
from keras_l2feat.pruning.plan import BIAS, Plan, Removal
from keras_l2feat.pruning.rewrite import rewrite
from keras_l2feat.pruning.trace import trace


def planted(graph, unit, other, factor, alike):
    """What computes a unit: `factor` times what computes another one, or nothing but a bias
    (`factor` 0); where they are `alike`, with the parameters of the other one behind it."""
    for (layer, index, axis), slot in graph.slots.items():
        to, source = (np.flatnonzero(slot.units == u) for u in (unit, other))
        if not len(to) or slot.role == "read" or (slot.role == "param" and not alike):
            continue
        array = np.moveaxis(np.array(graph.weight(layer, index)), axis, 0)
        if slot.role == "param" or factor:
            array[to] = (1.0 if slot.role == "param" else factor) * array[source]
        elif array.ndim > 1:
            array[to] = 0.0
        graph.assign(layer, index, np.moveaxis(array, 0, axis))


def made_up(graph, unit, other, factor, constant):
    """A plan without a unit: another one, or a constant, stands for it in all that read it."""
    (layer, index), (home, at) = graph.owners[unit], graph.owners[other]
    into = ((home, at, factor),) if factor else ()
    plan = Plan("exact", removed=[Removal(layer, index, "aligned", into, constant)])
    for name, reader in graph.readers.items():
        places = (np.flatnonzero(reader.units == u).tolist() for u in (unit, other))
        pairs = [*zip(*places)]
        if factor:
            plan.transfers[name] = [(p, q, factor) for p, q in pairs]
        elif reader.bias is not None and constant:
            plan.transfers[name] = [(p, BIAS, constant) for p, _ in pairs]
    return plan


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_accepted_is_the_same_function(kind):
    random, accepted = np.random.default_rng(0), 0
    model = filled(KINDS[kind](5), random)
    graph, weights = read(model), model.get_weights()
    inputs = random_inputs(graph, 16, 0)
    free = [units[~graph.pinned[units]] for units in graph.writers.values()]
    free = [units for units in free if len(units) > 1]
    for _ in range(40):
        model.set_weights(weights)
        unit, other = random.choice(free[random.integers(len(free))], 2, replace=False)
        factor = float(random.choice([1.0, 2.0, -1.0, -3.0, 0.0]))
        planted(graph, unit, other, factor, random.random() < 0.7)
        told = factor * float(random.choice([1.0, 1.0, -1.0, 2.0]))
        plan = made_up(graph, unit, other, told, float(random.choice([0.0, 0.3])))
        pruned = read(rewrite(graph, plan))
        found = Pair(graph, pruned, trace([(graph, plan)], pruned))
        if found.accepted():
            accepted += 1
            before, after = (outputs(m, inputs) for m in (model, pruned.model))
            assert np.abs(after - before).max() <= 1e-4 * np.abs(before).max()
    assert accepted >= 4
