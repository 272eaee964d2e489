"""TensorFlow kernels with closed-form gradients: plain tensors in, plain tensors out."""

from keras_l2feat.kernels.covariance import covariance_cost, covariance_inverse
from keras_l2feat.kernels.insertion import insertion_ascent, insertion_maximum
from keras_l2feat.kernels.projection import (
    column_coordinates,
    coordinate_weights,
    least_norm_weights,
    project,
    weights_from_representations,
)
from keras_l2feat.kernels.representation import append_bias, representation_cost
from keras_l2feat.kernels.ridge import mean_square, rank_tolerance, ridge_solution
from keras_l2feat.kernels.streaming import (
    Gram,
    StreamedCost,
    accumulate_gram,
    streamed_representation_cost,
)

__all__ = [
    "Gram",
    "StreamedCost",
    "accumulate_gram",
    "append_bias",
    "column_coordinates",
    "coordinate_weights",
    "covariance_cost",
    "covariance_inverse",
    "insertion_ascent",
    "insertion_maximum",
    "least_norm_weights",
    "mean_square",
    "project",
    "rank_tolerance",
    "representation_cost",
    "ridge_solution",
    "streamed_representation_cost",
    "weights_from_representations",
]
