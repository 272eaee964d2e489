"""The absolute value as an activation that survives saving: Keras has it as an operation only."""

import keras
from numpy.typing import ArrayLike

from keras_l2feat.types import Tensor

__all__ = ["absolute"]


@keras.saving.register_keras_serializable(package="keras_l2feat")
def absolute(x: ArrayLike) -> Tensor:
    """|x|, elementwise; positively homogeneous. A model with it needs `import keras_l2feat` to
    load."""
    return keras.ops.absolute(x)
