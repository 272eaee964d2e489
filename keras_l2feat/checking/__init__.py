"""A check that a pruned model equals the original for every input, by a program that did not
prune."""

# first: whoever imports `pruning` imports this package, from its modules
from keras_l2feat.pruning.channels import graph as _graph  # noqa: F401

# isort: split
from keras_l2feat.checking.maps import Maps
from keras_l2feat.checking.numbers import roundoff
from keras_l2feat.checking.verdict import LayerChange, Verdict, check

__all__ = ["LayerChange", "Maps", "Verdict", "check", "roundoff"]
