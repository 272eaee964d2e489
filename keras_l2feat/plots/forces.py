"""Attraction and repulsion on points and neurons, on two components [the picture of Jacot et al.
2022, Fig. 1]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

if TYPE_CHECKING:  # importing it would bring TensorFlow
    from keras_l2feat.objectives import Forces

__all__ = ["draw_forces", "force_table", "principal_planes"]

ATTRACTION, REPULSION = "tab:green", "tab:red"


def principal_planes(forces: Forces) -> dict[tuple[int, str], np.ndarray]:
    """Two principal components of the points and of the neurons of every hidden layer, about the
    origin, so that rays stay rays: `{(layer, kind): (dimensions, 2) array}`, each with its largest
    loading positive."""
    planes = {}
    for layer, z in enumerate(forces.representations[:-1], start=1):
        for kind, cloud in (("point", z), ("neuron", z.T)):
            _, _, vt = np.linalg.svd(cloud, full_matrices=False)
            plane = np.zeros((cloud.shape[1], 2))
            plane[:, : len(vt[:2])] = vt[:2].T
            planes[layer, kind] = plane * np.where(
                plane[np.abs(plane).argmax(axis=0), [0, 1]] < 0, -1, 1
            )
    return planes


def force_table(
    forces: Forces,
    classes: ArrayLike | None = None,
    rays: Sequence[np.ndarray] | None = None,
    planes: dict[tuple[int, str], np.ndarray] | None = None,
) -> pd.DataFrame:
    """Points and neurons of every hidden layer, with their forces, on two components.

    A layer's Z (N, n) is a cloud of N points and, transposed, of n neurons.

    Args:
        forces: `objectives.Forces`.
        classes: (N,) names or labels, or None.
        rays: for each hidden layer the (n,) ray labels of its neurons (−1 for dead ones), or None.
        planes: what to project on, by default the `principal_planes` of these forces.

    Returns: one row a point or neuron: layer, kind, index, class, ray, x, y, attraction_x,
        attraction_y, repulsion_x, repulsion_y (the forces −∂, without λ) and share (of the squared
        norm that the two components show).
    """
    planes = principal_planes(forces) if planes is None else planes
    frames = []
    for (layer, kind), plane in planes.items():
        clouds = (forces.representations, forces.attraction, forces.repulsion)
        cloud, pull, push = (
            array[layer - 1] if kind == "point" else array[layer - 1].T for array in clouds
        )
        frame = pd.DataFrame({"layer": layer, "kind": kind, "index": np.arange(len(cloud))})
        frame["class"] = classes if kind == "point" and classes is not None else pd.NA
        frame["ray"] = rays[layer - 1] if kind == "neuron" and rays is not None else pd.NA
        for name, array in (("", cloud), ("attraction_", -pull), ("repulsion_", -push)):
            frame[[f"{name}x", f"{name}y"]] = array @ plane
        frame["share"] = np.sum((cloud @ plane) ** 2) / (np.sum(cloud**2) or 1.0)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def draw_forces(axes: Any, table: pd.DataFrame) -> None:
    """Draw a `force_table` into axes of shape (hidden layers, 2): points left, neurons right.

    Points are coloured by class, attraction is green, repulsion red, in one scale a panel: all but
    the longest twentieth of the arrows are at most a quarter of the picture. Rays of at least two
    neurons are dashed.

    Args:
        axes: matplotlib axes, (layers, 2).
    """
    for (layer, kind), frame in table.groupby(["layer", "kind"]):
        panel = axes[layer - 1, 0 if kind == "point" else 1]
        corners = np.vstack([frame[["x", "y"]].to_numpy(), [[0.0, 0.0]]])
        low, high = corners.min(axis=0), corners.max(axis=0)
        extent = (high - low).max() or 1.0
        centre = (low + high) / 2
        across = frame[["attraction_x", "repulsion_x"]]
        sizes = np.hypot(across, frame[["attraction_y", "repulsion_y"]].to_numpy())
        long = np.quantile(sizes, 0.95) or 1.0
        arrow = {"angles": "xy", "scale_units": "xy", "scale": 4 * long / extent, "width": 0.004}
        for color, force in ((ATTRACTION, "attraction"), (REPULSION, "repulsion")):
            ends = (frame[name] for name in ("x", "y", f"{force}_x", f"{force}_y"))
            panel.quiver(*ends, color=color, zorder=2, alpha=0.75, **arrow)
        if kind == "point":
            _points(panel, frame)
        else:
            _neurons(panel, frame, extent)
        panel.plot(0, 0, "+", color="0.2", markersize=10, zorder=1)
        for limit, middle in ((panel.set_xlim, centre[0]), (panel.set_ylim, centre[1])):
            limit(middle - 0.7 * extent, middle + 0.7 * extent)
        panel.set_aspect("equal")
        panel.set_title(
            f"layer {layer}: {len(frame)} {kind}s ({100 * frame['share'].iloc[0]:.0f} % shown)",
            fontsize=10,
        )
        panel.tick_params(labelsize=8)


def _points(panel, frame):
    import seaborn as sns

    palette = sns.color_palette("colorblind")
    colors = [palette[index] for index in (0, 1, 4, 8, 5, 6, 7, 9)]  # no green, no red
    known = frame["class"].notna().any()
    look = {"s": 26, "edgecolor": "white", "lw": 0.5, "zorder": 3}
    for index, (label, group) in enumerate(frame.groupby("class") if known else [("", frame)]):
        panel.scatter(group["x"], group["y"], color=colors[index % 8], label=label, **look)
    if known:
        panel.legend(fontsize=8, frameon=True, loc="best")


def _neurons(panel, frame, extent):
    live = frame[frame["ray"].fillna(0) >= 0]
    for _, group in live.groupby("ray") if frame["ray"].notna().any() else []:
        if len(group) > 1:
            direction = group[["x", "y"]].sum().to_numpy(float)
            end = 2 * extent * direction / (np.hypot(*direction) or 1.0)
            panel.plot([0, end[0]], [0, end[1]], "--", color="0.6", lw=0.9, zorder=1)
    panel.scatter(frame["x"], frame["y"], s=18, color="0.25", edgecolor="white", lw=0.5, zorder=3)
