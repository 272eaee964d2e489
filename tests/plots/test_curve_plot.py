"""What is drawn is read back from the axes."""

import numpy as np
import pandas as pd
import pytest

from keras_l2feat.plateau import Trial, table
from keras_l2feat.plots.curve import draw_curve, draw_sparsity
from keras_l2feat.plots.style import canvas


def trials(lam, losses, gap=np.nan):
    return [
        Trial(
            "sweep", lam, (width, width), seed, loss, test_loss=2 * loss, certificate={"gap": gap}
        )
        for width, seeds in losses.items()
        for seed, loss in enumerate(seeds)
    ]


def lines(axes, style):
    return [line for line in axes.lines if line.get_linestyle() == style]


def test_the_curve_its_trials_its_test_loss_its_start_and_its_gap():
    # at width 8 every trial is worse than the best at 4: the running minimum stays
    frame = table(trials(1e-3, {2: (5.0, 4.0), 4: (1.0, 3.0), 8: (1.5, 2.0)}, gap=0.25))
    with canvas() as (_, axes):
        draw_curve(axes, frame, epsilon=0.01, title="t")
        (train,), (test,), (start,) = (lines(axes, style) for style in ("-", "--", ":"))
        np.testing.assert_array_equal(train.get_xydata(), [[2, 4], [4, 1], [8, 1]])
        np.testing.assert_array_equal(test.get_xydata(), [[2, 8], [4, 2], [8, 2]])
        assert set(start.get_xdata()) == {4}
        dots = np.concatenate([dots.get_offsets() for dots in axes.collections])
        assert sorted(map(tuple, dots)) == [(2, 4), (2, 5), (4, 1), (4, 3), (8, 1.5), (8, 2)]
        texts = [text.get_text() for text in axes.texts]
        assert texts.count("25 %") == 6
        assert " 4" in texts
        assert axes.get_title() == "t"


def test_each_lam_has_its_colour_and_a_curve_without_test_data_no_dashes():
    frame = table(trials(1e-3, {2: (2.0,), 4: (1.0,)}) + trials(1e-4, {2: (0.2,), 4: (0.1,)}))
    with canvas() as (_, axes):
        draw_curve(axes, frame.assign(test_loss=np.nan), starts=False)
        assert not lines(axes, "--") + lines(axes, ":")
        assert len({line.get_color() for line in lines(axes, "-")}) == 2
        assert [text.get_text() for text in axes.get_legend().get_texts()] == [
            "sweep, λ = 0.0001, train",
            "sweep, λ = 0.001, train",
        ]


def test_sparsity_has_one_line_for_each_n():
    rows = pd.DataFrame(
        {
            "lam": [1e-2, 1e-3, 1e-2, 1e-3],
            "n": [50, 50, 100, 100],
            "width": [2, 4, 3, 9],
            "low": [2, 4, 3, 7],
            "high": [2, 4, 3, 9],
            "reached": [True, True, True, False],
        }
    )
    with canvas() as (_, axes):
        draw_sparsity(axes, rows, epsilon=0.01)
        few, many, hollow = axes.lines
        np.testing.assert_allclose(hollow.get_xydata(), [[1e-3, 9]])  # the plateau lies beyond
        assert hollow.get_markerfacecolor() == "white"
        np.testing.assert_allclose(few.get_xydata(), [[1e-3, 4], [1e-2, 2]])
        np.testing.assert_allclose(many.get_xydata(), [[1e-3, 9], [1e-2, 3]])
        assert len(axes.collections) == 1  # a band, where trials leave it open
        assert axes.get_title() == "How sparse is the task? (ε = 1 %)"
        assert axes.get_xscale() == "log"


def test_a_plateau_beyond_the_widths_tried_has_no_mark():
    with canvas() as (_, axes):
        draw_curve(axes, table(trials(1e-3, {2: (1.0,), 4: (0.5,)})))
        assert not lines(axes, ":")
        assert any("not reached" in text.get_text() for text in axes.texts)


@pytest.mark.parametrize("width", [1, 1000])
def test_any_range_of_widths_has_ticks(width):
    with canvas() as (_, axes):
        draw_curve(axes, table(trials(1e-3, {width: (1.0,), 2 * width: (0.5,)})))
        assert {width, 2 * width} <= set(np.round(axes.get_xticks()))
