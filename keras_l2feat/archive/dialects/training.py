"""How a model was compiled, as Keras 1 and 2 write it.

The loss is what says what the model's outputs mean, so it is translated wherever Keras still has
it. A loss of the user's own leaves the model as if it had not been compiled. The optimizer is made
with the settings that today's has; its state is not restored.
"""

from keras_l2feat.archive.allowed import CLASSES, FUNCTIONS
from keras_l2feat.archive.dialects.objects import named, plain

__all__ = ["compile_config"]

_METRICS = {"accuracy", "acc", "crossentropy", "ce"}
# Names of losses, beside those of the functions.
_ALIASES = {"mse", "mae", "mape", "msle", "bce", "kld", "kullback_leibler_divergence", "logcosh"}
_SETTINGS = {"lr": "learning_rate"}


def compile_config(training: dict, version: int) -> dict | None:
    """What `keras.Model.compile` takes, serialized; None where the loss is not Keras' own."""
    training = plain(training)
    loss = _loss(training.get("loss"))
    optimizer = training.get("optimizer_config") or {}
    name = str(optimizer.get("class_name")).rpartition(">")[2]  # Keras 2 writes 'Custom>Adam'
    if loss is None or name not in CLASSES["optimizers"]:
        return None
    settings = {
        _SETTINGS.get(key, key): value
        for key, value in optimizer.get("config", {}).items()
        if version >= 3 or isinstance(value, int | float | str)
    }
    compiled = {
        "optimizer": named("optimizers", name, settings),
        "loss": loss,
        "metrics": _metrics(training.get("metrics")),
        "loss_weights": training.get("loss_weights"),
    }
    return {key: value for key, value in compiled.items() if value}


def _metrics(value):
    """Those of a model with one output whose names are metrics in every version."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        value = value[0]
    if not isinstance(value, list):
        return None
    names = [m["config"].get("name") if isinstance(m, dict) else m for m in value]
    return [name for name in names if isinstance(name, str) and name in _METRICS]


def _loss(value):
    """The loss, or None if a part of it is not known."""
    if isinstance(value, list | dict) and "class_name" not in value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        parts = {key: _loss(part) for key, part in items}
        if None in parts.values():
            return None
        return parts if isinstance(value, dict) else list(parts.values())
    if isinstance(value, str):
        known = value in FUNCTIONS["losses"] | _ALIASES
        return value if known else None
    if isinstance(value, dict):
        if value["class_name"] == "function":
            return _loss(value["config"])
        if value["class_name"] in CLASSES["losses"]:
            return named("losses", value["class_name"], value.get("config") or {})
    return None
