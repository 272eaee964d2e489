"""The absolute value as an activation that survives saving: Keras has it as an operation only."""

import keras

__all__ = ["absolute"]


@keras.saving.register_keras_serializable(package="keras_l2feat")
def absolute(x):
    """|x|, elementwise; positively homogeneous. A model with it needs `import keras_l2feat` to
    load."""
    return keras.ops.absolute(x)
