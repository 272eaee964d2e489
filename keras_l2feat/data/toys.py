"""Small data sets whose regularized networks are known exactly."""

import numpy as np

from keras_l2feat.data.dataset import Dataset
from keras_l2feat.errors import bad_argument, require, require_counts

__all__ = ["bipartite", "linear", "one_dim", "one_hot", "two_points"]


def bipartite(*, n: int = 4, name: str | None = None) -> Dataset:
    """X = I and Y = [[n/2·I, 1], [1, n/2·I]], `(n, n)` both: a ReLU network without bias needs n²/4
    neurons.

    The least Σ‖W‖² of two layers that fit it is n² [Jacot et al. 2022, Prop. 14].
    """
    if n < 2 or n % 2:
        raise bad_argument("n", "even, at least 2", n)
    half = n // 2
    y = np.block(
        [[half * np.eye(half), np.ones((half, half))], [np.ones((half, half)), half * np.eye(half)]]
    )
    return _toy(name, "bipartite", np.eye(n), y, n=n)


def one_hot(*, classes: int = 3, n: int = 9, name: str | None = None) -> Dataset:
    """X = I and one-hot targets, `(n, n)` and `(n, classes)`, class sizes as even as can be.

    Two layers of ReLU without bias need one neuron per class; the least Σ‖W‖² is 2 Σ √(class size)
    [Jacot et al. 2022].
    """
    require(1 <= classes <= n, "classes", f"between 1 and n = {n}", classes)
    y = np.eye(classes)[np.arange(n) * classes // n]
    return _toy(name, "one-hot", np.eye(n), y, classes=classes, n=n)


def two_points(*, name: str | None = None) -> Dataset:
    """X = (1, −1), Y = (1, 1), where a minimum of the weights may be none of the covariances.

    [Jacot et al. 2022, Prop. 19]
    """
    return _toy(name, "two-points", np.array([[1.0], [-1.0]]), np.ones((2, 1)))


def one_dim(*, n: int = 10, seed: int = 0, name: str | None = None) -> Dataset:
    """`n` points on a line in [−1, 1], evenly spaced, with Gaussian targets, `(n, 1)` both.

    Two layers of ReLU need at most 4n neurons [Jacot et al. 2022, Prop. 15].
    """
    require_counts(n=n)
    y = np.random.default_rng(seed).standard_normal((n, 1))
    return _toy(name, "one-dim", np.linspace(-1, 1, n)[:, None], y, n=n, seed=seed)


def linear(*, n: int = 8, rank: int = 3, seed: int = 0, name: str | None = None) -> Dataset:
    """X = I and Y of the given rank with singular values rank, …, 2, 1, `(n, n)` both.

    A deep linear network of depth L without bias fits it with Σ‖W‖² = L Σ s_i^{2/L} at least, on
    `rank` units a layer.
    """
    require(1 <= rank <= n, "rank", f"between 1 and n = {n}", rank)
    generator = np.random.default_rng(seed)
    left, right = (np.linalg.qr(generator.standard_normal((n, n)))[0][:, :rank] for _ in range(2))
    y = (left * np.arange(rank, 0, -1.0)) @ right.T
    return _toy(name, "linear", np.eye(n), y, n=n, rank=rank, seed=seed)


def _toy(name, kind, x, y, **options) -> Dataset:
    """A data set named after its kind and options, unless it has a name."""
    given = [f"{key}={value}" for key, value in options.items()]
    return Dataset(
        name=name or kind + f":{','.join(given)}" * bool(given),
        x_train=x.astype("float32"),
        y_train=y.astype("float32"),
        licence="made by this package",
        source=f"{kind.replace('-', '_')}({', '.join(given)})",
    )
