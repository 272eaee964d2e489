"""Backbones of KerasHub, small and with random weights: their blocks are opened, and what is
planted in them goes."""

import importlib.util

import keras
import pytest

from keras_l2feat.pruning import prune
from keras_l2feat.pruning.channels.read import read

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("keras_hub") is None, reason="keras-hub is not installed"
    ),
]

HEADS, HIDDEN, INNER = 3, 12, 20
TEXT = dict(
    vocabulary_size=30,
    num_layers=1,
    num_heads=HEADS,
    hidden_dim=HIDDEN,
    intermediate_dim=INNER,
)
BACKBONES = {
    "BertBackbone": dict(TEXT, max_sequence_length=8),
    "GPT2Backbone": dict(TEXT, max_sequence_length=8),
    "WhisperBackbone": dict(TEXT, max_encoder_sequence_length=8, max_decoder_sequence_length=8),
}


def backbone(name, **options):
    import keras_hub

    keras.utils.set_random_seed(0)
    return getattr(keras_hub.models, name)(**options)


def parts(model):
    """Its attention layers, and the first layers of its perceptrons."""
    inside = model._flatten_layers(include_self=False)
    found = list({id(layer): layer for layer in inside}.values())
    attention = [f for f in found if isinstance(f, keras.layers.MultiHeadAttention)]
    dense = [f for f in found if isinstance(f, keras.layers.Dense) and f.units == INNER]
    return attention, dense


def change(layer, function):
    for variable in layer.weights:
        array = variable.numpy().copy()
        function(array)
        variable.assign(array)


def copied_head(array):
    array[..., 2, :] = array[..., 0, :]


def doubled_dimension(array):
    array[..., 3] = 2 * array[..., 1]


def doubled_unit(array):
    array[..., 4] = array[..., 2]


@pytest.mark.parametrize("name", BACKBONES)
def test_what_is_planted_in_a_backbone_goes(name):
    model = backbone(name, **BACKBONES[name])
    attention, dense = parts(model)
    assert attention
    assert dense
    for layer in attention:
        for part in (layer._query_dense, layer._key_dense, layer._value_dense):
            change(part, copied_head)
        for part in (layer._key_dense, layer._value_dense):
            change(part, doubled_dimension)
    for layer in dense:
        change(layer, doubled_unit)
    pruned, certificate = prune(model)
    assert certificate.verified
    assert certificate.verdict.accepted
    assert certificate.read_as.startswith("Its layers were read")
    left = [f for f in pruned.layers if isinstance(f, keras.layers.MultiHeadAttention)]
    sizes = [(f.num_heads, f.key_dim, f.value_dim) for f in left]
    assert sizes == [(HEADS - 1, 3, 3)] * len(attention)
    widths = [f.units for f in pruned.layers if isinstance(f, keras.layers.Dense)]
    assert widths.count(INNER - 1) == len(dense)
    assert INNER not in widths
    assert [f.num_heads for f in parts(model)[0]] == [HEADS] * len(attention)


def test_a_block_that_cannot_be_opened_says_why():
    model = backbone(
        "GemmaBackbone",
        vocabulary_size=30,
        num_layers=1,
        num_query_heads=2,
        num_key_value_heads=1,
        hidden_dim=8,
        intermediate_dim=12,
        head_dim=4,
    )
    graph = read(model)
    assert graph.model is model
    assert "is not symbolic" in graph.barriers["decoder_block_0"]
    pruned, certificate = prune(model)
    assert pruned is model
    assert certificate.verified


def test_a_layer_that_its_config_does_not_describe_is_named():
    model = backbone(
        "ViTBackbone",
        image_shape=(8, 8, 3),
        patch_size=4,
        num_layers=1,
        num_heads=HEADS,
        hidden_dim=HIDDEN,
        mlp_dim=INNER,
    )
    graph = read(model)
    assert graph.model is model
    assert "ViTPatchingAndEmbedding" in graph.barriers["vit_encoder"]
