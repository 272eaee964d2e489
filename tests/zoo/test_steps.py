"""Steps that find a width: what they leave is narrow, trained, and within what a recipe allows."""

import dataclasses

import numpy as np
import pytest

from keras_l2feat import data, prune
from keras_l2feat.network import DenseNetwork
from keras_l2feat.zoo.build import stored
from keras_l2feat.zoo.making import Making
from keras_l2feat.zoo.measure import metrics
from keras_l2feat.zoo.recipe import recipe
from keras_l2feat.zoo.steps import take


@pytest.fixture
def making():
    chosen = dataclasses.replace(recipe("mnist-789-42"), within=0.02)
    return Making(chosen, data.load("mnist-789-42"))


@pytest.mark.slow
def test_descent_grows_and_comes_back_wide(making):
    take(making, {"descend": {"start": 8, "least": 2}})
    narrow = DenseNetwork.from_model(making.model)
    losses = dict((tuple(widths), loss) for widths, loss in making.curve)
    assert losses[narrow.hidden] <= making.recipe.limit
    assert not any(
        loss <= making.recipe.limit and sum(widths) < sum(narrow.hidden)
        for widths, loss in losses.items()
    )
    take(making, {"grow": {"gap": 0.05, "width_limit": 20}})
    grown = DenseNetwork.from_model(making.model)
    assert np.greater_equal(grown.hidden, narrow.hidden).all()
    take(making, {"copy": {"widths": [24, 22]}})
    take(making, {"fit": {"max_iterations": 50}})
    assert metrics(making.model, making.problem)["train_loss"] <= making.recipe.limit
    before = metrics(making.model, making.problem)["train_loss"]
    small, certificate = prune(stored(making), data=making.data)
    assert certificate.verified
    assert np.less_equal(DenseNetwork.from_model(small).hidden, grown.hidden).all()
    take(making, {"merge": {}})
    assert DenseNetwork.from_model(making.model).hidden == DenseNetwork.from_model(small).hidden
    assert metrics(making.model, making.problem)["train_loss"] == pytest.approx(before, rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    "first, size", [({"mlp": {"widths": [30, 10]}}, "units"), ({"lenet": None}, "flops")]
)
def test_a_network_is_trained_on_moved_digits_and_shrunk(first, size):
    digits = data.load("mnist-1k")
    making = Making(dataclasses.replace(recipe("mnist-1k-1pct"), lam=0.0, pair=False), digits)
    take(making, first)
    before = making.model.count_params()
    take(making, {"adamw": {"epochs": 8}})
    take(making, {"shrink": {size: 0.5, "epochs": 2, "rounds": 1}})
    assert making.model.count_params() < 0.8 * before
    assert metrics(making.model, making.problem)["test_accuracy"] > 0.5
    assert making.recipe.models == {"shrunk": "mnist-1k-1pct-shrunk"}


def test_names_say_whether_a_pair_stands_on_the_plateau():
    chosen = recipe("mnist-789-42")
    assert chosen.models["plateau"] == "mnist-789-42-plateau"
    assert dataclasses.replace(chosen, name="mnist-1k-plateau").models == {
        "wide": "mnist-1k-plateau-wide",
        "plateau": "mnist-1k-plateau",
    }
    for worse in ({"within": 0.01}, {"gap": 0.03}, {"gap": None}):
        assert dataclasses.replace(chosen, **worse).models == {
            "wide": "mnist-789-42-wide",
            "narrow": "mnist-789-42-narrow",
        }
