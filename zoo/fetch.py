"""Getting a model's file: shipped with the package, in the cache, or from a mirror; always the
right bytes or an error.

`pooch` keeps the cache (a download goes to a temporary file, its hash is checked, then it is moved
into place); the downloader below adds what `pooch` leaves out: resuming after a cut, retries,
limits on size and time, `file://`, `hf://`.

Settings, read at each call:
    KERAS_L2FEAT_ZOO_URL   the mirror, for models without an address of their own: https://…,
                           file://… or hf://OWNER/REPO
    KERAS_L2FEAT_CACHE     the folder for downloads; default: the user's cache folder
    KERAS_L2FEAT_OFFLINE   1: never touch the network
"""

import os
import re
import shutil
import time
import urllib.parse
from pathlib import Path

from keras_l2feat import files, progress
from keras_l2feat.errors import CheckFailed, InputError
from keras_l2feat.version import __version__
from keras_l2feat.zoo.registry import FOLDER, Entry

__all__ = ["Limits", "address", "cache_folder", "fetch", "fetch_into"]

CHUNK = 1 << 16


class Limits:
    """How patient a download is. Times in seconds."""

    silence = 10.0  # without a single byte, before a try is given up
    total = 60.0  # for everything together, plus …
    slowest = 20_000  # … the time that the file takes at this rate (bytes a second)
    tries = 4  # after a cut, a timeout or a server's error
    pause = 0.5  # before the second try; doubled each time


def cache_folder() -> Path:
    """The folder that holds downloaded models; it is made at the first download."""
    chosen = os.environ.get("KERAS_L2FEAT_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    import pooch

    return Path(pooch.os_cache("keras_l2feat"))


def address(entry: Entry) -> str | None:
    """Where the file of `entry` can be fetched; None when neither its row nor
    `KERAS_L2FEAT_ZOO_URL` says."""
    if entry.url:
        return entry.url
    mirror = os.environ.get("KERAS_L2FEAT_ZOO_URL", "").rstrip("/")
    return f"{mirror}/{entry.file}" if mirror else None


def fetch(entry: Entry, *, quiet: bool = True) -> Path:
    """The path of the model file of `entry`, of the right size and SHA-256.

    Args:
        entry: a row of the registry.
        quiet: no progress bar.

    Raises:
        InputError: the file is not here and cannot be had; says its name, its address and where to
            put it by hand.
        CheckFailed: what came has another size or hash than the registry says; nothing is left
            behind.
    """
    if entry.shipped:
        path = FOLDER / "weights" / entry.file
        if not path.is_file():
            raise InputError(
                f"The installation is incomplete: {str(path)!r} is missing. Install the "
                "package again."
            )
        if not _is_right(path, entry):
            raise CheckFailed(
                f"{str(path)!r} is damaged: its SHA-256 is not {entry.sha256}. Install the "
                "package again."
            )
        return path
    path = cache_folder() / entry.file
    if path.is_file() and _is_right(path, entry):
        return path
    url = address(entry)
    by_hand = f"put the file {entry.file!r} (SHA-256 {entry.sha256}) into {str(path.parent)!r}"
    if files.offline() and not (url or "").startswith("file://"):
        raise InputError(
            f"Model {entry.name!r} is not on this machine and KERAS_L2FEAT_OFFLINE is set. "
            f"Unset it, or {by_hand}."
        )
    if url is None:
        raise InputError(
            f"Model {entry.name!r} does not come with the package and KERAS_L2FEAT_ZOO_URL names "
            f"no mirror. Set it to one (made with 'l2feat zoo publish DIR'), or {by_hand}."
        )
    return _through_pooch(entry, url, path, quiet)


def fetch_into(entry: Entry, target: str | Path, *, quiet: bool = True) -> None:
    """`fetch` the file of `entry` and copy it to the path `target`, whatever becomes of other
    outputs; what is written has the right SHA-256."""
    source = fetch(entry, quiet=quiet)
    with files.separately(), files.atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)
        if not _is_right(temporary, entry):
            raise CheckFailed(f"{str(source)!r} changed while it was copied. Nothing was kept.")


def _is_right(path, entry) -> bool:
    return path.stat().st_size == entry.size and files.sha256(path) == entry.sha256


def _through_pooch(entry, url, path, quiet) -> Path:
    import pooch

    pooch.get_logger().setLevel("WARNING")
    store = pooch.create(
        path.parent, "", registry={entry.file: f"sha256:{entry.sha256}"}, urls={entry.file: url}
    )

    def downloader(url, target, _store):
        with progress.bar(total=entry.size, description=entry.file, unit="B", quiet=quiet) as shown:
            _download(url, Path(target), entry.size, shown)

    try:
        return Path(store.fetch(entry.file, downloader=downloader))
    except (InputError, CheckFailed):
        raise
    except ValueError as error:  # pooch's word for a wrong hash; it has removed the file
        raise CheckFailed(
            f"{url} is not the file that the registry describes: SHA-256 {entry.sha256} "
            "expected. Nothing was kept."
        ) from error
    except OSError as error:
        raise InputError(
            f"Cannot write {entry.file!r} into the cache {str(path.parent)!r}: "
            f"{error.strerror or error}. KERAS_L2FEAT_CACHE names another folder."
        ) from error


def _download(url, target, size, shown) -> None:
    """Write exactly `size` bytes from `url` into `target`, or raise."""
    scheme = urllib.parse.urlsplit(url).scheme
    if scheme == "file":
        _copy(url, target, size, shown)
    elif scheme in {"http", "https"}:
        _over_http(url, {}, target, size, shown)
    elif scheme == "hf":
        address, headers = _hub_address(url)
        _over_http(address, headers, target, size, shown)
    else:
        raise InputError(
            f"Cannot fetch {url!r}: an address with https://, file:// or hf:// is expected."
        )


def _copy(url, target, size, shown) -> None:
    import urllib.request

    source = Path(urllib.request.url2pathname(urllib.parse.urlsplit(url).path))
    try:
        found = source.stat().st_size
    except OSError as error:
        raise InputError(f"Cannot fetch {url}: {error.strerror}.") from error
    if found != size:
        raise CheckFailed(f"{url} has {found} bytes, the registry says {size}. Nothing was kept.")
    with open(source, "rb") as stream, open(target, "wb") as out:
        while chunk := stream.read(CHUNK):
            out.write(chunk)
            shown.update(len(chunk))


def _hub_address(url):
    """The https address and headers of `hf://OWNER/REPO[@REVISION]/PATH` on the Hugging Face
    Hub."""
    try:
        from huggingface_hub import get_token, hf_hub_url
    except ImportError as error:
        raise InputError(
            f"Fetching {url} needs huggingface_hub: pip install 'keras-l2feat[hub]'."
        ) from error
    owner, _, rest = url.removeprefix("hf://").partition("/")
    repository, _, path = rest.partition("/")
    repository, _, revision = repository.partition("@")
    if not (owner and repository and path):
        raise InputError(f"Cannot fetch {url!r}: hf://OWNER/REPO/PATH is expected.")
    where = hf_hub_url(
        f"{owner}/{repository}",
        path,
        revision=revision or None,
        endpoint=os.environ.get("HF_ENDPOINT"),
    )
    token = get_token()
    return where, {"Authorization": f"Bearer {token}"} if token else {}


class _Again(Exception):
    """A try failed in a way that another may mend."""


def _over_http(url, headers, target, size, shown) -> None:
    import requests
    import urllib3

    from keras_l2feat.zoo.deadline import Deadline

    headers = {"User-Agent": f"keras-l2feat/{__version__}", "Accept-Encoding": "identity"} | headers
    with (
        requests.Session() as session,
        Deadline(session, Limits.total + size / Limits.slowest) as deadline,
        open(target, "wb") as out,
    ):
        for attempt in range(Limits.tries):
            if attempt:
                time.sleep(Limits.pause * 2 ** (attempt - 1))
            try:
                return _one_try(session, url, headers, out, size, shown)
            except _Again as error:
                reason = error
            except (requests.ConnectionError, requests.Timeout):
                reason = _Again("no connection, or no answer in time")
            except requests.RequestException as error:
                raise InputError(f"Cannot fetch {url}: {_one_line(error)}") from error
            except InputError:
                raise
            # What a server makes up meets conversions on its way through several libraries.
            except (ValueError, LookupError, urllib3.exceptions.HTTPError) as error:
                raise InputError(
                    f"Cannot fetch {url}: the server's answer makes no sense ({_one_line(error)})."
                ) from error
            if deadline.passed:
                reason = _Again("the server is too slow")
                break
        done = out.tell()
    raise InputError(
        f"Cannot fetch {url}: {reason} ({done} of {size} bytes came). Try again later, or "
        "use another mirror."
    )


def _one_line(error) -> str:
    """What a library says of what a server said: no control characters, not pages of it."""
    text = " ".join(str(error).split())
    return "".join(letter for letter in text if letter.isprintable())[:200]


def _one_try(session, url, headers, out, size, shown) -> None:
    """One request for what is still missing; raises `_Again` if a later one may bring the rest."""
    import http.client

    import urllib3

    start = out.tell()
    if start:
        headers = headers | {"Range": f"bytes={start}-"}
    with session.get(url, headers=headers, stream=True, timeout=Limits.silence) as response:
        status = response.status_code
        phrase = http.client.responses.get(status, "")  # the server's own words may be anything
        if status >= 500 or status in {408, 416, 429}:
            if status == 416:
                _restart(out, shown)
            raise _Again(f"the server answered {status} {phrase}")
        if status not in {200, 206}:
            raise InputError(f"Cannot fetch {url}: the server answered {status} {phrase}.")
        if start and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            _restart(out, shown)  # the server sends the whole file again
        declared = response.headers.get("Content-Length", "")
        if re.fullmatch("[0-9]{1,18}", declared) and out.tell() + int(declared) != size:
            raise CheckFailed(
                f"{url} has {out.tell() + int(declared)} bytes, the registry says {size}. "
                "Nothing was kept."
            )
        while True:
            try:
                chunk = response.raw.read1(CHUNK, decode_content=False)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                if isinstance(error, urllib3.exceptions.ReadTimeoutError | TimeoutError):
                    raise _Again(f"the server was silent for {Limits.silence:g} s") from error
                raise _Again("the connection was cut") from error
            if out.tell() + len(chunk) > size:
                raise CheckFailed(
                    f"{url} is larger than the {size} bytes that the registry says. Nothing "
                    "was kept."
                )
            if not chunk:
                break
            out.write(chunk)
            shown.update(len(chunk))
    if out.tell() < size:
        raise _Again("the file ended early")


def _restart(out, shown) -> None:
    out.seek(0)
    out.truncate()
    shown.reset()
