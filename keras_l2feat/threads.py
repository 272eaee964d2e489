"""How the cores are shared: BLAS has one, TensorFlow has them all.

BLAS would use all cores for each product and keep its threads spinning in between, while
TensorFlow's wait for a core: `exact` took up to twice as long, taking over 1.6 times. (Threads of
our own bring little: SciPy's BLAS and LAPACK hold Python's lock.)
"""

from collections.abc import Callable
from typing import TypeVar

from scipy.linalg import blas  # noqa: F401  (loaded, so that its threads are known below)
from threadpoolctl import ThreadpoolController

__all__ = ["blas_on_one_core"]

F = TypeVar("F", bound=Callable)
LIBRARIES = ThreadpoolController()  # looked for once


def blas_on_one_core(function: F) -> F:
    """The same function, with BLAS on one core as long as it runs."""
    return LIBRARIES.wrap(limits=1, user_api="blas")(function)
