"""What a certificate's JSON may be, and a sentence that names the place where it is something else.

A schema is plain data: a set of words one of which is expected, a type, `[item]` for a list,
`(first, second)` for a list of so many entries, `(first, [rest])` for one of so many or more,
`{str: item}` for a mapping, `{"name": item}` for a record, in which `"name?"` may be absent; or a
function that says what it expects where a value is not that.
"""

from collections.abc import Mapping
from typing import Any

from keras_l2feat.errors import InputError

__all__ = ["expect", "number", "numbers", "require", "whole"]

LARGEST = 1.7976931348623157e308  # of float64
SHOWN = 60  # characters of a value in an error
AXES = 32  # lists in lists, at most
WORDS: dict[type, str] = {str: "a string", dict: "an object"}


def require(value: Any, schema: Any, place: str) -> None:
    """Raise `InputError` unless a value is what a schema says.

    Args:
        value: of `json.load`.
        schema: as above.
        place: what the value is called.
    """
    if isinstance(schema, Mapping) and str not in schema:
        expect(isinstance(value, dict), value, place, "an object")
        names = {name.removesuffix("?"): item for name, item in schema.items()}
        needed = {name for name in schema if not name.endswith("?")}
        expect(needed <= set(value) <= set(names), value, place, f"the entries {', '.join(names)}")
        for name, item in value.items():
            require(item, names[name], f"{place}: {name}")
    elif isinstance(schema, Mapping):
        expect(isinstance(value, dict), value, place, "an object")
        for name, item in value.items():
            require(item, schema[str], f"{place}: {name}")
    elif isinstance(schema, list):
        expect(isinstance(value, list), value, place, "a list")
        for nth, item in enumerate(value):
            require(item, schema[0], f"{place}: {nth}")
    elif isinstance(schema, tuple):
        first = [item for item in schema if not isinstance(item, list)]
        more = len(first) < len(schema)
        count = len(value) if isinstance(value, list) else -1
        fits = count == len(first) or (more and count > len(first))
        entries = f"{len(first)} entries{' or more' * more}"
        expect(fits, value, place, f"a list of {entries}")
        for nth, item in enumerate(value):
            each = first[nth] if nth < len(first) else schema[-1][0]
            require(item, each, f"{place}: {nth}")
    elif isinstance(schema, set):
        known = any(value == word for word in schema)
        expect(known, value, place, " or ".join(map(repr, sorted(schema))))
    elif isinstance(schema, type):
        expect(isinstance(value, schema), value, place, WORDS[schema])
    else:
        expected = schema(value)
        expect(not expected, value, place, expected)


def expect(holds: bool, value: Any, place: str, expected: str) -> None:
    """Raise `InputError` unless something holds of a value."""
    if not holds:
        shown = repr(value) if not isinstance(value, (dict, list)) else type(value).__name__
        shown = shown if len(shown) <= SHOWN else shown[:SHOWN] + "…"
        raise InputError(f"{place} is expected to be {expected}. Received: {shown}.")


def whole(value: Any) -> str:
    """A whole number from 0 on."""
    counts = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return "" if counts else "a whole number from 0 on"


def number(value: Any) -> str:
    """A number that float64 holds."""
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    return "" if known and abs(value) <= LARGEST else "a number that float64 holds"


def numbers(value: Any) -> str:
    """A number, or equally long lists of what is one."""
    return "" if _shape(value) is not None else "a number, or equally long lists of numbers"


def _shape(value, axes=AXES):
    if not isinstance(value, list):
        return None if number(value) else ()
    shapes = {_shape(item, axes - 1) for item in value} if axes else set()
    only = shapes.pop() if len(shapes) == 1 else None
    return None if only is None else (len(value), *only)
