"""Attraction and repulsion on points and neurons, on two components [the picture of Jacot et al. 2022, Fig. 1]."""

import numpy as np
import pandas as pd

__all__ = ["draw_forces", "force_table"]

ATTRACTION, REPULSION = "tab:green", "tab:red"


def force_table(forces, classes=None, rays=None) -> pd.DataFrame:
    """Points and neurons of every hidden layer, with their forces, on two principal components.

    A layer's Z (N, n) is a cloud of N points and, transposed, of n neurons. Components are those of Z about the origin,
    so that rays stay rays; each has the sign that makes its largest loading positive.

    Args:
        forces: `objectives.Forces`.
        classes: (N,) labels or None.
        rays: for each hidden layer the (n,) ray labels of its neurons (−1 for dead ones), or None.

    Returns: one row a point or neuron: layer, kind, index, class, ray, x, y, attraction_x, attraction_y, repulsion_x,
        repulsion_y (the forces −∂, without λ) and share (of the squared norm that the two components show).
    """
    frames = []
    for layer, (z, attraction, repulsion) in enumerate(
        zip(forces.representations, forces.attraction, forces.repulsion), start=1
    ):
        for kind in ("point", "neuron"):
            cloud, pull, push = (x if kind == "point" else x.T for x in (z, -attraction, -repulsion))
            _, s, vt = np.linalg.svd(cloud, full_matrices=False)
            basis = np.zeros((cloud.shape[1], 2))
            basis[:, : min(2, len(vt))] = vt[:2].T
            basis *= np.sign(basis[np.abs(basis).argmax(axis=0), [0, 1]] + 1e-300)
            frame = pd.DataFrame({"layer": layer, "kind": kind, "index": np.arange(len(cloud))})
            frame["class"] = classes if kind == "point" and classes is not None else pd.NA
            frame["ray"] = rays[layer - 1] if kind == "neuron" and rays is not None else pd.NA
            for name, array in (("", cloud), ("attraction_", pull), ("repulsion_", push)):
                frame[[f"{name}x", f"{name}y"]] = array @ basis
            frame["share"] = np.sum(s[:2] ** 2) / (np.sum(s**2) or 1.0)
            frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def draw_forces(axes, table, names=None):
    """Draw a `force_table` into axes of shape (hidden layers, 2): points left, neurons right.

    Points are coloured by class, attraction is green, repulsion red, arrows in one scale a panel, the median arrow a
    fifth of the picture; rays of at least two neurons are dashed.

    Args:
        axes: matplotlib axes, (layers, 2).
        names: of the classes, a sequence or mapping.
    """
    for (layer, kind), frame in table.groupby(["layer", "kind"]):
        panel = axes[layer - 1, 0 if kind == "point" else 1]
        extent = np.hypot(frame["x"], frame["y"]).max() or 1.0
        sizes = np.hypot(frame["attraction_x"], frame["attraction_y"])
        typical = np.median(sizes[sizes > 1e-3 * sizes.max()]) if sizes.max() > 0 else 1.0
        arrow = {"angles": "xy", "scale_units": "xy", "scale": 5 * typical / extent, "width": 0.004, "alpha": 0.75}
        for color, force in ((ATTRACTION, "attraction"), (REPULSION, "repulsion")):
            panel.quiver(
                frame["x"], frame["y"], frame[f"{force}_x"], frame[f"{force}_y"], color=color, zorder=2, **arrow
            )
        if kind == "point":
            _points(panel, frame, names)
        else:
            _neurons(panel, frame, extent)
        panel.plot(0, 0, "+", color="0.3", zorder=1)
        panel.set(xlim=(-1.15 * extent, 1.15 * extent), ylim=(-1.15 * extent, 1.15 * extent), aspect="equal")
        title = f"layer {layer}: {len(frame)} {kind}s"
        panel.set_title(f"{title} ({100 * frame['share'].iloc[0]:.0f} % shown)", fontsize=10)
        panel.tick_params(labelsize=8)


def _points(panel, frame, names):
    import seaborn as sns

    palette = sns.color_palette("colorblind")
    colors = [palette[0], palette[1], palette[4], palette[8], palette[5], palette[6], palette[7], palette[9]]
    for index, (label, group) in enumerate(frame.groupby("class") if frame["class"].notna().any() else [("", frame)]):
        name = label if names is None or label == "" else names[label]
        panel.scatter(
            group["x"], group["y"], s=26, color=colors[index % 8], edgecolor="white", lw=0.5, label=name, zorder=3
        )
    if frame["class"].notna().any():
        panel.legend(fontsize=8, frameon=True, loc="best")


def _neurons(panel, frame, extent):
    live = frame[frame["ray"].fillna(0) >= 0]
    for _, group in live.groupby("ray") if frame["ray"].notna().any() else []:
        if len(group) > 1:
            direction = group[["x", "y"]].sum().to_numpy(float)
            end = 1.6 * extent * direction / (np.hypot(*direction) or 1.0)
            panel.plot([0, end[0]], [0, end[1]], "--", color="0.6", lw=0.9, zorder=1)
    panel.scatter(frame["x"], frame["y"], s=18, color="0.25", edgecolor="white", lw=0.5, zorder=3)
