"""Models of Keras 1 and 2 as graphs of layers: sequences, functional models, models in models."""

from keras_l2feat.archive.allowed import CLASSES, OPERATION_MODULES, is_object
from keras_l2feat.archive.dialects.arguments import class_of, layer_arguments
from keras_l2feat.archive.dialects.calls import _index, is_source, node, safe, shifts_of
from keras_l2feat.archive.dialects.layout import SLOPE, change
from keras_l2feat.archive.dialects.objects import plain, translated_object
from keras_l2feat.archive.refusal import refused

__all__ = ["Translation"]

MODELS = {"Sequential", "Functional", "Model"}
_MERGES = {"sum": "Add", "mul": "Multiply", "ave": "Average", "max": "Maximum"}
_MODULES = dict.fromkeys(CLASSES["layers"], "keras.layers")
_SCALES = {
    name: f"keras.{kind}"
    for kind, names in CLASSES.items()
    if kind.startswith("src.applications.")
    for name in names
}
_MODULES |= _SCALES
_MODULES |= {"Sequential": "keras", "Functional": "keras.src.models.functional"}
# Arithmetic on tensors, as TensorFlow's functions.
_ARITHMETIC = {
    "__operators__.add": "Add",
    "math.add": "Add",
    "math.subtract": "Subtract",
    "math.multiply": "Multiply",
    "math.truediv": "TrueDivide",
}
_RECURRENT = {"RNN", "LSTM", "GRU", "SimpleRNN", "Bidirectional"}
_WITHIN = ("layer", "backward_layer", "cell", "cells")


class Translation:
    """A model's configuration in today's words.

    Args:
        version: the first number of the version of Keras that wrote it.
        backend: of Keras, where the file says.

    Attributes:
        changes: what becomes of the stored arrays of a layer, by its path of names.
    """

    def __init__(self, version: int, backend: str | None) -> None:
        self.version = version
        self.backend = backend
        self.changes = {}
        self.nameless = 0

    def layer(self, described: dict, path: tuple) -> dict:
        """A layer, or a whole model, as `keras.saving.serialize_keras_object` would write it.

        Args:
            described: as the file has it.
            path: the names of the models around it.
        """
        described = plain(described)
        name, config = _named_class(described)
        if name in MODELS:
            return self._model(name, config, described, path)
        if not isinstance(config, dict):
            raise refused(f"the configuration has a {name!r} without arguments")
        if self.version >= 3 and "trainable" not in config and (operation := _operation(name)):
            return _object(name, config) | {"module": operation}
        if self.version < 3 and name == "TFOpLambda":
            return _arithmetic(config)
        own = safe(config.get("name") or described.get("name"))
        name, new = self._arguments(name, config)
        new = self._within(new, path)
        if own is not None:
            new["name"] = own
        if self._is_steep(class_of(name), new):
            return _steep(new)
        if class_of(name) in CLASSES["layers"] and name != "Merge":
            found = change(name, config, new, self.version, self.backend)
            if found is not None:
                self.changes[*path, own] = found
        return _object(class_of(name), new, described)

    def _arguments(self, name, config):
        """The class and the arguments of a layer, in today's words."""
        if self.version >= 3:
            return name, config
        if name == "Merge":
            return _merge(config)
        if name == "InputLayer":
            return name, _input(config)
        return name, layer_arguments(name, config, self.version)

    def _is_steep(self, name, new):
        return self.version < 3 and name == "Activation" and new["activation"] == "hard_sigmoid"

    def _within(self, config, path):
        """Layers that are arguments of a layer, and activations that are layers."""
        config = dict(config)
        for key, value in config.items():
            if key in _WITHIN and isinstance(value, list):
                config[key] = [self.layer(one, path) for one in value]
            elif (key in _WITHIN or key == "activation") and isinstance(value, dict):
                if value.get("class_name") != "function":
                    config[key] = self.layer(value, path)
        return config

    def _model(self, name, config, described, path):
        if isinstance(config, list):  # a sequence, which had no name then
            config = {"layers": config}
        if not isinstance(config, dict) or not isinstance(config.get("layers"), list):
            raise refused(f"the configuration has a {name} without layers")
        own = safe(config.get("name") or described.get("name"))
        if own is None:
            self.nameless += 1
            own = f"sequential_{self.nameless}"
        inner = (*path, own) if path or described.get("inbound_nodes") is not None else ()
        kept = {key: config[key] for key in ("trainable", "dtype") if config.get(key) is not None}
        kept = {key: translated_object(key, value) for key, value in kept.items()} | {"name": own}
        layers = config["layers"]
        if name == "Sequential" and layers and layers[0].get("class_name") == "Merge":
            return _object("Functional", kept | self._merged(layers, inner))
        if name == "Sequential":
            return _object(name, kept | self._sequence(config, inner))
        return _object("Functional", kept | self._functional(config, inner))

    def _sequence(self, config, path):
        layers = [self._named(layer, path) for layer in config["layers"]]
        if not layers or layers[0]["class_name"] != "InputLayer":
            shape = _shape_into(config["layers"]) or config.get("build_input_shape")
            if shape is not None:
                layers.insert(0, _object("InputLayer", {"batch_shape": shape}))
            elif not path:
                raise refused("the model does not say the shape of its input")
        return {"layers": layers}

    def _named(self, described, path):
        """A layer in a sequence; a model there gets its name as part of the path."""
        if isinstance(described, dict) and described.get("class_name") in MODELS:
            described = {**described, "inbound_nodes": []}
        return self.layer(described, path)

    def _functional(self, config, path):
        layers = config["layers"]
        calls = {layer["name"]: layer.get("inbound_nodes") or [] for layer in layers}
        models = {x["name"]: x["class_name"] for x in layers if x["class_name"] in MODELS}
        shifts = shifts_of(config, calls, models)
        found = []
        for layer in layers:
            new = self.layer(layer, path)
            new["name"] = new["config"]["name"] = safe(layer["name"])
            recurrent = class_of(layer["class_name"]) in _RECURRENT
            arithmetic = layer["class_name"] == "TFOpLambda"
            new["inbound_nodes"] = [
                node(call, shifts, recurrent, arithmetic) for call in calls[layer["name"]]
            ]
            found.append(new)

        def ends(value):
            if is_source(value, shifts):
                # where today's Keras looks up the ends of a model it counts a model's own call
                outer = models.get(value[0], "Sequential") != "Sequential"
                return [safe(value[0]), _index(value, shifts) + outer, value[2]]
            if isinstance(value, dict):
                return {key: ends(one) for key, one in value.items()}
            return [ends(one) for one in value] if len(value) > 1 else ends(value[0])

        sides = {side: config[side] for side in ("input_layers", "output_layers")}
        if self.version < 3:
            sides = {side: ends(value) for side, value in sides.items()}
        return {"layers": found, **sides}

    def _merged(self, layers, path):
        """A sequence of Keras 1 that begins with several others, side by side."""
        merge, *rest = layers
        found, inputs, ends = [], [], []
        for place, branch in enumerate(merge["config"]["layers"]):
            shape = _shape_into([branch])
            if shape is None:
                raise refused("a branch of the model does not say the shape of its input")
            start = f"merge_input_{place + 1}"
            new = _object("InputLayer", {"batch_shape": shape, "name": start})
            found.append(new | {"name": start, "inbound_nodes": []})
            inputs.append([start, 0, 0])
            found.append(_called_on(self._named(branch, path), [[start, 0, 0]]))
            ends.append([found[-1]["name"], 0, 0])
        for described in [{**merge, "config": {**merge["config"], "layers": None}}, *rest]:
            found.append(_called_on(self._named(described, path), ends))
            ends = [[found[-1]["name"], 0, 0]]
        return {"layers": found, "input_layers": inputs, "output_layers": ends}


def _named_class(described):
    """The class of a layer, as the file names it, and its arguments."""
    if not isinstance(described, dict) or not isinstance(described.get("class_name"), str):
        raise refused("the configuration has a layer without class")
    name = described["class_name"]
    if name.removeprefix("Custom>") in _SCALES:  # Keras' own, registered as if it were not
        name = name.removeprefix("Custom>")
    return name, described.get("config")


def _object(name, config, described=None) -> dict:
    """A class of Keras by its module; another one by the name under which it is registered."""
    module, described = _MODULES.get(name), described or {}
    registered = described.get("registered_name")
    if module is None or registered not in {None, name}:
        module, registered = described.get("module"), registered or name
    else:
        registered = None
    return {"module": module, "class_name": name, "config": config, "registered_name": registered}


def _called_on(layer, sources):
    """A layer, called once."""
    calls = [node(sources, {source[0]: 0 for source in sources})]
    return layer | {"name": layer["config"]["name"], "inbound_nodes": calls}


def _input(config):
    new = {key: config[key] for key in ("name", "sparse", "ragged") if config.get(key)}
    shape = config.get("batch_input_shape") or config.get("batch_shape")
    if not isinstance(shape, list):
        raise refused("an input of the model does not say its shape")
    dtype = config.get("dtype") or config.get("input_dtype")
    if dtype:
        new["dtype"] = translated_object("dtype", dtype)
    return new | {"batch_shape": shape}


def _operation(name) -> str | None:
    """The module of an operation on tensors; Keras 3 writes its bare name, as it does for layers,
    which say besides whether they are trained."""
    return next((module for module in OPERATION_MODULES if is_object(name, module)), None)


def _arithmetic(config):
    function = config.get("function")
    if function not in _ARITHMETIC:
        raise refused(f"the model calls TensorFlow's {function!r}, which no layer of Keras does")
    made = _object(_ARITHMETIC[function], {"name": safe(config.get("name"))})
    return made | {"module": "keras.src.ops.numpy"}


def _merge(config):
    """A `Merge` of Keras 1: its mode is a class today."""
    mode, new = config.get("mode"), {"name": config.get("name")}
    if mode == "concat":
        return "Concatenate", new | {"axis": config.get("concat_axis", -1)}
    if mode == "dot":
        return "Dot", new | {"axes": config.get("dot_axes", -1)}
    if mode not in _MERGES:
        raise refused(f"a Merge of mode {mode!r} has no counterpart in today's Keras")
    return _MERGES[mode], new


def _steep(new):
    """A hard sigmoid of Keras 2 by itself, see `layout`."""
    inner = [
        _object("Rescaling", {"scale": SLOPE, "offset": 0.0}),
        _object("Activation", {"activation": "hard_sigmoid"}),
    ]
    return _object("Sequential", {"name": new["name"], "layers": inner})


def _shape_into(layers):
    """The shape that the first of some layers takes, batch included, where one says it."""
    if not layers or not isinstance(layers[0], dict):
        return None
    config = layers[0].get("config")
    if isinstance(config, list):
        return _shape_into(config)
    if not isinstance(config, dict):
        return None
    if isinstance(config.get("layers"), list):
        return _shape_into(config["layers"])
    return config.get("batch_input_shape") or config.get("batch_shape")
