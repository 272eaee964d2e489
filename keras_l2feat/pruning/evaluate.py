"""Running models in float64, whatever they are stored in, and finding inputs to run them on."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from keras_l2feat.archive.declared import numbers_put_out
from keras_l2feat.errors import InputError
from keras_l2feat.pruning.channels.copies import clone, from_config, set_weights, unbuilt
from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.channels.symbolic import functional
from keras_l2feat.types import Model

__all__ = ["arranged", "batches", "input_shapes", "outputs", "precise", "random_inputs", "through"]

# what stands for `None`, by the number of axes between batch and channels; where a model needs more
# (it crops, or halves often), the least of SIZES that it takes
UNKNOWN_SIZES = {1: 7, 2: 32, 3: 8}
SIZES = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
ENTRIES = 1 << 20  # numbers in one batch of random inputs, at most
ACTIVATIONS = 1 << 27  # numbers in the outputs of all layers for one batch: 1 GB in float64


def precise(model: Model) -> Model:
    """A copy of a model that computes in float64 with the same weights.

    The copy is a model of its own, built from the layers' configs; nothing of the pruner takes part
    in evaluating it. A layer that its config does not describe (some of other packages) is called
    as it is, in its own precision.
    """

    def double(layer):
        try:
            return from_config(layer, _in_float64(unbuilt(layer.get_config())))
        except Exception:  # other people's layers; what they raise is theirs
            borrowed.add(id(layer))
            return _borrowed(layer)

    borrowed = set()
    with float64_enabled():
        copy, layers = clone(model, double, compiled=False)
        for old, new in layers:
            if old.weights and id(old) not in borrowed:
                arrays = [np.asarray(w) for w in old.get_weights()]
                wide = [w.astype("float64") if _is_float(w) else w for w in arrays]
                set_weights(new, old, wide)
    return copy


def _borrowed(layer):
    """A layer that calls another one, for which its config does not do: it computes in that one's
    own precision."""
    import keras

    class Borrowed(keras.layers.Layer):
        def call(self, *arguments, **options):
            return layer(*arguments, **options)

    return Borrowed(name=layer.name, dtype=layer.dtype_policy, autocast=False)


@contextlib.contextmanager
def float64_enabled():
    """JAX computes in float64 only where it is told to; some of Keras' functions on it only if that
    was before they were imported (`JAX_ENABLE_X64=1`), and stay in float32 otherwise, within which
    the certificate is then.
    """
    import keras

    if keras.backend.backend() != "jax":
        yield
        return
    import jax

    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)


def outputs(model: Model, inputs: Sequence, batch: int = 256) -> np.ndarray:
    """What a model answers, every output as one float64 row per input: (n, values).

    Args:
        inputs: list of arrays, one per model input, (N, ...).
    """
    import keras

    rows = []
    with float64_enabled():
        for part, count in batches(model, inputs, batch):
            answers = _answers(model, part)
            arrays = [np.asarray(keras.ops.convert_to_numpy(a), dtype=np.float64) for a in answers]
            rows.append(np.concatenate([a.reshape(len(a), -1) for a in arrays], axis=1)[:count])
    return np.concatenate(rows)


def _answers(model, arrays):
    import keras

    if functional(model) is None:
        return keras.tree.flatten(model(arranged(model, arrays), training=False))

    def call(operation, args, kwargs):
        plain = all(value is None for value in kwargs.values())
        if isinstance(operation, keras.Model) and functional(operation) and plain:
            return through(operation, keras.tree.flatten(args), call)
        if getattr(operation, "_call_has_training_arg", False):
            kwargs = {**kwargs, "training": False}
        return keras.tree.flatten(operation(*args, **kwargs))

    tensors = [keras.ops.convert_to_tensor(a, t.dtype) for a, t in zip(arrays, model.inputs)]
    return through(model, tensors, call)


def through(model: Model, values: Iterable, call: Callable[[Any, tuple, dict], list]) -> list:
    """Go through a Functional model call by call; only what later calls still need is kept, which
    Keras does not see to.

    Args:
        values: of any kind, one a model input.
        call: `(operation, args, kwargs) -> list` of the values of its outputs.

    Returns: the values of the model's outputs.
    """
    calls = functional(model)
    nodes = [
        node
        for depth in sorted(calls._nodes_by_depth, reverse=True)
        for node in calls._nodes_by_depth[depth]
        if not node.is_input
    ]
    wanted = Counter(id(tensor) for node in nodes for tensor in node.input_tensors)
    wanted.update(id(tensor) for tensor in calls.outputs)
    known = {id(symbolic): value for symbolic, value in zip(calls.inputs, values, strict=True)}
    for node in nodes:
        outs = call(node.operation, *node.arguments.fill_in(known))
        known.update((id(s), out) for s, out in zip(node.outputs, outs, strict=True))
        wanted.subtract(id(tensor) for tensor in node.input_tensors)
        for key in [key for key in known if wanted[key] <= 0]:
            del known[key]
    return [known[id(symbolic)] for symbolic in calls.outputs]


def batches(model: Model, inputs: Sequence, batch: int = 256, held: int | None = None) -> Iterator:
    """Data as a model takes them: in batches of the size that it was built for, where it has one,
    each from rest.

    Args:
        inputs: list of arrays, one per model input, (N, ...).
        batch: points at a time, where any number will do; fewer where they take much memory.
        held: how many numbers are held of a point; by default the outputs of all layers.

    Yields: the arrays of a batch, and how many of its points are new; the last point is repeated
        where a batch has to be filled up.
    """
    import keras

    batch = max(1, min(batch, ACTIVATIONS // max(1, held or numbers_put_out(model))))
    fixed = next((t.shape[0] for t in model.inputs if t.shape[0] is not None), None)
    stateful = [layer for layer in model._flatten_layers() if getattr(layer, "stateful", False)]
    for start in range(0, len(inputs[0]), fixed or batch):
        part = [np.asarray(x[start : start + (fixed or batch)]) for x in inputs]
        count = len(part[0])
        if fixed:
            part = [np.concatenate([x, np.repeat(x[-1:], fixed - count, axis=0)]) for x in part]
        for layer in stateful:
            if isinstance(layer, keras.layers.RNN):
                layer.reset_state()
        yield part, count


def arranged(model: Model, arrays: Sequence) -> Any:
    """Arrays, one per input, in the structure in which the model takes them."""
    import keras

    if isinstance(model, keras.Sequential):
        return arrays[0]
    return keras.tree.pack_sequence_as(model._inputs_struct, list(arrays))


def random_inputs(
    graph: Graph,
    count: int,
    seed: int,
    *,
    scale: float = 1.0,
    low: Any = None,
    high: Any = None,
    shapes: Sequence | None = None,
) -> list:
    """Inputs for a model: Gaussian, or uniform between `low` and `high`; whole numbers where tokens
    are looked up.

    Args:
        graph: the model's channel graph.
        count: how many, fewer if they are large.
        scale: standard deviation of the Gaussian numbers.
        low, high: bounds that broadcast against one input, or `None`.
        shapes: of one point of each input; by default `input_shapes`.

    Returns: list of arrays, one per input of the model, float32 (exact in float64) or int32.
    """
    generator = np.random.default_rng(seed)
    shapes = shapes or input_shapes(graph.model)
    count = min(count, max(2, ENTRIES // max(int(np.prod(s)) for s in shapes)))
    inputs = []
    for symbolic, tensor, shape in zip(graph.model.inputs, graph.inputs, shapes):
        tokens = graph.tokens(tensor)
        if "string" in str(symbolic.dtype):
            raise InputError(f"Input {symbolic.name!r} takes text: no inputs to try can be drawn.")
        if tokens is not None or "int" in str(symbolic.dtype):
            inputs.append(generator.integers(0, tokens or 2, (count, *shape)).astype("int32"))
        elif low is not None:
            inside = np.clip(
                generator.uniform(-0.25, 1.25, (count, *shape)), 0.0, 1.0
            )  # a third of them on the faces
            inputs.append((low + (high - low) * inside).astype("float32"))
        else:
            inputs.append((scale * generator.standard_normal((count, *shape))).astype("float32"))
    return inputs


def input_shapes(model: Model) -> list:
    """Shapes of one point of each of a model's inputs, unknown sizes filled in so that it can be
    called.

    Raises:
        InputError: no size that was tried does.
    """
    import keras

    known = [tuple(tensor.shape[1:]) for tensor in model.inputs]
    if not any(None in shape for shape in known):
        return known
    usual = [tuple(UNKNOWN_SIZES.get(len(s) - 1, 8) if n is None else n for n in s) for s in known]
    least = max(
        size for shape, old in zip(usual, known) for size, n in zip(shape, old) if n is None
    )
    filled = [
        [tuple(size if n is None else n for n in s) for s in known]
        for size in SIZES
        if size > least
    ]
    for shapes in [usual, *filled]:
        tensors = [
            keras.KerasTensor((t.shape[0], *shape), dtype=t.dtype)
            for t, shape in zip(model.inputs, shapes)
        ]
        try:
            model.compute_output_spec(arranged(model, tensors))
            return shapes
        except Exception as error:  # layers raise whatever they like
            reason = error
    raise InputError(
        f"Model {model.name!r} takes inputs of shapes {known}, and no size up to {SIZES[-1]} does "
        f"for what is unknown. Give its inputs a shape. ({' '.join(str(reason).split())[:200]})"
    )


def _is_float(array):
    return np.asarray(array).dtype.kind == "f" or str(np.asarray(array).dtype) == "bfloat16"


def _in_float64(config):
    """The config of a layer with every floating dtype, nested ones included, replaced by
    float64."""
    if isinstance(config, dict):
        return {
            k: "float64" if k == "dtype" and _names_float(v) else _in_float64(v)
            for k, v in config.items()
        }
    if isinstance(config, list):
        return [_in_float64(item) for item in config]
    return config


def _names_float(dtype):
    name = (
        dtype.get("config", {}).get("name", "")
        if isinstance(dtype, dict)
        else str(getattr(dtype, "name", dtype))
    )
    return "float" in str(name)
