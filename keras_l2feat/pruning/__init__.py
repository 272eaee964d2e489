"""Equivalent smaller models, with a certificate. NumPy and Keras only: any Keras backend.

graph → groups → plan → rewrite → certificate; `prune` runs them in order.
"""

from keras_l2feat.pruning.builtin import plain
from keras_l2feat.pruning.certificate import Certificate
from keras_l2feat.pruning.pipeline import GUARANTEES, prune
from keras_l2feat.pruning.plan import Plan, load_plans, save_plans

__all__ = ["GUARANTEES", "Certificate", "Plan", "load_plans", "plain", "prune", "save_plans"]
