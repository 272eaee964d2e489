"""Work in other processes of this machine, which end when this one does, however it ends."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

__all__ = ["unordered"]

WATCH = 1.0  # seconds between two looks at whether the parent is still there


def unordered(function: Callable, items: Sequence, jobs: int) -> Iterator[tuple[int, Any]]:
    """Yield `(index, function(item))` for a list of items, as they are finished.

    Args:
        function: can be pickled, as its arguments and results can.
        items: a list.
        jobs: number of processes; they share the machine's cores evenly.
    """
    import joblib

    threads = max(1, (os.cpu_count() or 1) // jobs)
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(threads))  # the processes inherit it
    with joblib.parallel_config(
        "loky", inner_max_num_threads=threads, initializer=_follow, initargs=(os.getpid(),)
    ):
        yield from joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")(
            joblib.delayed(_indexed)(function, index, item) for index, item in enumerate(items)
        )


def _indexed(function, index, item):
    return index, function(item)


def _follow(parent):
    """Leave Ctrl-C, which a terminal sends to all processes, to the parent, and end when it is
    gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent):
    while os.getppid() == parent:
        time.sleep(WATCH)
    os._exit(1)
