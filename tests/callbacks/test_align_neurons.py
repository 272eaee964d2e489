import keras
import numpy as np
import pytest

from keras_l2feat import models, training
from keras_l2feat.callbacks import AlignNeurons
from keras_l2feat.data import load
from keras_l2feat.errors import InputError
from keras_l2feat.network import DenseNetwork
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
    wrong = models.mlp(784, (4,), 3, activation="tanh", lam=1e-2)
    with pytest.raises(InputError, match="'activation' must be positively homogeneous"):
        training.fit(wrong, DATA, callbacks=[AlignNeurons()], max_iterations=2, quiet=True)
    with pytest.raises(InputError, match="'every' must be at least 1"):
        AlignNeurons(every=0)
    assert np.isfinite(wrong.get_weights()[0]).all()
