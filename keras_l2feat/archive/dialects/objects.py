"""Initializers, regularizers, constraints, activations and dtypes of Keras 1 and 2."""

import inspect
from typing import Any

from keras_l2feat.archive.allowed import CLASSES
from keras_l2feat.archive.refusal import refused

__all__ = ["named", "plain", "translated_object"]

KINDS = {"initializer": "initializers", "regularizer": "regularizers", "constraint": "constraints"}
_STRINGS = {"zero": "zeros", "one": "ones", "uniform": "random_uniform", "normal": "random_normal"}
# Keras 1 writes {"name": class, argument: value}.
_CLASSES = {"L1L2Regularizer": "L1L2", "WeightRegularizer": "L1L2"}
_ARGUMENTS = {"m": "max_value"}
_REDUCTIONS = {"auto": "sum_over_batch_size"}


def plain(value: Any) -> Any:
    """JSON without the ways in which Keras 2 writes tuples, shapes and NumPy numbers."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("class_name") in {"__tuple__", "TensorShape"} and "items" in value:
        return plain(value["items"])
    if set(value) == {"type", "value"} and value["type"] == "ndarray":
        return plain(value["value"])
    return {key: plain(item) for key, item in value.items()}


def named(kind: str, name: str, config: dict) -> dict:
    """An object of today's Keras, with those of its arguments that still exist; one that Keras
    does not know is left to what is registered."""
    import keras

    if name not in CLASSES.get(kind, ()):
        return {"module": None, "class_name": name, "config": config, "registered_name": name}
    taken = inspect.signature(getattr(getattr(keras, kind), name).__init__).parameters
    config = {key: value for key, value in config.items() if key in taken}
    if config.get("reduction") in _REDUCTIONS:
        config["reduction"] = _REDUCTIONS[config["reduction"]]
    return {"module": f"keras.{kind}", "class_name": name, "config": config}


def translated_object(argument: str, value: Any) -> Any:
    """The value of an argument of a layer, if the argument's name says that it is an initializer, a
    regularizer, a constraint or a dtype; else the value itself."""
    if argument == "dtype":
        return _dtype(value)
    kind = KINDS.get(argument.rpartition("_")[2])
    if kind is None or value is None:
        return value
    if isinstance(value, str):
        return _STRINGS.get(value, value)
    if not isinstance(value, dict):
        raise refused(f"the {argument} of a layer is {value!r}")
    if "class_name" not in value and isinstance(value.get("name"), str):
        value = {
            "class_name": _CLASSES.get(value["name"], value["name"]),
            "config": {_ARGUMENTS.get(k, k): v for k, v in value.items() if k != "name"},
        }
    return named(kind, value.get("class_name"), value.get("config") or {})


def _dtype(value):
    if isinstance(value, dict) and value.get("class_name") in {"Policy", "PolicyV1"}:
        return value["config"]["name"]
    return value
