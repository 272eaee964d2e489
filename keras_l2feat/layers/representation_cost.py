"""The Z-space objective of one layer, put between two layers of any Keras model."""

from collections.abc import Sequence

import keras
import numpy as np

from keras_l2feat.backend import require_tensorflow
from keras_l2feat.errors import InputError, require
from keras_l2feat.types import Tensor

__all__ = ["RepresentationCost"]


@keras.saving.register_keras_serializable(package="keras_l2feat")
class RepresentationCost(keras.layers.Layer):
    """Hands on pre-activations Z_l and adds λ f_ρ(Z_l, A_{l-1}) to the model's loss.

    f_ρ is the least squared norm of weights that lead from the activations A_{l-1} to Z_l on the
    batch, so the batch plays the data set: use full batches, or read the term as that of the batch.
    [Jacot et al. 2022, eq. 3.1]

    Args:
        lam: λ ≥ 0.
        ridge: ρ > 0.
        relative: the ridge is a multiple of the mean squared norm of a row of A_{l-1}.
        beta: amount of bias β ≥ 0: A_{l-1} gets a column of this constant.
        **kwargs: name, dtype.

    Call arguments:
        inputs: the pair `(a, z)`: what feeds the layer, without bias column, and its
            pre-activations.

    Input shape: `(batch, n)` and `(batch, k)`.

    Output shape: `(batch, k)`, the pre-activations as they came.

    Raises:
        InputError: λ or β negative, a ridge that is not positive, inputs that are no pair of
            matrices, or a Keras backend other than TensorFlow.

    Example:
    >>> a = keras.Input((4,))
    >>> z = RepresentationCost(1e-3)((a, keras.layers.Dense(3)(a)))
    >>> keras.Model(a, keras.layers.ReLU()(z)).output_shape
    (None, 3)
    """

    def __init__(
        self, lam: float, ridge: float = 1e-3, relative: bool = True, beta: float = 1.0, **kwargs
    ) -> None:
        require_tensorflow()
        for name, value in {"lam": lam, "beta": beta}.items():
            require(0 <= value < float("inf"), name, "at least 0", value)
        require(0 < ridge < float("inf"), "ridge", "positive", ridge)
        super().__init__(**kwargs)
        self.lam, self.ridge, self.beta = float(lam), float(ridge), float(beta)
        self.relative = bool(relative)

    def build(self, input_shape: Sequence) -> None:
        if len(input_shape) != 2 or any(
            np.ndim(shape) != 1 or len(shape) != 2 for shape in input_shape
        ):
            raise InputError(
                f"Layer {self.name!r} takes the pair (a, z) of shapes (batch, n), (batch, "
                f"k). Received: {input_shape}"
            )
        self.built = True

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        from keras_l2feat.kernels import append_bias, representation_cost

        a, z = inputs
        cost = representation_cost(z, append_bias(a, self.beta), self.ridge, relative=self.relative)
        self.add_loss(self.lam * cost)
        return z

    def compute_output_shape(self, input_shape: Sequence) -> tuple:
        return input_shape[1]

    def get_config(self) -> dict:
        own = {"lam": self.lam, "ridge": self.ridge, "relative": self.relative, "beta": self.beta}
        return {**super().get_config(), **own}
