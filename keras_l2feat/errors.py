"""The ways an operation can end on purpose before it is done."""

import contextlib
from collections.abc import Iterator
from numbers import Integral
from typing import Any

__all__ = [
    "CheckFailed",
    "InputError",
    "Interrupted",
    "bad_argument",
    "keeping",
    "require",
    "require_counts",
]


class InputError(ValueError):
    """What the user gave cannot be used. The command line turns it into exit code 2."""


class CheckFailed(RuntimeError):
    """A result did not pass its own check, so nothing was written. The command line turns it into
    exit code 1.

    Attributes:
        certificate: of a pruned model, what the check found; `None` for all else.
    """

    certificate: Any = None


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, where something is worth telling or keeping.

    It goes on to the caller like any `KeyboardInterrupt`, so that nobody takes what was cut short
    for a result; who can use the best so far catches this class.

    Args:
        message: a sentence that says what was kept and how to go on, or nothing.
        best: what would have been returned, as far as it had come; `None` if nothing is worth
            keeping.
    """

    def __init__(self, message: str = "", best: Any = None) -> None:
        super().__init__(message)
        self.best = best


@contextlib.contextmanager
def keeping(best: Any) -> Iterator[None]:
    """Turn a `KeyboardInterrupt` inside into `Interrupted` with `best`, whose `reason` becomes
    "interrupted"."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        best.reason = "interrupted"
        raise Interrupted(best=best) from interrupt


def require_counts(**given: object) -> None:
    """Ask that each argument is a whole number of at least 1, or `None`.

    Raises:
        InputError: one is not; the message names it.
    """
    for name, value in given.items():
        holds = value is None or (isinstance(value, Integral) and int(value) >= 1)
        require(holds, name, "a whole number of at least 1", value)


def bad_argument(name: str, expected: str, received: object) -> InputError:
    """The error for a bad argument: `Argument 'ridge' must be positive. Received: ridge=-1.0`."""
    return InputError(f"Argument {name!r} must be {expected}. Received: {name}={received!r}")


def require(holds: object, name: str, expected: str, received: object) -> None:
    """Raise `bad_argument(name, expected, received)` unless the argument is as expected."""
    if not holds:
        raise bad_argument(name, expected, received)
