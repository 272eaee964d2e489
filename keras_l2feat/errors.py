"""The two ways an operation can fail on purpose."""

__all__ = ["CheckFailed", "InputError", "bad_argument"]


class InputError(ValueError):
    """What the user gave cannot be used. The command line turns it into exit code 2."""


class CheckFailed(RuntimeError):
    """A result did not pass its own check, so nothing was written. The command line turns it into
    exit code 1."""


def bad_argument(name: str, expected: str, received: object) -> InputError:
    """The error for a bad argument: `Argument 'ridge' must be positive. Received: ridge=-1.0`."""
    return InputError(f"Argument {name!r} must be {expected}. Received: {name}={received!r}")
