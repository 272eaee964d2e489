import numpy as np
import pytest

from keras_l2feat.data import Dataset
from keras_l2feat.errors import InputError
from keras_l2feat.objectives import Problem
from keras_l2feat.plateau import (
    certify,
    descent,
    from_below,
    growth,
    independent_trials,
    plateau_starts,
)
from keras_l2feat.plateau.trial import measure
from keras_l2feat.theory import constructions
from keras_l2feat.training import Budget

DIGITS = Problem("mnist-789-42", 1e-2)


def least(trials):
    return {trial.width: trial.loss for trial in trials}


@pytest.mark.slow
def test_digits_have_their_plateau_at_three_from_above_and_from_below():
    seen = []
    trials = descent(
        DIGITS, [1, 2, 3, 4, 8], on_trial=seen.append, budget=Budget(200, 1e-5), quiet=True
    )
    assert [trial.width for trial in trials] == [8, 4, 3, 2, 1]
    assert seen == trials
    (start,) = plateau_starts([t.width for t in trials], [t.loss for t in trials], epsilons=(0.01,))
    assert start.width == 3
    best = min(trial.loss for trial in independent_trials(DIGITS, 8, (0, 1, 2), budget=Budget(500)))
    assert least(trials)[3] <= 1.005 * best
    grown = growth(DIGITS, gap=0.1, quiet=True)
    assert grown[-1].gap <= 0.1
    assert grown[-1].loss <= 1.005 * best
    assert grown[-1].width <= 6
    for trial in trials:
        again = trial.network
        assert again.hidden == trial.widths
        assert trial.loss == pytest.approx(certify(again, DIGITS, starts=1, steps=1).loss, rel=1e-9)


@pytest.mark.slow
def test_layers_find_their_own_widths():
    trials = descent(DIGITS, [1, 5], per_layer=True, budget=Budget(60, 1e-5), quiet=True)
    sizes = [sum(trial.widths) for trial in trials]
    assert sizes == list(range(10, 1, -1))
    assert trials[-1].widths == (1, 1)


@pytest.mark.slow
def test_one_hot_outputs_need_one_neuron_a_class():
    """L = 2, β = 0, X = I, one-hot Y: the plateau starts at the number of classes [Jacot et al.
    2022, Prop. 14]."""
    construction = constructions.one_hot(3, 6)
    data = Dataset("one-hot", construction.x.astype("float32"), construction.y.astype("float32"))
    trials = descent(
        Problem(data, 1e-3, beta=0.0),
        range(1, 7),
        depth=2,
        dtype="float64",
        budget=Budget(500, 1e-9),
        quiet=True,
    )
    (start,) = plateau_starts([t.width for t in trials], [t.loss for t in trials], epsilons=(1e-3,))
    assert start.width == 3


def test_both_layers_may_grow_at_once():
    network = DIGITS.random((2, 3), seed=3)
    certificate = certify(network, DIGITS, count=2, starts=3, steps=2)
    assert all(layer.gap > 0 for layer in certificate.layers)
    grown = from_below._grown(network, certificate, 0.0, 4)
    assert grown.hidden == (4, 4)
    kept = [grown.weights[0][:, :2], np.delete(grown.weights[1][:, :3], [2, 3], axis=0)]
    for weight, before in zip(kept, network.weights):
        np.testing.assert_array_equal(weight, before)
    assert not grown.weights[1][2:4, 3].any()  # new neurons below, read by the new one above


def test_descent_goes_on_from_a_network_to_widths_of_each_layer():
    network = DIGITS.random((8, 5), seed=1)
    trials = descent(DIGITS, [(6, 4), 3], network=network, budget=Budget(60, 1e-5), quiet=True)
    assert [trial.widths for trial in trials] == [(6, 4), (3, 3)]
    assert trials[0].loss < measure(network, DIGITS, method="descent").loss


def test_bad_arguments_are_named():
    with pytest.raises(InputError, match="'widths' must be whole numbers of at least 1"):
        descent(DIGITS, [])
    with pytest.raises(InputError, match="'start' must be at least the greatest width, 5"):
        descent(DIGITS, [5], start=3)
    with pytest.raises(InputError, match="'depth' must be at least 2"):
        descent(DIGITS, [5], depth=1)
    with pytest.raises(InputError, match="'network' must be at least the greatest width, 5"):
        descent(DIGITS, [5], network=DIGITS.random((6, 4)))
    with pytest.raises(InputError, match="'widths' must be falling in every layer"):
        descent(DIGITS, [(5, 3), (4, 4)])
    with pytest.raises(InputError, match="'widths' must be one number, or 2 of them"):
        descent(DIGITS, [(5, 3, 2)])

    with pytest.raises(InputError, match="'start' must be between"):
        growth(DIGITS, start=5, width_limit=4)


@pytest.mark.slow
def test_seeds_of_one_width_are_reproducible():
    first, second = (independent_trials(DIGITS, 3, (0, 1), budget=Budget(40)) for _ in range(2))
    assert [t.loss for t in first] == [t.loss for t in second]
    assert first[0].loss != first[1].loss
    assert np.isnan(first[0].gap)
