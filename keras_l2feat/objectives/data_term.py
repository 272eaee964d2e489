"""The data term C of a Keras model: its compiled loss where it has one, otherwise a cost by name,
read off the activation that the model ends in.

A cost by name is a function of logits. A model that ends in softmax or sigmoid gives probabilities,
so which of the two its outputs are has to be known before anything is trained or certified.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from keras_l2feat.backend import require_tensorflow
from keras_l2feat.data import Dataset, load
from keras_l2feat.errors import InputError, bad_argument
from keras_l2feat.types import Cost, Data, Model

__all__ = ["DataTerm", "chain_cost", "data_term", "head", "predictions"]


@dataclass(frozen=True)
class DataTerm:
    """One data term, for the two ways in which a model is evaluated.

    Attributes:
        outputs: the cost of the model's own outputs, a name or a function for
            `costs.cost_function`.
        chain: the same as a cost of Z_L in the model's array form (`DenseNetwork`), which leaves a
            final softmax out; `None` where no cost of Z_L is the same.
    """

    outputs: Any
    chain: Any


def data_term(model: Model, data: Data, cost: Cost | None = None) -> DataTerm:
    """The data term with which a model is trained on a data set.

    Args:
        model: a built Keras model with one output.
        data: whatever `data.load` takes, or a `tf.data.Dataset`.
        cost: "crossentropy" (of class probabilities, whether the model gives them or their logits),
            "squared" (of the outputs as they are), or a function `(outputs, y) -> scalar`. By
            default the loss that the model is compiled with, and else the data set's usual one.

    Raises:
        InputError: the loss is none of one output, the outputs do not fit the data, or it is not
            clear whether they are logits or probabilities.
    """
    require_tensorflow()
    data = data if isinstance(data, tf.data.Dataset) else load(data)
    if len(_outputs(model)) > 1:
        raise InputError(
            f"Model {model.name!r} has {len(model.outputs)} outputs; a data term is of one."
        )
    end = head(model)
    if callable(cost):
        return DataTerm(cost, cost if end == "linear" else None)
    if cost is None and getattr(model, "compiled", False) and model.loss is not None:
        return _compiled(model, end, data)
    if cost is None:
        if not isinstance(data, Dataset):
            raise bad_argument("cost", "given where neither model nor data set have one", cost)
        cost = data.cost
    return _named(model, end, data, cost)


def chain_cost(model: Model, data: Data, cost: Cost | None = None) -> Cost:
    """The data term of a model in its array form, on Z_L.

    Raises:
        InputError: as `data_term`, or the model's data term is no function of Z_L.
    """
    term = data_term(model, data, cost).chain
    if term is None:
        raise InputError(
            f"Model {model.name!r} ends in {head(model)}, and its loss is no function of what "
            "comes before: the theory does not cover it. A linear output or softmax with "
            "cross-entropy is expected."
        )
    return term


def predictions(model: Model, outputs: np.ndarray) -> np.ndarray:
    """The classes `(N,)` that outputs `(N, k)` stand for: the largest, or for k = 1 whether the
    probability is above ½."""
    if outputs.shape[1] > 1:
        return outputs.argmax(axis=1)
    return (outputs[:, 0] > (0.5 if head(model) == "sigmoid" else 0.0)).astype(int)


def _named(model, end, data, cost):
    width = _width(model)
    if isinstance(data, Dataset):
        if not data.fits(width) and not (data.classes == 2 and width == 1 and end == "sigmoid"):
            raise InputError(
                f"Data set {data.name!r} has {data.x_train.shape[1]} inputs and {data.outputs} "
                f"outputs; model {model.name!r} has {width} outputs."
            )
    if cost != "crossentropy":
        return DataTerm(cost, cost if end == "linear" else None)
    if width == 1 and end == "sigmoid":
        return DataTerm(_OfOutputs(_keras_losses().binary_crossentropy, width), None)
    if width is not None and width > 1:
        if end in ("linear", "log_softmax"):
            return DataTerm(cost, cost if end == "linear" else None)
        if end == "softmax":
            return DataTerm(_OfOutputs(_keras_losses().sparse_categorical_crossentropy), cost)
    raise InputError(
        f"Model {model.name!r} ends in {end or 'a layer that is not understood'}: are its outputs "
        "logits or probabilities? Compile the model with its loss, or give cost= as a function "
        "(outputs, y) -> scalar."
    )


def _one_loss(model):
    """The Keras loss that a model is compiled with, a mean over the points."""
    loss = model.loss
    if isinstance(loss, (list, tuple, dict)):
        several = list(loss.values()) if isinstance(loss, dict) else list(loss)
        if len(several) != 1:
            raise InputError(
                f"Model {model.name!r} is compiled with {len(several)} losses; one is expected."
            )
        (loss,) = several
    loss = _keras_losses().get(loss)
    if getattr(loss, "reduction", "mean") in ("sum", "none", None):
        raise InputError(
            f"Model {model.name!r} is compiled with a loss of reduction {loss.reduction!r}; a mean "
            "over the points is expected."
        )
    return loss


def _compiled(model, end, data):
    """The loss of `model.compile`, as `model.evaluate` computes it (without the regularizers)."""
    losses, loss = _keras_losses(), _one_loss(model)
    function = getattr(loss, "fn", loss)
    name = getattr(function, "__name__", "")
    known = function is getattr(losses, name, None)
    options = loss.get_config() if isinstance(loss, losses.Loss) else {}
    labels = isinstance(data, Dataset) and data.classes is not None
    width = _width(model)
    spread = known and labels and not name.startswith("sparse") and width != 1
    term = _OfOutputs(loss, width, spread)
    of_classes = name in ("sparse_categorical_crossentropy", "categorical_crossentropy")
    if known and of_classes and labels:
        plain = not options.get("label_smoothing") and options.get("ignore_class") is None
        if plain and end == ("linear" if options.get("from_logits") else "softmax"):
            named = _named(model, end, data, "crossentropy")
            return named if end == "linear" else DataTerm(term, "crossentropy")
    if known and name == "mean_squared_error" and width == 1 and not labels:
        return DataTerm("squared", "squared" if end == "linear" else None)
    return DataTerm(term, term if end == "linear" else None)


@dataclass(frozen=True)
class _OfOutputs:
    """A Keras loss as a cost `(z, y) -> scalar`: the mean over the points, in z's own dtype.

    Equal where the loss is the same object, so that a compiled step serves every fit of a model.
    """

    loss: object
    width: int | None = None  # how many outputs, which a step for all widths does not know
    spread: bool = False  # whether integer labels become one-hot rows

    def __call__(self, z, y):
        y = tf.convert_to_tensor(y)
        if self.spread:
            y = tf.one_hot(tf.cast(tf.reshape(y, [-1]), tf.int32), self.width, dtype=z.dtype)
        elif self.width == 1:
            y, z = tf.reshape(y, [-1, 1]), tf.reshape(z, [-1, 1])
        y = tf.cast(y, z.dtype) if y.dtype.is_floating else y
        # `call` and not the object itself, which would round to float32; but that alone knows which
        # points it leaves out
        some = getattr(self.loss, "ignore_class", None) is not None
        function = self.loss if some else getattr(self.loss, "call", self.loss)
        return tf.cast(tf.reduce_mean(function(y, z)), z.dtype)


def head(model: Model) -> str | None:
    """The activation that a model's one output ends in: "linear", "softmax", "sigmoid", …

    Layers that only move numbers are passed through; `None` where what came last is not understood.
    """
    outputs = _outputs(model)
    return _end(outputs[0]) if outputs else None


def _outputs(model):
    """The symbolic outputs; none of a subclassed model, whose graph is not known."""
    return getattr(model, "outputs", None) or []


def _width(model):
    return next((tensor.shape[-1] for tensor in _outputs(model)), None)


MOVING = (
    *("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianDropout"),
    *("AlphaDropout", "GaussianNoise", "Identity", "ActivityRegularization", "Masking"),
    *("Flatten", "Reshape", "Permute", "RepeatVector", "Cropping1D", "Cropping2D", "Cropping3D"),
    *("RepresentationCost", "Squeeze", "ExpandDims", "Transpose"),
)
AVERAGING = (  # linear if all that goes in is
    *("GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D"),
    *("AveragePooling1D", "AveragePooling2D", "AveragePooling3D"),
    *("Add", "Subtract", "Average", "Concatenate", "Mean", "Sum"),
)
AFFINE = (  # linear whatever goes in
    *("BatchNormalization", "LayerNormalization", "GroupNormalization", "Normalization"),
    *("Rescaling", "InputLayer"),
)
WEIGHTED = (
    *("Dense", "EinsumDense", "HomogeneousDense", "Conv1D", "Conv2D", "Conv3D"),
    *("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose", "SeparableConv1D"),
    *("SeparableConv2D", "DepthwiseConv1D", "DepthwiseConv2D"),
)


def _end(tensor):
    import keras

    operation, node, index = tensor._keras_history
    if isinstance(operation, keras.Model):
        outputs = _outputs(operation)
        return _end(outputs[index]) if outputs else None
    kind = type(operation).__name__
    if kind in WEIGHTED or isinstance(operation, keras.layers.Activation):
        return getattr(operation.activation, "__name__", None)
    if kind in AFFINE:
        return "linear"
    below = operation._inbound_nodes[node].input_tensors
    if kind in MOVING:
        return _end(below[0])
    if kind in AVERAGING:
        return "linear" if all(_end(one) == "linear" for one in below) else None
    if kind in ("Softmax", "Sigmoid", "LogSoftmax"):  # the layer, or the operation of that name
        return {"Softmax": "softmax", "Sigmoid": "sigmoid", "LogSoftmax": "log_softmax"}[kind]
    return None


def _keras_losses():
    import keras

    return keras.losses
