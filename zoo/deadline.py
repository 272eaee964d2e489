"""Connections that end when time is up, whatever the server does: bytes of a status line, of
headers or of chunk sizes, one at a time; answers to be continued without end; chains of redirects.
"""

import contextlib
import os
import socket
import threading
import time
from typing import Any

import requests.adapters

__all__ = ["Deadline"]


class Deadline:
    """A context in which the connections of `session` are shut down after `seconds`.

    A timeout of a socket restarts with every byte, so it bounds silence and not time. This one
    belongs to all connections together. What was reading one of them then finds its end.
    """

    def __init__(self, session: Any, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._sockets, self._lock = [], threading.Lock()
        self._timer = threading.Timer(seconds, self._shut_down)
        self._timer.daemon = True
        for scheme in ("http://", "https://"):
            session.mount(scheme, _Adapter(self))

    def __enter__(self):
        self._timer.start()
        return self

    def __exit__(self, *_):
        self._timer.cancel()
        with self._lock:
            for connection, twin in self._sockets:
                twin.close()
                # Where an answer made no sense, what read it may be left open.
                left = connection.detach()
                if left >= 0:
                    os.close(left)
            self._sockets.clear()

    @property
    def passed(self) -> bool:
        return time.monotonic() >= self._end

    def watch(self, connection: Any) -> None:
        """Have a connected socket shut down when time is up.

        Raises:
            TimeoutError: it is.
        """
        with self._lock:
            if self.passed:
                connection.close()
                raise TimeoutError("out of time")
            # A twin, because the encryption that comes later takes the socket itself away.
            self._sockets.append((connection, connection.dup()))

    def _shut_down(self):
        with self._lock:
            for _, twin in self._sockets:
                with contextlib.suppress(OSError):  # closed already
                    twin.shutdown(socket.SHUT_RDWR)


class _Adapter(requests.adapters.HTTPAdapter):
    def __init__(self, deadline):
        super().__init__()
        self._deadline = deadline

    def get_connection_with_tls_context(self, *arguments, **options):
        pool = super().get_connection_with_tls_context(*arguments, **options)
        deadline, plain = self._deadline, type(pool).ConnectionCls

        class Watched(plain):
            def _new_conn(self):
                connection = super()._new_conn()
                deadline.watch(connection)
                return connection

        pool.ConnectionCls = Watched
        return pool
