"""The Z-space objective as a Keras regularizer: for representations whose inputs never change."""

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_l2feat.errors import bad_argument, require
from keras_l2feat.types import Tensor

__all__ = ["RepresentationPenalty"]


@keras.saving.register_keras_serializable(
    package="keras_l2feat", name="RepresentationCostRegularizer"
)
class RepresentationPenalty(keras.regularizers.Regularizer):
    """λ f_ρ(Z, A): what a variable Z of N representations pays for leaving the reach of fixed
    features A.

    A regularizer sees one variable, so it suffices where A is given: for the first layer of
    `models.RepresentationNetwork`, or for an embedding of N items that have features. Between
    layers it takes `layers.RepresentationCost`. [Jacot et al. 2022, eq. 3.1]

    Args:
        features: A, (N, n) array; append a column of β for a bias.
        lam: λ ≥ 0.
        ridge: ρ > 0.
        relative: the ridge is a multiple of the mean squared norm of a row of A.

    Raises:
        InputError: features that are no matrix, λ negative or a ridge that is not positive.

    Example:
    >>> regularizer = RepresentationPenalty(np.eye(3), lam=0.5, ridge=1.0, relative=False)
    >>> round(float(regularizer(keras.ops.ones((3, 1)))), 4)
    0.75
    """

    def __init__(
        self, features: ArrayLike, lam: float, ridge: float = 1e-3, relative: bool = True
    ) -> None:
        features = np.asarray(features, dtype=np.float64)
        if features.ndim != 2 or not features.size:
            raise bad_argument("features", "a matrix (N, n)", features.shape)
        require(0 <= lam < float("inf"), "lam", "at least 0", lam)
        require(0 < ridge < float("inf"), "ridge", "positive", ridge)
        self.features, self.relative = features, bool(relative)
        self.lam, self.ridge = float(lam), float(ridge)
        # Factored once: f = Σ ‖uᵢᵀZ‖²/(sᵢ² + ρ) + ‖Z − U UᵀZ‖²/ρ, as the squared norm of one
        # product.
        u, s, _ = np.linalg.svd(features, full_matrices=False)
        rho = self.ridge * (max(np.sum(s**2) / len(features), 1e-30) if relative else 1.0)
        inside = u * (1 / np.sqrt(s**2 + rho) - rho**-0.5)
        self._root = inside @ u.T + rho**-0.5 * np.eye(len(features))

    def __call__(self, x: Tensor) -> Tensor:
        root = keras.ops.cast(self._root, keras.backend.standardize_dtype(x.dtype))
        return self.lam * keras.ops.sum(keras.ops.square(keras.ops.matmul(root, x)))

    def get_config(self) -> dict:
        own = {"lam": self.lam, "ridge": self.ridge, "relative": self.relative}
        return {"features": self.features.tolist(), **own}
