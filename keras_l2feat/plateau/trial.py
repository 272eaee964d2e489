"""One point of a loss-against-width curve: a trained network and what it was measured at."""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from keras_l2feat.costs import cost_function
from keras_l2feat.network import DenseNetwork

__all__ = ["Trial", "measure"]


@dataclass(frozen=True)
class Trial:
    """A trained network.

    Attributes:
        method: "descent", "growth" or "sweep".
        lam: λ.
        widths: hidden widths (n_1, …, n_{L-1}).
        seed: of the run.
        loss: C + λ Σ‖W‖² on the training data, float64.
        test_loss: C on the test data, without the λ term; NaN without test data.
        test_accuracy: share of test points classified right; NaN for regression or without test
            data.
        seconds: from the start of the run to this network.
        gap: insertion certificate, NaN where it was not asked for.
        network: the `DenseNetwork`, None where it was not kept.
    """

    method: str
    lam: float
    widths: tuple
    seed: int
    loss: float
    test_loss: float = math.nan
    test_accuracy: float = math.nan
    seconds: float = math.nan
    gap: float = math.nan
    network: DenseNetwork | None = field(default=None, repr=False, compare=False)

    @property
    def width(self) -> int:
        """The largest hidden width."""
        return max(self.widths)

    def row(self) -> dict:
        """The trial as a row of `curve.csv`."""
        return {
            "method": self.method,
            "lam": self.lam,
            "width": self.width,
            **{f"width_{layer}": width for layer, width in enumerate(self.widths, start=1)},
            "seed": self.seed,
            "loss": self.loss,
            "test_loss": self.test_loss,
            "test_accuracy": self.test_accuracy,
            "seconds": self.seconds,
            "gap": self.gap,
        }

    def certified(self, data, *, cost=None, seed=0) -> "Trial":
        """The trial with the gap of its insertion certificate."""
        from keras_l2feat.plateau.insertion import certify

        return replace(self, gap=certify(self.network, data, self.lam, cost=cost, seed=seed).gap)


def measure(network, data, lam, *, method, seed=0, seconds=math.nan, cost=None) -> Trial:
    """Evaluate a network in float64 on a `data.Dataset`.

    Args:
        network: a `DenseNetwork`.
        data: the data set; `cost` is its usual data term unless given.
        lam, method, seed, seconds: as in `Trial`.
    """
    cost = cost_function(cost or data.cost)
    loss = float(cost(network(data.x_train), data.y_train)) + lam * network.squared_norm
    test_loss = test_accuracy = math.nan
    if data.x_test is not None:
        outputs = network(data.x_test)
        test_loss = float(cost(outputs, data.y_test))
        if data.classes is not None:
            test_accuracy = float(np.mean(outputs.argmax(axis=1) == data.y_test))
    return Trial(
        method,
        float(lam),
        network.hidden,
        seed,
        loss,
        test_loss,
        test_accuracy,
        float(seconds),
        network=network,
    )
