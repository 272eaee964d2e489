"""A model in the making, which the steps of a recipe change."""

import dataclasses

from keras_l2feat.data import Dataset
from keras_l2feat.errors import InputError
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives import Problem
from keras_l2feat.types import Model
from keras_l2feat.zoo.recipe import Recipe

__all__ = ["ALIGNED", "Making", "bare"]

ALIGNED = 1e-6  # radians; what a snap leaves in float64 is far below, distinct rays are far above


@dataclasses.dataclass
class Making:
    """A model in the making.

    Attributes:
        recipe: what is followed.
        data: the data set of the recipe.
        model: the Keras model so far, `None` before the first step.
        curve: `(widths, loss)` after each training step: neurons on distinct rays count once.
        seconds: CPU time of the steps so far, of all cores together.
        quiet: no progress bars.
    """

    recipe: Recipe
    data: Dataset
    model: object = None
    curve: list = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    quiet: bool = True

    @property
    def problem(self) -> Problem:
        """What is minimized."""
        return self.recipe.problem(self.data)

    def in_float64(self, network: DenseNetwork) -> None:
        """Go on from this network, in float64."""
        self.model = network.to_model(dtype="float64", lam=self.recipe.lam)

    def record(self, loss: float) -> None:
        """Note a loss for the curve, at the widths that the model has now."""
        from keras_l2feat.training import rays

        try:
            widths = rays.rays(DenseNetwork.from_model(self.model), ALIGNED)
        except InputError:  # no chain of dense layers: there is no notion of its rays here
            return
        self.curve.append((list(widths), float(loss)))


def bare(model: Model) -> Model:
    """The model without what it was compiled with and an optimizer's state."""
    copy = model.__class__.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    return copy
