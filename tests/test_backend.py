"""The wrong Keras or the wrong backend: an error at first use that says how to switch."""

import os
import subprocess
import sys

import pytest

USE = """
from keras_l2feat.errors import InputError
try:
    {}
except InputError as error:
    print(error)
"""


def first_use(code, **environment):
    outcome = subprocess.run(
        [sys.executable, "-c", USE.format(code)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    return outcome.stdout


@pytest.mark.slow
def test_another_backend():
    pytest.importorskip("jax")
    said = first_use(
        "from keras_l2feat import training; training.fit(None, None, lam=1e-3)", KERAS_BACKEND="jax"
    )
    assert "'jax'" in said
    assert "export KERAS_BACKEND=tensorflow" in said


@pytest.mark.parametrize(
    "use", ["import keras_l2feat.layers", "import keras_l2feat; keras_l2feat.prune(None)"]
)
def test_keras_2(tmp_path, use):
    (tmp_path / "keras").mkdir()
    (tmp_path / "keras" / "__init__.py").write_text("__version__ = '2.15.0'\n")
    said = first_use(use, PYTHONPATH=str(tmp_path))
    assert "Received: keras 2.15.0" in said
    assert "pip install" in said
