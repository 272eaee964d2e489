"""Which rescalings an activation commutes with: what decides when two neurons are one.

σ(t z) = t σ(z) for which t? `LINEAR`: every t, and sums too. `POSITIVE`: t > 0 (relu, leaky_relu,
abs): neurons on one ray are one neuron. `ODD`: t = ±1 (tanh): mirrored neurons are one. `IDENTITY`:
t = 1 only: just identical neurons. `COUPLED`: not even elementwise (softmax): nothing merges across
it.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from keras_l2feat.errors import bad_argument

__all__ = ["ACTIVATIONS", "Activation", "Scaling", "append_bias", "scaling", "slopes"]


class Scaling(enum.Enum):
    """Rescalings that commute with an activation."""

    LINEAR = "linear"
    POSITIVE = "positive"
    ODD = "odd"
    IDENTITY = "identity"
    COUPLED = "coupled"

    @property
    def homogeneous(self) -> bool:
        """Whether every t > 0 commutes, so that neurons on one ray are one neuron."""
        return self in (Scaling.LINEAR, Scaling.POSITIVE)

    @property
    def mirrored(self) -> bool:
        """Whether t = −1 commutes."""
        return self in (Scaling.LINEAR, Scaling.ODD)


@dataclass(frozen=True)
class Activation:
    """An activation σ that networks as plain arrays can have.

    Attributes:
        values: σ on NumPy arrays, elementwise.
        slope: σ'; on a kink the subgradient that the backends take (0 for relu and abs, the slope
            of leaky_relu's line).
        tensor: σ on TensorFlow tensors.
    """

    values: Callable
    slope: Callable
    tensor: Callable


def _tensorflow(name) -> Callable:
    """A function of TensorFlow's, imported at its first use."""

    def function(z):
        import tensorflow as tf

        return getattr(tf, name)(z)

    return function


def _relu_tensor(z):
    import tensorflow as tf

    return tf.nn.relu(z)


def _leaky_tensor(z):
    import tensorflow as tf

    return tf.maximum(z, 0.2 * z)  # the op of that name rounds its slope to float32


# What arrays evaluate by themselves; leaky_relu has Keras' default slope.
ACTIVATIONS = {
    "relu": Activation(
        lambda z: np.maximum(z, 0.0), lambda z: (z > 0).astype(np.float64), _relu_tensor
    ),
    "leaky_relu": Activation(
        lambda z: np.where(z >= 0, z, 0.2 * z), lambda z: np.where(z >= 0, 1.0, 0.2), _leaky_tensor
    ),
    "linear": Activation(lambda z: z, np.ones_like, _tensorflow("identity")),
    "abs": Activation(np.abs, np.sign, _tensorflow("abs")),
    "tanh": Activation(np.tanh, lambda z: 1.0 - np.tanh(z) ** 2, _tensorflow("tanh")),
}


def slopes(activation: str) -> tuple[float, float]:
    """The slopes (below, above) zero of a positively homogeneous activation of `ACTIVATIONS`.

    Raises:
        InputError: σ is not positively homogeneous, or not known in array form.
    """
    known = [name for name in ACTIVATIONS if scaling(name).homogeneous]
    if activation not in known:
        raise bad_argument("activation", f"positively homogeneous, one of {known}", activation)
    below, above = ACTIVATIONS[activation].values(np.array([-1.0, 1.0]))
    return -float(below), float(above)


def append_bias(a: ArrayLike, beta: float) -> np.ndarray:
    """[A, β·1] in float64: `a` (N, n) with a last column of β, or `a` itself where β = 0."""
    a = np.asarray(a, dtype=np.float64)
    return np.concatenate([a, np.full((len(a), 1), beta)], axis=1) if beta > 0 else a


_NAMES = {
    Scaling.LINEAR: "linear",
    Scaling.POSITIVE: "relu leaky_relu absolute abs",
    Scaling.ODD: "tanh softsign tanh_shrink hard_tanh hard_shrink soft_shrink",
    Scaling.IDENTITY: """
        relu6 threshold sigmoid hard_sigmoid log_sigmoid sparse_sigmoid softplus sparse_plus
        squareplus exponential elu celu selu gelu silu swish hard_silu hard_swish mish""",
    Scaling.COUPLED: "softmax log_softmax sparsemax glu",
}
_BY_NAME = {name: kind for kind, names in _NAMES.items() for name in names.split()}


def scaling(activation: Any) -> Scaling:
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
    # whatever a foreign function does on a plain matrix, it is not a plain activation
    except Exception:
        return False
    if before.shape != points.shape:
        return False
    return bool(((before == after) | (changed != points)).all())
