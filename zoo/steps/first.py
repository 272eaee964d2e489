"""First steps: a network to train, or one that is known to be at an optimum."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_l2feat.network import DenseNetwork
from keras_l2feat.zoo.making import Making

__all__ = ["bipartite", "conv", "deep_linear", "from_teacher", "global_minimum", "lenet", "mlp"]


def mlp(making: Making, *, widths: Sequence[int], dtype: str = "float64") -> None:
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


def conv(making: Making, *, filters: Sequence[int], kernel: int = 5, stride: int = 2) -> None:
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


def lenet(making: Making) -> None:
    """LeNet-5: convolutions of 20 and 50 filters 5 × 5, each halved by a maximum, 500 units."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(making.recipe.seed)
    making.model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(20, 5, activation="relu", name="hidden_1"),
            layers.MaxPooling2D(),
            layers.Conv2D(50, 5, activation="relu", name="hidden_2"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(500, "relu", name="hidden_3"),
            layers.Dense(making.data.outputs, name="output"),
        ],
        name="lenet",
    )


def bipartite(making: Making, *, copies: int) -> None:
    """The exact optimum of `data.bipartite`: one neuron an edge, W_1 = Eᵀ, W_2 = E [Jacot et al.
    2022, Prop. 14].

    Each neuron comes as `copies` unequal ones on its ray, which together do the same at the same
    norm.
    """
    half = making.data.outputs // 2
    pairs = itertools.product(range(half), range(half, 2 * half))
    edges = np.array([[float(node in pair) for node in range(2 * half)] for pair in pairs])
    _explicit(making, [edges.T, edges], copies)


def deep_linear(making: Making, *, depth: int, rank: int, copies: int) -> None:
    """The exact optimum of `data.linear`: Y = U S Vᵀ as `depth` balanced factors of width `rank`.

    Each unit comes as `copies` unequal ones on its ray, which together do the same at the same
    norm.
    """
    left, values, right = np.linalg.svd(making.data.y_train.astype("float64"), full_matrices=False)
    root = np.diag(values[:rank] ** (1 / depth))
    _explicit(making, [left[:, :rank] @ root, *[root] * (depth - 2), root @ right[:rank]], copies)


def from_teacher(
    making: Making, *, width: int, copies: int, max_iterations: int = 3000, **options: Any
) -> None:
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


def global_minimum(making: Making, *, copies: int, tolerance: float = 1e-4) -> None:
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
    making.in_float64(network)
