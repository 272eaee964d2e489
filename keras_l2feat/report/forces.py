"""The forces of one network on one data set: numbers, table and picture."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from keras_l2feat.files import atomic_path
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives import Problem, forces
from keras_l2feat.plots.forces import draw_forces, force_table
from keras_l2feat.plots.style import canvas, save
from keras_l2feat.training.rays import ray_labels

__all__ = ["Picture", "measure", "write"]

# share of a layer's largest contribution up to which a neuron counts as dead, as in training.rays
NEGLIGIBLE = 1e-4


@dataclass(frozen=True)
class Picture:
    """What `measure` returns.

    Attributes:
        summary: JSON-able: `lam`, `ridge`, `angle`, `output_stationarity` and `layers`, with for
            each hidden layer `layer, width, rays, attraction, repulsion` (Frobenius norms),
            `stationarity`, `balance` (least and largest ‖w_in‖/‖v_out‖).
        table: see `plots.forces.force_table`.
    """

    summary: dict
    table: pd.DataFrame


def measure(
    network: DenseNetwork,
    problem: Problem,
    *,
    ridge: float = 1e-4,
    angle: float = 1e-2,
    planes: dict | None = None,
) -> Picture:
    """The forces in a `DenseNetwork` on the training points of a problem.

    Args:
        network: a `DenseNetwork`.
        problem: what it was trained on.
        ridge: as for `forces`.
        angle: radians within which neurons share a ray.
        planes: as for `plots.forces.force_table`.
    """
    data = problem.data
    found = forces(network, data, problem.lam, ridge, cost=problem.cost)
    labels = [
        ray_labels(lower, upper[: lower.shape[1]], angle, NEGLIGIBLE)
        for lower, upper in zip(network.weights, network.weights[1:])
    ]
    layers = [
        {
            "layer": index + 1,
            "width": network.hidden[index],
            "rays": int(labels[index].max(initial=-1)) + 1,
            "attraction": float(np.linalg.norm(found.attraction[index])),
            "repulsion": float(np.linalg.norm(found.repulsion[index])),
            "stationarity": found.stationarity[index],
            "balance": [
                float(bound(ratios)) if np.isfinite(ratios).any() else 1.0
                for bound in (np.nanmin, np.nanmax)
            ],
        }
        for index, ratios in enumerate(found.balance)
    ]
    summary = {
        "lam": problem.lam,
        "ridge": float(ridge),
        "angle": float(angle),
        "output_stationarity": found.stationarity[-1],
        "layers": layers,
    }
    classes = None if data.classes is None else np.array(data.class_names)[data.y_train]
    return Picture(summary, force_table(found, classes, labels, planes))


def write(picture: Picture, out: Path, title: str | None = None) -> None:
    """Write `forces.png`, `forces.svg` and `forces.csv` into the folder `out`."""
    with canvas(len(picture.summary["layers"]), 2, width=4.6, height=4.4, squeeze=False) as (
        figure,
        axes,
    ):
        draw_forces(axes, picture.table)
        figure.suptitle(title or "attraction (green) and repulsion (red)")
        for suffix in ("png", "svg"):
            save(figure, out / f"forces.{suffix}")
    with atomic_path(out / "forces.csv") as temporary:
        picture.table.to_csv(temporary, index=False)
