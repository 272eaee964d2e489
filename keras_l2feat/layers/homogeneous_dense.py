"""A dense layer with an amount of bias, the paper's parametrization."""

import keras

from keras_l2feat.errors import bad_argument
from keras_l2feat.types import Tensor

__all__ = ["HomogeneousDense"]


@keras.saving.register_keras_serializable(package="keras_l2feat")
class HomogeneousDense(keras.layers.Dense):
    """`Dense` with amount of bias β: `σ(x K + β b)`, that is `σ([x, β] W)` with `W = [K; b]`.

    β is how strongly the bias row acts, not how large it is: with L2 regularization on `W` a small
    β makes a bias expensive. β = 1 is `keras.layers.Dense`, β = 0 has no bias. [Jacot et al. 2022,
    section 2]

    Args:
        units: number of neurons.
        activation: as for `keras.layers.Dense`, and the second argument as there.
        beta: amount of bias, at least 0.
        kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
            activity_regularizer, kernel_constraint, bias_constraint: as for `keras.layers.Dense`.
        **kwargs: name, dtype, trainable.

    Input shape: `(batch, ..., input_dim)`.

    Output shape: `(batch, ..., units)`.

    Raises:
        InputError: `beta` is negative or not a number.

    Example:
    >>> layer = HomogeneousDense(3, beta=0.5, bias_initializer="ones", kernel_initializer="zeros")
    >>> tuple(layer(keras.ops.ones((2, 4))).shape)
    (2, 3)
    """

    def __init__(
        self, units: int, activation: str | None = None, *, beta: float = 1.0, **kwargs
    ) -> None:
        if (
            isinstance(beta, bool)
            or not isinstance(beta, (int, float))
            or not 0 <= beta < float("inf")
        ):
            raise bad_argument("beta", "a finite number, at least 0", beta)
        super().__init__(units, activation=activation, use_bias=beta > 0, **kwargs)
        self.beta = float(beta)

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        outputs = keras.ops.matmul(inputs, self.kernel)
        if self.use_bias:
            outputs = outputs + self.beta * self.bias
        return outputs if self.activation is None else self.activation(outputs)

    def quantize(self, *args, **kwargs) -> None:
        raise NotImplementedError(
            f"Layer {self.name!r} is not quantized: fold β into the bias of a Dense first."
        )

    def get_config(self) -> dict:
        config = super().get_config()
        for key in ("use_bias", "quantization_config"):
            config.pop(key, None)
        return {**config, "beta": self.beta}
