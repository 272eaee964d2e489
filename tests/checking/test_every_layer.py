"""Every kind of layer, twice with the same weights: whatever entry of a weight, or setting, is then
another's, a model of which answers differently is not accepted."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

from keras_l2feat.checking import Maps, check
from keras_l2feat.pruning.channels.read import read

V, S, I, F = (4,), (6, 4), (6, 6, 4), (3, 5, 5, 2)  # a vector, a series, an image, a film


def kw(kind, **fixed):
    """A layer of these settings, and of others."""
    return lambda **other: lambda x: kind(**{**fixed, **other}, name="m")(x)


# name: shape of the input, what is done to it by settings, other settings
KINDS = {
    "dense": (
        V,
        kw(L.Dense, units=3, activation="relu"),
        [dict(activation="tanh"), dict(use_bias=False)],
    ),
    "conv1d": (
        S,
        kw(L.Conv1D, filters=3, kernel_size=2),
        [dict(strides=2), dict(dilation_rate=2), dict(padding="causal"), dict(padding="same")],
    ),
    "conv2d": (
        I,
        kw(L.Conv2D, filters=4, kernel_size=3, padding="same"),
        [dict(strides=2), dict(dilation_rate=2), dict(padding="valid"), dict(groups=2)],
    ),
    "conv2dg": (
        I,
        kw(L.Conv2D, filters=4, kernel_size=3, groups=2),
        [dict(groups=4), dict(strides=2)],
    ),
    "conv2dgd": (I, kw(L.Conv2D, filters=8, kernel_size=3, groups=4), [dict(dilation_rate=2)]),
    "conv2dT": (
        I,
        kw(L.Conv2DTranspose, filters=4, kernel_size=3, strides=2),
        [dict(strides=1), dict(padding="same"), dict(output_padding=1)],
    ),
    "depthwise": (
        I,
        kw(L.DepthwiseConv2D, kernel_size=3, depth_multiplier=2),
        [dict(strides=2), dict(padding="same")],
    ),
    "separable": (
        I,
        kw(L.SeparableConv2D, filters=3, kernel_size=3, depth_multiplier=2),
        [dict(strides=2), dict(dilation_rate=2)],
    ),
    "maxpool": (
        I,
        kw(L.MaxPooling2D, pool_size=2),
        [dict(strides=1), dict(padding="same", pool_size=4)],
    ),
    "avgpool": (I, kw(L.AveragePooling2D, pool_size=2), [dict(strides=1)]),
    "gap": (I, kw(L.GlobalAveragePooling2D), [dict(keepdims=True)]),
    "gmp": (S, kw(L.GlobalMaxPooling1D), []),
    "bn": (I, kw(L.BatchNormalization), [dict(epsilon=0.5), dict(axis=1)]),
    "ln": (S, kw(L.LayerNormalization), [dict(epsilon=0.5), dict(axis=1)]),
    "rms": (S, kw(L.RMSNormalization), [dict(epsilon=0.5)]),
    "gn": (
        I,
        kw(L.GroupNormalization, groups=2),
        [dict(groups=1), dict(groups=4), dict(epsilon=0.5)],
    ),
    "in": (I, kw(L.GroupNormalization, groups=4), [dict(groups=2)]),
    "un": (S, kw(L.UnitNormalization), [dict(axis=1)]),
    "reshape": (
        I,
        kw(L.Reshape, target_shape=(9, 16)),
        [dict(target_shape=(36, 4)), dict(target_shape=(16, 9))],
    ),
    "permute": (S, kw(L.Permute, dims=(2, 1)), [dict(dims=(1, 2))]),
    "flatten": (I, kw(L.Flatten), [dict(data_format="channels_first")]),
    "lstm": (
        S,
        kw(L.LSTM, units=3),
        [
            dict(go_backwards=True),
            dict(activation="relu"),
            dict(recurrent_activation="hard_sigmoid"),
            dict(return_sequences=True),
        ],
    ),
    "gru": (S, kw(L.GRU, units=3), [dict(reset_after=False), dict(go_backwards=True)]),
    "rnn": (S, kw(L.SimpleRNN, units=3), [dict(activation="relu"), dict(go_backwards=True)]),
    "bi": (
        S,
        lambda **o: lambda x: L.Bidirectional(L.GRU(3, name="g"), name="m", **o)(x),
        [dict(merge_mode="sum"), dict(merge_mode="mul"), dict(merge_mode="ave")],
    ),
    "bistate": (
        S,
        lambda **o: (
            lambda x: L.Bidirectional(L.GRU(3, return_state=True, name="g"), name="m", **o)(x)[0]
        ),
        [dict(merge_mode="sum")],
    ),
    "stateout": (
        S,
        lambda **o: lambda x: L.LSTM(3, return_state=True, name="m", **o)(x)[1],
        [dict(go_backwards=True)],
    ),
    "stacked": (
        S,
        lambda **o: (
            lambda x: L.RNN([L.LSTMCell(3, name="c1"), L.GRUCell(3, name="c2")], name="m", **o)(x)
        ),
        [dict(go_backwards=True)],
    ),
    "mha": (
        S,
        lambda **o: (
            lambda x: L.MultiHeadAttention(**{**dict(num_heads=2, key_dim=3), **o}, name="m")(x, x)
        ),
        [dict(use_bias=False), dict(num_heads=3, key_dim=2)],
    ),
    "mhacausal": (
        S,
        lambda causal=False: (
            lambda x: L.MultiHeadAttention(2, 3, name="m")(x, x, use_causal_mask=causal)
        ),
        [dict(causal=True)],
    ),
    "mhaout": (
        S,
        lambda **o: lambda x: L.MultiHeadAttention(2, 3, output_shape=(2, 2), name="m")(x, x),
        [],
    ),
    "gqa": (
        S,
        lambda **o: lambda x: L.GroupQueryAttention(2, 4, 2, name="m", **o)(x, x),
        [dict(use_bias=False)],
    ),
    "attention": (
        S,
        lambda **o: lambda x: L.Attention(name="m", **o)([x, x]),
        [dict(score_mode="concat"), dict(use_scale=True)],
    ),
    "softmax": (S, kw(L.Softmax), [dict(axis=1)]),
    "leaky": (V, kw(L.LeakyReLU, negative_slope=0.1), [dict(negative_slope=0.4)]),
    "relu": (
        V,
        kw(L.ReLU, max_value=1.0),
        [dict(max_value=0.5), dict(threshold=0.3), dict(negative_slope=0.3)],
    ),
    "elu": (V, kw(L.ELU), [dict(alpha=0.3)]),
    "prelu": (S, kw(L.PReLU), [dict(shared_axes=[1])]),
    "activation": (
        V,
        kw(L.Activation, activation="gelu"),
        [dict(activation="silu"), dict(activation="relu")],
    ),
    "rescaling": (
        V,
        kw(L.Rescaling, scale=0.5, offset=0.1),
        [dict(scale=0.6), dict(offset=0.2), dict(scale=[0.5, 0.5, 0.5, 0.6])],
    ),
    "normalization": (
        V,
        kw(L.Normalization, mean=[1.0, 2, 3, 4], variance=[1.0, 2, 3, 4]),
        [dict(mean=[1.0, 2, 3, 5]), dict(invert=True)],
    ),
    "upsampling": (I, kw(L.UpSampling2D, size=2), [dict(interpolation="bilinear"), dict(size=3)]),
    "zeropad": (I, kw(L.ZeroPadding2D, padding=1), [dict(padding=((2, 0), (1, 1)))]),
    "crop": (I, kw(L.Cropping2D, cropping=1), [dict(cropping=((2, 0), (1, 1)))]),
    "repeat": (V, kw(L.RepeatVector, n=3), [dict(n=4)]),
    "einsum": (
        S,
        kw(L.EinsumDense, equation="abc,cd->abd", output_shape=(None, 3), bias_axes="d"),
        [dict(activation="relu"), dict(bias_axes=None)],
    ),
    "einsum2": (
        S,
        kw(L.EinsumDense, equation="abc,bcd->abd", output_shape=(6, 3), bias_axes="bd"),
        [dict(bias_axes="d")],
    ),
    "td": (
        S,
        lambda a="relu": lambda x: L.TimeDistributed(L.Dense(3, a, name="d"), name="m")(x),
        [dict(a="tanh")],
    ),
    "tdconv": (
        F,
        lambda s=1: lambda x: L.TimeDistributed(L.Conv2D(3, 2, strides=s, name="d"), name="m")(x),
        [dict(s=2)],
    ),
    "convlstm": (
        F,
        lambda **o: lambda x: L.ConvLSTM2D(2, 2, name="m", **o)(x),
        [dict(padding="same"), dict(go_backwards=True)],
    ),
    "conv3d": ((4, 4, 4, 2), kw(L.Conv3D, filters=2, kernel_size=2), [dict(strides=2)]),
    "add": (
        V,
        lambda k="Add": (
            lambda x: getattr(L, k)(name="m")([L.Dense(3, name="p")(x), L.Dense(3, name="q")(x)])
        ),
        [
            dict(k="Subtract"),
            dict(k="Multiply"),
            dict(k="Average"),
            dict(k="Maximum"),
            dict(k="Minimum"),
        ],
    ),
    "concat": (
        S,
        lambda a=-1: (
            lambda x: L.Concatenate(axis=a, name="m")(
                [L.Dense(3, name="p")(x), L.Dense(3, name="q")(x)]
            )
        ),
        [dict(a=1)],
    ),
    "dot": (S, lambda **o: lambda x: L.Dot(axes=2, name="m", **o)([x, x]), [dict(normalize=True)]),
    "order": (
        V,
        lambda r=0: (
            lambda x: L.Subtract(name="m")(
                [L.Dense(3, name="p")(x), L.Dense(3, name="q")(x)][:: 1 - 2 * r]
            )
        ),
        [dict(r=1)],
    ),
    "spectral": (
        V,
        lambda **o: lambda x: L.SpectralNormalization(L.Dense(3, name="d"), name="m")(x),
        [],
    ),
    "lambda": (V, lambda c=1.0: lambda x: L.Lambda(lambda z: z * c, name="m")(x), [dict(c=2.0)]),
    "dropout": (V, kw(L.Dropout, rate=0.3), []),
    "masking": (
        S,
        lambda v=0.0: lambda x: L.LSTM(3, name="r")(L.Masking(v, name="m")(ops.relu(x))),
        [dict(v=5.0)],
    ),
    "opmix": (V, lambda k=0.2: lambda x: ops.clip(x * 3.0, -k, k) + k, [dict(k=0.4)]),
    "opsoft": (S, lambda a=-1: lambda x: ops.softmax(x, axis=a), [dict(a=1)]),
    "opmean": (S, lambda a=1: lambda x: ops.mean(x, axis=a), [dict(a=(1,))]),
    "optrans": (I, lambda a=(0, 2, 1, 3): lambda x: ops.transpose(x, a), [dict(a=(0, 1, 2, 3))]),
    "slice": (S, lambda a=0: lambda x: x[:, a], [dict(a=1)]),
    "slicech": (S, lambda a=0: lambda x: x[:, :, a : a + 2], [dict(a=1)]),
    "stack": (V, lambda a=1: lambda x: ops.stack([x, x * 2], axis=a), [dict(a=2)]),
    "split": (S, lambda a=0: lambda x: ops.split(x, 2, axis=-1)[a], [dict(a=1)]),
    "matmul": (
        V,
        lambda c=1: lambda x: ops.matmul(x, np.arange(12.0).reshape(4, 3).astype("f") * c),
        [dict(c=2)],
    ),
    "pad": (
        S,
        lambda c=0.0: lambda x: ops.pad(x, ((0, 0), (1, 1), (0, 0)), constant_values=c),
        [dict(c=1.0)],
    ),
    "where": (S, lambda c=0.0: lambda x: ops.where(x > c, x, x * 0.5), [dict(c=0.5)]),
    "pow": (V, lambda c=2: lambda x: ops.power(x, c), [dict(c=4)]),
}


def build(shape, middle):
    keras.backend.clear_session()
    x = inputs = keras.Input(shape)
    model = keras.Model(inputs, L.Dense(2, name="end")(middle(x)), name="model")
    random = np.random.default_rng(0)
    for weight in model.weights:
        if "float" in str(weight.dtype):
            value = random.standard_normal(weight.shape)
            weight.assign(np.abs(value) + 0.5 if "variance" in weight.path else value)
    return model


def another_entry(weight, random):
    value = weight.numpy()
    step = 0.01 * (1 + abs(value).max()) if value.dtype.kind == "f" else 1
    value.flat[random.integers(value.size)] += step
    weight.assign(value)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_nothing_of_a_layer_is_overlooked(name):
    shape, kind, others = KINDS[name]
    first, second = (build(shape, kind()) for _ in range(2))
    random, graph = np.random.default_rng(1), read(first)
    x = random.standard_normal((3, *shape)).astype("float32")
    before = np.asarray(first(x))

    def differs(model):
        after = np.asarray(model(x))
        return after.shape != before.shape or abs(after - before).max() > 1e-5 * abs(before).max()

    assert check(graph, read(second), Maps()).accepted
    for weight in second.weights:
        if "seed" not in weight.path:
            old = weight.numpy()
            another_entry(weight, random)
            assert not (differs(second) and check(graph, read(second), Maps()).accepted), (
                weight.path
            )
            weight.assign(old)
    for settings in others:
        other = build(shape, kind(**settings))
        for weight, copy in zip(first.weights, other.weights):
            if weight.shape == copy.shape:
                copy.assign(weight.numpy())
        same = check(graph, read(other), Maps()).accepted
        assert not (same and differs(other)), settings
