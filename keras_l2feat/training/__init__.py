"""Full-batch training: L-BFGS, Adam then gradient descent, balancing."""

from keras_l2feat.training.balancing import balance, imbalance
from keras_l2feat.training.fitting import Fit, fit
from keras_l2feat.training.gradient import Objective
from keras_l2feat.training.run import Budget, Result

__all__ = ["Budget", "Fit", "Objective", "Result", "balance", "fit", "imbalance"]
