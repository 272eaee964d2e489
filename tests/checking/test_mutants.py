"""No change of a pruned model's function is overlooked by the checker, in graphs of five kinds."""

import numpy as np
import pytest
from mutations import KINDS, MUTATIONS, changes_function, mutants, pair, wrong_merge

from keras_l2feat.pruning.evaluate import outputs, precise, random_inputs


def overlooked(kind, seed, counts):
    """How many pairs were tried, and which changes of the function were accepted."""
    found = pair(kind, seed)
    assert found.accepted()
    before = outputs(precise(found.pruned.model), random_inputs(found.graph, 16, 0))
    random, tried, wrong = np.random.default_rng(seed), 0, []
    for name, count in counts.items():
        for changed in mutants(found, name, count, random):
            tried += 1
            if changed.accepted() and changes_function(changed, before=before):
                wrong.append((kind, seed, name))
    assert found.accepted()  # all was put back
    return tried, wrong


@pytest.mark.parametrize("kind", KINDS)
def test_changes_are_noticed(kind):
    tried, wrong = overlooked(kind, 100, dict.fromkeys(MUTATIONS, 1))
    assert tried >= 3
    assert wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_none_of_many_changes_is_overlooked(kind):
    """With those of `wrong_merge`, about 2000 in all."""
    counts = {**dict.fromkeys(MUTATIONS, 8), "an entry": 80}
    total = 0
    for seed in range(4):
        tried, wrong = overlooked(kind, seed, counts)
        total += tried
        assert wrong == []
    assert total >= 380


@pytest.mark.parametrize("kind", ["border", "maximum", "odd"])
def test_what_does_not_commute_is_not_merged(kind):
    random = np.random.default_rng(0)
    for _ in range(3):
        assert not wrong_merge(kind, random).accepted()
