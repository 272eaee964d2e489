"""The networks of the paper as plain Keras models."""

import itertools
from collections.abc import Sequence

import keras

from keras_l2feat.errors import bad_argument, require_counts
from keras_l2feat.layers import HomogeneousDense, absolute
from keras_l2feat.regularizers import layer_arguments
from keras_l2feat.types import Model

__all__ = ["mlp"]


def mlp(
    input_dim: int,
    widths: Sequence[int],
    outputs: int,
    *,
    activation: str = "relu",
    beta: float = 1.0,
    lam: float = 0.0,
    dtype: str = "float32",
    seed: int = 0,
    name: str = "mlp",
) -> Model:
    """A fully connected network `input_dim → widths → outputs` with linear outputs.

    With β = 1 or 0 it is made of `keras.layers.Dense` alone, so that its file loads without this
    package; any other β takes `layers.HomogeneousDense`, in whose terms λ is counted and
    gradients are taken (`pruning.plain` folds β away where that no longer matters).

    Args:
        input_dim: values per data point, n_0.
        widths: hidden widths `(n_1, …, n_{L-1})`, may be empty.
        outputs: n_L.
        activation: σ of the hidden layers: a name, or any Keras activation.
        beta: amount of bias β ≥ 0.
        lam: λ of the regularizer λ Σ‖W_l‖², bias rows included; 0 for none.
        dtype: "float32" or "float64" (a Keras dtype policy).
        seed: of the initial kernels (He normal); biases start at 0.
        name: the model's name; layers are called `hidden_1 … hidden_{L-1}` and `output`.

    Returns: a built `keras.Sequential`, input `(batch, input_dim)`, output `(batch, outputs)`, not
        compiled.

    Example:
    >>> mlp(784, (50, 50), 10, lam=1e-3).count_params()
    42310
    """
    for size in (input_dim, *widths, outputs):
        require_counts(size=size)
    activation = absolute if activation == "abs" else activation
    try:
        keras.activations.get(activation)
    except ValueError as error:
        raise bad_argument("activation", "the name of a Keras activation", activation) from error
    seeds = itertools.count(1000 * seed)
    sizes = [*widths, outputs]
    # without its dtype the input of a float64 model would be rounded to float32
    layers = [
        keras.Input((input_dim,), dtype=keras.dtype_policies.get(dtype).compute_dtype, name="input")
    ]
    for index, units in enumerate(sizes, start=1):
        hidden = index < len(sizes)
        options = {
            "activation": activation if hidden else None,
            "kernel_initializer": keras.initializers.HeNormal(seed=next(seeds)),
            "dtype": dtype,
            "name": f"hidden_{index}" if hidden else "output",
            **layer_arguments(lam),
        }
        if beta in (0, 1):
            layers.append(keras.layers.Dense(units, use_bias=beta == 1, **options))
        else:
            layers.append(HomogeneousDense(units, beta=beta, **options))
    return keras.Sequential(layers, name=name)
