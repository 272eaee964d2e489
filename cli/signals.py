"""Ctrl-C and SIGTERM end a command: what is under way stops, and the exit code says by what."""

import signal
import sys
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
        self._unraisable, sys.unraisablehook = sys.unraisablehook, self._hook
        return self

    def __exit__(self, *error):
        # The hook stays after a signal: what it interrupted is still to be torn down.
        if not self.received:
            sys.unraisablehook = self._unraisable
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number, frame):
        self.received = self.received or number
        raise KeyboardInterrupt

    def _hook(self, unraisable):
        """Python can only print what is raised in a destructor. After a signal that is noise of
        objects half taken down, or the interrupt itself, which must not be lost: it comes again."""
        if not self.received:
            self._unraisable(unraisable)
        elif (
            issubclass(unraisable.exc_type, KeyboardInterrupt)
            and signal.getsignal(self.received) == self._handle
        ):
            main = threading.main_thread().ident
            again = threading.Timer(0.01, signal.pthread_kill, [main, self.received])
            again.daemon = True
            again.start()
