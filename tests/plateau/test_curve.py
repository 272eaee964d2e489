import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_l2feat.errors import InputError
from keras_l2feat.plateau import Trial, curve, plateau_starts, running_minimum, table, write_csv
from keras_l2feat.plateau.study import summary


@given(st.lists(st.tuples(st.integers(1, 9), st.floats(0.01, 10)), min_size=1, max_size=30))
def test_running_minimum_is_the_least_so_far(points):
    widths, losses = zip(*points)
    distinct, least = running_minimum(widths, losses)
    for width, value in zip(distinct, least):
        assert value == min(loss for w, loss in points if w <= width)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.floats(0.01, 10)), min_size=1, max_size=30),
    st.floats(0, 1),
)
def test_start_is_the_first_width_within_epsilon(points, epsilon):
    widths, losses = zip(*points)
    (start,) = plateau_starts(widths, losses, epsilons=(epsilon,), bootstrap=5)
    least = min(losses)
    assert min(w for w, loss in points if loss <= (1 + epsilon) * least) == start.width
    assert start.low <= start.high
    assert start.low in widths


def test_known_curve_and_bootstrap():
    widths = [1, 2, 3, 4]
    starts = plateau_starts(widths, [2.0, 1.04, 1.005, 1.0])
    assert [(s.epsilon, s.width, s.low, s.high) for s in starts] == [
        (0.05, 2, 2, 2),
        (0.01, 3, 3, 3),
        (0.001, 4, 4, 4),
    ]
    assert [s.reached for s in starts] == [True, True, False]  # 4 is the largest width tried
    assert not plateau_starts([7], [1.0])[0].reached
    # at width 2 one trial of three is good: it is missing from (2/3)³ = 30 % of the resamples
    trials = [(1, 2.0)] * 3 + [(2, 1.0), (2, 1.5), (2, 1.5)] + [(3, 1.0)] * 3
    (start,) = plateau_starts(*zip(*trials), epsilons=(0.01,))
    assert (start.width, start.low, start.high) == (2, 2, 3)
    with pytest.raises(InputError, match="at least one trial"):
        plateau_starts([], [])


def test_a_plateau_that_was_not_reached_is_told():
    start = {"method": "descent", "lam": 1e-3, "epsilon": 0.01, "low": 20, "high": 20}
    model = {"width": 20, "loss": 1.0, "test_accuracy": None, "gap": None}
    for reached, words in (
        (True, "within 1 % of the least loss from width 20"),
        (False, "plateau at 1 % not reached: the loss still falls at the largest width tried, 20"),
    ):
        result = {"starts": [{**start, "width": 20, "reached": reached}], "model": model}
        assert summary(result)[0] == f"descent, λ = 0.001: {words}"


def test_table_curve_and_csv(tmp_path):
    trials = [
        Trial("sweep", 1e-3, (4, 4), 1, 1.0, 3.0, 0.5),
        Trial("sweep", 1e-3, (2, 2), 0, 2.0, 2.5, 0.4),
        Trial("sweep", 1e-3, (8, 8), 0, 1.5, 9.0, 0.1),
    ]
    frame = table(trials)
    write_csv(frame, tmp_path / "curve.csv")
    again = pd.read_csv(tmp_path / "curve.csv")
    columns = [
        "method",
        "lam",
        "width",
        "width_1",
        "width_2",
        "seed",
        "loss",
        "test_loss",
        "test_accuracy",
        "seconds",
        "gap",
    ]
    assert list(again) == columns
    assert list(again["width"]) == [2, 4, 8]
    assert again["gap"].isna().all()
    lines = curve(frame)
    np.testing.assert_array_equal(lines["loss"], [2.0, 1.0, 1.0])
    np.testing.assert_array_equal(lines["test_loss"], [2.5, 3.0, 3.0])
