"""Calls of layers, as Keras 1 and 2 write them and as today's Keras does."""

from collections.abc import Iterable
from typing import Any

from keras_l2feat.archive.refusal import refused

__all__ = ["is_source", "node", "safe", "shifts_of"]

_CONSTANT = "_CONSTANT_VALUE"  # in the place of a layer's name


def safe(name: Any) -> str | None:
    """A name as today's Keras takes it, without '/'; `None` for what is none."""
    return name.replace("/", "_") if isinstance(name, str) else None


def is_source(value: Any, names: Iterable[str]) -> bool:
    """Whether a value stands for a tensor: [layer, call, tensor, …]."""
    return (
        isinstance(value, list)
        and len(value) in {3, 4}
        and isinstance(value[0], str)
        and value[0] in names
        and all(isinstance(number, int) for number in value[1:3])
    )


def shifts_of(config: dict, calls: dict, models: dict) -> dict:
    """How much the number of a call is too high, by layer: a model counted its own inputs as its
    first call, so there the highest number is that of the calls."""
    highest = dict.fromkeys(calls, -1)
    waiting = [config.get("input_layers"), config.get("output_layers"), *calls.values()]
    while waiting:
        value = waiting.pop()
        if is_source(value, calls):
            highest[value[0]] = max(highest[value[0]], value[1])
            value = value[3:]
        if isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            waiting.extend(value.values())
    return {
        name: int(name in models and highest[name] >= max(1, len(made)))
        for name, made in calls.items()
    }


def _index(source, shifts) -> int:
    return source[1] - shifts[source[0]]


def node(call: list, shifts: dict, recurrent: bool = False, arithmetic: bool = False) -> dict:
    """One call of a layer; those of Keras 3 stay."""
    if isinstance(call, dict):
        if not {"args", "kwargs"} <= set(call):
            raise refused("a layer is called with a dict, which is not read from this kind of file")
        return call
    sources = call if call and isinstance(call[0], list) else [call]
    tensors, given = [], {}
    for source in sources:
        if len(source) == 4 and source[0] == _CONSTANT:
            tensors.append(source[2])
        elif is_source(source, shifts):
            tensors.append(_tensor(source, shifts))
        else:
            raise refused("a layer is called on something that is no output of a layer")
        given |= source[3] if len(source) == 4 and isinstance(source[3], dict) else {}
    given = {key: _argument(v, shifts) for key, v in given.items() if v is not None}
    if arithmetic:
        return {"args": [*tensors, given.pop("y", None)], "kwargs": given}
    if recurrent and len(tensors) > 1:
        first, *state = tensors
        return {"args": [first], "kwargs": given | {"initial_state": state}}
    return {"args": tensors if len(tensors) == 1 else [tensors], "kwargs": given}


def _argument(value, shifts):
    if is_source(value, shifts):
        return _tensor(value, shifts)
    return [_argument(one, shifts) for one in value] if isinstance(value, list) else value


def _tensor(source, shifts) -> dict:
    history = [safe(source[0]), _index(source, shifts), source[2]]
    config = {"shape": [], "dtype": "float32", "keras_history": history}
    return {"class_name": "__keras_tensor__", "config": config}
