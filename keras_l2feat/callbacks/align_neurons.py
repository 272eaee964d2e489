"""Keep near-aligned neurons aligned while a network trains."""

import hashlib

import keras

from keras_l2feat.errors import bad_argument
from keras_l2feat.network import DenseNetwork
from keras_l2feat.training import rays

__all__ = ["AlignNeurons"]


class AlignNeurons(keras.callbacks.Callback):
    """Snap near-aligned neurons onto their common ray, so that a wide network ends equivalent to a
    small one.

    L2 regularization turns the neurons of a layer towards a few rays, but slowly. Every few epochs
    this callback moves the neurons within `angle` of a ray onto it and sets negligible neurons to
    zero. Aligned neurons stay aligned under gradient descent and L-BFGS (other optimizers let them
    drift a little: they are snapped again), so at the end `keras_l2feat.prune` finds them exactly
    redundant: one neuron a ray is left.

    Its place in the list of callbacks does not matter: from the last batch of each epoch, thus
    before validation, to the first of the next, the model holds the aligned weights, so what
    `EarlyStopping` restores and `ModelCheckpoint` saves is aligned. In the epochs between two snaps
    training then goes on from the weights that it had.

    The number of rays of each hidden layer goes into the logs as `rays_1`, `rays_2`, …, after each
    epoch.

    Args:
        angle: radians up to which a neuron belongs to a ray. The function moves by the order of it
            at a snap, and training goes on from there; a greater angle ends with fewer rays and,
            beyond some point, a higher loss.
        every: epochs (iterations in `training.fit`) after which training itself goes on from the
            aligned weights.
        negligible: share of the layer's largest ‖w‖‖v‖ up to which a neuron is set to zero.

    Raises:
        InputError: (when training begins) the model is no chain of dense layers with one positively
            homogeneous activation; what prevents it is named.

    Example:
    >>> from keras_l2feat import models, training
    >>> model = models.mlp(784, (30, 30), 3, lam=1e-2)
    >>> aligned = AlignNeurons(angle=0.1)
    >>> fitted = training.fit(model, "mnist-789-42", callbacks=[aligned], iterations=200)
    >>> fitted.history["rays_1"][-1] < 30
    True
    """

    def __init__(self, angle: float = 1e-2, every: int = 50, negligible: float = 1e-4) -> None:
        super().__init__()
        if every < 1:
            raise bad_argument("every", "at least 1", every)
        self.angle, self.every, self.negligible = angle, every, negligible
        self._rays: tuple = ()
        self._batches: int | None = None
        self._seen: int | None = None
        self._raw = None  # the weights to go on from, while others see aligned ones
        self._aligned = set()  # digests of all weights that were shown: a callback may restore them

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._rays = rays.snap(DenseNetwork.from_model(self.model), self.angle, self.negligible)[1]
        self._batches, self._seen = self.params.get("steps"), None

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._hide()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self._seen = batch + 1
        if self._batches is not None and self._seen >= self._batches:
            self._show()

    def on_test_begin(self, logs: dict | None = None) -> None:
        self._show()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._batches = self._batches or self._seen  # a generator's number shows only now
        if self._seen or (epoch + 1) % self.every == 0:
            self._show()
        if (epoch + 1) % self.every == 0:
            self._raw = None  # training goes on from here
        if logs is not None:
            logs.update({f"rays_{layer}": count for layer, count in enumerate(self._rays, start=1)})

    def on_train_end(self, logs: dict | None = None) -> None:
        self._show()
        self._raw = None

    def _show(self):
        """Put aligned weights into the model, unless those it has came from here."""
        raw = self.model.get_weights()
        if _digest(raw) in self._aligned:
            return
        snapped, self._rays = rays.snap(
            DenseNetwork.from_model(self.model), self.angle, self.negligible
        )
        snapped.into_model(self.model)
        self._raw = raw
        self._aligned.add(_digest(self.model.get_weights()))

    def _hide(self):
        """Go on from the weights before the last `_show`, unless another callback has put others
        there."""
        if self._raw is not None and _digest(self.model.get_weights()) in self._aligned:
            self.model.set_weights(self._raw)
        self._raw = None


def _digest(arrays) -> bytes:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).digest()
