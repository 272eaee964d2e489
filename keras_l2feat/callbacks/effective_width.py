"""Watch the effective width of a network, and its certificate, while it trains."""

import keras

from keras_l2feat.errors import require_counts
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives.problem import Problem
from keras_l2feat.training.rays import rays
from keras_l2feat.types import Data

__all__ = ["EffectiveWidth"]


class EffectiveWidth(keras.callbacks.Callback):
    """Log how many distinct units each layer has and, given data, the insertion certificate's gap.

    After each epoch the logs (progress bar, history, TensorBoard placed after it) hold `rays_1`,
    `rays_2`, …, as `AlignNeurons` counts them in any network that the pruner reads, and with data
    `gap_1`, `gap_2`, …: by how much the best new neuron of a layer beats its price 2λ, 0 at a
    minimum that is wide enough.

    Args:
        angle: radians within which neurons are on one ray.
        negligible: share of the layer's largest ‖w‖‖v‖ below which a neuron does not count.
        data: a `data.Dataset` for the gap; None logs rays alone.
        every: epochs between measurements; between them the last one is logged again.
        starts: starts of the search for the gap.

    Raises:
        InputError: (when training begins) with data, the model is no chain of dense layers, or its
            layers do not carry one λ > 0.
    """

    def __init__(
        self,
        angle: float = 1e-2,
        *,
        negligible: float = 1e-3,
        data: Data | None = None,
        every: int = 1,
        starts: int = 50,
    ) -> None:
        super().__init__()
        require_counts(every=every)
        self.angle, self.negligible = angle, negligible
        self.data, self.every, self.starts = data, every, starts
        self._measured = {}

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._measure()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if (epoch + 1) % self.every == 0:
            self._measure()
        if logs is not None:
            logs.update(self._measured)

    def _measure(self):
        counts = rays(self.model, self.angle, self.negligible)
        self._measured = {f"rays_{layer}": count for layer, count in enumerate(counts, start=1)}
        if self.data is not None:
            from keras_l2feat.plateau.insertion import certify

            problem = Problem.of(self.model, self.data)
            network = DenseNetwork.from_model(self.model)
            certificate = certify(network, problem, starts=self.starts)
            self._measured |= {f"gap_{layer.layer}": layer.gap for layer in certificate.layers}
