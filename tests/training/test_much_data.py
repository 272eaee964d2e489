"""Training on much data takes bounded memory, and on several devices gives what one device
gives."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

STREAM = """
import resource, sys
import tensorflow as tf
from keras_l2feat import training
from keras_l2feat.network import DenseNetwork

def batch(index):  # made as it is asked for, never kept
    seed = tf.stack([index, index])
    x = tf.random.stateless_normal([1000, 784], seed)
    return x, tf.cast(x[:, 0] > 0, tf.int64)

data = tf.data.Dataset.range(int(sys.argv[1])).map(batch)
network = DenseNetwork.random((784, 16, 2))
options = {"dtype": "float32", "iterations": 2, "quiet": True}
training.fit(network, data, lam=1e-3, cost="crossentropy", **options)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
WHOLE = """
import resource, sys
import numpy as np
from keras_l2feat import training
from keras_l2feat.data import Dataset
from keras_l2feat.network import DenseNetwork

x = np.random.default_rng(0).standard_normal((int(sys.argv[1]), 784), dtype="float32")
data = Dataset("much", x, (x[:, 0] > 0).astype("int64"), classes=2)
network = DenseNetwork.random((784, 16, 2))
options = {"dtype": "float32", "iterations": 2, "quiet": True}
training.fit(network, data, lam=1e-3, batch_size=2000, **options)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
DEVICES = """
import contextlib, json, sys
import keras
import tensorflow as tf
from keras_l2feat import callbacks, data, models

(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
devices = ["CPU:0", "CPU:1"]
two = sys.argv[1] == "2"
scope = tf.distribute.MirroredStrategy(devices).scope() if two else contextlib.nullcontext()
digits = data.load("mnist-789-42")
with scope:
    model = models.mlp(784, (6, 5), 3, lam=1e-2, beta=0.5, seed=0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss)
width = callbacks.EffectiveWidth(data=digits, every=2)
options = {"batch_size": 42, "epochs": 4, "shuffle": False, "verbose": 0}
history = model.fit(digits.x_train, digits.y_train, callbacks=[width], **options)
print(json.dumps(history.history))
"""


def run(script, argument):
    command = [sys.executable, "-c", script, str(argument)]
    result = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_stream_takes_the_memory_of_its_batches():
    few, many = run(STREAM, 10), run(STREAM, 100)  # 31 and 314 MB of inputs
    assert many - few < 80


@pytest.mark.slow
def test_sixty_thousand_points_take_a_few_times_their_own_memory():
    few, many = run(WHOLE, 2000), run(WHOLE, 60_000)
    size = 58_000 * 784 * 4 / 2**20
    # the array, its copy in the basis of its row space, that as tensors, and a piece in float64
    assert many - few < 4 * size


@pytest.mark.slow
def test_two_devices_give_what_one_gives():
    one, two = run(DEVICES, 1), run(DEVICES, 2)
    assert one.keys() == two.keys()
    for key in one:
        np.testing.assert_allclose(two[key], one[key], rtol=1e-4)
