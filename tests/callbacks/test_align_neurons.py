import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_l2feat import models, training
from keras_l2feat.callbacks import AlignNeurons, EffectiveWidth
from keras_l2feat.data import load
from keras_l2feat.errors import InputError
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives import weight_space
from keras_l2feat.training.rays import rays

DATA = load("mnist-789-42")


@pytest.mark.slow
def test_a_wide_network_ends_on_few_rays_at_hardly_more_loss():
    plain = training.fit(models.mlp(784, (20, 20), 3, lam=1e-2, seed=1), DATA, quiet=True)
    model = models.mlp(784, (20, 20), 3, lam=1e-2, seed=1)
    fitted = training.fit(model, DATA, callbacks=[AlignNeurons(angle=0.3, every=40)], quiet=True)
    counts = rays(DenseNetwork.from_model(model), 1e-5, 0.0)
    assert fitted.history["rays_1"][-1] >= counts[0]
    assert max(counts) <= 12
    assert fitted.loss <= 1.05 * plain.loss


@pytest.mark.slow
def test_in_model_fit_rays_reach_later_callbacks_and_the_history():
    seen = []

    class Later(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(dict(logs))

    model = models.mlp(784, (12, 12), 3, lam=1e-2)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = model.fit(
        DATA.x_train,
        DATA.y_train,
        epochs=6,
        verbose=0,
        callbacks=[AlignNeurons(angle=1.5, every=2), Later()],
    )
    assert set(history.history) >= {"loss", "rays_1", "rays_2"}
    assert [logs["rays_1"] for logs in seen] == history.history["rays_1"]
    # snapped when training ended: each neuron is exactly on its ray, up to the rounding of float32
    network = DenseNetwork.from_model(model)
    assert rays(network, 1e-6, 0.0) == rays(network, 0.5, 0.0)
    assert max(rays(network, 1e-6, 0.0)) < 12


def test_models_it_cannot_align_are_refused():
    given = keras.Input((6,))
    x = keras.layers.LayerNormalization()(keras.layers.Dense(4, name="first")(given))
    wrong = keras.Model(given, keras.layers.Dense(3)(keras.layers.LayerNormalization()(x)))
    wrong.compile("adam", "mse")
    with pytest.raises(InputError, match=r"no units that could join.*couples channels"):
        wrong.fit(np.ones((4, 6)), np.ones((4, 3)), verbose=0, callbacks=[AlignNeurons()])
    assert np.isfinite(wrong.get_weights()[0]).all()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"every": 0}, "'every' must be a whole number of at least 1"),
        ({"rise": 0}, "'rise' must be a share"),
        ({"units": 1.5}, "'units' must be a share of at most 1"),
        ({"units": "many"}, "'units' must be a part"),
        ({"units": 0.5, "angle": 0.1}, "One target is expected. Received: units, angle"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        AlignNeurons(**arguments)


def callbacks_that_keep_weights(folder):
    keep = keras.callbacks
    return {
        "early stopping": keep.EarlyStopping(
            monitor="val_loss", mode="max", patience=2, restore_best_weights=True
        ),
        "checkpoint": keep.ModelCheckpoint(folder / "best.keras", save_best_only=True),
        "checkpoint of weights": keep.ModelCheckpoint(
            folder / "last.weights.h5", save_weights_only=True
        ),
        "backup": keep.BackupAndRestore(folder / "backup", delete_checkpoint=False),
        "effective width": EffectiveWidth(),
    }


def on_exact_rays(model):
    """Whether neurons share rays, each exactly on its own up to the rounding of float32."""
    network = DenseNetwork.from_model(model)
    exact = rays(network, 1e-6, 0.0)
    return exact == rays(network, 1e-2, 0.0) and sum(exact) < sum(network.hidden)


def compiled():
    model = models.mlp(784, (12, 12), 3, lam=1e-2)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # how Keras ends a generator
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("batches", ["arrays", "generator"])
@pytest.mark.parametrize("validated", [True, False])
def test_what_other_callbacks_keep_is_aligned_wherever_they_stand(
    tmp_path, first, batches, validated
):
    align, others = AlignNeurons(angle=1.2, every=50), callbacks_that_keep_weights(tmp_path)
    if not validated:
        others["early stopping"].monitor = others["checkpoint"].monitor = "loss"
    x, y = DATA.x_train, DATA.y_train
    generator = lambda: ((x[i : i + 14], y[i : i + 14]) for i in (0, 14, 28))  # noqa: E731
    given = tf.data.Dataset.from_generator(
        generator,
        output_signature=(tf.TensorSpec((14, 784)), tf.TensorSpec((14,), tf.int64)),
    )
    arguments = (x, y) if batches == "arrays" else (given,)
    model = compiled()
    seen = [align, *others.values()] if first else [*others.values(), align]
    model.fit(
        *arguments,
        epochs=5,
        shuffle=False,
        verbose=0,
        callbacks=seen,
        validation_data=(DATA.x_test, DATA.y_test) if validated else None,
    )
    assert on_exact_rays(model)
    assert on_exact_rays(keras.saving.load_model(tmp_path / "best.keras", compile=False))
    again = models.mlp(784, (12, 12), 3)
    again.load_weights(tmp_path / "last.weights.h5")
    assert on_exact_rays(again)
    # the value that is monitored is that of the weights that are kept
    if validated:
        best = keras.saving.load_model(tmp_path / "best.keras")
        value = best.evaluate(DATA.x_test, DATA.y_test, verbose=0)
        assert value == pytest.approx(others["checkpoint"].best, rel=1e-4)
    # a run that goes on from the backup ends aligned as well
    resumed = compiled()
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    seen = [AlignNeurons(angle=1.2), backup] if first else [backup, AlignNeurons(angle=1.2)]
    resumed.fit(*arguments, epochs=7, verbose=0, shuffle=False, callbacks=seen)
    assert on_exact_rays(resumed)


@pytest.mark.slow
@pytest.mark.parametrize("first", [True, False])
def test_the_order_does_not_matter_in_full_batch_training(tmp_path, first):
    align, others = AlignNeurons(angle=1.2, every=50), callbacks_that_keep_weights(tmp_path)
    for name in ("early stopping", "checkpoint"):
        others[name].monitor = "loss"
    others["early stopping"].mode = "max"
    seen = [align, *others.values()] if first else [*others.values(), align]
    model = compiled()
    fitted = training.fit(model, DATA, callbacks=seen, iterations=8, quiet=True)
    assert on_exact_rays(model)
    assert on_exact_rays(keras.saving.load_model(tmp_path / "best.keras", compile=False))
    network = DenseNetwork.from_model(model)
    assert fitted.loss == pytest.approx(float(weight_space(model, DATA, lam=1e-2).total), rel=1e-6)
    assert network.hidden == (12, 12)


def test_between_snaps_training_goes_on_from_its_own_weights():
    """What others see changes no step: with and without an onlooker the same weights come."""

    class Onlooker(keras.callbacks.Callback):
        pass

    found = []
    for more in ([], [Onlooker()]):
        model = models.mlp(784, (12,), 3, lam=1e-2)
        training.fit(
            model, DATA, callbacks=[AlignNeurons(1.2, every=5), *more], iterations=9, quiet=True
        )
        found.append(model.get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(*found))
