"""What recipes are made of. A step takes the `Making` so far and its own options, and changes
`making.model`.

The first step creates the model, in float64; training steps follow.
"""

import dataclasses
import inspect
import itertools
from collections.abc import Callable

import numpy as np

from keras_l2feat.data import Dataset
from keras_l2feat.errors import InputError
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives import Problem
from keras_l2feat.zoo.measure import metrics
from keras_l2feat.zoo.recipe import Recipe

__all__ = ["STEPS", "Making", "take"]

ALIGNED = 1e-6  # radians; what a snap leaves in float64 is far below, distinct rays are far above


@dataclasses.dataclass
class Making:
    """A model in the making.

    Attributes:
        recipe: what is followed.
        data: the data set of the recipe.
        model: the Keras model so far, `None` before the first step.
        curve: `(widths, loss)` after each training step: neurons on distinct rays count once.
        quiet: no progress bars.
    """

    recipe: Recipe
    data: Dataset
    model: object = None
    curve: list = dataclasses.field(default_factory=list)
    quiet: bool = True

    @property
    def problem(self) -> Problem:
        """What is minimized."""
        return self.recipe.problem(self.data)


def take(making: Making, step: dict) -> None:
    """Do one step, `{name: options}`.

    Raises:
        InputError: no such step, or options it does not have.
    """
    (name, options), *more = step.items()
    if name not in STEPS or more:
        raise InputError(
            f"Recipe {making.recipe.name!r}: no step {step!r}. Steps: {', '.join(STEPS)}."
        )
    options = options or {}
    try:
        _bind(STEPS[name], making, options)
    except TypeError as error:
        raise InputError(f"Recipe {making.recipe.name!r}, step {name!r}: {error}") from error
    STEPS[name](making, **options)


def _bind(step, making, options) -> None:
    """Raise the `TypeError` of a call whose options do not fit, without the call, whose own errors
    are no mistake of the recipe's."""
    from keras_l2feat import training

    signature = inspect.signature(step)
    signature.bind(making, **options)
    if "options" in signature.parameters:  # the rest goes to `fit`, and on to `training.fit`
        known = [step, fit, training.fit]
        unknown = options.keys() - {n for one in known for n in inspect.signature(one).parameters}
        if unknown:
            raise TypeError(f"training.fit has no option {', '.join(sorted(unknown))}")


def mlp(making, *, widths, dtype="float64"):
    """A dense network with He initial weights, trained in `dtype`."""
    from keras_l2feat import models

    recipe, data = making.recipe, making.data
    making.model = models.mlp(
        data.x_train.shape[1],
        tuple(widths),
        data.outputs,
        activation=recipe.activation,
        beta=recipe.beta,
        lam=recipe.lam,
        dtype=dtype,
        seed=recipe.seed,
    )


def conv(making, *, filters, kernel=5, stride=2):
    """Convolutions of `kernel × kernel` with a stride, then one dense layer of outputs."""
    import keras

    from keras_l2feat.regularizers import layer_arguments

    seeds = itertools.count(1000 * making.recipe.seed)
    shape = (*making.data.input_shape, 1)[:3]
    layers = [keras.Input(shape, dtype="float32", name="input")]
    for index, count in enumerate(filters, start=1):
        layers.append(
            keras.layers.Conv2D(
                count,
                kernel,
                strides=stride,
                padding="same",
                activation=making.recipe.activation,
                kernel_initializer=keras.initializers.HeNormal(seed=next(seeds)),
                name=f"hidden_{index}",
                **layer_arguments(making.recipe.lam),
            )
        )
    layers.append(keras.layers.Flatten(name="flatten"))
    initializer = keras.initializers.HeNormal(seed=next(seeds))
    layers.append(
        keras.layers.Dense(
            making.data.outputs,
            kernel_initializer=initializer,
            name="output",
            **layer_arguments(making.recipe.lam),
        )
    )
    making.model = keras.Sequential(layers, name="conv")


def fit(making, *, max_iterations=3000, **options):
    """Full-batch training by `training.fit`, with its options."""
    from keras_l2feat import training

    fitted = training.fit(
        making.model,
        making.data,
        lam=making.recipe.lam,
        cost=making.problem.cost,  # whatever `minibatch` compiled it with
        iterations=max_iterations,
        quiet=making.quiet,
        **options,
    )
    _record(making, fitted.loss)


def minibatch(making, *, epochs, batch_size=200, learning_rate=2e-3, angle=None):
    """Adam on minibatches with a cosine schedule, by `model.fit`: the cheap way to a good start on
    much data.

    With an `angle`, neurons that near to a ray are snapped onto it after each epoch.
    """
    from keras_l2feat.callbacks import AlignNeurons
    from keras_l2feat.training.minibatch import minibatches

    minibatches(
        making.model,
        making.problem,
        epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        callbacks=[] if angle is None else [AlignNeurons(angle=angle, every=1)],
        seed=making.recipe.seed,
        quiet=making.quiet,
    )
    _record(making, metrics(making.model, making.problem)["train_loss"])


def align(making, *, angles, every=50, **options):
    """Full-batch training with `callbacks.AlignNeurons`, once for each angle (radians), rising."""
    from keras_l2feat.callbacks import AlignNeurons

    for angle in angles:
        fit(making, callbacks=[AlignNeurons(angle=angle, every=every)], **options)


def descend(making, *, start, least, **options):
    """The narrowest network, by the sum of its widths, whose loss the recipe allows, of those that
    `plateau.descent` finds layer by layer from a wide one; with options of it."""
    from keras_l2feat.plateau import descent

    options = {"seed": making.recipe.seed, "quiet": making.quiet, **options}
    trials = descent(making.problem, (least, start), per_layer=True, **options)
    making.curve += [(list(trial.widths), trial.loss) for trial in trials]
    fine = [trial for trial in trials if trial.loss <= making.recipe.limit] or trials[:1]
    _in_float64(making, min(fine, key=lambda trial: sum(trial.widths)).network)


def grow(making, *, gap, width_limit, iterations=1500):
    """Neurons that the insertion certificate names are added and trained, until its gap is closed
    up to `gap`, by `plateau.growth`."""
    from keras_l2feat.plateau import growth
    from keras_l2feat.training import Budget

    network = DenseNetwork.from_model(making.model)
    trials = growth(
        making.problem,
        network=network,
        width_limit=width_limit,
        gap=gap,
        budget=Budget(iterations, 1e-8),
        seed=making.recipe.seed,
        quiet=making.quiet,
    )
    making.curve += [(list(trial.widths), trial.loss) for trial in trials]
    _in_float64(making, trials[-1].network)


def copy(making, *, widths):
    """Neurons come back to these widths as copies of those that stayed, on their rays and at the
    same norm; the steps that follow train all of them."""
    from keras_l2feat.pruning.expand import expand

    making.model = expand(making.model, tuple(widths), seed=making.recipe.seed)


def bipartite(making, *, copies):
    """The exact optimum of `data.bipartite`: one neuron an edge, W_1 = Eᵀ, W_2 = E [Jacot et al.
    2022, Prop. 14].

    Each neuron comes as `copies` unequal ones on its ray, which together do the same at the same
    norm.
    """
    half = making.data.outputs // 2
    pairs = itertools.product(range(half), range(half, 2 * half))
    edges = np.array([[float(node in pair) for node in range(2 * half)] for pair in pairs])
    _explicit(making, [edges.T, edges], copies)


def deep_linear(making, *, depth, rank, copies):
    """The exact optimum of `data.linear`: Y = U S Vᵀ as `depth` balanced factors of width `rank`.

    Each unit comes as `copies` unequal ones on its ray, which together do the same at the same
    norm.
    """
    left, values, right = np.linalg.svd(making.data.y_train.astype("float64"), full_matrices=False)
    root = np.diag(values[:rank] ** (1 / depth))
    _explicit(making, [left[:, :rank] @ root, *[root] * (depth - 2), root @ right[:rank]], copies)


def from_teacher(making, *, width, copies, max_iterations=3000, **options):
    """The teacher of `data.teacher` itself, trained on by `training.fit` with its options.

    Each neuron comes as `copies` unequal ones on its ray, which together do the same at the same
    norm.
    """
    from keras_l2feat import training
    from keras_l2feat.data.teachers import teacher_network

    data, problem = making.data, making.problem
    network = teacher_network(width=width, inputs=data.x_train.shape[1], outputs=data.outputs)
    z = network(data.x_train)
    scale = np.vdot(z, data.y_train) / np.vdot(z, z)  # the data set's targets are scaled
    network = network.with_weights([*network.weights[:-1], scale * network.weights[-1]])
    fitted = training.fit(
        network,
        data,
        lam=problem.lam,
        cost=problem.cost,
        iterations=max_iterations,
        quiet=making.quiet,
        **options,
    )
    _explicit(making, list(fitted.network.weights), copies)


def global_minimum(making, *, copies, tolerance=1e-4):
    """The global minimum over all widths of two layers, by conditional gradients, certified to
    `tolerance`.

    Each neuron comes as `copies` unequal ones on its ray, which together do the same at the same
    norm.
    """
    from keras_l2feat.training import covariance

    problem = making.problem
    fitted = covariance.fit(
        problem.random((0,)),
        making.data,
        lam=problem.lam,
        cost=problem.cost,
        tolerance=tolerance,
        seed=making.recipe.seed,
        quiet=making.quiet,
    )
    _explicit(making, list(fitted.network.weights), copies)


def silence(making, *, share):
    """Set to zero the neurons and channels whose ‖w‖‖v‖ is at most `share` of their layer's
    largest.

    Weight decay has made them negligible; training from there on leaves them exactly zero.
    """
    from keras_l2feat.pruning.balance import norms
    from keras_l2feat.pruning.channels.read import read

    graph = read(making.model)
    sizes = np.prod(norms(graph), axis=0)
    for units in graph.writers.values():
        sizes[units] /= sizes[units].max(initial=0.0) or 1.0
    gone = (sizes <= share) & ~graph.pinned
    for slot in graph.slots.values():
        if slot.role in ("write", "read"):
            weight = np.moveaxis(np.array(graph.weight(slot.layer, slot.index)), slot.axis, 0)
            weight[gone[slot.units]] = 0.0
            graph.layers[slot.layer].weights[slot.index].assign(np.moveaxis(weight, 0, slot.axis))


STEPS: dict[str, Callable] = {
    "mlp": mlp,
    "conv": conv,
    "fit": fit,
    "minibatch": minibatch,
    "align": align,
    "descend": descend,
    "grow": grow,
    "copy": copy,
    "bipartite": bipartite,
    "deep_linear": deep_linear,
    "from_teacher": from_teacher,
    "global_minimum": global_minimum,
    "silence": silence,
}


def _in_float64(making, network):
    making.model = network.to_model(dtype="float64", lam=making.recipe.lam)


def _explicit(making, weights, copies):
    """A model with these weights, every neuron replaced by `copies` on its ray, of random shares
    that sum to 1."""
    generator = np.random.default_rng(making.recipe.seed)
    for layer in range(len(weights) - 1):
        width = weights[layer].shape[1]
        shares = np.sqrt(generator.dirichlet([4.0] * copies, size=width).ravel())
        weights[layer] = np.repeat(weights[layer], copies, axis=1) * shares
        rows, bias = weights[layer + 1][:width], weights[layer + 1][width:]
        weights[layer + 1] = np.concatenate(
            [np.repeat(rows, copies, axis=0) * shares[:, None], bias]
        )
    network = DenseNetwork(
        tuple(weights), activation=making.recipe.activation, beta=making.recipe.beta
    )
    _in_float64(making, network)


def _record(making, loss):
    from keras_l2feat.training import rays

    try:
        widths = rays.rays(DenseNetwork.from_model(making.model), ALIGNED)
    except InputError:  # no chain of dense layers: there is no notion of its rays here
        return
    making.curve.append((list(widths), float(loss)))
