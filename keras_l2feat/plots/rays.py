"""The neurons of a network as rays, before and after pruning."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_l2feat.data import Dataset
from keras_l2feat.plots.style import canvas, save
from keras_l2feat.types import Model

__all__ = ["gaussian_inputs", "rays_before_after", "responses"]

POINTS = 256  # inputs on which neurons are compared
PANELS = 6  # layers drawn at most: those that lose most


def rays_before_after(
    model: Model,
    pruned: Model,
    path: str | Path,
    *,
    data: Dataset | None = None,
    gone: dict[str, set[int]] | None = None,
    seed: int = 0,
) -> None:
    """Draw each pruned layer's neurons before and after: many points on few rays become one point a
    ray.

    A neuron is the vector of its outputs on up to 256 inputs, of `data` or else Gaussian; both
    panels of a layer show these vectors in the two principal directions (from the origin) of the
    layer before pruning. Colours are the rays of the pruned layer; a neuron that is on none of them
    is grey. Neurons that are removed are rings. [after Jacot et al. 2022, Fig. 1]

    Args:
        model, pruned: the two Keras models, with the same names of layers.
        path: a picture; the suffix says its format.
        data: a `Dataset` that the model takes, or `None`.
        gone: layer → indices of the neurons that were removed, drawn as rings.
        seed: of Gaussian inputs.
    """
    if data is None:
        inputs = gaussian_inputs(model, seed)
    else:
        inputs = [data.inputs(model)[:POINTS].astype("float32")]
    layers = _changed(model, pruned)
    if not layers:  # nothing was pruned: show what there is
        layers = [layer.name for layer in model.layers if layer.get_weights()][:2]
    before, after = responses(model, layers, inputs), responses(pruned, layers, inputs)
    with canvas(2, len(layers), squeeze=False) as (figure, axes):
        for column, name in enumerate(layers):
            lost = np.isin(np.arange(len(before[name])), list((gone or {}).get(name, ())))
            _draw_layer(axes[:, column], name, before[name], after[name], lost)
        save(figure, path)


def gaussian_inputs(model: Model, seed: int = 0) -> list[np.ndarray]:
    """256 Gaussian points for each input of a Keras model, float32; open sizes become 8."""
    generator = np.random.default_rng(seed)
    shapes = [
        [POINTS, *(8 if size is None else size for size in entry.shape[1:])]
        for entry in model.inputs
    ]
    return [generator.standard_normal(shape).astype("float32") for shape in shapes]


def _changed(model, pruned):
    """Names of the layers that lost units, those that lost most first cut to `PANELS`, in the
    model's order."""
    lost = {}
    kept = {layer.name: layer for layer in pruned.layers}
    for layer in model.layers:
        if layer.name in kept and layer.get_weights():
            lost[layer.name] = layer.output.shape[-1] - kept[layer.name].output.shape[-1]
    most = sorted((name for name in lost if lost[name] > 0), key=lambda name: -lost[name])[:PANELS]
    return [name for name in lost if name in most]


def responses(
    model: Model, layers: Sequence[str], inputs: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """The outputs of layers on inputs.

    Args:
        model: a Keras model; layers: names of some of its layers.
        inputs: a list of arrays, one for each input of the model.

    Returns: layer name → `(units, values)` float64, the outputs of its units on all points.
    """
    import keras

    outputs = [model.get_layer(name).output for name in layers]
    # called, not predicted: a compiled step for each of many small models costs more than it saves
    values = keras.Model(model.inputs, outputs)(inputs)
    values = values if isinstance(values, list) else [values]
    return {
        name: keras.ops.convert_to_numpy(v).astype(np.float64).reshape(-1, v.shape[-1]).T
        for name, v in zip(layers, values)
    }


def _draw_layer(axes, name, before, after, lost):
    import seaborn as sns

    _, _, directions = np.linalg.svd(before, full_matrices=False)
    basis = directions[:2].T
    nearest, cosine = _nearest(before, after)
    colours = np.array(sns.color_palette("husl", max(len(after), 1)))
    grey = np.array([0.6, 0.6, 0.6])
    points = before @ basis, after @ basis
    rays = np.where(cosine > 0.999, nearest, -1), np.arange(len(after))
    hollow = lost, np.zeros(len(after), bool)
    for panel, vectors, ray, rings, when in zip(
        axes, points, rays, hollow, ("before", "after"), strict=True
    ):
        for tip, colour in zip(_tips(points, nearest, cosine), colours):
            panel.plot(
                *zip((0, 0), tip), linestyle="--", linewidth=0.7, color=colour, alpha=0.7, zorder=1
            )
        shown = np.array([grey if k < 0 else colours[k] for k in ray]).reshape(-1, 3)
        for chosen, look in (
            # the wider ones: copies of a neuron that stays are seen around it
            (rings, {"s": 75, "facecolors": "white", "edgecolors": shown[rings]}),
            (~rings, {"s": 26, "c": shown[~rings], "edgecolors": "black", "linewidths": 0.6}),
        ):
            panel.scatter(*vectors[chosen].T, zorder=2, **look)
        panel.plot(0, 0, "+", color="black", markersize=8)
        removed = f", {rings.sum()} to go (rings)" if rings.any() else ""
        panel.set(
            title=f"{name} {when}: {len(vectors)} neurons{removed}", xlabel="principal direction 1"
        )
    axes[0].set(ylabel="principal direction 2")
    axes[1].set(ylabel="principal direction 2")
    axes[1].sharex(axes[0])
    axes[1].sharey(axes[0])


def _nearest(before, after):
    """For each neuron before: which neuron after is nearest in direction, and the cosine."""

    def unit(rows):
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows / np.where(norms > 0, norms, 1)

    cosines = unit(before) @ unit(after).T
    if not cosines.size:
        return np.zeros(len(before), int), np.zeros(len(before))
    return cosines.argmax(axis=1), cosines.max(axis=1)


def _tips(points, nearest, cosine):
    """For each ray the farthest point on it in the plane, of either panel."""
    before, after = points
    for k, tip in enumerate(after):
        ends = [tip, *before[(nearest == k) & (cosine > 0.999)]]
        yield max(ends, key=np.linalg.norm)
