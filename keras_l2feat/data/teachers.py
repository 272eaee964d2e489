"""Teacher data: Gaussian inputs through a fixed random ReLU network [Jacot et al. 2022, Fig. 2
right]."""

import itertools

import numpy as np

from keras_l2feat.data.dataset import Dataset
from keras_l2feat.errors import require_counts
from keras_l2feat.network import DenseNetwork

__all__ = ["teacher", "teacher_network"]


def teacher_network(
    *, depth: int = 3, width: int = 10, inputs: int = 10, outputs: int = 1, seed: int = 0
) -> DenseNetwork:
    """The random network behind `teacher` of the same arguments, before its outputs are scaled."""
    return _network(np.random.default_rng(seed), depth, width, inputs, outputs)


def teacher(
    *,
    depth: int = 3,
    width: int = 10,
    inputs: int = 10,
    outputs: int = 1,
    n: int = 1000,
    n_test: int = 1000,
    seed: int = 0,
    name: str | None = None,
) -> Dataset:
    """Targets of a random network of `depth` weight matrices and hidden layers of `width`.

    Inputs are standard Gaussian `(n, inputs)`; weights are Gaussian, of variance `1 / rows` in the
    kernel (so that representations keep their size through depth, up to the factor of σ) and of the
    bias row (β = 1). Targets are divided by their standard deviation on the training set, so that λ
    means the same for every teacher.

    Returns: a `Dataset`, the same for the same arguments.
    """
    require_counts(depth=depth, width=width, inputs=inputs, outputs=outputs, n=n)
    generator = np.random.default_rng(seed)
    network = _network(generator, depth, width, inputs, outputs)
    x_train, x_test = (
        generator.standard_normal((n, inputs)),
        generator.standard_normal((n_test, inputs)),
    )
    y_train, y_test = network(x_train), network(x_test)
    scale = y_train.std() or 1.0
    return Dataset(
        name=name or "teacher",
        x_train=x_train.astype("float32"),
        y_train=(y_train / scale).astype("float32"),
        x_test=x_test.astype("float32"),
        y_test=(y_test / scale).astype("float32"),
        licence="made by this package",
        source=f"teacher(depth={depth}, width={width}, inputs={inputs}, outputs={outputs}, "
        f"n={n}, seed={seed})",
    )


def _network(generator, depth, width, inputs, outputs):
    widths = (inputs, *(width,) * (depth - 1), outputs)
    weights = [
        generator.standard_normal((a + 1, b)) / np.sqrt(a) for a, b in itertools.pairwise(widths)
    ]
    return DenseNetwork(tuple(weights))
