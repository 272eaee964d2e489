"""`shrink` from end to end, on networks of which it is known what can go."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_l2feat
from keras_l2feat import data, files
from keras_l2feat.errors import CheckFailed, InputError, Interrupted

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def digits(seed=0, hidden=8, copies=3, epochs=2):
    """A network for three digits, trained, in which each hidden unit is there `copies` times."""
    keras.utils.set_random_seed(seed)
    points = data.load("mnist-1k:digits=789")
    small = keras.Sequential(
        [keras.Input((784,)), layers.Dense(hidden, "relu"), layers.Dropout(0.1), layers.Dense(3)]
    )
    small.compile(keras.optimizers.Adam(5e-3), LOSS, metrics=["accuracy"])
    small.fit(points.x_train, points.y_train, epochs=epochs, verbose=0)
    kernel, bias, out, last = small.get_weights()
    model = keras.Sequential(
        [
            keras.Input((784,)),
            layers.Dense(hidden * copies, "relu"),
            layers.Dropout(0.1),
            layers.Dense(3),
        ]
    )
    model.compile(keras.optimizers.Adam(2e-3), LOSS, metrics=["accuracy"])
    share = np.random.default_rng(seed).dirichlet(np.ones(copies), hidden).T.reshape(-1, 1)
    model.set_weights(
        [np.tile(kernel, copies), np.tile(bias, copies), np.tile(out, (copies, 1)) * share, last]
    )
    return model, points


def test_planted_copies_go_and_nothing_is_lost():
    model, points = digits()
    before = model.get_weights()
    # measured where inputs are known to be constant
    same = points.x_train, points.y_train
    small, done = keras_l2feat.shrink(model, points, units=11 / 27, epochs=1, validation=same)
    start, end = done.curve
    assert list(end["widths"].values()) == [8, 3]
    assert end["cut_loss"] == pytest.approx(start["loss"], abs=1e-4)
    assert end["cut_accuracy"] == start["accuracy"]
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights()))
    assert small.optimizer.get_config()["learning_rate"] == pytest.approx(2e-3)
    assert [m.name for m in small.metrics] == [m.name for m in model.metrics]
    assert small.count_params() < model.count_params() / 2
    assert done.original_seconds > 0


@pytest.mark.slow
def test_the_accuracy_that_may_fall_is_kept_or_nothing_is_returned():
    model, points = digits()
    small, done = keras_l2feat.shrink(
        model, points, accuracy="-2%", epochs=2, batch_size=32, rate=1e-3, validation=0.3
    )
    start, kept = done.curve[0], [r for r in done.curve[1:] if r["kept"]]
    assert kept[-1]["accuracy"] >= start["accuracy"] - 0.02
    assert small.count_params() == kept[-1]["parameters"] < model.count_params()
    assert len(done.curve) - 1 <= 2
    assert done.held_out == int(0.3 * len(points.x_train))
    with pytest.raises(CheckFailed, match="tried"):
        keras_l2feat.shrink(model, points, loss="0%", epochs=1, rate=10.0)


@pytest.mark.slow
def test_points_held_out_are_seen_by_nothing_that_trains():
    model, points = digits()
    x, y = points.x_train.copy(), points.y_train
    out = np.sort(np.random.default_rng(3).permutation(len(x))[: len(x) // 10])
    spoiled = x.copy()
    spoiled[out] = 7.0
    first, there = keras_l2feat.shrink(model, (x, y), units=0.6, epochs=1, seed=3)
    other, here = keras_l2feat.shrink(model, (spoiled, y), units=0.6, epochs=1, seed=3)
    assert all(np.array_equal(a, b) for a, b in zip(first.get_weights(), other.get_weights()))
    assert here.curve[1]["loss"] != there.curve[1]["loss"]


@pytest.mark.slow
def test_what_a_break_leaves_goes_on_to_the_same_weights(tmp_path):
    model, points = digits()
    call = dict(flops=0.5, epochs=4, rounds=2, distill=True, seed=1, batch_size=64)
    whole, expected = keras_l2feat.shrink(model, points, **call)
    path = tmp_path / "state.npz"
    for stop in (2, 3):  # in the first round, and, with what is left, in the second

        class Stop(keras.callbacks.Callback):
            left = stop

            def on_epoch_end(self, epoch, logs=None):
                self.left -= 1
                if not self.left:
                    raise KeyboardInterrupt

        with pytest.raises(Interrupted) as stopped:
            keras_l2feat.shrink(
                model,
                points,
                **call,
                checkpoint=path,
                resume=path.exists(),
                callbacks=[Stop()],
            )
        assert (stopped.value.best is None) == (stop == 2)
    small, done = keras_l2feat.shrink(model, points, **call, checkpoint=path, resume=True)
    assert all(np.array_equal(a, b) for a, b in zip(whole.get_weights(), small.get_weights()))
    one, other = ([v.numpy() for v in m.optimizer.variables] for m in (whole, small))
    assert all(np.array_equal(a, b) for a, b in zip(one, other))
    for a, b in zip(expected.curve, done.curve):
        assert all(a[key] == b[key] for key in a if "seconds" not in key)
    with pytest.raises(InputError, match="epochs"):
        keras_l2feat.shrink(model, points, **{**call, "epochs": 5}, checkpoint=path, resume=True)
    with pytest.raises(InputError, match="exists already"):
        keras_l2feat.shrink(model, points, **call, checkpoint=path)
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="no checkpoint"):
        keras_l2feat.shrink(model, points, **call, checkpoint=path, resume=True)


@pytest.mark.slow
def test_batches_of_several_inputs_and_outputs_with_the_users_own_loss(tmp_path):
    keras.utils.set_random_seed(0)
    one, two = keras.Input((6,), name="one"), keras.Input((4,), name="two")
    x = layers.Dense(12, "relu")(layers.Concatenate()([one, two]))
    outs = {"a": layers.Dense(2, name="a")(x), "b": layers.Dense(1, name="b")(x)}
    model = keras.Model({"one": one, "two": two}, outs)

    def absolute(y, z):
        return keras.ops.mean(keras.ops.abs(y - z), axis=-1)

    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), {"a": "mse", "b": absolute})
    generator = np.random.default_rng(0)
    given = {"one": generator.normal(size=(96, 6)), "two": generator.normal(size=(96, 4))}
    wanted = {"a": generator.normal(size=(96, 2)), "b": generator.normal(size=(96, 1))}
    batches = tf.data.Dataset.from_tensor_slices((given, wanted)).batch(32)
    small, done = keras_l2feat.shrink(
        model,
        batches,
        units=0.6,
        epochs=2,
        rounds=2,
        distill=0.3,
        validation=batches,
        keep_rounds=tmp_path / "rounds",
    )
    assert done.curve[-1]["units"] <= 0.6 * 15
    assert done.curve[-1]["accuracy"] is None
    assert small.loss["b"] is absolute
    kept = [files.load_model(p, compile=False) for p in sorted((tmp_path / "rounds").iterdir())]
    assert [k.count_params() for k in kept] == [r["parameters"] for r in done.curve[1:]]
    assert np.array_equal(kept[-1].get_weights()[0], small.get_weights()[0])


@pytest.mark.slow
def test_a_model_that_is_not_compiled_and_full_batches():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(10, "tanh"), layers.Dense(3)])
    small, _ = keras_l2feat.shrink(model, "one-hot:classes=3,n=4", units=0.7, epochs=1)
    assert small.loss == "mean_squared_error"
    toy = data.load("teacher:inputs=4,n=60,width=3")
    model = keras.Sequential([keras.Input((4,)), layers.Dense(20, "relu"), layers.Dense(1)])
    keras_l2feat.training.fit(model, toy, lam=1e-4, iterations=150, quiet=True)
    small, done = keras_l2feat.shrink(model, toy, units=0.5, epochs=100, method="lbfgs")
    assert done.curve[-1]["loss"] < 1.5 * done.curve[0]["loss"] + 1e-3
    assert small.layers[0].units <= 9


@pytest.mark.slow
def test_statistics_that_lag_behind_are_measured_first_and_last():
    """Eight steps: moving averages have hardly left their start, and what is handed over on them
    would be nothing."""
    keras.utils.set_random_seed(0)
    points = data.load("mnist-1k:digits=789")
    parts = layers.Dense(24, use_bias=False), layers.BatchNormalization(), layers.ReLU()
    model = keras.Sequential([keras.Input((784,)), *parts, layers.Dense(3)])
    model.compile(keras.optimizers.Adam(5e-3), LOSS)
    model.fit(points.x_train, points.y_train, batch_size=128, epochs=1, verbose=0)
    _, done = keras_l2feat.shrink(model, points, units=0.6, epochs=1)
    lagging, end = done.curve
    assert end["cut_loss"] < 0.8 * lagging["loss"]
    assert end["loss"] < 0.8 * lagging["loss"]


@pytest.mark.slow
def test_callbacks_see_the_points_held_out_and_may_end_a_round():
    model, points = digits()
    seen = []
    tell = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(logs))
    stop = keras.callbacks.EarlyStopping("val_loss", baseline=0.0, patience=1)
    options = dict(epochs=7, rounds=2, callbacks=[tell, stop])
    _, done = keras_l2feat.shrink(model, points, units=0.6, **options)
    assert [record["epochs"] for record in done.curve] == [0, 2, 2]
    assert len(seen) == 4
    assert seen[-1]["val_accuracy"] == pytest.approx(done.curve[-1]["accuracy"], abs=0.02)


@pytest.mark.slow
def test_a_latency_is_measured():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2000,)), layers.Dense(2000, "relu"), layers.Dense(2)])
    x = np.random.default_rng(0).normal(size=(40, 2000)).astype("float32")
    small, _ = keras_l2feat.shrink(
        model, (x, np.zeros(40, int)), latency=0.9, epochs=1, rounds=1, validation=0
    )
    assert small.layers[0].units < 2000


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"units": 0.01}, "smallest network"),
        ({"loss": "1%", "validation": 0}, "held out"),
        ({"units": 0.5, "method": "sgd"}, "method"),
        ({"units": 0.5, "distill": 2}, "distill"),
        ({"units": 0.5, "batch_size": 0}, "batch_size"),
        ({"units": 0.5, "validation": 1.5}, "validation"),
        ({"units": 0.5, "checkpoint": "state.txt"}, "npz"),
        ({"units": 0.5, "checkpoint": "nowhere.npz", "resume": True}, "resume"),
    ],
)
def test_what_cannot_be_done_is_said(options, words):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(5, "relu"), layers.Dense(3)])
    model.compile("adam", LOSS)
    x, y = np.zeros((20, 4), "float32"), np.arange(20) % 3
    with pytest.raises(InputError, match=words):
        keras_l2feat.shrink(model, (x, y), epochs=1, **options)


@pytest.mark.parametrize("held_out", [0, 0.1])
def test_data_that_the_model_does_not_take_are_refused(held_out):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(5, "relu"), layers.Dense(3)])
    model.compile("adam", LOSS)
    x, y = np.zeros((20, 4), "float32"), np.arange(20) % 3
    for given, words in (
        ((x, y + 1), "label 3"),
        ((x[:, :3], y), "cannot be measured"),
        ((x, np.eye(4)[y]), "cannot be measured"),
    ):
        with pytest.raises(InputError, match=words):
            keras_l2feat.shrink(model, given, epochs=1, units=0.5, validation=held_out)
