"""Which rescalings an activation commutes with: what decides when two neurons are one.

σ(t z) = t σ(z) for which t? `LINEAR`: every t, and sums too. `POSITIVE`: t > 0 (relu, leaky_relu,
abs): neurons on one ray are one neuron. `ODD`: t = ±1 (tanh): mirrored neurons are one. `IDENTITY`:
t = 1 only: just identical neurons. `COUPLED`: not even elementwise (softmax): nothing merges across
it.
"""

import enum

import numpy as np

__all__ = ["Scaling", "scaling"]


class Scaling(enum.Enum):
    """Rescalings that commute with an activation."""

    LINEAR = "linear"
    POSITIVE = "positive"
    ODD = "odd"
    IDENTITY = "identity"
    COUPLED = "coupled"


_BY_NAME = {
    "linear": Scaling.LINEAR,
    "relu": Scaling.POSITIVE,
    "leaky_relu": Scaling.POSITIVE,
    "absolute": Scaling.POSITIVE,
    "abs": Scaling.POSITIVE,
    "tanh": Scaling.ODD,
    "softsign": Scaling.ODD,
    "tanh_shrink": Scaling.ODD,
    "hard_tanh": Scaling.ODD,
    "hard_shrink": Scaling.ODD,
    "soft_shrink": Scaling.ODD,
    "relu6": Scaling.IDENTITY,
    "threshold": Scaling.IDENTITY,
    "sigmoid": Scaling.IDENTITY,
    "hard_sigmoid": Scaling.IDENTITY,
    "log_sigmoid": Scaling.IDENTITY,
    "sparse_sigmoid": Scaling.IDENTITY,
    "softplus": Scaling.IDENTITY,
    "sparse_plus": Scaling.IDENTITY,
    "squareplus": Scaling.IDENTITY,
    "exponential": Scaling.IDENTITY,
    "elu": Scaling.IDENTITY,
    "celu": Scaling.IDENTITY,
    "selu": Scaling.IDENTITY,
    "gelu": Scaling.IDENTITY,
    "silu": Scaling.IDENTITY,
    "swish": Scaling.IDENTITY,
    "hard_silu": Scaling.IDENTITY,
    "hard_swish": Scaling.IDENTITY,
    "mish": Scaling.IDENTITY,
    "softmax": Scaling.COUPLED,
    "log_softmax": Scaling.COUPLED,
    "sparsemax": Scaling.COUPLED,
    "glu": Scaling.COUPLED,
}


def scaling(activation) -> Scaling:
    """The class of an activation.

    Args:
        activation: `None` (linear), a Keras activation function or its name, or a Keras activation
            layer (`ReLU`, `LeakyReLU`, `PReLU`, `ELU`, `Softmax`, `Activation`), whose parameters
            count: a relu with `max_value` or `threshold` is no longer homogeneous.

    Returns: a `Scaling`. A function that is not known by name is `IDENTITY` if it acts on each
        entry by itself (tried on random numbers), and `COUPLED` otherwise.

    `PReLU` is `POSITIVE` for equal slopes: whoever merges its channels must see to that.
    """
    if activation is None:
        return Scaling.LINEAR
    if isinstance(activation, str):
        return _BY_NAME.get(activation, Scaling.IDENTITY)
    import keras

    layers = keras.layers
    if isinstance(activation, layers.ReLU):
        plain = activation.max_value is None and not np.any(activation.threshold)
        return Scaling.POSITIVE if plain else Scaling.IDENTITY
    if isinstance(activation, (layers.LeakyReLU, layers.PReLU)):
        return Scaling.POSITIVE
    if isinstance(activation, layers.ELU):
        return Scaling.IDENTITY
    if isinstance(activation, layers.Softmax):
        return Scaling.COUPLED
    if isinstance(activation, layers.Activation):
        return scaling(activation.activation)
    name = getattr(activation, "__name__", "")
    if name in _BY_NAME and activation in (
        getattr(keras.activations, name, None),
        getattr(keras.ops, name, None),
    ):
        return _BY_NAME[name]
    if (
        name == "absolute"
        and keras.saving.get_registered_name(activation) == "keras_l2feat>absolute"
    ):
        return Scaling.POSITIVE
    return Scaling.IDENTITY if _elementwise(activation) else Scaling.COUPLED


def _elementwise(function) -> bool:
    """Whether changing one entry changes that entry of the output only, tried on random numbers."""
    from keras import ops

    points = np.random.default_rng(0).standard_normal((8, 6)).astype("float32")
    changed = points.copy()
    changed[:, 3] = np.random.default_rng(1).standard_normal(8)
    changed[3, :] = points[3, :]
    try:
        before, after = (
            ops.convert_to_numpy(function(ops.convert_to_tensor(p))) for p in (points, changed)
        )
    except (
        Exception
    ):  # whatever a foreign function does on a plain matrix, it is not a plain activation
        return False
    if before.shape != points.shape:
        return False
    return bool(((before == after) | (changed != points)).all())
