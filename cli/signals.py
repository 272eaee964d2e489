"""Ctrl-C and SIGTERM end a command: what is under way stops, and the exit code says by what."""

import signal
import threading

__all__ = ["Signals"]

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # the last is not on every system


class Signals:
    """A context in which the signals that ask a process to end raise `KeyboardInterrupt`.

    A signal that was ignored before, as under `nohup`, stays ignored.

    Attributes:
        received: number of the first one that came, `None` for none.
    """

    def __init__(self) -> None:
        self.received = None
        self._before = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in (getattr(signal, name) for name in NAMES if hasattr(signal, name)):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number, frame):
        self.received = self.received or number
        raise KeyboardInterrupt
