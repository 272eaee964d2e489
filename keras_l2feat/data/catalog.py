"""The names of data sets, usable wherever a data set is asked for."""

import inspect
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from keras_l2feat.data.arrays import from_npz, from_pair
from keras_l2feat.data.dataset import Dataset
from keras_l2feat.data.digits import PIXEL, mnist
from keras_l2feat.data.teachers import teacher
from keras_l2feat.data.toys import bipartite, linear, one_dim, one_hot, two_points
from keras_l2feat.errors import InputError, bad_argument, require
from keras_l2feat.types import Data

__all__ = ["load", "names", "register"]

_MAKERS: dict[str, Callable] = {}
_FILE = re.compile(r"(.+\.npz)(?=:|$)", re.DOTALL)
# how the text of an option is read, and what is expected; the others are whole numbers
_READERS: dict[str, tuple[Callable, str]] = {
    "digits": (lambda text: tuple(map(int, text)), "digits that are whole numbers, as in 789"),
    "scale": (Fraction, "a number or a fraction, as in 1/255"),
}


def register(name: str, maker: Callable) -> None:
    """Make `maker(*, name=..., **options) -> Dataset` answer to `name` in `load`."""
    _MAKERS[name] = maker


def names() -> tuple:
    """The names that `load` knows."""
    return tuple(_MAKERS)


def load(name: Data, *, scale: str | float | None = None) -> Dataset:
    """The data set behind a name, an `.npz` path, a pair `(x, y)` of arrays, or a `Dataset` itself.

    A name may carry options, `NAME:key=value,…`: `mnist:digits=789,n=42`, `teacher:width=5,seed=3`,
    `mine.npz:scale=1/255`.

    Args:
        name: the name, the path, the pair or the data set.
        scale: by what the stored inputs are multiplied, as text or number ("1/255"); the same as
            the option of the name. By default arrays in files are fed as they are, and MNIST's
            pixels are divided by 255.

    Raises:
        InputError: nothing of that name, a bad option or a malformed file.
    """
    if isinstance(name, Dataset):
        if scale is not None:
            raise bad_argument("scale", "left out where a Dataset is given", scale)
        return name
    if isinstance(name, tuple) and len(name) == 2:
        return from_pair(*name, **({} if scale is None else {"scale": Fraction(scale)}))
    expected = "a name, the path of an .npz file, a pair (x, y) or a Dataset"
    require(isinstance(name, (str, Path)), "data", expected, type(name))
    text = str(name)
    if scale is not None:
        text = f"{text}{',' if _FILE.sub('', text).count(':') else ':'}scale={scale}"
    file = _FILE.match(text)
    if file:
        return from_npz(file[1], **_options("an .npz file", from_npz, text[file.end() :], {"path"}))
    base, _, rest = text.partition(":")
    if base not in _MAKERS:
        close = f" A file ends in .npz: {text!r} does not." if Path(text).exists() else ""
        raise InputError(
            f"No data set {text!r}. Known: {', '.join(_MAKERS)}, or the path of an .npz "
            f"file.{close}"
        )
    maker = _MAKERS[base]
    return maker(**_options(repr(base), maker, rest, {"name", "full"}), name=text)


def _options(base, maker, text, own) -> dict:
    """The options `key=value,…` of a maker, converted; `own` are no options but its own affair."""
    known = [key for key in inspect.signature(maker).parameters if key not in own]
    options = {}
    for item in filter(None, text.removeprefix(":").split(",")):
        key, equals, value = item.partition("=")
        if not equals or key not in known:
            raise InputError(
                f"Data set {base} has no option {item!r}. Options: {', '.join(known) or 'none'}."
            )
        read, expected = _READERS.get(key, (int, "a whole number"))
        try:
            options[key] = read(value)
        except (ValueError, ZeroDivisionError, OverflowError):
            raise InputError(
                f"Option {key!r} of data set {base} must be {expected}. Received: {value!r}."
            ) from None
    return options


def _mnist_1k(*, digits=None, n=None, scale=PIXEL, name=None):
    return mnist(digits=digits, n=n, scale=scale, name=name)


def _mnist_full(*, digits=None, n=None, scale=PIXEL, name=None):
    return mnist(full=True, digits=digits, n=n, scale=scale, name=name)


def _mnist_789(*, n=42, scale=PIXEL, name=None):
    return mnist(digits=(7, 8, 9), n=n, scale=scale, name=name)


register("mnist-1k", _mnist_1k)
register("mnist-789-42", _mnist_789)
register("mnist", _mnist_full)
register("teacher", teacher)
register("bipartite", bipartite)
register("one-dim", one_dim)
register("linear", linear)
register("one-hot", one_hot)
register("two-points", two_points)
