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
    parts = next((parts for kind, parts in KINDS.items() if isinstance(schema, kind)), _other)
    for name, item in parts(value, schema, place):
        require(value[name], item, f"{place}: {name}")


# One function a kind of schema: it looks at a value as a whole, and names the parts that are to be
# looked at, with the schema of each.


def _object(value, schema, place):
    expect(isinstance(value, dict), value, place, "an object")
    if str in schema:
        return [(name, schema[str]) for name in value]
    names = {name.removesuffix("?"): item for name, item in schema.items()}
    needed = {name for name in schema if not name.endswith("?")}
    expect(needed <= set(value) <= set(names), value, place, f"the entries {', '.join(names)}")
    return [(name, names[name]) for name in value]


def _list(value, schema, place):
    expect(isinstance(value, list), value, place, "a list")
    return [(nth, schema[0]) for nth in range(len(value))]


def _entries(value, schema, place):
    first = [item for item in schema if not isinstance(item, list)]
    rest = schema[len(first) :]
    beyond = len(value) - len(first) if isinstance(value, list) else -1
    fits = beyond >= 0 if rest else beyond == 0
    expect(fits, value, place, f"a list of {len(first)} entries{' or more' * len(rest)}")
    return enumerate([*first, *(item for [item] in rest for _ in range(beyond))])


def _word(value, schema, place):
    known = any(value == word for word in schema)
    expect(known, value, place, " or ".join(map(repr, sorted(schema))))
    return ()


def _typed(value, schema, place):
    expect(isinstance(value, schema), value, place, WORDS[schema])
    return ()


def _other(value, schema, place):
    expected = schema(value)
    expect(not expected, value, place, expected)
    return ()


KINDS: dict[Any, Any] = {Mapping: _object, list: _list, tuple: _entries, set: _word, type: _typed}


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
