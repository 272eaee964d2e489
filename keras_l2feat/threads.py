"""How the cores are shared: each of our threads has one, and so has what BLAS does for it.

BLAS would use all cores for each product and keep its threads spinning in between, while
TensorFlow's wait for a core: `exact` took up to twice as long, taking over 1.6 times.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from scipy.linalg import blas  # noqa: F401  (loaded, so that its threads are known below)
from threadpoolctl import threadpool_limits

__all__ = ["one_core_each", "side_by_side"]

THREADS = min(4, os.cpu_count() or 1)  # each holds matrices of its own
F = TypeVar("F", bound=Callable)


def one_core_each(function: F) -> F:
    """The same function, with BLAS on one core as long as it runs."""
    return threadpool_limits.wrap(limits=1, user_api="blas")(function)


def side_by_side(function: Callable, *arguments: Iterable) -> list:
    """`list(map(function, *arguments))`, in threads: for what is mostly NumPy's and LAPACK's."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(function, *arguments))
