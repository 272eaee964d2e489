"""Attention: planted heads and dimensions go, the checker proves it, and what is not so is
refused."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_l2feat.checking import check
from keras_l2feat.errors import CheckFailed
from keras_l2feat.pruning import prune
from keras_l2feat.pruning.channels.read import read

POSITIONS, FEATURES, HEADS, KEY, VALUE = 5, 7, 3, 4, 4


def attention(kind="MultiHeadAttention", mask=False, cross=False, **options):
    """A float64 model around one attention layer, its weights random."""
    keras.config.set_dtype_policy("float64")
    try:
        x = keras.Input((POSITIONS, FEATURES))
        y = layers.Dense(6, "tanh", name="other")(x) if cross else x
        if kind == "MultiHeadAttention":
            layer = layers.MultiHeadAttention(HEADS, KEY, VALUE, name="attention", **options)
        else:
            layer = layers.GroupQueryAttention(KEY, 2 * HEADS, HEADS, name="attention", **options)
        h = layer(x, y, use_causal_mask=mask)
        model = keras.Model(x, layers.Dense(3, name="end")(h))
    finally:
        keras.config.set_dtype_policy("float32")
    random = np.random.default_rng(0)
    model.set_weights([random.standard_normal(w.shape) for w in model.get_weights()])
    return model


def edit(model, change, *parts):
    """Change kernel and bias of projections in place, by their last two axes (head, dimension)."""
    layer = model.get_layer("attention")
    for part in parts:
        dense = getattr(layer, f"_{part}_dense")
        for variable in (dense.kernel, dense.bias) if dense.bias is not None else (dense.kernel,):
            array = variable.numpy().copy()
            change(array)
            variable.assign(array)


def proved(model, *, exact=False):
    """What prune leaves, after the checker has proved it and both have been run."""
    pruned, certificate = prune(model)
    assert certificate.verified
    assert certificate.verdict.accepted
    if exact:
        assert check(read(model), read(pruned), certificate.maps, exact=True).accepted
    x = np.random.default_rng(1).standard_normal((6, *model.input_shape[1:]))
    expected = keras.ops.convert_to_numpy(model(x))
    found = keras.ops.convert_to_numpy(pruned(x))
    np.testing.assert_allclose(found, expected, atol=1e-10 * np.abs(expected).max())
    return pruned, certificate


def sizes(model):
    config = model.get_layer("attention").get_config()
    return tuple(config[key] for key in ("num_heads", "key_dim", "value_dim"))


def dependent_dimensions(array):
    array[..., 0, 3] = 2 * array[..., 0, 1] - array[..., 0, 0]
    array[..., 1, 0] = -3 * array[..., 1, 2]
    array[..., 2, 2] = array[..., 2, 0] + 0.5 * array[..., 2, 1] - array[..., 2, 3]


def turned_head(side):
    """Head 2 as head 0 in another basis of queries and keys: the same products."""
    turn = np.random.default_rng(5).standard_normal((KEY, KEY))
    turn = turn if side == "query" else np.linalg.inv(turn).T

    def change(array):
        array[..., 2, :] = array[..., 0, :] @ turn

    return change


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("bias", [True, False])
def test_dependent_dimensions_of_values_go(mask, bias):
    model = attention(mask=mask, use_bias=bias)
    edit(model, dependent_dimensions, "value")
    assert sizes(proved(model, exact=True)[0]) == (HEADS, KEY, VALUE - 1)


@pytest.mark.parametrize("part", ["query", "key"])
@pytest.mark.parametrize("cross", [False, True])
def test_dependent_dimensions_of_queries_and_keys_go(part, cross):
    model = attention(cross=cross)
    edit(model, dependent_dimensions, part)
    assert sizes(proved(model, exact=True)[0]) == (HEADS, KEY - 1, VALUE)


def test_a_constant_in_the_keys_is_not_seen():
    model = attention()

    def constant(array):
        if array.ndim == 3:
            array[..., 1] = 0.0

    edit(model, constant, "key")
    assert sizes(proved(model)[0]) == (HEADS, KEY - 1, VALUE)
    model = attention()
    edit(model, constant, "query")  # a constant query still weighs the keys
    assert prune(model)[0] is model


def test_heads_stay_of_one_size():
    model = attention()

    def one_head(array):
        array[..., 0, 3] = 2 * array[..., 0, 1] - array[..., 0, 0]

    edit(model, one_head, "value", "key")
    assert prune(model)[0] is model


@pytest.mark.parametrize("gate", [False, True])
def test_a_dead_head_goes(gate):
    model = attention(use_gate=gate)
    kernel = model.get_layer("attention")._output_dense.kernel
    array = kernel.numpy().copy()
    array[1] = 0.0
    kernel.assign(array)
    assert sizes(proved(model, exact=True)[0]) == (HEADS - 1, KEY, VALUE)


def identical_heads():
    model = attention()
    for part in ("query", "key"):
        edit(model, turned_head(part), part)

    def values(array):
        array[..., 2, :] = 2 * array[..., 0, ::-1]

    edit(model, values, "value")
    return model


def test_heads_of_one_pattern_share_their_values():
    assert sizes(proved(identical_heads(), exact=True)[0]) == (HEADS - 1, KEY, VALUE)


def test_heads_of_other_patterns_do_not():
    model = identical_heads()

    def apart(array):
        array[0, 2, 1] += 1e-3

    layer = model.get_layer("attention")
    array = layer._query_dense.kernel.numpy().copy()
    apart(array)
    layer._query_dense.kernel.assign(array)
    assert prune(model)[0] is model


def grouped_dimensions(array):
    """In all heads that share keys the same."""
    for head in range(array.shape[-2]):
        array[..., head, 3] = array[..., head, 0] - 2 * array[..., head, 1]


def test_grouped_queries():
    model = attention("GroupQueryAttention")
    edit(model, grouped_dimensions, "query", "value")
    layer = proved(model, exact=True)[0].get_layer("attention")
    assert (layer.head_dim, layer.num_query_heads, layer.num_key_value_heads) == (KEY - 1, 6, 3)
    model = attention("GroupQueryAttention")
    edit(model, grouped_dimensions, "value")  # queries and keys need all of theirs
    assert prune(model)[0] is model
    kernel = model.get_layer("attention")._output_dense.kernel
    array = kernel.numpy().copy()
    array[2:4] = 0.0
    kernel.assign(array)
    layer = proved(model)[0].get_layer("attention")
    assert (layer.head_dim, layer.num_query_heads, layer.num_key_value_heads) == (KEY, 4, 2)


def test_what_attention_reads_and_writes():
    """Units before it are merged, its own outputs too."""
    keras.config.set_dtype_policy("float64")
    try:
        x = keras.Input((POSITIONS, 3))
        h = layers.Dense(FEATURES, "relu", name="before")(x)
        layer = layers.MultiHeadAttention(HEADS, KEY, VALUE, name="attention")
        model = keras.Model(x, layers.Dense(3)(layers.ReLU()(layer(h, h))))
    finally:
        keras.config.set_dtype_policy("float32")
    random = np.random.default_rng(0)
    model.set_weights([random.standard_normal(w.shape) for w in model.get_weights()])
    for dense in (model.get_layer("before"), layer._output_dense):
        for variable in (dense.kernel, dense.bias):
            array = variable.numpy().copy()
            array[..., 4] = 2 * array[..., 1]
            variable.assign(array)
    edit(model, dependent_dimensions, "key", "value")
    pruned, _ = proved(model, exact=True)
    assert pruned.get_layer("before").units == FEATURES - 1
    assert pruned.get_layer("attention").weights[-1].shape == (FEATURES - 1,)
    assert sizes(pruned) == (HEADS, KEY - 1, VALUE - 1)


def test_masked_positions_are_not_a_mean():
    """With a mask, weights may add up to 0: a constant value is none."""
    tokens = keras.Input((POSITIONS,), dtype="int32")
    h = layers.Embedding(9, FEATURES, mask_zero=True)(tokens)
    layer = layers.MultiHeadAttention(HEADS, KEY, VALUE, name="attention")
    model = keras.Model(tokens, layers.Dense(3)(layer(h, h)))
    random = np.random.default_rng(0)
    model.set_weights([random.standard_normal(w.shape) for w in model.get_weights()])

    def constant(array):
        if array.ndim == 3:
            array[..., 1] = 0.0

    edit(model, constant, "value")
    assert prune(model)[0] is model
    edit(model, dependent_dimensions, "value")
    pruned, certificate = prune(model)
    assert certificate.verified
    assert sizes(pruned) == (HEADS, KEY, VALUE - 1)


@pytest.mark.parametrize("part", ["query", "key", "value", "output"])
def test_moved_weights_are_refused(part):
    model = attention()
    edit(model, dependent_dimensions, "key", "value")
    pruned, certificate = proved(model)
    graphs = read(model), read(pruned)
    dense = getattr(pruned.get_layer("attention"), f"_{part}_dense")
    for place in [(0, 0, 0), (3, 1, 2)] if part != "output" else [(0, 0, 0), (2, 1, 4)]:
        before = dense.kernel.numpy()
        moved = before.copy()
        moved[place] *= 1 + 1e-12
        dense.kernel.assign(moved)
        assert not check(*graphs, certificate.maps).accepted
        dense.kernel.assign(before)
    assert check(*graphs, certificate.maps).accepted


def test_a_wrong_scale_is_refused():
    """Without the factor that the fewer dimensions need."""
    model = attention()
    edit(model, dependent_dimensions, "key")
    pruned, certificate = proved(model)
    dense = pruned.get_layer("attention")._query_dense
    for variable in (dense.kernel, dense.bias):
        variable.assign(variable * np.sqrt(KEY / (KEY - 1)))
    verdict = check(read(model), read(pruned), certificate.maps)
    assert "products of a head" in str(verdict)


@pytest.mark.parametrize("kind", ["another head", "another dimension"])
def test_a_wrong_plan_is_refused(kind):
    model = identical_heads()
    _, certificate = proved(model)
    maps = certificate.maps
    if kind == "another head":
        maps.removed = {
            name: [VALUE + i % VALUE for i in indices] for name, indices in maps.removed.items()
        }
    else:
        maps.removed["attention/value"] = [0, 1, 2, 4]
    pruned = prune(model, certificate=False)[0]
    assert not check(read(model), read(pruned), maps).accepted


def test_a_finder_that_takes_any_heads_for_one_fails(monkeypatch):
    from keras_l2feat.pruning.values import attention as finder

    model = attention()

    def values(array):
        array[..., 2, :] = array[..., 0, :]

    edit(model, values, "value")
    monkeypatch.setattr(finder, "_patterns", lambda values, q, k: np.zeros(len(q.matrix), int))
    try:
        pruned, certificate = prune(model)
    except CheckFailed:
        return
    assert pruned is model
    assert certificate.verified


def test_quantized_attention_is_a_barrier():
    model = attention()
    model.get_layer("attention")._query_dense.quantize("int8")
    assert "quantized (int8)" in read(model).barriers["attention"]
