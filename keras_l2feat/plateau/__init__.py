"""The plateau engine: from which width on does the regularized loss no longer fall, and how do we
know?"""

from keras_l2feat.plateau.curves import curve, plateau_starts, running_minimum, table, write_csv
from keras_l2feat.plateau.from_above import descent
from keras_l2feat.plateau.from_below import growth
from keras_l2feat.plateau.insertion import certify
from keras_l2feat.plateau.sweep import independent_trials
from keras_l2feat.plateau.trial import Trial, measure

__all__ = [
    "Trial",
    "certify",
    "curve",
    "descent",
    "growth",
    "independent_trials",
    "measure",
    "plateau_starts",
    "running_minimum",
    "table",
    "write_csv",
]
