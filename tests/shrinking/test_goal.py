"""Which round comes next is a function of the rounds so far, and ends."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_l2feat.errors import InputError
from keras_l2feat.shrinking.goal import GOALS, Goal


def played(goal, holds=lambda share: True):
    """All rounds, where each reaches its share and holds or not."""
    rounds = []
    while (step := goal.next(rounds)) is not None:
        share, epochs = step
        rounds.append({"share": share, "epochs": epochs, "kept": holds(share)})
    return rounds


@given(st.floats(0.01, 0.99), st.integers(1, 200), st.one_of(st.none(), st.integers(1, 9)))
def test_a_size_is_reached_in_geometric_steps_with_the_epochs_given(value, epochs, rounds):
    rounds = None if rounds is None else min(rounds, epochs)
    found = played(Goal.of({"flops": value}, epochs, rounds))
    assert sum(r["epochs"] for r in found) == epochs
    assert found[-1]["share"] == pytest.approx(value)
    assert found[-1]["epochs"] >= max(r["epochs"] for r in found)
    ratios = {round(b["share"] / a["share"], 6) for a, b in itertools.pairwise(found)}
    assert len(ratios) <= 1
    assert rounds is None or len(found) == rounds


@given(st.floats(0.05, 0.95), st.integers(1, 100))
def test_a_change_is_approached_from_above_within_the_epochs(threshold, epochs):
    goal = Goal.of({"loss": "+1%"}, epochs)
    found = played(goal, lambda share: share >= threshold)
    assert 1 <= sum(r["epochs"] for r in found) <= epochs
    kept = [r["share"] for r in found if r["kept"]]
    assert kept == sorted(kept, reverse=True)
    if epochs >= 20 and threshold < 0.5:
        assert kept[-1] < 2 * threshold


@pytest.mark.parametrize(
    ("options", "value"),
    [
        ({"loss": "+1%"}, 0.01),
        ({"loss": 0.01}, 0.01),
        ({"accuracy": "-0.2%"}, 0.002),
        ({"accuracy": -0.002}, 0.002),
        ({"flops": "50%"}, 0.5),
        ({"latency": 0.5, "units": None}, 0.5),
    ],
)
def test_targets_in_words_and_numbers(options, value):
    assert Goal.of(options, 20).value == pytest.approx(value)


@pytest.mark.parametrize(
    ("options", "epochs", "rounds"),
    [
        ({}, 20, None),
        ({"flops": 0.5, "units": 0.5}, 20, None),
        ({"flop": 0.5}, 20, None),
        ({"flops": 1.5}, 20, None),
        ({"flops": 0}, 20, None),
        ({"accuracy": "+1%"}, 20, None),
        ({"loss": "much"}, 20, None),
        ({"flops": 0.5}, 0, None),
        ({"flops": 0.5}, 3, 4),
    ],
)
def test_what_makes_no_sense_is_refused(options, epochs, rounds):
    with pytest.raises(InputError):
        Goal.of(options, epochs, rounds)


def test_whether_a_change_is_small_enough():
    before = {"loss": 1.0, "accuracy": 0.9}
    assert Goal.of({"loss": "1%"}, 1).reached(before, {"loss": 1.009, "accuracy": 0.1})
    assert not Goal.of({"loss": "1%"}, 1).reached(before, {"loss": 1.011, "accuracy": 1.0})
    assert Goal.of({"accuracy": "1%"}, 1).reached(before, {"loss": 9.0, "accuracy": 0.89})
    assert not Goal.of({"accuracy": "1%"}, 1).reached(before, {"loss": 0.0, "accuracy": 0.88})
    assert len(GOALS) == 6
