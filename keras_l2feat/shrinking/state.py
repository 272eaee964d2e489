"""A model in training, its optimizer's state carried over from a larger one or kept as arrays."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_l2feat.objectives.data_term import data_term, head
from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.rewrite import rebuild, sliced
from keras_l2feat.shrinking.points import Points
from keras_l2feat.training.slots import slots
from keras_l2feat.types import Model

__all__ = ["Settings", "State", "carry", "seeded"]

RATE = 1e-3  # of Adam, for a model that was not compiled


@dataclass
class State:
    """All that a run needs to go on from somewhere.

    Attributes:
        kept: layer → channels of the original that are left, ascending.
        variables: values of `model.variables`, states of random generators included.
        optimizer: values of the optimizer's variables.
    """

    kept: dict
    variables: list
    optimizer: list

    @classmethod
    def of(cls, model: Model, kept: dict) -> "State":
        """What a model in training is at this moment."""
        own = [np.array(variable.numpy()) for variable in model.variables]
        return cls(kept, own, [np.array(v.numpy()) for v in model.optimizer.variables])

    def model(self, graph: Graph, settings: "Settings", *, plain: bool = False) -> Model:
        """The model again, from the graph of the original, compiled by `settings`; without values
        for the optimizer, it begins anew."""
        units = np.ones(len(graph.pinned), dtype=bool)
        for layer, channels in self.kept.items():
            units[np.delete(graph.writers[layer], channels)] = False
        model = rebuild(
            graph, units, lambda name: sliced(graph, name, graph.layers[name].get_weights(), units)
        )
        settings.compile(model, plain=plain)
        for variable, value in zip(model.variables, self.variables, strict=True):
            variable.assign(value)
        if self.optimizer:
            for variable, value in zip(model.optimizer.variables, self.optimizer, strict=True):
                variable.assign(value)
        return model


@dataclass
class Settings:
    """How the models of a run are compiled: as the user's model is, with a plain learning rate
    where it is to fall.

    Attributes:
        optimizer: an optimizer that others are made like.
        rest: the other arguments of `compile`.
        rate: learning rate, `None` for the optimizer's own.
    """

    optimizer: Any
    rest: dict
    rate: float | None = None

    @classmethod
    def of(
        cls, model: Model, points: Points, rate: float | None = None, *, decay: bool = True
    ) -> "Settings":
        """Those of a model; one that is not compiled gets Adam and the usual loss of the data.

        Raises:
            InputError: it is not compiled and it is not clear what its loss is.
        """
        import keras

        if getattr(model, "compiled", False) and model.optimizer is not None:
            rest = dict(model._compile_config.config)
            del rest["optimizer"]
            optimizer = model.optimizer
        else:
            rest = {"loss": _usual_loss(model, points)}
            optimizer = keras.optimizers.Adam(RATE)
        settings = cls(optimizer, rest)
        if decay or rate is not None:
            settings.rate = _first_rate(optimizer) if rate is None else float(rate)
        return settings

    def compile(self, model: Model, *, plain: bool = False) -> None:
        """Compile a model, its optimizer built; `plain`: with the learning rate that the user's
        optimizer has."""
        config = self.optimizer.get_config()
        if self.rate is not None and not plain:
            inner = config.get("inner_optimizer")
            (inner["config"] if isinstance(inner, dict) else config)["learning_rate"] = self.rate
        model.compile(optimizer=type(self.optimizer).from_config(config), **self.rest)
        model.optimizer.build(model.trainable_variables)


def _first_rate(optimizer):
    """The rate that an optimizer begins with."""
    import keras

    inner = getattr(optimizer, "inner_optimizer", optimizer)
    rate = inner._learning_rate
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        first = getattr(rate, "initial_learning_rate", None)
        return float(rate(0) if first is None else first)
    return float(optimizer.learning_rate)


def _usual_loss(model, points):
    """A loss of Keras for the data term that a data set has by itself."""
    import keras

    if points.dataset is None:
        labels = points.labels
        if not (np.issubdtype(labels.dtype, np.integer) and labels.size == len(labels)):
            return "mean_squared_error"
        data = (np.zeros((len(labels), 1)), labels)
    else:
        data = points.dataset
    term = data_term(model, data)
    if term.outputs == "squared":
        return "mean_squared_error"
    if head(model) == "sigmoid":
        return "binary_crossentropy"
    return keras.losses.SparseCategoricalCrossentropy(from_logits=head(model) != "softmax")


def carry(graph: Graph, units: Any, model: Model, smaller: Model) -> None:
    """Give a smaller model's optimizer the state that a model's has for what is left.

    Args:
        graph: of the model; units: (units,) bool, what is left; model: whose optimizer it is;
            smaller: compiled and built.
    """
    old, new = model.optimizer, smaller.optimizer
    old.build(model.trainable_variables)
    there = read(smaller)
    before = _by_variable(old, model.trainable_variables)
    after = _by_variable(new, smaller.trainable_variables)
    moved = set()
    for name, layer in graph.layers.items():
        given = [before.get(id(variable), {}) for variable in layer.weights]
        wanted = [after.get(id(variable), {}) for variable in there.layers[name].weights]
        for key in dict.fromkeys(key for own in given for key in own):
            values = [own.get(key, variable) for own, variable in zip(given, layer.weights)]
            values = sliced(graph, name, [value.numpy() for value in values], units)
            for value, own, other in zip(values, given, wanted):
                if key in own and key in other and id(other[key]) not in moved:
                    other[key].assign(np.reshape(value, other[key].shape))
                    moved.add(id(other[key]))
    # Counters have the same names; the rate is the new one's own.
    counters = {v.name: v for v in old.variables if len(v.shape) == 0}
    for variable in new.variables:
        if variable.name in counters and variable.name != "learning_rate":
            variable.assign(counters[variable.name].numpy())


def _by_variable(optimizer, variables):
    return {id(v): found for v, found in zip(variables, slots(optimizer, variables))}


def seeded(model: Model, seed: int) -> None:
    """Set the random generators of dropout and the like."""
    generator = np.random.default_rng(seed)
    for variable in model.variables:
        if variable.name == "seed_generator_state":
            variable.assign(np.array([generator.integers(2**31), 0], dtype="uint32"))
