"""What models there are: one row each, from the registry that is shipped plus whatever the user
registers.

A row says where a model's file is and what it must be (name, size, SHA-256); the name and the hash
of a file always come from one row, never from anything a user types. Standard library only, so that
listing takes milliseconds.
"""

import dataclasses
import difflib
import functools
import json
import re
from pathlib import Path

from keras_l2feat.errors import InputError, bad_argument

__all__ = ["FOLDER", "MAX_MODEL_BYTES", "Entry", "entries", "entry", "read", "register", "rows"]

FOLDER = Path(__file__).resolve().parent
# no zoo model is near this; a row that claims more is refused before a byte is fetched
MAX_MODEL_BYTES = 1 << 30
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.keras")
_URL = re.compile(r"(https?|file|hf)://\S+")


@dataclasses.dataclass(frozen=True)
class Entry:
    """One model of the zoo.

    Attributes:
        name: what `zoo.load` takes, lower case.
        file: name of its `.keras` file, without a folder.
        sha256: of that file, 64 hexadecimal digits.
        size: of that file, in bytes.
        version: of the model, raised whenever its file changes.
        shipped: whether the file comes with the package.
        url: where the file is, if not in the mirror that `KERAS_L2FEAT_ZOO_URL` names.
        facts: all else that its card tells: family, role, parent, data, widths, lam, metrics,
            recipe, architecture…
    """

    name: str
    file: str
    sha256: str
    size: int
    version: str = "1"
    shipped: bool = False
    url: str | None = None
    facts: dict = dataclasses.field(default_factory=dict, compare=False)

    def __post_init__(self):
        def check(field, valid, expected):
            if not valid:
                raise bad_argument(field, expected, getattr(self, field))

        check("name", _matches(_NAME, self.name), "lower-case letters, digits, '.', '_' or '-'")
        check("file", _matches(_FILE, self.file), "a plain file name that ends in '.keras'")
        check("sha256", _matches(re.compile("[0-9a-f]{64}"), self.sha256), "64 hexadecimal digits")
        integer = isinstance(self.size, int) and not isinstance(self.size, bool)
        check(
            "size",
            integer and 0 < self.size <= MAX_MODEL_BYTES,
            f"a size in bytes, up to {MAX_MODEL_BYTES}",
        )
        check("version", isinstance(self.version, str), "a string")
        check(
            "url",
            self.url is None or _matches(_URL, self.url),
            "an https://, file:// or hf:// address",
        )
        check("facts", isinstance(self.facts, dict), "a dictionary")

    @property
    def family(self) -> str:
        """Models made by one recipe; the model's own name where it has none."""
        return self.facts.get("family", self.name)

    def as_row(self) -> dict:
        """The entry as plain data, the form that a registry holds."""
        return dataclasses.asdict(self)


def entry(name: str) -> Entry:
    """The entry of a model.

    Raises:
        InputError: no such model; near names are suggested.
    """
    known = _known()
    name = str(name).removeprefix("zoo:")
    name = next((now for now in (name, *_names_of_today(name)) if now in known), name)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise InputError(f"No zoo model {name!r}.{hint} 'l2feat zoo list' shows all {len(known)}.")
    return known[name]


def _names_of_today(name):
    """What a model may be called that had this name before."""
    base, _, role = name.rpartition("-")
    if role == "plateau":  # but is none by its figures
        role = "narrow"
        yield f"{base}-narrow"
    if role in ("wide", "narrow"):  # from before there were pairs by tolerance
        yield from (f"{base}-5pct-{role}", f"{base}-0.1pct-{role}")


def entries(family: str | None = None) -> list[Entry]:
    """All entries in registry order, or those of one family."""
    return [one for one in _known().values() if family is None or one.family == family]


def rows() -> list[dict]:
    """All entries as plain data."""
    return [one.as_row() for one in entries()]


def register(
    name: str,
    *,
    file: str | None = None,
    url: str | None = None,
    sha256: str,
    size: int,
    version: str = "1",
    **facts,
) -> Entry:
    """Make a model of one's own known to `zoo.load` and the other functions, for this process.

    Args:
        name: the new name; a name of the shipped registry cannot be taken over.
        file: its file name, default `NAME.keras`.
        url: where it is: `https://…`, `file://…` or `hf://OWNER/REPO/PATH`; default: in the mirror.
        sha256, size: of the file; what is fetched must match both.
        version: of the model.
        **facts: whatever its card should tell, as `zoo.save` collects it.

    Returns: the new `Entry`.

    Example:
        >>> from keras_l2feat import zoo
        >>> url = "https://example.org/mine.keras"
        >>> one = zoo.register("mine", url=url, sha256="0" * 64, size=1000)
        >>> one.file
        'mine.keras'
    """
    if name in _shipped():
        raise bad_argument("name", "a name that the shipped registry does not have", name)
    one = Entry(name, file or f"{name}.keras", sha256, size, version=version, url=url, facts=facts)
    _registered[name] = one
    _known.cache_clear()
    return one


def read(path: str | Path) -> list[Entry]:
    """The entries of a registry file; unknown or broken content is an `InputError`."""
    try:
        table = json.loads(Path(path).read_text(encoding="utf-8"))
        return [Entry(**row) for row in table["models"]]
    except OSError as error:
        raise InputError(f"Cannot read the registry {str(path)!r}: {error.strerror}.") from error
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"Cannot read the registry {str(path)!r}: {error}") from error


def _matches(pattern, value) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


_registered: dict[str, Entry] = {}


@functools.cache
def _shipped() -> dict[str, Entry]:
    return {one.name: one for one in read(FOLDER / "registry.json")}


@functools.cache
def _known() -> dict[str, Entry]:
    return {**_shipped(), **_registered}
