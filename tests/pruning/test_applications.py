"""The big models of keras.applications, with channels split and rescaled: all of it is removed."""

import keras
import numpy as np
import pytest
from gauge import gauge

from keras_l2feat.pruning import prune
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.expand import expand, expandable

SHAPES = {"ResNet50": 32, "VGG16": 32, "MobileNetV2": 32, "DenseNet121": 32}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPES)
def test_planted_channels_are_removed(name):
    keras.utils.clear_session()
    options = {"alpha": 0.5} if name == "MobileNetV2" else {}
    size = SHAPES[name]
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(
        weights=None, input_shape=(size, size, 3), classes=10, **options
    )
    generator = np.random.default_rng(0)
    for weight in model.weights:
        if "variance" in weight.path or "gamma" in weight.path:
            weight.assign(generator.uniform(0.5, 1.5, weight.shape))
        elif len(weight.shape) == 1:
            weight.assign(0.1 * generator.standard_normal(weight.shape))
    graph = read(model)
    assert graph.barriers == {}
    widths = {
        layer: len(units) + max(1, len(units) // 16) for layer, units in expandable(graph).items()
    }
    wide = gauge(expand(model, widths))
    pruned, certificate = prune(wide)
    least = {layer: len(units) for layer, units in graph.writers.items()}
    assert {layer["name"]: layer["units_after"] for layer in certificate.layers} == least
    assert certificate.verified
    assert certificate.max_rel_deviation <= 1e-5
    assert pruned.count_params() == model.count_params()
