"""Subclassed models as Functional ones: `call`, on symbolic tensors, draws the graph of calls.

What `call` does with layers and with operations of `keras.ops` becomes calls of a Functional model,
which shares the layers and their weights. Own layers and models inside are opened likewise, where
that works; they stay whole, and barriers, where it does not. The Functional model is held against
the given one on random inputs before it is used.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from keras_l2feat.errors import InputError
from keras_l2feat.types import Layer, Model

__all__ = ["LEVELS", "agree", "as_functional", "call", "functional", "is_own", "retraced"]

LEVELS = 8  # how deep own layers stand in each other, at most
POINTS = 4
# Both do the same operations in the same order; compilers may fuse some of them
TOLERANCE = 1e-5
FOREIGN = {"keras", "tensorflow", "jax", "torch", "numpy"}


def functional(model: Any) -> Model:
    """The graph of calls that a Functional or built Sequential model is; `None` for all else, for
    example where `call` was written anew."""
    import keras

    if isinstance(model, keras.Sequential):
        return model._functional if type(model).call is keras.Sequential.call else None
    own: Any = next((c for c in type(model).__mro__ if c.__name__ == "Functional"), None)
    return model if own is not None and type(model).call is own.call else None


def as_functional(model: Model, input_shape: Any = None) -> Model:
    """The Functional model that computes what a subclassed one does.

    Args:
        model: a `keras.Model` with a `call` of its own that takes one tensor, or one list or dict
            of them.
        input_shape: without the batch, or a list or dict of such; by default what the model was
            built for.

    Returns: a Functional model of the same layers, which are not copied.

    Raises:
        InputError: the shape is not known; `call` is not symbolic (the line that stops it is
            named); it uses weights that belong to no layer; or the two differ on random inputs.
    """
    import keras

    inputs = keras.tree.map_shape_structure(
        lambda shape: keras.Input(shape[1:]), _batched(model, input_shape)
    )
    if isinstance(inputs, dict):
        inputs = {name: keras.Input(x.shape[1:], name=name) for name, x in inputs.items()}
    try:
        if not model.built and type(model).build is not keras.Model.build:
            model.build(_batched(model, input_shape))
        outputs = call(model, [inputs])
        traced = keras.Model(inputs, outputs, name=model.name)
    except Exception as error:  # whatever somebody's code does with a symbolic tensor
        raise InputError(
            f"Model {model.name!r} is subclassed, and its call cannot be read: "
            f"{place(error)}: {' '.join(str(error).split())[:200]}"
        ) from error
    agree(model, traced)
    for _ in range(LEVELS):
        opened = retraced(traced, _is_own_and_whole, _call_unmasked)
        if opened is None:
            break
        try:
            agree(model, opened)
        except InputError:
            break
        traced = opened
    return traced


def _batched(model, shape):
    """A shape, or a structure of shapes, with an unknown batch."""
    import keras

    if shape is not None:
        return keras.tree.map_shape_structure(lambda s: (None, *s), shape)
    built = getattr(model, "_build_shapes_dict", None) or {}
    known = list(built.values())
    if hasattr(model, "_inputs_struct"):  # Functional, with a call of its own
        known = [keras.tree.map_structure(lambda t: t.shape, model.input)]
    if len(known) != 1 or known[0] is None:
        raise InputError(
            f"Model {model.name!r} is subclassed, and it is not known what it takes. Call it once "
            f"on data, or give input_shape=(...), without the batch."
        )
    return keras.tree.map_shape_structure(lambda s: (None, *tuple(s)[1:]), known[0])


def call(layer: Layer, arguments: Sequence, options: Mapping | None = None) -> Any:
    """`layer.call`, not in training where it asks."""
    options = {k: v for k, v in (options or {}).items() if v is not None}
    if getattr(layer, "_call_has_training_arg", False):
        options.setdefault("training", False)
    return layer.call(*arguments, **options)


def retraced(
    model: Model,
    opens: Callable[[Layer], bool],
    call: Callable = call,
    failed: Callable = lambda layers, why: None,
) -> Model:
    """The model with the calls inside some layers in place of the calls of these.

    Args:
        model: Functional.
        opens: layer → whether to look inside.
        call: calls such a layer on symbolic tensors, as the function `call` does.
        failed: is told which layers stay whole, and why.

    Returns: a Functional model; `None` where no layer could be opened.
    """
    import keras

    found = []

    def inside(layer):
        if not opens(layer):
            return layer

        def called(*arguments, **options):
            try:
                outputs = call(layer, arguments, options)
            except Exception as error:  # somebody's code on symbolic tensors: a barrier, then
                failed([layer], place(error))
                return layer(*arguments, **options)
            found.append(layer)
            return outputs

        return called

    inputs = keras.tree.map_structure(
        lambda t: keras.Input(t.shape[1:], dtype=t.dtype, name=t.name), model.input
    )
    outputs = model._run_through_graph(inputs, operation_fn=inside)
    if not found:
        return None
    try:
        return keras.Model(inputs, outputs, name=model.name)
    except ValueError as error:  # for example two layers of one name
        failed(found, " ".join(str(error).split())[:200])
        return None


def _call_unmasked(layer, arguments, options):
    """`call`; what a layer makes of a mask is not in the graph of its calls."""
    import keras

    tensors = keras.tree.flatten((arguments, options))
    if any(getattr(t, "_keras_mask", None) is not None for t in tensors):
        raise ValueError(f"Layer {layer.name!r} is given a mask.")
    return call(layer, arguments, options)


def is_own(layer: Layer) -> bool:
    """Whether a layer's class is somebody's, not of Keras or this package."""
    import keras

    module = type(layer).__module__.partition(".")[0]
    return isinstance(layer, keras.layers.Layer) and module not in {*FOREIGN, "keras_l2feat"}


def _is_own_and_whole(layer):
    return is_own(layer) and functional(layer) is None


def agree(model: Model, traced: Model) -> None:
    """Every weight belongs to a layer, and the two models agree."""
    import keras

    for node in (node for nodes in traced._nodes_by_depth.values() for node in nodes):
        for value in keras.tree.flatten((node.arguments.args, node.arguments.kwargs)):
            if isinstance(value, keras.Variable):
                raise InputError(
                    f"Model {model.name!r} uses its weight {value.path!r} outside of a layer. "
                    f"Expected: weights that belong to layers."
                )
    generator = np.random.default_rng(0)
    points = keras.tree.map_structure(
        lambda t: generator.random((POINTS, *(n or 8 for n in t.shape[1:]))).astype("float32"),
        traced.input,
    )
    tensors = keras.tree.map_structure(keras.ops.convert_to_tensor, points)
    answers = [
        [np.asarray(keras.ops.convert_to_numpy(y), np.float64) for y in keras.tree.flatten(values)]
        for values in (call(model, [tensors]), traced(tensors, training=False))
    ]
    for expected, found in zip(*answers, strict=True):
        reach = np.abs(expected).max(initial=0.0)
        same = expected.shape == found.shape
        if not same or not np.abs(expected - found).max(initial=0.0) <= TOLERANCE * reach:
            raise InputError(
                f"Model {model.name!r} is subclassed, and its call on symbolic tensors computes "
                f"something else than on numbers: it depends on chance, or on the numbers."
            )


def place(error):
    """File and line, with its text, of the last frame that is not a framework's."""
    import traceback

    place = "its call"
    for (frame, _), read in zip(
        traceback.walk_tb(error.__traceback__), traceback.extract_tb(error.__traceback__)
    ):
        module = frame.f_globals.get("__name__", "").partition(".")[0]
        if module not in {*FOREIGN, "keras_l2feat"}:
            place = f"line {read.lineno} of {read.filename} is not symbolic, `{read.line}`"
    return place
