"""A stream of batches becomes arrays on disk, and is given back as it was."""

import gc
import os
from pathlib import Path

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from keras_l2feat.data import spooled  # noqa: E402
from keras_l2feat.errors import InputError  # noqa: E402

X = np.random.default_rng(0).standard_normal((23, 4, 3)).astype("float32")
Y = np.arange(23) % 5


def test_batches_come_back_in_order_with_their_labels():
    (x,), y = spooled(tf.data.Dataset.from_tensor_slices((X, Y)).batch(7))
    assert x.dtype == X.dtype
    assert np.array_equal(x, X)
    assert np.array_equal(y, Y)
    assert not x.flags.writeable


def test_several_inputs_and_no_labels():
    arrays, y = spooled(tf.data.Dataset.from_tensor_slices({"a": X, "b": Y}).batch(10))
    assert y is None
    assert all(np.array_equal(a, b) for a, b in zip(arrays, (X, Y), strict=True))


def held(folder):
    """Whether this process has a file of a folder open or in memory, even one without a name."""
    opened = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    return any(str(folder) in line for line in [*opened, Path("/proc/self/maps").read_text()])


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="what is open is seen in /proc")
def test_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    arrays, y = spooled(tf.data.Dataset.from_tensor_slices((X, Y)).batch(7))
    assert list(tmp_path.iterdir()) == []
    assert held(tmp_path)
    del arrays, y
    gc.collect()
    assert not held(tmp_path)


def test_streams_that_are_no_data_set_are_refused():
    points = tf.data.Dataset.from_tensor_slices(X).batch(7)
    for batches, message in ((points.repeat(), "must end"), (points.take(0), "must hold points")):
        with pytest.raises(InputError, match=message):
            spooled(batches)
    uneven = tf.data.Dataset.from_generator(
        lambda: iter([np.zeros((2, 3)), np.zeros((2, 4))]),
        output_signature=tf.TensorSpec((None, None), tf.float64),
    )
    with pytest.raises(InputError, match="points of one shape"):
        spooled(uneven)
