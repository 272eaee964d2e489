"""The classes and arguments of layers of Keras 1 and 2, in today's words."""

from keras_l2feat.archive.allowed import CLASSES
from keras_l2feat.archive.dialects.objects import translated_object
from keras_l2feat.archive.refusal import refused

__all__ = ["class_of", "layer_arguments"]

_CLASSES = {
    "Convolution1D": "Conv1D",
    "Convolution2D": "Conv2D",
    "Convolution3D": "Conv3D",
    "AtrousConvolution1D": "Conv1D",
    "AtrousConvolution2D": "Conv2D",
    "Deconvolution2D": "Conv2DTranspose",
    "Deconvolution3D": "Conv3DTranspose",
    "Convolution2DTranspose": "Conv2DTranspose",
    "Convolution3DTranspose": "Conv3DTranspose",
    "SeparableConvolution1D": "SeparableConv1D",
    "SeparableConvolution2D": "SeparableConv2D",
    "DepthwiseConvolution2D": "DepthwiseConv2D",
    "TimeDistributedDense": "Dense",
    "CuDNNLSTM": "LSTM",
    "CuDNNGRU": "GRU",
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization",
    "ThresholdedReLU": "ReLU",
}
_OWN = {  # where a name means something else than in other layers
    "Embedding": {
        "init": "embeddings_initializer",
        "W_regularizer": "embeddings_regularizer",
        "W_constraint": "embeddings_constraint",
        "output_dim": "output_dim",
    },
    "PReLU": {"init": "alpha_initializer"},
    "BatchNormalization": {"beta_init": "beta_initializer", "gamma_init": "gamma_initializer"},
    "LeakyReLU": {"alpha": "negative_slope"},
    "UpSampling1D": {"length": "size"},
}
_RENAMED = {
    "output_dim": "units",
    "nb_filter": "filters",
    "filter_length": "kernel_size",
    "subsample": "strides",
    "subsample_length": "strides",
    "stride": "strides",
    "pool_length": "pool_size",
    "border_mode": "padding",
    "dim_ordering": "data_format",
    "atrous_rate": "dilation_rate",
    "init": "kernel_initializer",
    "inner_init": "recurrent_initializer",
    "inner_activation": "recurrent_activation",
    "W_regularizer": "kernel_regularizer",
    "U_regularizer": "recurrent_regularizer",
    "b_regularizer": "bias_regularizer",
    "W_constraint": "kernel_constraint",
    "b_constraint": "bias_constraint",
    "bias": "use_bias",
    "dropout_W": "dropout",
    "dropout_U": "recurrent_dropout",
    "p": "rate",
    "sigma": "stddev",
    "theta": "threshold",
}
_FORMATS = {"tf": "channels_last", "th": "channels_first", "default": "channels_last"}
_KERNELS = (("nb_row", "nb_col"), ("kernel_dim1", "kernel_dim2", "kernel_dim3"))
_ANY = object()
# Arguments that no longer exist, with the values at which nothing is lost by leaving them out.
_GONE = {
    None: {
        "batch_input_shape": _ANY,
        "input_dtype": _ANY,
        "input_length": _ANY,
        "implementation": _ANY,
        "consume_less": _ANY,
        "forget_bias_init": _ANY,
        "weights": (None,),
        "time_major": (False,),
        "ragged": (False, None),
        "experimental_autocast": _ANY,
    },
    "BatchNormalization": {
        "mode": (0,),
        "renorm": (False,),
        "renorm_clipping": _ANY,
        "renorm_momentum": _ANY,
        "fused": _ANY,
        "virtual_batch_size": (None,),
        "adjustment": (None,),
    },
    "DepthwiseConv": {"groups": (1,)},
    "SeparableConv": {"groups": (1,)},
    "Embedding": {"dropout": _ANY},  # in training alone
    "SpatialDropout": {"trainable": _ANY, "noise_shape": (None,)},
    "MultiHeadAttention": {
        "query_shape": _ANY,
        "key_shape": _ANY,
        "value_shape": _ANY,
        "softmax_robust_masking": _ANY,
    },
}
# Of layers that have kernels of their own, the base class wrote what it would do with one.
_NO_KERNEL = ("DepthwiseConv", "SeparableConv")


def class_of(name: str) -> str:
    """Today's name of a class of layers."""
    return _CLASSES.get(name, name)


def layer_arguments(name: str, config: dict, version: int) -> dict:
    """The arguments of a layer of today's class `class_of(name)`; of a class that Keras does not
    know they are left as they are.

    Raises:
        InputError: one that no longer exists has a value that matters.
    """
    new = class_of(name)
    config = dict(config)
    if new not in CLASSES["layers"]:
        config.pop("batch_input_shape", None)
        return config
    if new != "Embedding":
        config.pop("input_dim", None)
    for sides in _KERNELS:
        if sides[0] in config:
            config["kernel_size"] = [config.pop(side) for side in sides]
    own = _OWN.get(new, {})
    config = {own.get(k, _RENAMED.get(k, k)): v for k, v in config.items()}
    if "data_format" in config:
        config["data_format"] = _FORMATS.get(config["data_format"], config["data_format"])
    config = _without_what_is_gone(new, config)
    if new == "GRU":
        config.setdefault("reset_after", name == "CuDNNGRU")
    if name.startswith("CuDNN"):
        config |= {"activation": "tanh", "recurrent_activation": "sigmoid"}
    if new in {"ZeroPadding2D", "Cropping2D"}:
        config |= _sides(config)
    if new == "BatchNormalization" and isinstance(config.get("axis"), list):
        (config["axis"],) = config["axis"]
    if new in {"Conv2DTranspose", "Conv3DTranspose"}:
        config.pop("output_shape", None)  # compared once the model is built
    return {key: translated_object(key, value) for key, value in config.items()}


def _without_what_is_gone(new, config):
    kept = {}
    for key, value in config.items():
        stem = next((stem for stem in _GONE if stem and new.startswith(stem)), None)
        harmless = _GONE[stem].get(key, _GONE[None].get(key))
        if new.startswith(_NO_KERNEL) and key.startswith("kernel_") and key != "kernel_size":
            continue
        if new.endswith("Transpose") and key == "groups":
            harmless = (1,)
        if harmless is None:
            kept[key] = value
        elif harmless is not _ANY and value not in harmless:
            raise refused(
                f"a {new} has {key} = {value!r}, for which there is no counterpart in today's Keras"
            )
    return kept


def _sides(config):
    """Padding of Keras 1: top, bottom, left, right in a list or by name."""
    key = next((key for key in ("padding", "cropping") if key in config), None)
    value = config.get(key)
    if isinstance(value, dict):
        value = [value.get(f"{side}_pad", 0) for side in ("top", "bottom", "left", "right")]
    if isinstance(value, list) and len(value) == 4:
        value = [value[:2], value[2:]]
    return {key: value} if key else {}
