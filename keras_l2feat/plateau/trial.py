"""One point of a loss-against-width curve: a trained network and what it was measured at."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from keras_l2feat.costs import cost_function
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives.problem import Problem
from keras_l2feat.plateau.insertion import InsertionCertificate, certify
from keras_l2feat.training.run import Budget

__all__ = ["POLISH", "Trial", "measure"]

POLISH = Budget(iterations=400, tolerance=1e-5)  # of a network that comes from a trained one


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
        certificate: `InsertionCertificate.as_dict()`, `None` where it was not asked for.
        network: the `DenseNetwork`, `None` where it was not kept.
    """

    method: str
    lam: float
    widths: tuple
    seed: int
    loss: float
    test_loss: float = math.nan
    test_accuracy: float = math.nan
    seconds: float = math.nan
    certificate: dict | None = field(default=None, repr=False)
    network: Any = field(default=None, repr=False, compare=False)

    @property
    def width(self) -> int:
        """The largest hidden width."""
        return max(self.widths)

    @property
    def gap(self) -> float:
        """The gap of the insertion certificate, NaN without one."""
        return math.nan if self.certificate is None else self.certificate["gap"]

    def row(self) -> dict:
        """The trial as a row of `curve.csv`."""
        measured = ("seed", "loss", "test_loss", "test_accuracy", "seconds", "gap")
        return {
            **{name: getattr(self, name) for name in ("method", "lam", "width")},
            **{f"width_{layer}": width for layer, width in enumerate(self.widths, start=1)},
            **{name: getattr(self, name) for name in measured},
        }

    def certified(
        self, problem: Problem, certificate: InsertionCertificate | None = None
    ) -> "Trial":
        """The trial with its insertion certificate, which is computed where it is not given."""
        if certificate is None:
            certificate = certify(self.network, problem, seed=self.seed)
        return replace(self, certificate=certificate.as_dict())


def measure(
    network: DenseNetwork,
    problem: Problem,
    *,
    method: str,
    seed: int = 0,
    seconds: float = math.nan,
) -> Trial:
    """Evaluate a network in float64 on the training and test data of a problem.

    Args:
        network: a `DenseNetwork`.
        problem: what it was trained on.
        method, seed, seconds: as in `Trial`.
    """
    data, cost = problem.data, cost_function(problem.cost)
    loss = float(cost(network(data.x_train), data.y_train)) + problem.lam * network.squared_norm
    test_loss = test_accuracy = math.nan
    if data.x_test is not None:
        outputs = network(data.x_test)
        test_loss = float(cost(outputs, data.y_test))
        if data.classes is not None:
            test_accuracy = float(np.mean(outputs.argmax(axis=1) == data.y_test))
    measured = loss, test_loss, test_accuracy, float(seconds)
    return Trial(method, problem.lam, network.hidden, seed, *measured, network=network)
