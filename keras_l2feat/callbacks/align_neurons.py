"""Keep near-aligned neurons aligned while a network trains."""

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

    The number of rays of each hidden layer goes into the logs as `rays_1`, `rays_2`, …, after each
    epoch.

    Args:
        angle: radians up to which a neuron belongs to a ray. The function moves by the order of it
            at a snap, and training goes on from there; a greater angle ends with fewer rays and,
            beyond some point, a higher loss.
        every: epochs (iterations in `training.fit`) between snaps; one more happens when training
            ends.
        negligible: share of the layer's largest ‖w‖‖v‖ up to which a neuron is set to zero.

    Raises:
        InputError: (when training begins) the model is no chain of dense layers with one positively
            homogeneous activation; what prevents it is named.

    Example:
    >>> from keras_l2feat import models, training
    >>> model = models.mlp(784, (30, 30), 3, lam=1e-2)
    >>> fitted = training.fit(model, "mnist-789-42", callbacks=[AlignNeurons(angle=0.1)], max_iterations=200)
    >>> fitted.history["rays_1"][-1] < 30
    True
    """

    def __init__(self, angle=1e-2, every=50, negligible=1e-4):
        super().__init__()
        if every < 1:
            raise bad_argument("every", "at least 1", every)
        self.angle, self.every, self.negligible = angle, every, negligible
        self._rays = ()

    def on_train_begin(self, logs=None):
        self._rays = rays.snap(DenseNetwork.from_model(self.model), self.angle, self.negligible)[1]

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every == 0:
            self._snap()
        if logs is not None:
            logs.update({f"rays_{layer}": count for layer, count in enumerate(self._rays, start=1)})

    def on_train_end(self, logs=None):
        self._snap()

    def _snap(self):
        snapped, self._rays = rays.snap(
            DenseNetwork.from_model(self.model), self.angle, self.negligible
        )
        snapped.into_model(self.model)
