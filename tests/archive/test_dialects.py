"""Files of Keras 1 and 2: the model that is loaded computes what the numbers in the file say, as
NumPy computes it from them."""

import json

import h5py
import keras
import numpy as np
import pytest

from keras_l2feat.errors import InputError
from keras_l2feat.files import load_model


def draw(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype("float32")


def write(path, config, groups, version=None, backend=None, training=None, text=str.encode):
    """An HDF5 file.

    Args:
        config: of the model; None for a file of weights alone.
        groups: {layer: {name of an array: array}}.
        version, backend: of Keras, where the file says them.
        text: how a name is written: as bytes, or as text of variable length.
    """
    with h5py.File(path, "w") as file:
        weights = file
        if config is not None:
            file.attrs["model_config"] = json.dumps(config).encode()
            weights = file.create_group("model_weights")
        if training is not None:
            file.attrs["training_config"] = json.dumps(training).encode()
        for item in {file, weights}:
            for name, value in (("keras_version", version), ("backend", backend)):
                if value is not None:
                    item.attrs[name] = value.encode()
        weights.attrs["layer_names"] = [text(name) for name in groups]
        for layer, arrays in groups.items():
            group = weights.create_group(layer)
            group.attrs["weight_names"] = [text(name) for name in arrays]
            for name, array in arrays.items():
                group[name] = array
    return path


def sequence(*layers):
    """A sequence as Keras 1 and 2.0 describe it: classes and their arguments."""
    return {
        "class_name": "Sequential",
        "config": [{"class_name": name, "config": config} for name, config in layers],
    }


DENSE1 = {  # as Keras 1.2.2 writes it
    "init": "glorot_uniform",
    "activation": "linear",
    "bias": True,
    "W_regularizer": {"name": "L1L2Regularizer", "l1": 0.0, "l2": 0.01},
    "b_regularizer": None,
    "activity_regularizer": None,
    "W_constraint": {"name": "MaxNorm", "m": 2, "axis": 0},
    "b_constraint": None,
    "input_dim": None,
    "trainable": True,
}


def relu(x):
    return np.maximum(x, 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def hard(x):
    """The hard sigmoid of Keras 1 and 2."""
    return np.clip(0.2 * x + 0.5, 0, 1)


def close(model, inputs, expected):
    np.testing.assert_allclose(np.asarray(model(inputs)), expected, rtol=2e-5, atol=2e-5)


def dense1(name, width, **others):
    return "Dense", {**DENSE1, "name": name, "output_dim": width, **others}


def test_dense_of_keras_1(tmp_path):
    w, b, v, c = draw(4, 5), draw(5), draw(5, 3), draw(3)
    config = sequence(
        dense1("dense_1", 5, activation="relu", batch_input_shape=[None, 4], input_dtype="float32"),
        ("Dropout", {"name": "dropout_1", "p": 0.5, "trainable": True}),
        dense1("dense_2", 3),
    )
    groups = {
        "dense_1": {"dense_1_W": w, "dense_1_b": b},
        "dropout_1": {},
        "dense_2": {"dense_2_W": v, "dense_2_b": c},
    }
    model = load_model(write(tmp_path / "m.h5", config, groups, "1.2.2"))
    close(model, draw(6, 4), relu(draw(6, 4) @ w + b) @ v + c)
    assert float(model.layers[0].kernel_regularizer.l2) == pytest.approx(0.01)
    assert model.layers[0].kernel_constraint.max_value == 2
    assert model.layers[1].rate == 0.5


CONV1 = {
    **DENSE1,
    "name": "convolution2d_1",
    "nb_filter": 3,
    "nb_row": 2,
    "nb_col": 3,
    "border_mode": "valid",
    "subsample": [1, 1],
}


def correlate(x, kernel):
    """Channels last, no padding."""
    rows, columns, _, filters = kernel.shape
    out = np.zeros((len(x), x.shape[1] - rows + 1, x.shape[2] - columns + 1, filters))
    for i in range(out.shape[1]):
        for j in range(out.shape[2]):
            out[:, i, j] = np.tensordot(x[:, i : i + rows, j : j + columns], kernel, 3)
    return out


@pytest.mark.parametrize("backend", [None, "tensorflow", "theano"])
@pytest.mark.parametrize("ordering", ["tf", "th"])
def test_convolutions_of_keras_1(ordering, backend, tmp_path):
    """Kernels with their filters first, and mirrored where the backend convolved."""
    kernel, bias, x = draw(2, 3, 2, 3), draw(3), draw(2, 5, 6, 2)
    shape = [None, 5, 6, 2] if ordering == "tf" else [None, 2, 5, 6]
    config = sequence(
        ("Convolution2D", {**CONV1, "dim_ordering": ordering, "batch_input_shape": shape})
    )
    stored = kernel if ordering == "tf" else np.transpose(kernel, (3, 2, 0, 1))
    arrays = {"convolution2d_1_W": stored, "convolution2d_1_b": bias}
    path = write(tmp_path / "m.h5", config, {"convolution2d_1": arrays}, "1.2.2", backend)
    if backend == "theano":
        kernel = kernel[::-1, ::-1]
    expected = correlate(x, kernel) + bias
    if ordering == "th":
        x, expected = np.moveaxis(x, 3, 1), np.moveaxis(expected, 3, 1)
    close(load_model(path), x, expected)


@pytest.mark.parametrize("stored", ["length first", "filters first"])
def test_convolutions_along_one_axis_of_keras_1(stored, tmp_path):
    kernel, bias, x = draw(3, 2, 4), draw(4), draw(2, 6, 2)
    settings = {
        **{key: value for key, value in CONV1.items() if key not in {"nb_row", "nb_col"}},
        **{"name": "c", "nb_filter": 4, "filter_length": 3, "subsample_length": 1},
        **{"input_length": 6, "batch_input_shape": [None, 6, 2]},
    }
    settings.pop("subsample")
    array = kernel[:, None]
    if stored == "filters first":
        array = np.transpose(array, (3, 2, 0, 1))
    config = sequence(("Convolution1D", settings), ("GlobalMaxPooling1D", {"name": "g"}))
    path = write(tmp_path / "m.h5", config, {"c": {"c_W": array, "c_b": bias}})
    whole = correlate(x[:, :, None], kernel[:, None]) + bias
    close(load_model(path), x, whole[:, :, 0].max(axis=1))


def lstm(x, kernels, inner):
    """Gates by name: (input kernel, recurrent kernel, bias)."""
    h = c = np.zeros((len(x), kernels["i"][1].shape[0]))
    for t in range(x.shape[1]):
        z = {gate: x[:, t] @ w + h @ u + b for gate, (w, u, b) in kernels.items()}
        c = inner(z["f"]) * c + inner(z["i"]) * np.tanh(z["c"])
        h = inner(z["o"]) * np.tanh(c)
    return h


def gru(x, kernels, inner):
    h = np.zeros((len(x), kernels["z"][1].shape[0]))
    for t in range(x.shape[1]):
        z, r = (inner(x[:, t] @ w + h @ u + b) for w, u, b in (kernels["z"], kernels["r"]))
        w, u, b = kernels["h"]
        h = z * h + (1 - z) * np.tanh(x[:, t] @ w + (r * h) @ u + b)
    return h


RECURRENT1 = {
    **{"name": "r", "output_dim": 3, "init": "glorot_uniform", "inner_init": "orthogonal"},
    **{"activation": "tanh", "return_sequences": False, "go_backwards": False, "stateful": False},
    **{"unroll": False, "W_regularizer": None, "U_regularizer": None, "b_regularizer": None},
    **{"dropout_W": 0.0, "dropout_U": 0.0, "input_dim": 2, "input_length": None},
    "batch_input_shape": [None, 4, 2],
}


@pytest.mark.parametrize("inner", ["hard_sigmoid", "sigmoid"])
@pytest.mark.parametrize("kind, order", [("LSTM", "icfo"), ("GRU", "zrh")])
def test_gates_of_keras_1(kind, order, inner, tmp_path):
    """Gates in arrays of their own; and a hard sigmoid that is not today's."""
    settings = {**RECURRENT1, "inner_activation": inner, "consume_less": "cpu"}
    if kind == "LSTM":
        settings["forget_bias_init"] = "one"
    kernels = {
        gate: (draw(2, 3, seed=k), draw(3, 3, seed=k), draw(3, seed=k))
        for k, gate in enumerate(order)
    }
    arrays = {
        f"r_{part}_{gate}": kernels[gate][place]
        for gate in order
        for place, part in enumerate("WUb")
    }
    path = write(tmp_path / "m.h5", sequence((kind, settings)), {"r": arrays}, "1.2.2")
    step = {"LSTM": lstm, "GRU": gru}[kind]
    expected = step(draw(5, 4, 2), kernels, hard if inner == "hard_sigmoid" else sigmoid)
    close(load_model(path), draw(5, 4, 2), expected)


def test_kernels_of_cudnn(tmp_path):
    """Each gate's kernel transposed, and two biases."""
    kernels = {
        gate: (draw(2, 3, seed=k), draw(3, 3, seed=k), draw(3, seed=k))
        for k, gate in enumerate("ifco")
    }
    arrays = {
        "kernel:0": np.hstack([w.T.reshape(w.shape) for w, _, _ in kernels.values()]),
        "recurrent_kernel:0": np.hstack([u.T for _, u, _ in kernels.values()]),
        "bias:0": np.hstack([*(b - 1 for _, _, b in kernels.values()), *([np.ones(3)] * 4)]).astype(
            "float32"
        ),
    }
    settings = {"name": "r", "units": 3, "batch_input_shape": [None, 4, 2], "return_state": False}
    path = write(tmp_path / "m.h5", sequence(("CuDNNLSTM", settings)), {"r": arrays}, "2.2.4")
    close(load_model(path), draw(5, 4, 2), lstm(draw(5, 4, 2), kernels, sigmoid))


def test_merged_branches_of_keras_1(tmp_path):
    """A sequence that begins with others side by side; their layers are stored one by one."""
    w, v, u = draw(3, 4), draw(2, 4), draw(8, 2)
    left = sequence(dense1("dense_1", 4, batch_input_shape=[None, 3], bias=False))
    right = sequence(dense1("dense_2", 4, batch_input_shape=[None, 2], bias=False))
    merge = {"name": "merge_1", "mode": "concat", "concat_axis": -1, "layers": [left, right]}
    config = sequence(("Merge", merge), dense1("dense_3", 2, bias=False))
    groups = {
        "dense_1": {"dense_1_W": w},
        "dense_2": {"dense_2_W": v},
        "dense_3": {"dense_3_W": u},
    }
    model = load_model(write(tmp_path / "m.h5", config, groups, "1.2.2"))
    x, y = draw(5, 3), draw(5, 2)
    close(model, [x, y], np.hstack([x @ w, y @ v]) @ u)
    merge["mode"] = "cos"
    with pytest.raises(InputError, match="mode 'cos'"):
        load_model(write(tmp_path / "m.h5", config, groups, "1.2.2"))


def dense2(name, units, calls, **others):
    settings = {"name": name, "units": units, "activation": "linear", "use_bias": False, **others}
    return {"class_name": "Dense", "name": name, "config": settings, "inbound_nodes": calls}


def source(name, width):
    settings = {"batch_input_shape": [None, width], "name": name, "dtype": "float32"}
    return {"class_name": "InputLayer", "name": name, "config": settings, "inbound_nodes": []}


def test_a_model_that_is_called_twice_and_counts_its_own_inputs(tmp_path):
    """Keras 2 counts a model's inputs as its first call; weights of a model in a model are stored
    together, trained ones first; today no name holds a '/'."""
    w, mean, variance, v = draw(3, 3), draw(3), np.abs(draw(3)) + 1, draw(3, 2)
    inner_layers = [
        source("input_2", 3),
        dense2("block/dense", 3, [[["input_2", 0, 0, {}]]]),
        {
            "class_name": "BatchNormalization",
            "name": "norm",
            "config": {"name": "norm", "axis": [1], "epsilon": 0.0, "fused": True},
            "inbound_nodes": [[["block/dense", 0, 0, {}]]],
        },
        dense2("after", 3, [[["norm", 0, 0, {}]]]),
    ]
    inner = {
        "name": "inner",
        "layers": inner_layers,
        "input_layers": [["input_2", 0, 0]],
        "output_layers": [["after", 0, 0]],
    }
    called = [[["input_1", 0, 0, {}]], [["inner", 1, 0, {}]]]
    layers = [
        source("input_1", 3),
        {"class_name": "Model", "name": "inner", "config": inner, "inbound_nodes": called},
        dense2("last", 2, [[["inner", 2, 0, {}]]]),
    ]
    config = {
        "class_name": "Model",
        "config": {
            "name": "outer",
            "layers": layers,
            "input_layers": [["input_1", 0, 0]],
            "output_layers": [["last", 0, 0], ["inner", 1, 0]],
        },
    }
    gamma, beta, after = draw(3, seed=1), draw(3, seed=2), draw(3, 3, seed=3)
    arrays = {
        "block/dense/kernel:0": w,
        "norm/gamma:0": gamma,
        "norm/beta:0": beta,
        "after/kernel:0": after,
        "norm/moving_mean:0": mean,
        "norm/moving_variance:0": variance,
    }
    groups = {"input_1": {}, "inner": arrays, "last": {"last/kernel:0": v}}
    model = load_model(write(tmp_path / "m.h5", config, groups, "2.2.4", "tensorflow"))

    def step(x):
        return ((x @ w - mean) / np.sqrt(variance) * gamma + beta) @ after

    x = draw(4, 3)
    last, first = model(x)
    np.testing.assert_allclose(last, step(step(x)) @ v, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(first, step(x), rtol=1e-4, atol=1e-4)


def test_hard_sigmoids_of_keras_2(tmp_path):
    """Within a layer, by themselves, and on every step: until Keras 2 the slope was 0.2."""
    w, b, v = draw(4, 5), draw(5), draw(5, 3)
    every = {
        "name": "d",
        "layer": {
            "class_name": "Activation",
            "config": {"activation": "hard_sigmoid", "name": "a"},
        },
    }
    config = sequence(
        (
            "Dense",
            {
                "name": "one",
                "units": 5,
                "activation": "hard_sigmoid",
                "batch_input_shape": [None, 4],
            },
        ),
        ("Dense", {"name": "two", "units": 3, "use_bias": False}),
        ("Activation", {"name": "three", "activation": "hard_sigmoid"}),
        ("Reshape", {"name": "four", "target_shape": [3, 1]}),
        ("TimeDistributed", every),
    )
    groups = {"one": {"one/kernel:0": w, "one/bias:0": b}, "two": {"two/kernel:0": v}}
    x = 3 * draw(9, 4)
    expected = hard(hard(hard(x @ w + b) @ v))[..., None]
    close(load_model(write(tmp_path / "m.h5", config, groups, "2.1.6")), x, expected)


def test_arithmetic_of_tensorflow(tmp_path):
    """Operators on tensors, which Keras 2 wrote as functions of TensorFlow."""

    def operation(name, function, calls):
        settings = {"name": name, "function": function}
        return {
            "class_name": "TFOpLambda",
            "name": name,
            "config": settings,
            "inbound_nodes": calls,
        }

    layers = [
        source("x", 3),
        operation("tf.add", "__operators__.add", [["x", 0, 0, {"y": 3.0, "name": None}]]),
        operation(
            "tf.sub", "math.subtract", [["_CONSTANT_VALUE", -1, 2.0, {"y": ["tf.add", 0, 0]}]]
        ),
        operation("tf.mul", "math.multiply", [["x", 0, 0, {"y": ["tf.sub", 0, 0], "name": None}]]),
        dense2("d", 2, [[["tf.mul", 0, 0, {}]]]),
    ]
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [["d", 0, 0]]}
    config = {"class_name": "Functional", "config": {"name": "m", "layers": layers, **ends}}
    w, x = draw(3, 2), draw(4, 3)
    path = write(tmp_path / "m.h5", config, {"d": {"d/kernel:0": w}}, "2.9.0")
    close(load_model(path), x, (x * (2 - (x + 3))) @ w)
    layers[1]["config"]["function"] = "raw_ops.ReadFile"
    with pytest.raises(InputError, match=r"TensorFlow's 'raw_ops\.ReadFile'"):
        load_model(write(tmp_path / "m.h5", config, {"d": {"d/kernel:0": w}}, "2.9.0"))


def test_how_it_was_compiled(tmp_path):
    """The loss says what the outputs mean; one that Keras does not have leaves the model as if it
    had not been compiled."""
    config = sequence(("Dense", {"name": "d", "units": 3, "batch_input_shape": [None, 4]}))
    groups = {"d": {"d/kernel:0": draw(4, 3), "d/bias:0": draw(3)}}
    crossentropy = {
        "class_name": "SparseCategoricalCrossentropy",
        "config": {"reduction": "auto", "name": "x", "from_logits": True, "ignore_class": None},
    }
    training = {
        "optimizer_config": {"class_name": "Adam", "config": {"lr": 0.01, "decay": 0.0}},
        "loss": crossentropy,
        "metrics": ["accuracy"],
        "loss_weights": None,
        "sample_weight_mode": None,
    }
    path = write(tmp_path / "m.h5", config, groups, "2.3.0-tf", training=training)
    model = load_model(path)
    model.evaluate(draw(4, 4), np.arange(4) % 3, verbose=0)
    assert model.loss._fn_kwargs["from_logits"]
    assert float(model.optimizer.learning_rate) == pytest.approx(0.01)
    assert not load_model(path, compile=False).compiled
    training["loss"] = "dice_of_my_own"
    assert not load_model(write(path, config, groups, "2.3.0", training=training)).compiled


def test_an_architecture_and_its_weights(tmp_path):
    """Names that differ are matched by order; what does not fit is refused."""
    config = sequence(
        ("Dense", {"name": "a", "units": 5, "batch_input_shape": [None, 4], "activation": "relu"}),
        ("Dense", {"name": "b", "units": 3}),
    )
    (tmp_path / "m.json").write_text(json.dumps({**config, "keras_version": "2.0.5"}))
    w, b, v, c = draw(4, 5), draw(5), draw(5, 3), draw(3)
    names = {"x": {"x/kernel:0": w, "x/bias:0": b}, "y": {"y/kernel:0": v, "y/bias:0": c}}
    path = write(tmp_path / "w.h5", None, names, "2.0.5", "tensorflow")
    x = draw(6, 4)
    close(load_model(tmp_path / "m.json", weights=path), x, relu(x @ w + b) @ v + c)
    for groups, message in [
        ({"x": names["x"]}, "of other layers"),
        ({**names, "z": {"z:0": v}}, "of other layers"),
        ({"x": names["y"], "y": names["x"]}, "do not fit"),
        ({"x": {"bias:0": b, "kernel:0": w}, "y": names["y"]}, "do not fit"),
        ({"x": {"x/kernel:0": w}, "y": names["y"]}, "1 arrays are stored"),
    ]:
        with pytest.raises(InputError, match=message):
            load_model(tmp_path / "m.json", weights=write(path, None, groups, "2.0.5"))
    with pytest.raises(InputError, match="weights are of Keras 1"):
        load_model(tmp_path / "m.json", weights=write(path, None, names))
    for source, weights in [(tmp_path / "m.json", None), (path, path)]:
        with pytest.raises(InputError, match="weights"):
            load_model(source, weights=weights)
    with pytest.raises(InputError, match="without an architecture"):
        load_model(path)


@pytest.mark.parametrize(
    "name, settings, message",
    [
        ("BatchNormalization", {"mode": 1}, "mode = 1"),
        ("BatchNormalization", {"renorm": True}, "renorm = True"),
        ("TimeDistributed", {"layer": {"class_name": "Lambda", "config": {}}}, "code of its own"),
        ("Highway", {}, "'Highway'"),
        ("Lambda", {"function": ["4wEAAAA=", None, None]}, "runs code of its own"),
        ("LSTM", {"units": 3, "time_major": True}, "time_major = True"),
        ("Dense", {"units": 3, "W_regularizer": {"name": "Eigenvalue", "k": 1}}, "'Eigenvalue'"),
        ("Dense", {"units": 3, "kernel_initializer": {"class_name": "Mine", "config": {}}}, "Mine"),
    ],
)
def test_what_no_longer_exists_is_named(name, settings, message, tmp_path):
    config = sequence((name, {"name": "x", "batch_input_shape": [None, 4, 4], **settings}))
    with pytest.raises(InputError, match=message):
        load_model(write(tmp_path / "m.h5", config, {}, "2.2.4"))


def model_of_today():
    x = keras.Input((6, 6, 1))
    y = keras.layers.Conv2D(3, 3, activation="hard_sigmoid", kernel_regularizer="l2")(x)
    y = keras.layers.BatchNormalization()(y)
    y = keras.layers.Reshape((16, 3))(y)
    y = keras.layers.Bidirectional(keras.layers.LSTM(3, recurrent_activation="hard_sigmoid"))(y)
    inner = keras.Sequential([keras.Input((6,)), keras.layers.Dense(6, "gelu")], name="inner")
    y = inner(keras.layers.add([inner(y), y]))
    y = keras.layers.Dropout(0.5)(y) * 2.0
    model = keras.Model(x, [keras.layers.Dense(2)(y), y])
    rng = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(np.abs(rng.standard_normal(variable.shape)) + 0.1)
    return model


@pytest.mark.parametrize("kind", ["h5", "json and legacy weights", "json and weights"])
def test_what_todays_keras_writes(kind, tmp_path):
    """The same outputs, to the bit."""
    model = model_of_today()
    if kind == "h5":
        model.save(tmp_path / "m.h5")
        loaded = load_model(tmp_path / "m.h5")
    else:
        (tmp_path / "m.json").write_text(model.to_json())
        path = tmp_path / ("m.weights.h5" if kind == "json and weights" else "m.h5")
        (model.save_weights if kind == "json and weights" else model.save)(path)
        loaded = load_model(tmp_path / "m.json", weights=path)
    x = draw(3, 6, 6, 1)
    for found, expected in zip(loaded(x), model(x)):
        np.testing.assert_array_equal(found, expected)
