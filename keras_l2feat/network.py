"""A dense network as plain float64 arrays: the form in which the theory is written.

    A_0 = [X, β·1],   Z_l = A_{l-1} W_l,   A_l = [σ(Z_l), β·1],   the output is Z_L

[Jacot et al. 2022, §2.1]

`W_l` is one `(n_{l-1} + 1, n_l)` matrix, kernel rows first, then one bias row; with β = 0 the bias
row does not exist.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from keras_l2feat.activations import ACTIVATIONS, append_bias
from keras_l2feat.errors import bad_argument, require
from keras_l2feat.types import Arrays, Model

__all__ = ["DenseNetwork"]


@dataclass(frozen=True)
class DenseNetwork:
    """Weights of a fully connected network.

    Attributes:
        weights: `W_1 … W_L`, float64, `W_l` of shape `(n_{l-1} + 1, n_l)`, or `(n_{l-1}, n_l)` when
            `beta` is 0.
        activation: name of σ on the hidden layers, a key of `activations.ACTIVATIONS`.
        beta: amount of bias β ≥ 0.
    """

    weights: tuple
    activation: str = "relu"
    beta: float = 1.0

    def __post_init__(self):
        if self.activation not in ACTIVATIONS:
            raise bad_argument("activation", f"one of {sorted(ACTIVATIONS)}", self.activation)
        require(self.beta >= 0, "beta", "at least 0", self.beta)
        weights = tuple(np.asarray(weight, dtype=np.float64) for weight in self.weights)
        for layer, (below, above) in enumerate(itertools.pairwise(weights), start=2):
            rows = below.shape[1] + (self.beta > 0)
            expected = f"a chain: W_{layer} needs {rows} rows"
            require(len(above) == rows, "weights", expected, [weight.shape for weight in weights])
        object.__setattr__(self, "weights", weights)

    @property
    def depth(self) -> int:
        """L, the number of weight matrices."""
        return len(self.weights)

    @property
    def widths(self) -> tuple:
        """`(n_0, …, n_L)`, bias not counted."""
        return (
            self.weights[0].shape[0] - (self.beta > 0),
            *(weight.shape[1] for weight in self.weights),
        )

    @property
    def hidden(self) -> tuple:
        """`(n_1, …, n_{L-1})`."""
        return self.widths[1:-1]

    @property
    def squared_norm(self) -> float:
        """Σ_l ‖W_l‖_F², bias rows included."""
        return float(sum(np.vdot(weight, weight) for weight in self.weights))

    def with_weights(self, weights: Iterable[np.ndarray]) -> "DenseNetwork":
        """The same σ and β on other weights."""
        return replace(self, weights=tuple(weights))

    def activate(self, z: np.ndarray) -> np.ndarray:
        """σ(z), elementwise, any shape."""
        return ACTIVATIONS[self.activation].values(z)

    def augment(self, a: ArrayLike) -> np.ndarray:
        """`[a, β·1]` of shape `(N, n + 1)`; `a` itself when β = 0."""
        return append_bias(a, self.beta)

    def forward(self, x: ArrayLike, *, augmented: bool = False) -> tuple[Arrays, Arrays]:
        """All representations on data `x` of shape `(N, n_0)`, or on A_0 itself where `augmented`.

        Returns: lists `Z = [Z_1 … Z_L]`, each `(N, n_l)`, and `A = [A_0 … A_{L-1}]`, each
        `(N, n_l + 1)` (no bias column when β = 0), float64.
        """
        a = [np.asarray(x, dtype=np.float64) if augmented else self.augment(x)]
        z = []
        for weight in self.weights:
            z.append(a[-1] @ weight)
            a.append(self.augment(self.activate(z[-1])))
        return z, a[:-1]

    def __call__(self, x: ArrayLike) -> np.ndarray:
        """The outputs Z_L on `x`, `(N, n_L)` float64."""
        return self.forward(x)[0][-1]

    def gradients(self, x: ArrayLike, output_gradient: Callable) -> tuple[float, Arrays]:
        """Back-propagation: the gradient of a function of the outputs with respect to each `W_l`.

        Args:
            x: data, `(N, n_0)`.
            output_gradient: takes the outputs Z_L, `(N, n_L)`; returns the value and its gradient
                there.

        Returns: the value, and a list of float64 arrays shaped like `weights`.
        """
        value, a, upstream = self.backward(x, output_gradient)
        return value, [below.T @ above for below, above in zip(a, upstream)]

    def backward(
        self, x: ArrayLike, output_gradient: Callable, *, augmented: bool = False
    ) -> tuple[float, Arrays, Arrays]:
        """Back-propagation to the representations: arguments as for `gradients`; `x` is A_0 where
        `augmented`.

        Returns: the value, the list A = [A_0 … A_{L-1}], and the gradients with respect to Z_1 …
            Z_L, each `(N, n_l)`.
        """
        z, a = self.forward(x, augmented=augmented)
        value, upstream = output_gradient(z[-1])
        gradients = [upstream]
        for layer in range(self.depth - 1, 0, -1):
            below = gradients[0] @ self.weights[layer][: self.widths[layer]].T
            gradients.insert(0, below * ACTIVATIONS[self.activation].slope(z[layer - 1]))
        return value, a, gradients

    def with_neurons(
        self, layer: int, incoming: np.ndarray, outgoing: np.ndarray
    ) -> "DenseNetwork":
        """The network with K more neurons in hidden layer `layer`, after those it has.

        Args:
            incoming: `(n_{l-1} + 1, K)`, one neuron a column.
            outgoing: `(K, n_{l+1})`, one neuron a row.
        """
        weights = list(self.weights)
        weights[layer - 1] = np.concatenate([weights[layer - 1], incoming], axis=1)
        weights[layer] = np.insert(weights[layer], [self.widths[layer]], outgoing, axis=0)
        return self.with_weights(weights)

    @classmethod
    def random(
        cls,
        widths: Sequence[int],
        *,
        activation: str = "relu",
        beta: float = 1.0,
        scale: float | None = None,
        seed: Any = 0,
    ) -> "DenseNetwork":
        """Gaussian weights of standard deviation `scale` (default `sqrt(2 / rows)`, as He et al.),
        bias rows 0."""
        generator = np.random.default_rng(seed)
        weights = []
        for rows, columns in itertools.pairwise(widths):
            weight = generator.standard_normal((rows, columns)) * (
                np.sqrt(2 / max(rows, 1)) if scale is None else scale
            )
            if beta > 0:
                weight = np.concatenate([weight, np.zeros((1, columns))])
            weights.append(weight)
        return cls(tuple(weights), activation=activation, beta=beta)

    # The way to Keras and back: Keras is imported only when it is taken.

    @classmethod
    def from_model(cls, model: Model) -> "DenseNetwork":
        """The array form of a Keras chain of `Dense` or `HomogeneousDense` layers (one σ, one β,
        linear output).

        Raises:
            InputError: the model is no such chain; the layer that prevents it is named.
        """
        from keras_l2feat.models.conversion import arrays_of

        return cls(*arrays_of(model))

    def to_model(self, *, dtype: str = "float32", name: str = "mlp", lam: float = 0.0) -> Model:
        """A Keras `Sequential` model with these weights (see `models.mlp`)."""
        from keras_l2feat.models.dense import mlp

        sizes = self.widths[0], self.hidden, self.widths[-1]
        own: dict[str, Any] = {"activation": self.activation, "beta": self.beta}
        model = mlp(*sizes, **own, lam=lam, dtype=dtype, name=name)
        self.into_model(model)
        return model

    def into_model(self, model: Model) -> None:
        """Write the weights into the Dense layers of `model`, which has the same widths."""
        from keras_l2feat.models.conversion import write_arrays

        write_arrays(model, self.weights, self.beta)
