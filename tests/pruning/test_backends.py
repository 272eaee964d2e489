"""The pruner on other backends of Keras, in a process of its own, and without TensorFlow."""

import importlib.util
import os
import subprocess
import sys

import pytest

SCRIPT = """
import keras
import numpy as np
from keras import layers
from keras_l2feat.pruning import prune
from keras_l2feat.pruning.expand import expand

keras.utils.set_random_seed(0)
assert keras.backend.backend() == {backend!r}
inputs = keras.Input((8, 8, 3))
x = layers.Conv2D(4, 3, padding="same")(inputs)
x = layers.ReLU()(layers.BatchNormalization()(x))
x = layers.Add()([x, layers.Conv2D(4, 3, padding="same", activation="relu")(x)])
x = layers.Dense(5, activation="tanh")(layers.Flatten()(layers.MaxPooling2D()(x)))
model = keras.Model(inputs, layers.Dense(3)(x))
wide = expand(model, factor=2)
pruned, certificate = prune(wide)
assert certificate.verified
assert certificate.max_rel_deviation < 1e-5, certificate.evaluations
assert [layer["units_after"] for layer in certificate.layers] == [4, 4, 5, 3], certificate.layers
x = np.random.default_rng(0).standard_normal((4, 8, 8, 3)).astype("float32")
a, b = (np.asarray(keras.ops.convert_to_numpy(m(x))) for m in (model, pruned))
assert np.abs(a - b).max() < 1e-4
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_prune_runs_on(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    # JAX computes the certificate in float64 only if told so before Keras is imported
    environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_ENABLE_X64": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(backend=backend)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_pruning_imports_no_tensorflow():
    code = (
        "import sys, pkgutil, importlib, keras_l2feat.pruning as p\n"
        "for m in pkgutil.iter_modules(p.__path__): "
        "importlib.import_module('keras_l2feat.pruning.' + m.name)\n"
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules, 'imported'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
