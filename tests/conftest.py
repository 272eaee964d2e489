"""What every test runs under: one thread a worker, quiet TensorFlow, no screen, reproducible
hypothesis in CI."""

import os

# Before NumPy or TensorFlow is imported: workers share the cores, so each takes one thread.
for variable in (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture(scope="session")
def full_mnist():
    """The full MNIST, where the environment variable `L2FEAT_MNIST` names a file of it."""
    if not os.environ.get("L2FEAT_MNIST"):
        pytest.skip(
            "the full MNIST is needed: name an mnist.npz with the environment variable L2FEAT_MNIST"
        )
    from keras_l2feat import data

    return data.load("mnist")


@pytest.fixture
def registered():
    """Forget what a test registers in the zoo."""
    from keras_l2feat.zoo import registry

    yield
    registry._registered.clear()
    registry._known.cache_clear()
