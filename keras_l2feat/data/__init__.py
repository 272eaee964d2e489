"""Data sets by name: `load("mnist-1k")`, `load("teacher:width=5,seed=3")`, `load("mine.npz")`."""

from keras_l2feat.data.catalog import load, names, register
from keras_l2feat.data.dataset import Dataset
from keras_l2feat.data.digits import mnist
from keras_l2feat.data.spool import spooled
from keras_l2feat.data.teachers import teacher

__all__ = ["Dataset", "load", "mnist", "names", "register", "spooled", "teacher"]
