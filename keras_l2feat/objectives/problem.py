"""What is minimized, whatever the width: a data term, λ, and the σ and β of the networks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from keras_l2feat import regularizers
from keras_l2feat.activations import ACTIVATIONS, append_bias
from keras_l2feat.costs import cost_function
from keras_l2feat.data import Dataset, load
from keras_l2feat.errors import bad_argument, require
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives.data_term import chain_cost
from keras_l2feat.types import Cost, Data, Model

__all__ = ["Problem"]


@dataclass(frozen=True)
class Problem:
    """C(Z_L) + λ Σ_l ‖W_l‖² on one data set, for dense networks of every depth and width.

    Attributes:
        data: a `data.Dataset`, given as whatever `data.load` takes; the arrays of a pair `(x, y)`
            keep their float64. For training alone also a `tf.data.Dataset` of finite batches.
        lam: λ ≥ 0.
        cost: C, "crossentropy", "squared" or a function `(z, y) -> scalar`; by default the usual
            one of the data set.
        activation: σ, a key of `activations.ACTIVATIONS`.
        beta: amount of bias β ≥ 0.

    Raises:
        InputError: λ or β negative, an unknown cost or activation, no such data, or `cost` missing
            for a `tf.data.Dataset`.

    Reference: [Jacot et al. 2022, §2.1]

    Example:
    >>> problem = Problem("mnist-789-42", lam=1e-3)
    >>> problem.cost, problem.random((5, 5)).widths
    ('crossentropy', (784, 5, 5, 3))
    """

    data: Any  # `Data` as given, a `Dataset` (or a stream) from here on
    lam: float
    cost: Any = None  # a `Cost` from here on
    activation: str = "relu"
    beta: float = 1.0

    def __post_init__(self) -> None:
        for name in ("lam", "beta"):
            require(getattr(self, name) >= 0, name, "at least 0", getattr(self, name))
            object.__setattr__(self, name, float(getattr(self, name)))
        if self.activation not in ACTIVATIONS:
            raise bad_argument("activation", f"one of {sorted(ACTIVATIONS)}", self.activation)
        if not self.streamed:
            data = load(self.data)
            if isinstance(self.data, tuple):
                data = _in_float64(data, *self.data)
            object.__setattr__(self, "data", data)
            object.__setattr__(self, "cost", self.cost or data.cost)
        elif self.cost is None:
            raise bad_argument("cost", "given where the data is a tf.data.Dataset", self.cost)
        cost_function(self.cost)  # an unknown name is told here

    @classmethod
    def of(
        cls,
        network: Model | DenseNetwork,
        data: Data,
        lam: float | None = None,
        cost: Cost | None = None,
    ) -> "Problem":
        """The problem of which a network is one candidate: with its σ and β, and where it is a
        Keras model by default with its λ and its data term.

        Raises:
            InputError: as above; λ is missing for a `DenseNetwork`; or the model is no chain of
                dense layers, or its data term no function of Z_L.
        """
        if not isinstance(network, DenseNetwork):
            lam = regularizers.amount(network) if lam is None else lam
            cost = chain_cost(network, data, cost)
            network = DenseNetwork.from_model(network)
        if lam is None:
            raise bad_argument("lam", "given with a DenseNetwork", lam)
        return cls(data, lam, cost, network.activation, network.beta)

    @property
    def streamed(self) -> bool:
        """Whether the data come in batches, which only training can use."""
        return isinstance(self.data, tf.data.Dataset)

    @property
    def x(self) -> np.ndarray:
        """Training inputs, `(N, n_0)` float64."""
        return np.asarray(self.data.x_train, dtype=np.float64)

    @property
    def augmented(self) -> np.ndarray:
        """A_0 = `[x, β·1]`, `(N, n_0 + 1)` float64; `x` itself when β = 0."""
        return append_bias(self.x, self.beta)

    @property
    def y(self) -> np.ndarray:
        """Labels `(N,)`, or targets `(N, n_L)`."""
        return self.data.y_train

    def at(self, lam: float) -> "Problem":
        """The same problem at another λ."""
        return replace(self, lam=lam)

    def random(self, hidden: Sequence[int], seed: object = 0) -> DenseNetwork:
        """A network of Gaussian weights with hidden widths `(n_1, …, n_{L-1})`, as
        `DenseNetwork.random`."""
        widths = self.data.x_train.shape[1], *hidden, self.data.outputs
        return DenseNetwork.random(widths, activation=self.activation, beta=self.beta, seed=seed)

    def check(self, network: DenseNetwork, what: str = "the network's widths") -> None:
        """Refuse a network that is no candidate.

        Raises:
            InputError: its σ or β is not the problem's, or its widths do not fit the data (of a
                cost that is a function, the outputs are its own affair).
        """
        for name in ("activation", "beta"):
            own, other = getattr(self, name), getattr(network, name)
            require(own == other, name, f"that of the network, {other!r}", own)
        if isinstance(self.data, Dataset) and isinstance(self.cost, str):
            self.data.check_widths(network.widths, what)


def _in_float64(data, x, y):
    """The data set of a pair with numbers as exact as they were given."""
    if data.classes is None:
        data = replace(data, y_train=np.asarray(y, dtype=np.float64).reshape(len(data.y_train), -1))
    return replace(data, x_train=np.asarray(x, dtype=np.float64).reshape(data.x_train.shape))
