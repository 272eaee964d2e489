"""Loss against width, the plateau marked [the picture of Jacot et al. 2022, Fig. 2]."""

from typing import Any

import pandas as pd

from keras_l2feat.plateau.curves import curve, plateau_starts

__all__ = ["draw_curve", "draw_sparsity"]


def draw_curve(
    axes: Any,
    frame: pd.DataFrame,
    *,
    epsilon: float = 0.01,
    title: str = "",
    starts: bool = True,
    test: bool = True,
) -> None:
    """Draw the trials of a `plateau.curves.table` into matplotlib `axes`.

    Full lines: least training loss (with the λ term) up to each width. Dashed: test loss (without
    it) of that network. Dots: single trials. Dotted vertical: where the plateau starts at tolerance
    `epsilon`. The certificate gap is written at the trials that have one.
    """
    import seaborn as sns
    from matplotlib.ticker import LogLocator

    palette = sns.color_palette("colorblind")
    lines = curve(frame)
    for color, ((method, lam), group) in zip(palette * 4, lines.groupby(["method", "lam"])):
        trials = frame[(frame["method"] == method) & (frame["lam"] == lam)]
        axes.plot(group["width"], group["loss"], color=color, label=f"{method}, λ = {lam:g}, train")
        axes.scatter(trials["width"], trials["loss"], s=12, color=color, alpha=0.6, linewidths=0)
        if test and group["test_loss"].notna().any():
            axes.plot(
                group["width"], group["test_loss"], "--", color=color, label="test, without λ term"
            )
        if starts:
            start = plateau_starts(trials["width"], trials["loss"], epsilons=(epsilon,))[0]
            if start.reached:
                axes.axvline(start.width, color=color, linestyle=":", linewidth=1.2)
            text, side = (f" {start.width}", "left") if start.reached else ("not reached ", "right")
            at: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "va": "top", "ha": side}
            axes.annotate(text, (start.width, 1.0), color=color, fontsize=9, **at)
        for _, trial in trials[trials["gap"].notna()].iterrows():
            at = {"xytext": (0, -11), "textcoords": "offset points", "ha": "center"}
            point = trial["width"], trial["loss"]
            axes.annotate(f"{100 * trial['gap']:.0f} %", point, fontsize=7, color=color, **at)
    axes.set(xscale="log", yscale="log", xlabel="width", ylabel="loss", title=title)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(lambda *_: "")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(lambda *_: "")
    axes.legend(fontsize=8, frameon=False)


def draw_sparsity(axes: Any, rows: pd.DataFrame, *, epsilon: float = 0.01) -> None:
    """Width at which the plateau starts against λ, one line for each N.

    Args:
        rows: a frame with columns lam, n, width, low, high, reached; where the plateau was not
            reached the dot is hollow, at the largest width tried.
    """
    import seaborn as sns

    palette = sns.color_palette("colorblind")
    for color, (n, group) in zip(palette * 4, rows.groupby("n")):
        group = group.sort_values("lam")
        axes.plot(group["lam"], group["width"], "o-", color=color, label=f"N = {n}")
        beyond = group[~group["reached"].astype(bool)]
        if len(beyond):
            axes.plot(beyond["lam"], beyond["width"], "o", color=color, markerfacecolor="white")
        if (group["low"] < group["high"]).any():
            axes.fill_between(
                group["lam"], group["low"], group["high"], color=color, alpha=0.2, linewidth=0
            )
    axes.set(
        xscale="log",
        xlabel="λ",
        ylabel="width at which the plateau starts",
        title=f"How sparse is the task? (ε = {100 * epsilon:g} %)",
    )
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
