"""Downloads from whoever answers: `https://`, `hf://` (the Hugging Face Hub) and `file://`.

What comes has the size that was expected or is an error; a cut is resumed, a server's error tried
again, and silence, slowness and chains of redirects end in bounded time.
"""

import os
import re
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_l2feat.errors import CheckFailed, InputError
from keras_l2feat.version import __version__

__all__ = ["COMMIT", "Limits", "download", "facts_of"]

CHUNK = 1 << 16
COMMIT = "[0-9a-f]{40}"  # what the Hub calls a state of a repository


class Limits:
    """How patient a download is. Times in seconds."""

    silence = 10.0  # without a single byte, before a try is given up
    total = 60.0  # for everything together, plus …
    slowest = 20_000  # … the time that the file takes at this rate (bytes a second)
    tries = 4  # after a cut, a timeout or a server's error
    pause = 0.5  # before the second try; doubled each time


def download(url: str, target: Path, size: int, shown: Any) -> None:
    """Write exactly `size` bytes from `url` into `target`, or raise.

    Args:
        url: with `https://`, `http://`, `file://` or `hf://`.
        shown: a `progress.bar` of bytes.

    Raises:
        InputError: they cannot be had.
        CheckFailed: there are more or fewer.
    """
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
        raise CheckFailed(f"{url} has {found} bytes, {size} are expected. Nothing was kept.")
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


def facts_of(url: str, most: int) -> tuple[int, str | None]:
    """How many bytes a server says that a file has, and at which commit of the Hub it is.

    Args:
        url: with `https://`, `http://` or `hf://`.
        most: that are accepted.

    Raises:
        InputError: no answer, or one without a size up to `most`.
    """
    address, headers = _hub_address(url) if url.startswith("hf://") else (url, {})

    def ask(session, headers):
        options = {"headers": headers, "timeout": Limits.silence, "allow_redirects": True}
        with session.head(address, **options) as answer:
            _check_status(address, answer)
            # a file that lies elsewhere is announced by the Hub itself, before it leads there
            answers = [*answer.history, answer]
            commits = [one.headers.get("X-Repo-Commit", "") for one in answers]
            return answer.headers.get("Content-Length", ""), commits

    size, commits = _patiently(address, headers, Limits.total, ask)
    if not re.fullmatch("[0-9]{1,18}", size) or int(size) > most:
        raise InputError(
            f"Cannot fetch {url}: a size of at most {most} bytes is expected of the server. "
            f"Received: {size[:40]!r}."
        )
    known = (one for one in commits if re.fullmatch(COMMIT, one))
    return int(size), next(known, None)


def _over_http(url, headers, target, size, shown) -> None:
    with open(target, "wb") as out:

        def ask(session, headers):
            _one_try(session, url, headers, out, size, shown)

        seconds = Limits.total + size / Limits.slowest
        _patiently(url, headers, seconds, ask, lambda: f" ({out.tell()} of {size} bytes came)")


def _patiently(
    url: str, headers: dict, seconds: float, ask: Callable, progress: Callable = str
) -> Any:
    """What `ask(session, headers)` returns, tried again after what may pass."""
    import requests
    import urllib3

    from keras_l2feat.zoo.deadline import Deadline

    headers = {"User-Agent": f"keras-l2feat/{__version__}", "Accept-Encoding": "identity"} | headers
    with requests.Session() as session, Deadline(session, seconds) as deadline:
        for attempt in range(Limits.tries):
            if attempt:
                time.sleep(Limits.pause * 2 ** (attempt - 1))
            try:
                return ask(session, headers)
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
    raise InputError(
        f"Cannot fetch {url}: {reason}{progress()}. Try again later, or use another mirror."
    )


def _check_status(url, answer):
    """Raise `_Again` where a later request may do better, `InputError` where none will."""
    import http.client

    status = answer.status_code
    phrase = http.client.responses.get(status, "")  # the server's own words may be anything
    if status >= 500 or status in {408, 416, 429}:
        raise _Again(f"the server answered {status} {phrase}")
    if status not in {200, 206}:
        raise InputError(f"Cannot fetch {url}: the server answered {status} {phrase}.")


def _one_line(error) -> str:
    """What a library says of what a server said: no control characters, not pages of it."""
    text = " ".join(str(error).split())
    return "".join(letter for letter in text if letter.isprintable())[:200]


def _one_try(session, url, headers, out, size, shown) -> None:
    """One request for what is still missing; raises `_Again` if a later one may bring the rest."""
    start = out.tell()
    if start:
        headers = headers | {"Range": f"bytes={start}-"}
    with session.get(url, headers=headers, stream=True, timeout=Limits.silence) as response:
        if response.status_code == 416:
            _restart(out, shown)
        _check_status(url, response)
        if start and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            _restart(out, shown)  # the server sends the whole file again
        declared = response.headers.get("Content-Length", "")
        if re.fullmatch("[0-9]{1,18}", declared) and out.tell() + int(declared) != size:
            raise CheckFailed(
                f"{url} has {out.tell() + int(declared)} bytes, {size} are expected. "
                "Nothing was kept."
            )
        while chunk := _next_chunk(response):
            if out.tell() + len(chunk) > size:
                raise CheckFailed(
                    f"{url} is larger than the {size} bytes that are expected. Nothing was kept."
                )
            out.write(chunk)
            shown.update(len(chunk))
    if out.tell() < size:
        raise _Again("the file ended early")


def _next_chunk(response) -> bytes:
    """What comes next; empty at the end."""
    import urllib3

    try:
        return response.raw.read1(CHUNK, decode_content=False)
    except (urllib3.exceptions.ReadTimeoutError, TimeoutError) as error:
        raise _Again(f"the server was silent for {Limits.silence:g} s") from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise _Again("the connection was cut") from error


def _restart(out, shown) -> None:
    out.seek(0)
    out.truncate()
    shown.reset()
