"""Single rules of the channel graph whose breaking would be a wrong model: borders, barriers,
sharing, formats."""

import keras
import numpy as np
import pytest
from gauge import gauge
from keras import layers

from keras_l2feat.errors import InputError
from keras_l2feat.files import load_model
from keras_l2feat.pruning import prune
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.evaluate import outputs
from keras_l2feat.pruning.expand import expand
from keras_l2feat.pruning.guarantees.exact import exact_plan


def filled(model, seed=0):
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        value = generator.standard_normal(weight.shape) / np.sqrt(
            max(1, np.prod(weight.shape[:-1]))
        )
        weight.assign(np.abs(value) + 0.5 if "variance" in weight.path else value)
    return model


def constant_channel(layer, channel=1, value=0.8):
    kernel, bias = (w.copy() for w in layer.get_weights())
    kernel[..., channel], bias[channel] = 0.0, value
    layer.set_weights([kernel, bias])


def widths(model):
    return {name: len(units) for name, units in read(model).writers.items()}


@pytest.mark.parametrize("padding, left", [("valid", 3), ("same", 4)])
def test_a_constant_is_folded_unless_padding_makes_it_none(padding, left):
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, activation="relu", name="first")(inputs)
    model = filled(keras.Model(inputs, layers.Conv2D(3, 3, padding=padding, name="end")(x)))
    constant_channel(model.get_layer("first"))
    pruned, certificate = prune(model)
    assert widths(pruned)["first"] == left
    assert certificate.verified


def test_two_constants_next_to_same_padding_are_one():
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, activation="relu", name="first")(inputs)
    model = filled(keras.Model(inputs, layers.Conv2D(3, 3, padding="same", name="end")(x)))
    constant_channel(model.get_layer("first"), 1, 0.8)
    constant_channel(model.get_layer("first"), 2, 0.2)
    pruned, certificate = prune(model)
    assert widths(pruned)["first"] == 3
    assert certificate.verified


@pytest.mark.parametrize("zero", [False, True])
def test_a_reader_without_bias_keeps_a_constant(zero):
    inputs = keras.Input((3,))
    x = layers.Dense(4, activation="relu", name="first")(inputs)
    model = filled(keras.Model(inputs, layers.Dense(2, use_bias=False)(x)))
    constant_channel(model.get_layer("first"), 1, 0.0 if zero else 0.8)
    assert widths(prune(model)[0])["first"] == (3 if zero else 4)


def aligned_pair(layer, ratio=2.0):
    weights = [w.copy() for w in layer.get_weights()]
    for weight in weights:
        weight[..., 1] = ratio * weight[..., 0]
    layer.set_weights(weights)


@pytest.mark.parametrize(
    "between",
    [
        lambda: layers.LayerNormalization(),
        lambda: layers.Softmax(),
        lambda: layers.GroupNormalization(1),
        lambda: layers.Lambda(lambda x: x[..., ::-1]),
        lambda: layers.UnitNormalization(),
    ],
)
def test_what_couples_channels_is_a_barrier_and_the_rest_is_pruned(between):
    inputs = keras.Input((5, 3))
    x = layers.Dense(4, activation="relu", name="before")(inputs)
    x = between()(x)
    x = layers.Dense(6, activation="relu", name="after")(x)
    model = filled(keras.Model(inputs, layers.Dense(2)(x)))
    aligned_pair(model.get_layer("before"))
    aligned_pair(model.get_layer("after"))
    pruned, certificate = prune(model)
    found = widths(pruned)
    assert (found["before"], found["after"]) == (4, 5)
    assert list(certificate.barriers) == [model.layers[2].name]
    assert certificate.verified


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("groups", [2, 4])
def test_groups_lose_a_channel_each(groups, padding):
    """Groups stay of one size: what is redundant in one of them alone stays."""
    inputs = keras.Input((9, 2))
    x = layers.Conv1D(12, 1, activation="relu", name="before")(inputs)
    x = layers.Conv1D(12, 3, groups=groups, padding=padding, activation="relu", name="groups")(x)
    model = filled(keras.Model(inputs, layers.Conv1D(2, 1, name="end")(x)))
    size, before, grouped = 12 // groups, model.get_layer("before"), model.get_layer("groups")
    for layer, group, left in [
        (before, 0, 12),
        *((before, g, 12 if g < groups - 1 else 12 - groups) for g in range(1, groups)),
        *((grouped, g, 12 if g < groups - 1 else 12 - groups) for g in range(groups)),
    ]:
        weights = [w.copy() for w in layer.get_weights()]
        for weight in weights:
            weight[..., group * size + 1] = 2 * weight[..., group * size]
        layer.set_weights(weights)
        pruned, certificate = prune(model)
        assert certificate.verified
        assert not certificate.barriers
        assert widths(pruned)[layer.name] == left
    assert pruned.get_layer("groups").groups == groups


@pytest.mark.slow
@pytest.mark.parametrize("groups", [3, 12])
def test_what_goes_together_is_no_obstacle_to_other_levels(groups):
    inputs = keras.Input((9, 2))
    x = layers.Conv1D(12, 1, activation="relu")(inputs)
    x = layers.Conv1D(12, 3, groups=groups, padding="same", activation="relu")(x)
    model = filled(keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(x))))
    x = np.random.default_rng(0).standard_normal((30, 9, 2)).astype("float32")
    expected = outputs(model, [x])
    for other in (expand(model, factor=2), gauge(model)):
        np.testing.assert_allclose(outputs(other, [x]), expected, atol=1e-5)
    for level in (
        {"guarantee": "data", "data": x},
        {"guarantee": "bounded", "tolerance": 0.05, "data": x},
        {"guarantee": "domain", "input_range": (-1, 1)},
    ):
        assert prune(model, **level)[1].verified


@pytest.mark.parametrize("multiplier", [1, 2])
def test_a_group_a_channel_is_a_depthwise_convolution(multiplier):
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(5, 1, activation="relu", name="before")(inputs)
    filters = 5 * multiplier
    x = layers.Conv2D(filters, 3, groups=5, padding="same", activation="relu", name="groups")(x)
    model = filled(keras.Model(inputs, layers.Conv2D(2, 1, name="end")(x)))
    aligned_pair(model.get_layer("before"))
    kernel, bias = (w.copy() for w in model.get_layer("groups").get_weights())
    for k in range(multiplier):
        kernel[..., multiplier + k] = kernel[..., k]
        bias[multiplier + k] = 2 * bias[k]
    model.get_layer("groups").set_weights([kernel, bias])
    pruned, certificate = prune(model)
    assert certificate.verified
    assert widths(pruned)["before"] == 4
    layer = pruned.get_layer("groups")
    assert (layer.groups, layer.filters) == (4, 4 * multiplier)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_time_distributed_layers_are_opened(activation):
    inputs = keras.Input((5, 3))
    x = layers.TimeDistributed(layers.Dense(6), name="hidden")(inputs)
    x = layers.TimeDistributed(layers.Activation(activation))(x)
    x = layers.TimeDistributed(layers.Dense(4, activation="relu"), name="deep")(x)
    model = filled(keras.Model(inputs, layers.Dense(2)(x)))
    aligned_pair(model.get_layer("hidden"), 2.0 if activation == "relu" else 1.0)
    aligned_pair(model.get_layer("deep"))
    pruned, certificate = prune(model)
    assert certificate.verified
    assert not certificate.barriers
    assert (widths(pruned)["hidden"], widths(pruned)["deep"]) == (5, 3)
    assert pruned.get_layer("hidden").layer.units == 5


@pytest.mark.parametrize("gate", ["gelu", "silu", "sigmoid"])
def test_gated_layers_lose_what_is_redundant_in_both_branches(gate):
    """GeGLU, SwiGLU, GLU: equal gates, and values that are multiples."""
    inputs = keras.Input((3,))
    gates = layers.Dense(6, activation=gate, name="gate")(inputs)
    values = layers.Dense(6, use_bias=False, name="value")(inputs)
    model = filled(keras.Model(inputs, layers.Dense(2)(layers.Multiply()([gates, values]))))
    aligned_pair(model.get_layer("value"), -3.0)
    assert prune(model)[0] is model
    aligned_pair(model.get_layer("gate"), 1.0)
    pruned, certificate = prune(model)
    assert certificate.verified
    assert (widths(pruned)["gate"], widths(pruned)["value"]) == (5, 5)


@pytest.mark.parametrize("mode", ["int8", "int4", "float8"])
def test_quantized_layers_are_barriers_with_their_reason(mode):
    inputs = keras.Input((4,))
    x = layers.Dense(6, activation="relu", name="first")(inputs)
    x = layers.Dense(6, activation="relu", name="quantized")(x)
    x = layers.Dense(6, activation="relu", name="last")(x)
    model = filled(keras.Model(inputs, layers.Dense(2)(x)))
    for name in ("first", "last"):
        aligned_pair(model.get_layer(name))
    model.get_layer("quantized").quantize(mode)
    pruned, certificate = prune(model)
    assert certificate.verified
    assert certificate.barriers == {"quantized": f"its weights are quantized ({mode})"}
    assert (widths(pruned)["first"], widths(pruned)["last"]) == (6, 5)
    x = np.random.default_rng(0).standard_normal((9, 4)).astype("float32")
    np.testing.assert_allclose(pruned(x), model(x), atol=1e-5)


def test_a_shared_layer_merges_only_what_every_call_allows():
    left, right = keras.Input((3,)), keras.Input((3,))
    first, second = (
        layers.Dense(4, activation="relu", name="a"),
        layers.Dense(4, activation="relu", name="b"),
    )
    shared = layers.Dense(5, activation="relu", name="shared")
    x = layers.Concatenate()([shared(first(left)), shared(second(right))])
    model = filled(keras.Model([left, right], layers.Dense(2)(x)))
    aligned_pair(model.get_layer("a"))
    assert (
        widths(prune(model)[0])["a"] == 4
    )  # b's units 0 and 1 are read by the same rows, and are not aligned
    aligned_pair(model.get_layer("b"), 3.0)
    assert widths(prune(model)[0])["a"] == 4  # aligned in both, but by different factors
    aligned_pair(model.get_layer("b"), 2.0)
    pruned, certificate = prune(model)
    assert (widths(pruned)["a"], widths(pruned)["b"]) == (3, 3)
    assert certificate.verified


def test_outputs_keep_their_channels():
    inputs = keras.Input((3,))
    hidden = layers.Dense(4, activation="relu", name="hidden")
    x = hidden(inputs)
    model = filled(keras.Model(inputs, [x, layers.Dense(2, name="end")(x)]))
    aligned_pair(hidden)
    assert prune(model)[0] is model


def test_dict_inputs_and_outputs_stay():
    inputs = {"a": keras.Input((3,), name="a"), "b": keras.Input((2,), name="b")}
    x = layers.Concatenate()(
        [layers.Dense(4, activation="relu", name="hidden")(inputs["a"]), inputs["b"]]
    )
    model = filled(keras.Model(inputs, {"y": layers.Dense(2, name="y")(x)}))
    aligned_pair(model.get_layer("hidden"))
    pruned, certificate = prune(model)
    assert certificate.verified
    given = {"a": np.ones((2, 3), "float32"), "b": np.ones((2, 2), "float32")}
    np.testing.assert_allclose(pruned(given)["y"], model(given)["y"], rtol=1e-5)


def test_nested_models_are_opened():
    inner = keras.Sequential(
        [keras.Input((3,)), layers.Dense(4, activation="relu", name="deep")], name="inner"
    )
    inputs = keras.Input((3,))
    model = filled(keras.Model(inputs, layers.Dense(2)(inner(inputs))))
    aligned_pair(inner.get_layer("deep"))
    pruned, certificate = prune(model)
    assert pruned.get_layer("inner").get_layer("deep").units == 3
    assert certificate.layers[0]["name"] == "inner/deep"


def block(width, *inner, name):
    return keras.Sequential([keras.Input((width,)), *inner], name=name)


def sequential_in_sequential():
    hidden = layers.Dense(4, activation="relu", name="hidden")
    deeper = block(4, block(4, layers.Dense(5, activation="relu"), name="deeper"), name="head")
    return keras.Sequential([keras.Input((3,)), hidden, deeper, layers.Dense(2)]), 3


def functional_head():
    x = keras.Input((4,))
    head = keras.Model([x], [layers.Dense(2)(layers.Dropout(0.1)(x))], name="head")
    inputs = keras.Input((3,))
    return keras.Model(inputs, head(layers.Dense(4, activation="relu", name="hidden")(inputs))), 3


def siamese_head_without_weights():
    head = block(4, layers.ReLU(), name="head")
    inputs = keras.Input((3,))
    left, right = (layers.Dense(4, name=name)(inputs) for name in ("hidden", "other"))
    return keras.Model(inputs, [layers.Dense(2)(head(left)), layers.Dense(2)(head(right))]), 4


def residual_around_a_model():
    inner = block(4, layers.Dense(4, activation="relu", name="deep"), name="inner")
    inputs = keras.Input((3,))
    x = layers.Dense(4, activation="relu", name="hidden")(inputs)
    return keras.Model(inputs, layers.Dense(2)(layers.Add()([x, inner(x)]))), 4


def a_model_of_images_and_its_two_inputs():
    first, second = keras.Input((None, None, 4)), keras.Input((6, 6, 2), name="second")
    x = layers.Concatenate()([layers.MaxPooling2D(2)(first), second])
    head = keras.Model([first, second], layers.Conv2D(2, 1)(x), name="head")
    inputs = keras.Input((12, 12, 2))
    x = layers.Conv2D(4, 3, activation="relu", padding="same", name="hidden")(inputs)
    return keras.Model(inputs, head([x, layers.AveragePooling2D(2)(inputs)])), 3


@pytest.mark.parametrize(
    "make",
    [
        sequential_in_sequential,
        functional_head,
        siamese_head_without_weights,
        residual_around_a_model,
        a_model_of_images_and_its_two_inputs,
    ],
)
def test_what_a_nested_model_reads_is_pruned(make, tmp_path):
    model, left = make()
    aligned_pair(filled(model).get_layer("hidden"))
    if left == 4:  # tied to another layer's units: both have to be aligned
        assert prune(model)[0] is model
        other = next(layer for layer in read(model).writers if layer.endswith(("other", "deep")))
        aligned_pair(read(model).layers[other])
    pruned, certificate = prune(model)
    assert certificate.verified
    assert widths(pruned)["hidden"] == 3
    keras.saving.save_model(pruned, tmp_path / "pruned.keras")
    again = keras.saving.load_model(tmp_path / "pruned.keras")
    shape = tuple(s or 5 for s in model.inputs[0].shape[1:])
    x = [np.random.default_rng(0).standard_normal((4, *shape)).astype("float32")]
    np.testing.assert_allclose(outputs(again, x), outputs(model, x), atol=1e-5)


def test_a_shared_reshape_keeps_one_size():
    inputs, fold = keras.Input((3,)), layers.Reshape((1, 4))
    left, right = (layers.Dense(4, activation="relu", name=name) for name in ("hidden", "other"))
    outs = [layers.Dense(2)(fold(layer(inputs))) for layer in (left, right)]
    model = filled(keras.Model(inputs, outs))
    aligned_pair(left)
    assert prune(model)[0] is model
    aligned_pair(right)
    pruned, certificate = prune(model)
    assert (widths(pruned)["hidden"], widths(pruned)["other"]) == (3, 3)
    assert certificate.verified


def test_a_call_written_anew_is_not_read_from_the_graph():
    class Twice(keras.Model):
        def call(self, x):
            return 2 * super().call(x)

    inputs = keras.Input((3,))
    model = Twice(inputs, layers.Dense(2)(inputs))
    graph = read(model)
    x = [np.ones((2, 3), "float32")]
    once = keras.Model(model.inputs, model.outputs)
    np.testing.assert_allclose(outputs(graph.model, x), 2 * outputs(once, x))


def test_what_a_copy_trains_is_what_the_model_trains():
    model, _ = residual_around_a_model()
    model.get_layer("inner").get_layer("deep").trainable = False
    aligned_pair(filled(model).get_layer("hidden"))
    aligned_pair(model.get_layer("inner").get_layer("deep"))
    pruned = prune(model)[0]
    assert [w.trainable for w in pruned.weights] == [w.trainable for w in model.weights]


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_a_stateful_layer_and_a_batch_of_fixed_size(kind, tmp_path):
    recurrent = getattr(layers, kind)(4, stateful=True)
    hidden = layers.Dense(6, activation="relu", name="hidden")
    inputs = keras.Input((5, 3), batch_size=3)
    model = filled(keras.Model(inputs, layers.Dense(2)(recurrent(hidden(inputs)))))
    aligned_pair(hidden)
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    pruned, certificate = prune(loaded, data=np.ones((7, 5, 3), "float32"))
    assert widths(pruned)["hidden"] == 5
    assert certificate.verified
    x = np.random.default_rng(0).standard_normal((7, 5, 3)).astype("float32")
    np.testing.assert_allclose(outputs(pruned, [x]), outputs(model, [x]), atol=1e-5)
    np.testing.assert_array_equal(outputs(model, [x[:3]])[0], outputs(model, [x])[0])


@pytest.mark.parametrize("constraint", ["unit_norm", "max_norm", "min_max_norm", "non_neg"])
def test_balancing_keeps_constraints(constraint):
    hidden = layers.Dense(6, activation="relu", kernel_constraint=constraint, name="hidden")
    model = filled(keras.Sequential([keras.Input((5,)), hidden, layers.Dense(2)]))
    hidden.kernel.assign(hidden.kernel.constraint(hidden.kernel * 9.0))
    aligned_pair(hidden, 1.0)
    pruned, certificate = prune(model)
    assert certificate.verified
    kernel = pruned.get_layer("hidden").kernel
    assert kernel.shape[1] < 6
    np.testing.assert_allclose(kernel, kernel.constraint(kernel), rtol=1e-6)


def test_flatten_and_channels_in_front():
    inputs = keras.Input((3, 4, 2))
    x = layers.Permute((3, 1, 2))(layers.Conv2D(4, 1, activation="relu", name="conv")(inputs))
    model = filled(keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x))))
    aligned_pair(model.get_layer("conv"))
    pruned, certificate = prune(model)
    assert widths(pruned)["conv"] == 3
    assert certificate.verified


def test_the_slope_of_a_channel_counts():
    inputs = keras.Input((3,))
    x = layers.PReLU(name="slopes")(layers.Dense(4, name="hidden")(inputs))
    model = filled(keras.Model(inputs, layers.Dense(2)(x)))
    aligned_pair(model.get_layer("hidden"))
    assert prune(model)[0] is model
    model.get_layer("slopes").alpha.assign([0.3, 0.3, 0.1, 0.2])
    assert widths(prune(model)[0])["hidden"] == 3


class ForgetfulLayer(layers.Layer):
    """As some layers of other packages: its config names what `__init__` does not take."""

    def build(self, shape):
        self.factor = self.add_weight(shape=(), initializer="ones")

    def call(self, x, mask=None):
        return x * self.factor

    def get_config(self):
        return {**super().get_config(), "number": 1}


class SilentLayer(ForgetfulLayer):
    def get_config(self):
        return {"name": self.unknown}


@pytest.mark.parametrize("kind", [ForgetfulLayer, SilentLayer])
def test_layers_that_their_config_does_not_describe(kind):
    inputs = keras.Input((3,))
    hidden = layers.Dense(4, activation="relu", name="hidden")
    x = layers.Dense(2)(hidden(kind(name="odd")(inputs)))
    model = filled(keras.Model(inputs, x))
    pruned, certificate = prune(model)
    assert pruned is model
    assert certificate.verified
    assert model.get_layer("odd").output is not None  # it was not called on anything else
    aligned_pair(hidden)
    with pytest.raises(InputError, match=r"Layer 'odd' of class .* cannot be made again"):
        prune(model)


def test_weights_of_other_dtypes():
    for dtype in ("float16", "bfloat16", "mixed_float16"):
        inputs = keras.Input((40,))
        x = layers.Dense(6, activation="relu", name="hidden", dtype=dtype)(inputs)
        model = filled(keras.Model(inputs, layers.Dense(2, dtype=dtype)(x)))
        aligned_pair(model.get_layer("hidden"))
        pruned, certificate = prune(model)
        assert widths(pruned)["hidden"] == 5
        assert pruned.get_layer("hidden").variable_dtype == model.get_layer("hidden").variable_dtype
        assert certificate.verified


def test_models_that_cannot_be_read():
    with pytest.raises(InputError, match="not built"):
        prune(keras.Sequential([layers.Dense(3)]))


def test_a_model_on_tokens():
    tokens = keras.Input((4,), dtype="int32")
    x = layers.GlobalAveragePooling1D()(layers.Embedding(9, 5, name="table")(tokens))
    model = filled(keras.Model(tokens, layers.Dense(2)(x)))
    table = model.get_layer("table").get_weights()[0].copy()
    table[:, 1] = 2 * table[:, 0]
    model.get_layer("table").set_weights([table])
    pruned, certificate = prune(model)
    assert widths(pruned)["table"] == 4
    assert certificate.verified
    x = [np.arange(8).reshape(2, 4)]
    np.testing.assert_allclose(outputs(pruned, x), outputs(model, x), rtol=1e-5)


ARITHMETIC = {
    "x + 3": lambda x: x + 3,
    "3 + x": lambda x: 3 + x,
    "x - 0.5": lambda x: x - 0.5,
    "6 - x": lambda x: 6 - x,
    "-x": lambda x: -x,
    "x * (1 / 6)": lambda x: x * (1 / 6),
    "2 * x": lambda x: 2 * x,
    "x / 6": lambda x: x / 6,
    "an array": lambda x: x * np.array([[0.5]], "float32") + np.float32(1),
    "a tensor": lambda x: keras.ops.convert_to_tensor(2.0) * x,
    "nothing": lambda x: x * 0,
    "relu": lambda x: keras.ops.maximum(x, 0.0),
    "a cap": lambda x: keras.ops.minimum(4.0, x),
    "clip": lambda x: keras.ops.clip(x, -0.5, 0.5),
    "leaky": lambda x: keras.ops.leaky_relu(x - 0.1),
    "gelu": keras.ops.gelu,
    "exp": lambda x: keras.ops.exp(-keras.ops.square(x)),
}


@pytest.mark.parametrize("kind", ARITHMETIC)
@pytest.mark.parametrize("input_range", [None, (-1.0, 1.0)])
def test_arithmetic_with_numbers_is_understood(kind, input_range):
    """One unit of an identical pair goes, and a constant one where its value can be told."""
    inputs = keras.Input((3,))
    x = layers.Dense(6, activation="relu", name="hidden")(inputs)
    x = ARITHMETIC[kind](x)
    model = filled(keras.Model(inputs, layers.Dense(2)(layers.ReLU()(x))))
    hidden = model.get_layer("hidden")
    aligned_pair(hidden, 1.0)
    constant_channel(hidden, 3)
    level = {"guarantee": "domain", "input_range": input_range} if input_range else {}
    pruned, certificate = prune(model, **level)
    assert widths(pruned)["hidden"] <= (5 if kind == "exp" else 4)
    assert certificate.verified
    assert not certificate.barriers


def test_what_arithmetic_does_not_keep_is_not_merged():
    inputs = keras.Input((3,))
    for change, left in (
        (lambda x: x + 3, 6),  # a multiple and a shift: no multiple any more
        (lambda x: x * 0.5, 5),
        (lambda x: x + np.arange(6, dtype="float32"), 6),  # nothing of it goes with a unit
        (lambda x: 6 / (1 + x), 6),
        (lambda x: x + np.ones((4, 6), "float32"), 6),  # a value for each point of a batch
        (lambda x: x / 0.0, 6),
    ):
        x = layers.Dense(6, activation="relu", name="hidden")(inputs)
        model = filled(keras.Model(inputs, layers.Dense(2)(layers.ReLU()(change(x)))))
        aligned_pair(model.get_layer("hidden"))
        assert widths(read(model).model)["hidden"] == 6
        plan = exact_plan(read(model))
        assert len(plan.removed) == 6 - left


def test_operations_of_keras_ops():
    inputs = keras.Input((3,))
    x = layers.Dense(4, activation="relu", name="hidden")(inputs)
    x = keras.ops.relu(x + layers.Dense(4, name="other")(inputs))
    x = layers.Dense(5, activation="relu", name="free")(keras.ops.cumsum(x, axis=1))
    model = filled(keras.Model(inputs, layers.Dense(2)(x)))
    for name in ("hidden", "other", "free"):
        aligned_pair(model.get_layer(name))
    pruned, certificate = prune(model)
    assert widths(pruned) == {"hidden": 4, "other": 4, "free": 4, model.layers[-1].name: 2}
    assert len(certificate.barriers) == 1
    assert certificate.verified
