"""The options of each guarantee, checked once."""

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from keras_l2feat.errors import InputError, require

__all__ = ["Bounded", "Data", "Domain", "Exact", "options_of"]


@dataclass(frozen=True)
class Exact:
    """No options."""


@dataclass(frozen=True)
class Domain(Exact):
    """`input_range`: `(low, high)` of the inputs, as for `box_of_inputs`."""

    input_range: tuple | None = None


@dataclass(frozen=True)
class Data(Domain):
    """As `Domain`, which then comes first."""


@dataclass(frozen=True)
class Bounded(Domain):
    """One of the targets of `guarantees.targets`, `per` and `curve`, see `bounded.bounded_plan`."""

    tolerance: float | None = None
    relative_tolerance: float | None = None
    agree: object = None
    keep_accuracy: object = None
    keep_loss: object = None
    units: float | None = None
    flops: float | None = None
    parameters: float | None = None
    per: str | None = None
    curve: bool | None = None


BY_LEVEL = {"exact": Exact, "domain": Domain, "data": Data, "bounded": Bounded}
GONE = {"polish": " To train on while the network shrinks, see `l2feat shrink`."}


def options_of(guarantee: str, given: Mapping) -> Exact:
    """The options of a guarantee.

    Args:
        guarantee: its name; given: name → value.

    Raises:
        InputError: there is no such guarantee, or it has no such option; the message names it.
    """
    require(guarantee in BY_LEVEL, "guarantee", f"one of {', '.join(BY_LEVEL)}", guarantee)
    kind = BY_LEVEL[guarantee]
    known = [field.name for field in dataclasses.fields(kind)]
    for name, value in given.items():
        if name in known:
            continue
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        hint = GONE.get(name, hint)
        takes = ", ".join(map(repr, known)) or "none"
        raise InputError(
            f"The guarantee {guarantee!r} has no option {name!r}.{hint} "
            f"Expected: {takes}. Received: {name}={value!r}."
        )
    return kind(**given)
