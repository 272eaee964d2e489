"""What the three forms of the loss share: their result, and reading a network and data from what a
user has."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from keras_l2feat import costs
from keras_l2feat.activations import ACTIVATIONS, scaling
from keras_l2feat.data import load
from keras_l2feat.errors import InputError, bad_argument, require
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives.data_term import chain_cost
from keras_l2feat.types import Cost, Data, Sigma, Tensor

__all__ = ["Loss", "activation_function", "read_data", "read_network", "require_homogeneous"]


class Loss(NamedTuple):
    """One form of the loss, C + λ Σ_l norms_l.

    Attributes:
        total: scalar tensor.
        cost: C, the data term, scalar tensor.
        norms: the L terms of the layers, without λ, scalar tensors.
    """

    total: tf.Tensor
    cost: tf.Tensor
    norms: tuple

    @classmethod
    def of(cls, cost: Cost, norms: Sequence[Tensor], lam: float) -> "Loss":
        """The loss with these parts."""
        return cls(cost + lam * tf.add_n(norms), cost, tuple(norms))


def activation_function(name: Sigma) -> Callable:
    """The TensorFlow function of an activation: a name of `activations.ACTIVATIONS`, or a
    function as it is.

    Raises:
        InputError: an unknown name.
    """
    if callable(name):
        return name
    expected = f"one of {sorted(ACTIVATIONS)} or a function of a tensor"
    require(name in ACTIVATIONS, "activation", expected, name)
    return ACTIVATIONS[name].tensor


def require_homogeneous(activation: Sigma) -> None:
    """Refuse an activation that is not positively homogeneous, by name: the covariance form does
    not hold for it."""
    if not scaling(activation).homogeneous:
        name = activation
        if not isinstance(activation, str):
            name = getattr(activation, "__name__", repr(activation))
        raise InputError(
            f"Activation {name!r} is not positively homogeneous: the loss has no covariance form "
            "with it. Homogeneous are relu, leaky_relu, abs and linear."
        )


def read_network(
    subject: Any, data: Data, activation: Sigma | None, beta: float | None, cost: Cost | None
) -> tuple:
    """`(network, data, activation, beta, cost)`: a Keras model or a `DenseNetwork` brings its own σ
    and β, a model its data term too; arrays take the given.

    `network` is a `DenseNetwork`, or `None` when `subject` is arrays. A σ or β that contradicts the
    model's is an `InputError`; where neither says anything they are "relu" and 1. Data by name are
    loaded.
    """
    data = data if isinstance(data, tuple) else load(data)
    if hasattr(subject, "layers"):
        cost = chain_cost(subject, data, cost)
        subject = DenseNetwork.from_model(subject)
    if not isinstance(subject, DenseNetwork):
        own = "relu" if activation is None else activation, 1.0 if beta is None else beta
        return None, data, *own, cost
    if activation not in (None, subject.activation):
        raise bad_argument("activation", f"that of the network, {subject.activation!r}", activation)
    require(beta in (None, subject.beta), "beta", f"that of the network, {subject.beta}", beta)
    return subject, data, subject.activation, subject.beta, cost


def read_data(data: Data, cost: Cost | None, dtype: Any) -> tuple:
    """`(x, y, cost)`: training inputs as a `dtype` tensor (N, n_0), targets, and the data term's
    function.

    Args:
        data: a pair `(x, y)` of arrays or tensors, or whatever `data.load` knows.
        cost: a name or function for `costs.cost_function`; `None` is the data set's own, for a pair
            "crossentropy" with integer labels and "squared" otherwise.
        dtype: of the network's arrays.
    """
    if isinstance(data, tuple) and len(data) == 2:
        x, y = data
        own = "crossentropy" if tf.convert_to_tensor(y).dtype.is_integer else "squared"
    else:
        known = load(data)
        x, y, own = known.x_train, known.y_train, known.cost
    term = costs.cost_function(own if cost is None else cost)
    return tf.cast(x, dtype), tf.convert_to_tensor(y), term
