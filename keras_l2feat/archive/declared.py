"""The model that a configuration declares: built without a single weight in memory, in bounded
time."""

import contextlib
import ctypes
import math
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from keras_l2feat.archive.objects import MAX_NUMBERS, check_shape
from keras_l2feat.archive.refusal import refused
from keras_l2feat.types import Model

__all__ = ["check_declared", "numbers_put_out"]

MAX_ACTIVATIONS = 4 * MAX_NUMBERS  # numbers in the outputs of all layers for one data point
SECONDS = 60.0  # the largest of keras.applications takes about 10
SPARE = 10_000  # numbers a model may have beside its stored ones: counters, seeds of random layers


def check_declared(config: dict, custom_objects: Mapping | None, stored: int) -> None:
    """Raise `InputError` unless the model has at most about `stored` numbers of weights, outputs of
    layers that fit into memory, and is built within `SECONDS`."""
    declaration = _at_rest({k: v for k, v in config.items() if k != "compile_config"})
    declared = _in_time(lambda: _declared_numbers(declaration, custom_objects))
    if declared > stored + SPARE:
        raise refused(f"the model declares {declared} numbers of weights, the file holds {stored}")


def _at_rest(config):
    """A configuration whose recurrent layers keep no state: theirs is no weight, it is not stored,
    and Keras cannot make it without allocating."""
    if isinstance(config, dict):
        return {k: False if k == "stateful" else _at_rest(v) for k, v in config.items()}
    return [_at_rest(item) for item in config] if isinstance(config, list) else config


class _Late(BaseException):
    """Raised in the thread that builds; no `except Exception` on the way keeps it."""


def _in_time(function):
    """`function()`, ended after `SECONDS` wherever it is in Python code.

    It runs in a thread of its own, which also takes with it the list of weights without values
    that Keras keeps per thread.
    """
    threads = []

    def build():
        threads.append(threading.get_ident())
        return function()

    with ThreadPoolExecutor(1) as executor:
        future = executor.submit(build)
        try:
            return future.result(SECONDS)
        except TimeoutError:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(threads[0]), ctypes.py_object(_Late)
            )
            with contextlib.suppress(_Late):
                return future.result()
            raise refused(f"the model takes more than {SECONDS:g} s to build") from None


def _declared_numbers(config, custom_objects) -> int:
    import keras

    with keras.StatelessScope(initialize_variables=False):
        model = keras.saving.deserialize_keras_object(
            config, custom_objects=custom_objects, safe_mode=True
        )
        if not isinstance(model, keras.Model):
            raise refused(f"the file holds a {type(model).__name__}, no model")
        for tensor in _outputs(model):
            check_shape(list(tensor.shape))
        _check_calls_of_models(model)
        if (count := numbers_put_out(model)) > MAX_ACTIVATIONS:
            raise refused(
                f"its layers put out {count} numbers for one data point, at most "
                f"{MAX_ACTIVATIONS} are accepted"
            )
        return sum(math.prod(variable.shape) for variable in model.variables)


def _check_calls_of_models(model) -> None:
    """A model in a model must be called on what it takes: Keras notices when it computes."""
    import keras
    from keras.src.models.functional import Functional

    layers = model._flatten_layers(include_self=False)
    inner = [layer for layer in layers if type(layer) is Functional]
    for one, node in ((model, node) for model in inner for node in model._inbound_nodes):
        given = keras.tree.flatten(node.input_tensors)
        if len(given) != len(one.inputs) or any(
            len(own.shape) != len(tensor.shape)
            or any(a != b for a, b in zip(own.shape, tensor.shape) if None not in {a, b})
            for own, tensor in zip(one.inputs, given)
        ):
            raise refused(f"the model {one.name!r} is called on other shapes than it takes")


def numbers_put_out(model: Model) -> int:
    """How many numbers the layers of a model, inner ones too, put out for one data point; a size
    that is not known counts as 1."""
    return sum(
        math.prod(size for size in tensor.shape[1:] if size is not None)
        for tensor in _outputs(model)
    )


def _outputs(model):
    import keras

    for layer in model._flatten_layers(include_self=False):
        with contextlib.suppress(AttributeError, ValueError):  # not called, or at several places
            yield from keras.tree.flatten(layer.output)
