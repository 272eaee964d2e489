"""One loss in three forms: of the weights, of the hidden representations, of their covariances."""

from keras_l2feat.objectives.force_field import Forces, forces
from keras_l2feat.objectives.forms import (
    Covariances,
    covariance,
    covariances_of,
    forward,
    representation,
    representations_of,
    weight_space,
)
from keras_l2feat.objectives.loss import Loss
from keras_l2feat.objectives.problem import Problem

__all__ = [
    "Covariances",
    "Forces",
    "Loss",
    "Problem",
    "covariance",
    "covariances_of",
    "forces",
    "forward",
    "representation",
    "representations_of",
    "weight_space",
]
