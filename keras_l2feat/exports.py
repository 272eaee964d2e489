"""Models for other runtimes, each run there and compared with the model before it counts as
written.

onnx         one file, run by onnxruntime (needs the extra `keras-l2feat[export]`)
saved_model  a folder, run by TensorFlow
tflite       one file, run by the TensorFlow Lite interpreter
"""

import contextlib
import tempfile
import warnings
from pathlib import Path

import numpy as np

from keras_l2feat.errors import CheckFailed, InputError, require
from keras_l2feat.files import atomic_path, check_output
from keras_l2feat.pruning.evaluate import arranged, input_shapes
from keras_l2feat.types import Model

__all__ = ["FORMATS", "export"]

SAMPLES = 8
# Runtimes order their sums differently; as a share of the largest output. Single precision
# everywhere.
TOLERANCE = 1e-4


def export(
    model: Model, path: str | Path, format: str, *, samples: int | None = None, seed: int = 0
) -> dict:
    """Write a model in another format, and compare the two on the same inputs.

    Args:
        model: a built Keras model.
        path: where to; a file for "onnx" and "tflite", a folder that does not exist yet for
            "saved_model".
        format: "onnx", "saved_model" or "tflite".
        samples: inputs to compare on, `(N, ...)`, or a list of them; random ones by default.
        seed: of the random inputs.

    Returns: `format`, `path`, `bytes`, `max_abs_deviation` and `max_rel_deviation` (over the
        largest output).

    Raises:
        InputError: unknown format, a package is missing, the path is taken, the runtime has no such
            operation, or no size does for what the inputs' shapes leave open.
        CheckFailed: the export's outputs differ by more than 1e-4 of the largest; nothing was
            written.
    """
    require(format in FORMATS, "format", f"one of {sorted(FORMATS)}", format)
    path = Path(path)
    check_output(path)
    inputs = _samples(model, samples, seed)
    expected = _outputs(model, inputs)  # the call also traces the model, which some exports need
    write, run = FORMATS[format]
    with atomic_path(path) as temporary:
        try:
            with _quiet():
                write(model, temporary)
                outputs = run(temporary, model, inputs)
        except ImportError as error:
            raise InputError(
                f"Export to {format} needs a package: {error}. pip install 'keras-l2feat[export]'"
            ) from error
        except Exception as error:  # converters raise whatever they meet: one clear error for all
            reason = " ".join(str(error).split())[:300]
            raise InputError(
                f"Model {model.name!r} cannot be exported to {format}: {reason}"
            ) from error
        deviation, relative = _compare(expected, outputs)
        if not relative <= TOLERANCE:
            raise CheckFailed(
                f"The {format} export of {model.name!r} differs from the model by {deviation:.3g} "
                f"({relative:.3g} of the largest output; {TOLERANCE:g} is allowed). Nothing "
                "was written."
            )
        size = sum(f.stat().st_size for f in (temporary, *temporary.rglob("*")) if f.is_file())
    found = {"format": format, "path": str(path), "bytes": size}
    return found | {"max_abs_deviation": deviation, "max_rel_deviation": relative}


def _samples(model, samples, seed):
    if samples is not None:
        samples = samples if isinstance(samples, (list, tuple)) else [samples]
        pairs = zip(samples, model.inputs, strict=True)
        return [np.asarray(x)[:SAMPLES].astype(t.dtype) for x, t in pairs]
    random = np.random.default_rng(seed)
    inputs = []
    for tensor, shape in zip(model.inputs, input_shapes(model)):
        shape = (tensor.shape[0] or SAMPLES, *shape)
        real = "float" in tensor.dtype
        values = random.standard_normal(shape) if real else random.integers(0, 2, shape)
        inputs.append(values.astype(tensor.dtype))
    return inputs


def _outputs(model, inputs):
    import keras

    outputs = model.predict_on_batch(arranged(model, inputs))
    return [np.asarray(y, np.float64) for y in keras.tree.flatten(outputs)]


def _compare(expected, outputs):
    """Largest difference, and that over the largest output. Outputs are matched by shape and
    nearness, not by order."""
    left, deviation, scale = [np.asarray(y, np.float64) for y in outputs], 0.0, 0.0
    for y in expected:
        fitting = [i for i, other in enumerate(left) if other.shape == y.shape]
        if not fitting:
            return float("inf"), float("inf")
        gaps = [_gap(left[i], y) for i in fitting]
        deviation = max(deviation, float(np.min(gaps)))
        scale = max(scale, float(np.abs(y[np.isfinite(y)]).max(initial=0.0)))
        left.pop(fitting[int(np.argmin(gaps))])
    return deviation, deviation / scale if scale else deviation


def _gap(first, second):
    """The largest difference; infinite where just one is not a number."""
    with np.errstate(invalid="ignore"):
        same = (first == second) | (np.isnan(first) & np.isnan(second))
        gap = np.where(same, 0.0, np.abs(first - second))
    return float(np.nan_to_num(gap, nan=np.inf, posinf=np.inf).max(initial=0.0))


@contextlib.contextmanager
def _quiet():
    """Converters print and warn about themselves; what goes wrong is raised."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(None):
        warnings.simplefilter("ignore")
        yield


def _write_onnx(model, path):
    model.export(path, format="onnx", verbose=False)


def _run_onnx(path, model, inputs):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    given = [i.name for i in session.get_inputs()]
    return session.run(None, dict(zip(given, inputs, strict=True)))


def _write_saved_model(model, path):
    model.export(path, format="tf_saved_model", verbose=False)


def _run_saved_model(path, model, inputs):
    import tensorflow as tf

    loaded = tf.saved_model.load(path)  # holds the variables, so it has to live as long as the call
    outputs = loaded.serve(arranged(model, [tf.constant(x) for x in inputs]))
    return [y.numpy() for y in tf.nest.flatten(outputs)]


def _write_tflite(model, path):
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        _write_saved_model(model, folder)
        path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(folder).convert())


def _run_tflite(path, model, inputs):
    import tensorflow as tf

    runner = tf.lite.Interpreter(model_path=str(path)).get_signature_runner()
    names, own = list(runner.get_input_details()), [tensor.name for tensor in model.inputs]
    own = own if set(names) == set(own) else sorted(names)
    return list(runner(**dict(zip(own, inputs, strict=True))).values())


FORMATS = {
    "onnx": (_write_onnx, _run_onnx),
    "saved_model": (_write_saved_model, _run_saved_model),
    "tflite": (_write_tflite, _run_tflite),
}
