"""What a model's configuration names and declares, checked before Keras sees it."""

import math
from collections.abc import Iterable

from keras_l2feat.archive.allowed import REFUSED, is_function, is_object
from keras_l2feat.archive.refusal import refused

__all__ = ["check_objects", "check_shape"]

MAX_NUMBERS = 1 << 26  # in one data point, in one layer's output for it, in a constant
MAX_SIZE = 1 << 24  # of a single argument of a layer: units, repetitions, the size of a vocabulary
MAX_METRIC_SIZE = 10_000  # of an argument of a metric, a loss or an optimizer: thresholds, classes
MAX_OBJECTS = 50_000  # layers, initializers, calls…; keras.applications have up to 7000
MAX_CALLS = 5000  # of layers; keras.applications have up to 1100

_NUMERIC = {"bool", "float16", "bfloat16", "float32", "float64"} | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (4, 8, 16, 32, 64)
}
_DATA = {"__tensor__", "__numpy__"}
_PLAIN = {"__keras_tensor__", "__bytes__", "__ellipsis__", "__slice__"}
_PATH_ARGUMENTS = ("vocabulary", "idf_weights")
_SHAPES = ("shape", "batch_shape", "batch_input_shape", "input_shape", "target_shape")
# any whole number will do
_NO_SIZES = {"seed", "salt", "shared_object_id", "vocabulary", "decay_steps"}


def check_objects(config: dict, custom_objects: Iterable[str], compiled: bool = True) -> None:
    """Every object that the configuration names must be in the lists of `allowed`, or registered,
    or of `custom_objects`; sizes and numbers of layers must be within the budgets.

    Args:
        config: the configuration of a model, as JSON has it.
        custom_objects: classes by name that the caller knows.
        compiled: whether the model's own `compile_config` is used.
    """
    import keras

    registered = set(custom_objects) | set(keras.saving.get_custom_objects())
    if not compiled:
        config = {key: value for key, value in config.items() if key != "compile_config"}
    objects = calls = 0
    waiting = [(config, MAX_SIZE)]
    while waiting:
        value, most = waiting.pop()
        if isinstance(value, int) and abs(value) > most:
            raise refused(f"the configuration has the number {value}, at most {most} is accepted")
        if isinstance(value, list):
            waiting.extend((inner, most) for inner in value)
        if not isinstance(value, dict):
            continue
        if "class_name" in value:
            objects += 1
            _check_object(value, registered)
        if value.get("class_name") in _DATA:
            _check_constant(value["config"])
            continue
        calls += _checked_calls(value)
        if objects > MAX_OBJECTS or calls > MAX_CALLS:
            raise refused(f"the model has more than {MAX_CALLS} layers or {MAX_OBJECTS} objects")
        _check_arguments(value)
        for key, inner in value.items():
            limit = MAX_METRIC_SIZE if key == "compile_config" else most
            if key not in _NO_SIZES or isinstance(inner, dict):
                waiting.append((inner, limit))


def _checked_calls(value) -> int:
    """How many layers, and calls of one, an entry of the configuration holds."""
    calls = 0
    if isinstance(value.get("inbound_nodes"), list):
        calls += len(value["inbound_nodes"])
        _check_calls(value)
    if isinstance(value.get("layers"), list):
        calls += len(value["layers"])
        if not all(isinstance(layer, dict) and "module" in layer for layer in value["layers"]):
            raise refused("a layer of the configuration does not name its module")
    return calls


def _check_arguments(value) -> None:
    """No path, and shapes within the budget."""
    for argument in _PATH_ARGUMENTS:
        if isinstance(value.get(argument), str):
            raise refused(f"a layer reads its {argument} from the path {value[argument]!r}")
    for name in _SHAPES:
        if value.get(name) is not None:
            check_shape(value[name])


def _check_object(value, registered) -> None:
    name, module = value["class_name"], value.get("module")
    if not isinstance(name, str) or "config" not in value:
        raise refused(f"the configuration has an object without class or config: {name!r}")
    if name in REFUSED:
        raise refused(
            f"the model holds a {name!r}, which runs code of its own; such models are not loaded"
        )
    if name in _DATA or name in _PLAIN:
        return
    # Where Keras looks, in its order: what is registered, then the module.
    if name == "function":
        name = value["config"]
        known = isinstance(name, str) and (name in registered or is_function(name, module))
    else:
        registered_name = value.get("registered_name", name)
        known = _among(registered_name, registered) or is_object(name, module)
    if not known:
        raise refused(
            f"the model needs {name!r}{f' of module {module!r}' if module else ''}, which is not "
            "registered; import its package first (on the command line: l2feat --import PACKAGE; "
            "it must use keras.saving.register_keras_serializable), or name it in custom_objects"
        )


def _among(name, names) -> bool:
    return isinstance(name, str) and name in names


def _check_constant(config) -> None:
    """Plain numbers of a numeric dtype: what Keras makes an array of."""
    if not isinstance(config, dict) or config.get("dtype") not in _NUMERIC:
        raise refused("the configuration has a constant without a numeric dtype")
    waiting = [config.get("value")]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(value)
        elif not isinstance(value, int | float):
            raise refused("the configuration has a constant that is not made of numbers")


def _check_calls(layer) -> None:
    """Keras writes a call only where a tensor of the model goes in; on constants alone the layer
    would compute while loading."""
    for call in layer["inbound_nodes"]:
        if not _mentions_tensor(call):
            raise refused(f"layer {str(layer.get('name'))[:100]!r} is called on constants alone")


def _mentions_tensor(call) -> bool:
    if isinstance(call, list):  # as Keras 2 writes it: [[layer, call, tensor, arguments], …]
        return bool(call) and all(isinstance(source, list) and source for source in call)
    waiting = [call]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if value.get("class_name") == "__keras_tensor__":
                return True
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return False


def check_shape(shape: object) -> None:
    """A declared shape must be of a data point that fits into memory."""
    sizes = [size for size in shape if isinstance(size, int)] if isinstance(shape, list) else []
    if math.prod(sizes) > MAX_NUMBERS or any(size < -1 for size in sizes):
        raise refused(f"the declared shape {shape} is beyond {MAX_NUMBERS} numbers")
