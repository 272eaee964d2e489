"""Which positions attention may look at, as a layer: other packages compute it inside of theirs."""

import keras

from keras_l2feat.types import Tensor

__all__ = ["CausalMask"]


@keras.saving.register_keras_serializable(package="keras_l2feat")
class CausalMask(keras.layers.Layer):
    """Each position sees itself and those before it, where `padding` does not hide them.

    Args:
        x: (batch, positions, ...), of which only the shape counts.
        padding: (batch, positions), 0 where a position is hidden; by default none is.

    Returns: (batch or 1, positions, positions) int32, 1 where the first may look at the second.
    """

    def call(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        place = keras.ops.arange(keras.ops.shape(x)[1])
        seen = keras.ops.cast(place[:, None] >= place[None], "int32")[None]
        if padding is None:
            return seen
        return keras.ops.minimum(seen, keras.ops.cast(padding, "int32")[:, None])

    def compute_output_spec(self, x: Tensor, padding: Tensor | None = None) -> keras.KerasTensor:
        batch = 1 if padding is None else x.shape[0]
        return keras.KerasTensor((batch, x.shape[1], x.shape[1]), "int32")
