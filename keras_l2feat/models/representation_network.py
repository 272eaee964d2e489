"""A Keras model whose trainable variables are the hidden representations of one data set."""

from collections.abc import Sequence

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_l2feat.backend import require_tensorflow
from keras_l2feat.errors import InputError, bad_argument, require
from keras_l2feat.network import DenseNetwork
from keras_l2feat.types import Tensor

__all__ = ["RepresentationNetwork"]


@keras.saving.register_keras_serializable(package="keras_l2feat")
class RepresentationNetwork(keras.Model):
    """L_z in Tikhonov form as a Keras model: variables Z_1 … Z_L of N given points, no weights.

    Called on indices of points, it gives their outputs, rows of Z_L; its `losses` hold λ f_ρ(Z_l,
    A_{l-1}) of each layer over all points, whatever the batch. So `compile` and `fit` work with any
    optimizer and loss, and batches of points are a stochastic estimate of the data term alone.
    [Jacot et al. 2022, §3.1]

    Args:
        inputs: X, (N, n_0) array, the data set.
        hidden: hidden widths (n_1 … n_{L-1}).
        outputs: n_L.
        lam: λ ≥ 0.
        ridge: relative ridge > 0; a variable that may be lowered in training:
            `model.ridge.assign(1e-4)`.
        activation: σ, a key of `activations.ACTIVATIONS`.
        beta: amount of bias β ≥ 0.
        seed: of the start, the representations of a random network.
        **kwargs: name, dtype ("float64" is worth its time at small ridges).

    Call arguments:
        indices: (batch,) whole numbers below N.

    Output shape: `(batch, outputs)`.

    Raises:
        InputError: an argument out of range, or a Keras backend other than TensorFlow.

    Example:
    >>> x, y = np.eye(3), np.array([0, 1, 0])
    >>> model = RepresentationNetwork(x, (4,), 2, lam=1e-2)
    >>> model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    >>> _ = model.fit(np.arange(3), y, batch_size=3, verbose=0)
    >>> model.to_network().widths
    (3, 4, 2)
    """

    def __init__(
        self,
        inputs: ArrayLike,
        hidden: Sequence[int],
        outputs: int,
        lam: float,
        ridge: float = 1e-2,
        activation: str = "relu",
        beta: float = 1.0,
        seed: int = 0,
        **kwargs,
    ) -> None:
        require_tensorflow()
        super().__init__(**kwargs)
        inputs = np.asarray(inputs, dtype=np.float64)
        if inputs.ndim != 2 or not inputs.size:
            raise bad_argument("inputs", "a matrix (N, n_0)", inputs.shape)
        require(0 <= lam < float("inf"), "lam", "at least 0", lam)
        require(0 < ridge < float("inf"), "ridge", "positive", ridge)
        self.hidden, self.units, self.seed = tuple(hidden), int(outputs), seed
        self.lam, self.activation, self.beta = float(lam), activation, float(beta)
        widths = inputs.shape[1], *self.hidden, self.units
        network = DenseNetwork.random(widths, activation=activation, beta=self.beta, seed=seed)
        fixed = {"trainable": False}
        self.points = self.add_weight(inputs.shape, name="inputs", **fixed)
        self.ridge = self.add_weight((), name="ridge", **fixed)
        self.representations = [
            self.add_weight((len(inputs), width), name=f"z_{layer}")
            for layer, width in enumerate((*self.hidden, self.units), start=1)
        ]
        self.points.assign(inputs)
        self.ridge.assign(ridge)
        self._initial_ridge = float(ridge)
        self._assign(network)
        self.built = True

    @classmethod
    def from_network(
        cls, network: DenseNetwork, inputs: ArrayLike, lam: float, **options
    ) -> "RepresentationNetwork":
        """A model that starts at the representations of a `DenseNetwork` or a Keras chain of Dense
        on `inputs`."""
        network = network if isinstance(network, DenseNetwork) else DenseNetwork.from_model(network)
        options |= {"activation": network.activation, "beta": network.beta}
        model = cls(inputs, network.hidden, network.widths[-1], lam, **options)
        model._assign(network)
        return model

    def to_network(self) -> DenseNetwork:
        """The network of the ridge regressions, layer by layer; `to_network().to_model()` makes it
        a Keras model."""
        from keras_l2feat.kernels import weights_from_representations
        from keras_l2feat.objectives.loss import activation_function

        x, *z = (np.asarray(array, np.float64) for array in (self.points, *self.representations))
        activation, ridge = activation_function(self.activation), float(self.ridge)
        found = weights_from_representations(
            x, z, activation, beta=self.beta, ridge=ridge, relative=True
        )
        return DenseNetwork(tuple(weight.numpy() for weight in found), self.activation, self.beta)

    def call(self, indices: Tensor) -> Tensor:
        import tensorflow as tf

        from keras_l2feat.kernels import append_bias, representation_cost
        from keras_l2feat.objectives.loss import activation_function

        activation = activation_function(self.activation)
        a = append_bias(tf.convert_to_tensor(self.points), self.beta)
        for variable in self.representations:
            z = tf.convert_to_tensor(variable)
            self.add_loss(
                self.lam
                * representation_cost(z, a, tf.convert_to_tensor(self.ridge), relative=True)
            )
            a = append_bias(activation(z), self.beta)
        return tf.gather(z, tf.cast(indices, tf.int32))

    def _assign(self, network):
        if network.widths != (self.points.shape[1], *self.hidden, self.units):
            raise InputError(f"Model {self.name!r}: widths {network.widths} do not fit.")
        for variable, z in zip(self.representations, network.forward(np.asarray(self.points))[0]):
            variable.assign(z)

    def get_config(self) -> dict:
        return {
            "name": self.name,
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
            "inputs": list(self.points.shape),  # the values are among the saved variables
            "hidden": list(self.hidden),
            "outputs": self.units,
            "lam": self.lam,
            "ridge": self._initial_ridge,
            "activation": self.activation,
            "beta": self.beta,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict) -> "RepresentationNetwork":
        return cls(**{**config, "inputs": np.zeros(config["inputs"])})
